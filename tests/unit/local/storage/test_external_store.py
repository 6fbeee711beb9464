"""A store that the user names: its credentials need not be allowed to list buckets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_automl.local.errors import StartupError
from airflow_automl.local.storage.client import Credentials, client
from airflow_automl.local.storage.s3 import ExternalStore


@pytest.fixture
def refusing(request: pytest.FixtureRequest) -> Iterator[ExternalStore]:
    """A store that refuses everything with a code."""
    body = f"<Error><Code>{request.param}</Code><Message>no</Message></Error>".encode()

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield ExternalStore(f"http://127.0.0.1:{server.server_port}", Credentials("key", "secret"), "us-east-1")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("refusing", ["AccessDenied"], indirect=True)
async def test_a_key_that_may_not_list_buckets_is_enough(refusing: ExternalStore) -> None:
    await refusing.start()


@pytest.mark.parametrize("refusing", ["InvalidAccessKeyId", "SignatureDoesNotMatch"], indirect=True)
async def test_a_key_that_the_store_does_not_know_is_named(refusing: ExternalStore) -> None:
    with pytest.raises(StartupError, match="can't be used"):
        await refusing.start()


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_client_with_credentials_needs_no_profile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "is-not-there")
    made = client("http://127.0.0.1:9", Credentials("key", "secret"), "us-east-1")
    assert made.generate_presigned_url("list_buckets").startswith("http://127.0.0.1:9/?AWSAccessKeyId=key&")
