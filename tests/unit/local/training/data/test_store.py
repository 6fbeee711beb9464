import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.config import Config

from airflow_automl.local import retry
from airflow_automl.local.errors import MAX_REASON, JobFailure, listing
from airflow_automl.local.storage.client import parse_uri
from airflow_automl.local.training.data.store import S3Object, Store
from tests.local_s3 import BUCKET, Bucket


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://b/folder/key.csv", ("b", "folder/key.csv")),
        ("s3://b", ("b", "")),
        ("s3://b/what?is#this.csv", ("b", "what?is#this.csv")),
        ("https://s3.us-east-1.amazonaws.com/b/key", ("b", "key")),
        ("https://b.s3.us-east-1.amazonaws.com/key%20x", ("b", "key x")),
    ],
)
def test_addresses_are_split_into_bucket_and_key(uri, expected):
    assert parse_uri(uri) == expected


@pytest.mark.parametrize("uri", ["s3:///key", "file:///etc/passwd", "", "http://b/key"])
def test_an_address_outside_of_s3_is_refused(uri):
    with pytest.raises(JobFailure, match="not an address in S3"):
        parse_uri(uri)


def test_a_missing_bucket_is_named(bucket: Bucket):
    with pytest.raises(JobFailure, match=r"s3://no-such-bucket/x: the bucket does not exist \(NoSuchBucket\)"):
        list(bucket.store.objects("s3://no-such-bucket/x"))


def test_a_missing_object_is_named(bucket: Bucket, tmp_path):
    with pytest.raises(JobFailure, match=f"s3://{BUCKET}/gone.csv: there is no such object"):
        bucket.store.download(S3Object(BUCKET, "gone.csv"), tmp_path / "x")
    with pytest.raises(JobFailure, match="there is no such object"):
        bucket.store.head(f"s3://{BUCKET}/gone.csv")


def test_objects_are_listed_in_key_order_with_their_size(bucket: Bucket):
    for key in ("in/b", "in/a", "other"):
        bucket.put(key, "xyz")
    assert [(entry.key, entry.size) for entry in bucket.store.objects(f"s3://{BUCKET}/in/")] == [
        ("in/a", 3),
        ("in/b", 3),
    ]


def test_an_upload_returns_the_digest_of_what_arrived(bucket: Bucket, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"weights" * 1000)
    digest = bucket.store.upload(path, f"s3://{BUCKET}/out/model")
    assert hashlib.sha256(bucket.read(f"s3://{BUCKET}/out/model")).hexdigest() == digest


def test_an_upload_to_a_missing_bucket_says_so(bucket: Bucket, tmp_path):
    (tmp_path / "model").write_bytes(b"x")
    with pytest.raises(JobFailure, match="no-such-bucket"):
        bucket.store.upload(tmp_path / "model", "s3://no-such-bucket/model")


def test_an_unreachable_store_is_a_reason_of_failure(monkeypatch):
    monkeypatch.setattr(retry, "TIMEOUT", 0.0)
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(
        JobFailure, match=r"List s3://b/in/: the S3 store can't be reached \(EndpointConnectionError: Could not connect"
    ):
        list(Store(client).objects("s3://b/in/"))


def test_a_store_that_restarts_is_waited_for(tmp_path):
    """The first connections are refused; the third is cut off in the middle of the object."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(503 if len(asked) == 1 else 200)
            self.send_header("content-length", "6" if len(asked) > 1 else "0")
            self.end_headers()
            if len(asked) > 1:
                self.wfile.write(b"obj" if len(asked) == 2 else b"object")

        def log_message(self, *args):
            pass

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    refused = []
    client.meta.events.register(
        "needs-retry.s3.GetObject", lambda caught_exception, **_: refused.append(caught_exception)
    )
    with ThreadPoolExecutor() as pool:
        download = pool.submit(Store(client).download, S3Object("b", "in/a.csv"), tmp_path / "a.csv")
        while not refused:
            time.sleep(0.01)
        server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        pool.submit(server.serve_forever)
        try:
            download.result(30)
        finally:
            server.shutdown()
            server.server_close()
    assert (tmp_path / "a.csv").read_bytes() == b"object"
    assert type(refused[0]).__name__ == "EndpointConnectionError"
    assert len(asked) == 3


def test_a_document_that_is_not_json_is_named(bucket: Bucket):
    uri = bucket.put("spec.json", "{not json")
    with pytest.raises(JobFailure, match=f"The feature specification {uri} is not JSON"):
        bucket.store.read_json(uri, "feature specification")


def test_a_reason_fits_the_api_and_lists_are_cut():
    assert len(JobFailure("word " * 1000).reason) == MAX_REASON
    assert listing(range(12), 2) == "'0', '1' and 10 more"
