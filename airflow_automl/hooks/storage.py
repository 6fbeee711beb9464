"""Files at addresses: in S3 as the hook reaches AWS, elsewhere through Airflow's object storage."""

from __future__ import annotations

import mimetypes
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath


class Storage:
    """Finds, reads and writes files.

    :param hook: S3 is reached with its connection, region, TLS verification, proxies and credentials.
    :param conn_id: another connection instead: for S3 an AWS connection, else one for Airflow's object storage.
    """

    def __init__(self, hook: SageMakerAutoMLHook, conn_id: str | None = None) -> None:
        self._hook = SageMakerAutoMLHook(aws_conn_id=conn_id) if conn_id else hook
        self._conn_id = conn_id

    def find(self, prefix: str) -> dict[str, int]:
        """Return the files at or below an address, with their sizes in bytes. Operation: ListObjectsV2."""
        if not _in_s3(prefix):
            root = self._elsewhere(prefix)
            found = sorted(root.fs.find(root.path.rstrip("/"))) if root.exists() else []
            scheme = f"{root.protocol}://" if "://" in prefix else ""
            return {f"{scheme}{path}": root.fs.size(path) or 0 for path in found}
        return {address: size for address, (size, _) in self.written(prefix).items()}

    def written(self, prefix: str) -> dict[str, tuple[int, datetime]]:
        """Return the objects at or below an S3 address, with their sizes and when they were written.

        Their addresses begin as the given one does. Operation: ListObjectsV2.
        """
        prefix = prefix.rstrip("/")
        bucket, key = bucket_and_key(prefix)
        root = prefix.removesuffix(f"/{key}")
        with self._hook.reaching_aws("s3") as s3:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            return {
                f"{root}/{each['Key']}": (each["Size"], each["LastModified"])
                for page in pages
                for each in page.get("Contents", ())
                if not each["Key"].endswith("/") and (not key or f"{each['Key']}/".startswith(f"{key}/"))
            }

    def read(self, address: str, most: int | None = None) -> bytes:
        """Return a file's content. Operation: GetObject.

        :param most: of an object in S3, read only so many bytes.
        """
        if not _in_s3(address):
            return bytes(self._elsewhere(address).read_bytes())
        bucket, key = bucket_and_key(address)
        with self._hook.reaching_aws("s3") as s3, closing(s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            return bytes(body.read(most))

    def write(self, address: str, content: bytes) -> None:
        """Write a file, and the folders above it on a disk. Operation: PutObject."""
        if not _in_s3(address):
            target = self._elsewhere(address)
            if "://" not in address or address.startswith("file://"):
                target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            return
        bucket, key = bucket_and_key(address)
        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
        with self._hook.reaching_aws("s3") as s3:
            s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=kind)

    def _elsewhere(self, address: str) -> ObjectStoragePath:
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(address, conn_id=self._conn_id)


def _in_s3(address: str) -> bool:
    return address.startswith(("s3://", "s3a://", "s3n://"))


def bucket_and_key(address: str) -> tuple[str, str]:
    """Return the bucket and the key of an S3 address; a key may have any character, such as ``?``."""
    bucket, _, key = address.partition("://")[2].partition("/")
    return bucket.rpartition("@")[2], key
