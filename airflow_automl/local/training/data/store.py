"""The objects a job reads and writes, in any S3 that the environment names (``AWS_ENDPOINT_URL_S3``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.retry import retrying, unreachable
from airflow_automl.local.storage.client import client as make_client
from airflow_automl.local.storage.client import parse_uri

_CHUNK = 1 << 20
_MAX_DOCUMENT = 64 << 20


@dataclass(frozen=True)
class S3Object:
    """One object in S3.

    :param bucket: the bucket's name.
    :param key: the object's key.
    :param size: bytes; -1 if it was not asked for.
    """

    bucket: str
    key: str
    size: int = -1

    @property
    def uri(self) -> str:
        """The object's address, ``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"


class Store:
    """Reads and writes objects; every refusal of S3 becomes a :class:`JobFailure` that names the object.

    :param client: a boto3 S3 client; by default one made from the environment.
    """

    def __init__(self, client: Any = None) -> None:
        self._client = client or make_client()

    def objects(self, uri: str) -> Iterator[S3Object]:
        """Every object whose key starts with the key of ``uri`` (R20), in key order.

        :param uri: ``s3://bucket/prefix``.
        :raises JobFailure: the bucket is missing or can't be read.
        """
        bucket, prefix = parse_uri(uri)
        arguments = {"Bucket": bucket, "Prefix": prefix}
        while True:
            try:
                page = retrying(lambda: self._client.list_objects_v2(**arguments))
            except Exception as error:
                raise _refused(f"List {uri}", error) from error
            for entry in page.get("Contents", ()):
                yield S3Object(bucket, entry["Key"], entry["Size"])
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def head(self, uri: str) -> S3Object:
        """The object at ``uri``, with its size.

        :raises JobFailure: it does not exist or can't be read.
        """
        bucket, key = parse_uri(uri)
        try:
            answer = retrying(lambda: self._client.head_object(Bucket=bucket, Key=key))
        except Exception as error:
            raise _refused(f"Read {uri}", error) from error
        return S3Object(bucket, key, int(answer["ContentLength"]))

    def download(self, source: S3Object, path: Path) -> None:
        """Write one object to a file with a single GET.

        :raises JobFailure: the object is missing or can't be read.
        """

        def get() -> None:
            body = self._client.get_object(Bucket=source.bucket, Key=source.key)["Body"]
            with path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    file.write(chunk)

        try:
            retrying(get)
        except Exception as error:
            # Some of botocore's errors are OSErrors too.
            if isinstance(error, OSError) and not unreachable(error):
                raise JobFailure(f"{source.uri} could not be kept on disk: {error.strerror or error}.") from error
            raise _refused(f"Read {source.uri}", error) from error

    def read_json(self, uri: str, what: str) -> Any:
        """The JSON document at ``uri``.

        :param what: what the document is, for the message.
        :raises JobFailure: it is missing, too large, or not JSON.
        """
        try:
            return json.loads(self._read(uri, what))
        except ValueError as error:
            raise JobFailure(f"The {what} {uri} is not JSON: {error}.") from error

    def read_text(self, uri: str, what: str) -> str:
        """The text at ``uri``.

        :param what: what the document is, for the message.
        :raises JobFailure: it is missing, too large, or not UTF-8.
        """
        try:
            return self._read(uri, what).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise JobFailure(f"The {what} {uri} is not UTF-8 text (byte offset {error.start}).") from error

    def manifest(self, uri: str) -> tuple[str, list[str]]:
        """Return the prefix of a ManifestFile and the keys that it lists below it (R21).

        :raises JobFailure: the file is missing or has another content.
        """
        entries = self.read_json(uri, "manifest")
        shape = 'a list that starts with {"prefix": "s3://bucket/folder/"} and continues with keys below it'
        listed: list[Any] = entries if isinstance(entries, list) and entries else [None]
        head, keys = listed[0], listed[1:]
        prefix = head.get("prefix") if isinstance(head, dict) else None
        if not isinstance(prefix, str) or not all(isinstance(key, str) for key in keys):
            raise JobFailure(f"The manifest {uri} must be {shape}.")
        if not keys:
            raise JobFailure(f"The manifest {uri} lists no objects after its prefix.")
        return prefix, keys

    def _read(self, uri: str, what: str) -> bytes:
        bucket, key = parse_uri(uri)
        try:
            got = retrying(lambda: self._client.get_object(Bucket=bucket, Key=key)["Body"].read(_MAX_DOCUMENT + 1))
        except Exception as error:
            raise _refused(f"Read the {what} {uri}", error) from error
        body: bytes = got
        if len(body) > _MAX_DOCUMENT:
            raise JobFailure(f"The {what} {uri} is larger than {_MAX_DOCUMENT >> 20} MiB.")
        return body

    def upload(self, path: Path, uri: str, content_type: str = "application/octet-stream") -> str:
        """Put a file at ``uri``.

        :return: the SHA-256 of its bytes, in hex.
        :raises JobFailure: the store refused it.
        """
        bucket, key = parse_uri(uri)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        try:
            retrying(lambda: self._client.upload_file(str(path), bucket, key, ExtraArgs={"ContentType": content_type}))
        except Exception as error:
            raise _refused(f"Write {uri}", error) from error
        return digest.hexdigest()

    def write(self, body: str | bytes, uri: str, content_type: str) -> None:
        """Put a small document at ``uri``.

        :raises JobFailure: the store refused it.
        """
        bucket, key = parse_uri(uri)
        data = body.encode() if isinstance(body, str) else body
        try:
            retrying(lambda: self._client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type))
        except Exception as error:
            raise _refused(f"Write {uri}", error) from error


def _refused(action: str, error: Exception) -> JobFailure:
    answer = getattr(error, "response", None) or {}
    details = answer.get("Error", {})
    code = str(details.get("Code", ""))
    if code == "NoSuchBucket":
        return JobFailure(f"{action}: the bucket does not exist (NoSuchBucket).")
    if code in {"NoSuchKey", "404", "NotFound"}:
        return JobFailure(f"{action}: there is no such object, or no such bucket ({code}).")
    if code in {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
        return JobFailure(
            f"{action}: access denied ({code}); the role must be able to read the input and write the output."
        )
    if unreachable(error) and not details:
        return JobFailure(f"{action}: the S3 store can't be reached ({type(error).__name__}: {error})")
    text = str(details.get("Message") or error)
    return JobFailure(f"{action}: S3 answered {code or type(error).__name__}: {text}")
