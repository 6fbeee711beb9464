"""S3 clients and addresses: the one place that makes a client and the one place that reads an ``s3://`` address."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from airflow_automl.local.errors import JobFailure

_VIRTUAL_HOST = re.compile(r"(?P<bucket>.+)\.s3[.-][a-z0-9.-]*$")


class Credentials(NamedTuple):
    """An access key, its secret, and the session token of temporary ones."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


class Location(NamedTuple):
    """A bucket and a key; the key may be empty."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The address, ``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"


def parse_uri(uri: str) -> Location:
    """Split ``s3://bucket/key``, or an ``https://`` address of S3 (path or virtual-host style).

    :param uri: the address as a request gives it.
    :raises JobFailure: the address has no bucket.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        # A key may hold '?' and '#', which urlsplit would take for a query and a fragment.
        bucket, _, key = uri[len("s3://") :].partition("/")
    elif parts.scheme == "https":
        path = unquote(parts.path.lstrip("/"))
        virtual = _VIRTUAL_HOST.match(parts.netloc)
        bucket, key = (virtual["bucket"], path) if virtual else (path.partition("/")[0], path.partition("/")[2])
    else:
        bucket = key = ""
    if not bucket:
        raise JobFailure(f"'{uri}' is not an address in S3: use s3://bucket/key.")
    return Location(bucket, key)


KEYS = (
    "the embedded store keeps no keys with an empty part ('//', or '/' at the start), with '\\\\' or a control "
    "character, with '.', '..' or '.uploads' as a part, or with a part that ends with '.versions'. "
    "Use a key without them, or a store of your own (--s3-endpoint)."
)
"""What :func:`keeps` asks of a key, for messages."""

_ALTERED = re.compile(r"\\|[\0-\x08\x0b\x0c\x0e-\x1f\ufffd-\uffff]|^/|//|(^|/)\.(\.|uploads)?(/|$)|\.versions(/|$)")

PLAIN_KEYS = "AUTOML_S3_PLAIN_KEYS"
"""The environment variable that marks a trainer's store as the embedded one."""


def keeps(key: str, *, prefix: bool = False) -> bool:
    """Return whether the embedded store stores a key unchanged; it alters or hides other keys.

    :param prefix: ``key`` is the beginning of one.
    """
    return _ALTERED.search(f"{key}-" if prefix else key) is None


def _refuse_altered(params: dict[str, Any], **_: Any) -> None:
    source = params.get("CopySource")
    copied = source["Key"] if isinstance(source, dict) else (source or "").partition("/")[2]
    for key, prefix in ((params.get("Key", ""), False), (params.get("Prefix", ""), True), (copied, False)):
        if not keeps(key, prefix=prefix):
            raise JobFailure(f"'{key}' is not valid for a key in S3: {KEYS}")


def client(
    endpoint_url: str | None = None,
    credentials: Credentials | None = None,
    region: str | None = None,
    plain_keys: bool | None = None,
) -> Any:
    """Make a boto3 S3 client; what is not given comes from the environment.

    :param plain_keys: the store is the embedded one: raise JobFailure for keys that it would alter.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    key, secret, token = credentials or (None, None, None)
    # Beside credentials, the profile that the environment names does not matter, and need not exist.
    without = {"profile": (None, None, None, None)} if credentials else None
    made = boto3.session.Session(botocore_session=botocore.session.Session(without)).client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name=region,
        # Bucket names with dots or upper case, and stores on loopback, only work path-style.
        config=Config(
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=5,
            read_timeout=60,
            s3={"addressing_style": "path"},
        ),
    )
    if os.environ.get(PLAIN_KEYS) if plain_keys is None else plain_keys:
        made.meta.events.register("provide-client-params.s3", _refuse_altered)
    return made


def check_access(store: Any) -> None:
    """Check that a store answers and knows the credentials of a client; they need not be allowed to list buckets.

    :raises ClientError: it refuses them.
    :raises BotoCoreError: it can't be reached.
    """
    from botocore.exceptions import ClientError

    try:
        store.list_buckets()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
