"""A store for tests that read and write objects: moto's S3 in this process, on a free port of loopback."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import boto3
import pandas as pd
import pytest

BUCKET = "learning-data"


class Bucket:
    """One bucket and the store that reads it."""

    def __init__(self, client: Any, endpoint: str) -> None:
        from airflow_automl.local.training.data.store import Store

        self.client = client
        self.endpoint = endpoint
        self.store = Store(client)

    def put(self, key: str, body: bytes | str | pd.DataFrame) -> str:
        """Write an object; a frame becomes CSV, or Parquet if the key ends so."""
        if isinstance(body, pd.DataFrame):
            if key.endswith(".parquet"):
                buffer = io.BytesIO()
                body.to_parquet(buffer)
                body = buffer.getvalue()
            else:
                body = body.to_csv(index=False)
        data = body.encode() if isinstance(body, str) else body
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def read(self, uri: str) -> bytes:
        """The bytes of an object."""
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def keys(self, prefix: str = "") -> list[str]:
        """The keys under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a running S3."""
    moto = pytest.importorskip(
        "moto.server", reason="moto is not installed, as on the Airflows of requirements/compat.toml"
    )
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str) -> Iterator[Bucket]:
    """An empty bucket."""
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    found = Bucket(client, s3_endpoint)
    yield found
    for key in found.keys():  # noqa: SIM118 - not a mapping
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)
