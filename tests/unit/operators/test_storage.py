"""Objects in S3 are reached as the hook reaches AWS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from airflow_automl.exceptions import AutoMLAccessDenied
from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook
from airflow_automl.hooks.storage import Storage


class Objects(ThreadingHTTPServer):
    """As much of S3 as the operators use; also a proxy in front of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Objects

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def key(self) -> str:
        self.server.requests.append((self.path, self.headers.get("Authorization", "")))
        return unquote(urlsplit(self.path).path).partition("/acme/")[2]

    def do_PUT(self) -> None:
        self.server.files[self.key()] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"")

    def do_GET(self) -> None:
        key, query = self.key(), parse_qs(urlsplit(self.path).query)
        if "list-type" not in query:
            self.answer(200, self.server.files[key]) if key in self.server.files else self.answer(
                403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            )
            return
        prefix = query.get("prefix", [""])[0]
        found = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name, content in sorted(self.server.files.items())
            if name.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode())

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    with Objects() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for name, endpoint in (("AWS_DEFAULT", url), ("PROXIED", "http://s3.example")):
            extra = {"service_config": {"s3": {"endpoint_url": endpoint}}, "region_name": "us-east-1"}
            connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
        yield server
        server.shutdown()


def test_written_objects_are_found_and_read_in_the_hooks_region(objects: Objects) -> None:
    storage = Storage(SageMakerAutoMLDeploymentHook(region_name="eu-central-1"))
    storage.write("s3://acme/reports/a b.html", b"<p>")
    storage.write("s3://acme/reports2/other.html", b"no")
    objects.files["reports/"] = b""
    assert storage.find("s3://acme/reports/") == {"s3://acme/reports/a b.html": 3}
    assert storage.find("s3://acme/reports/a b.html") == {"s3://acme/reports/a b.html": 3}
    assert storage.read("s3://acme/reports/a b.html") == b"<p>"
    assert all("/eu-central-1/s3/" in authorization for _, authorization in objects.requests)


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_any_key_is_read_at_the_address_at_which_it_was_found(objects: Objects, scheme: str) -> None:
    storage = Storage(SageMakerAutoMLDeploymentHook())
    objects.files["photos/what?/#1.png"] = b"1"
    for prefix in ("", "/photos", "/photos/what?/"):
        (address,) = storage.find(f"{scheme}://acme{prefix}")
        assert address == f"{scheme}://acme/photos/what?/#1.png"
        assert storage.read(address) == b"1"


def test_the_hooks_proxy_and_verification_hold_for_objects_too(objects: Objects) -> None:
    proxies = {"http": f"http://127.0.0.1:{objects.server_port}"}
    hook = SageMakerAutoMLDeploymentHook(aws_conn_id="proxied", verify=False, config={"proxies": proxies})
    Storage(hook).write("s3://acme/x", b"1")
    assert objects.requests[0][0].startswith("http://s3.example/acme/x")
    assert hook.client_of("s3")._endpoint.http_session._verify is False


def test_refusals_are_errors_of_this_package(objects: Objects) -> None:
    with pytest.raises(AutoMLAccessDenied):
        Storage(SageMakerAutoMLDeploymentHook()).read("s3://acme/secret")


def test_a_disk_is_storage_too(tmp_path: Path) -> None:
    storage = Storage(SageMakerAutoMLDeploymentHook())
    storage.write(f"{tmp_path}/new/report.html", b"<p>")
    assert storage.find(f"file://{tmp_path}") == {f"file://{tmp_path}/new/report.html": 3}
    assert storage.read(f"file://{tmp_path}/new/report.html") == b"<p>"
    assert storage.find(f"file://{tmp_path}/missing") == {}
    (found,) = storage.find(f"{tmp_path}/new")
    assert storage.read(found) == b"<p>"
