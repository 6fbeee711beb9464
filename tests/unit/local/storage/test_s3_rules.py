"""Rules of Amazon S3 that clients rely on, tested on the store of the service."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_automl.local.background import Background
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.storage import client as s3
from airflow_automl.local.storage import listing
from airflow_automl.local.storage.client import Credentials
from airflow_automl.local.storage.s3 import SeaweedFS

CREDENTIALS = Credentials("AKIDOFTHETESTS", "secret")


class Running:
    """A store whose event loop runs in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = SeaweedFS(folder, CREDENTIALS, "us-east-1", Background())
        self._do(self.server.start())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def end(self) -> None:
        """Kill the store, as the service does too."""
        self._do(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def restart(self) -> None:
        """Kill the store, and start another one on its folder."""
        self.end()
        self.__init__(self.folder)  # type: ignore[misc]

    @property
    def client(self) -> Any:
        return s3.client(self.server.endpoint_url, CREDENTIALS, "us-east-1")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("store"))
    yield found
    found.end()


@pytest.fixture
def client(running: Running) -> Any:
    return running.client


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"rules-{secrets.token_hex(8)}"  # new at every run of a test: a second run finds the store of the first
    client.create_bucket(Bucket=name)
    return name


def code_of(call: Callable[..., Any], **arguments: Any) -> str | None:
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def keys(client: Any, bucket: str, **more: Any) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, **more)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@pytest.mark.parametrize("key", ["a", "deep/er/key", "folder/"])
def test_a_bucket_that_holds_an_object_is_not_deleted(client: Any, bucket: str, key: str) -> None:
    client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert code_of(client.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    assert keys(client, bucket) == [key]


def test_a_bucket_that_holds_only_versions_is_not_deleted(client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket=bucket, Key="a", Body=b"old")["VersionId"]
    marker = client.delete_object(Bucket=bucket, Key="a")["VersionId"]
    assert code_of(client.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    signed = client.generate_presigned_url("delete_bucket", {"Bucket": bucket})
    with pytest.raises(HTTPError, match="409"):
        urlopen(Request(signed, method="DELETE"), timeout=30)
    assert client.get_object(Bucket=bucket, Key="a", VersionId=version)["Body"].read() == b"old"
    for kept in (version, marker):
        client.delete_object(Bucket=bucket, Key="a", VersionId=kept)
    client.delete_bucket(Bucket=bucket)


def test_a_bucket_is_deleted_once_all_its_objects_are(client: Any, bucket: str) -> None:
    for key in ("a", "b/c", "b/d/e"):
        client.put_object(Bucket=bucket, Key=key, Body=b"1")
    for key in ("a", "b/c", "b/d/e"):
        client.delete_object(Bucket=bucket, Key=key)
    client.delete_bucket(Bucket=bucket)
    assert code_of(client.head_bucket, Bucket=bucket) == "404"


@pytest.mark.parametrize(
    ("headers", "status"), [({"Expect": "100-continue", "Content-Length": "9"}, 417), ({"Transfer-Encoding": "x"}, 411)]
)
def test_keys_to_delete_are_always_checked(running: Running, headers: dict[str, str], status: int) -> None:
    connection = HTTPConnection("127.0.0.1", running.server.port, timeout=30)
    connection.request("POST", "/automl?delete", headers=headers)
    assert connection.getresponse().status == status
    connection.close()


def test_a_bucket_that_holds_only_an_unfinished_upload_is_deleted(client: Any, bucket: str) -> None:
    client.create_multipart_upload(Bucket=bucket, Key="a")
    client.delete_bucket(Bucket=bucket)
    assert code_of(client.head_bucket, Bucket=bucket) == "404"


def test_encrypted_objects_are_read_after_a_restart(running: Running, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="a", Body=b"secret" * 1000, ServerSideEncryption="AES256")
    upload = client.create_multipart_upload(Bucket=bucket, Key="b", ServerSideEncryption="AES256")["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="b", UploadId=upload, PartNumber=1, Body=b"part")
    client.complete_multipart_upload(
        Bucket=bucket, Key="b", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    running.restart()
    client = running.client
    answer = client.get_object(Bucket=bucket, Key="a")
    assert answer["ServerSideEncryption"] == "AES256"
    assert answer["Body"].read() == b"secret" * 1000
    assert client.get_object(Bucket=bucket, Key="b")["Body"].read() == b"part"


def test_a_bucket_encrypts_by_default_once_configured(client: Any, bucket: str) -> None:
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    client.put_object(Bucket=bucket, Key="a", Body=b"1")
    answer = client.get_object(Bucket=bucket, Key="a")
    assert answer["Body"].read() == b"1"
    assert answer["ServerSideEncryption"] == "AES256"


KEY = "arn:aws:kms:eu-west-1:123456789012:key/5d3b1c70-0000-4000-8000-000000000001"


def test_objects_with_a_kms_key_are_read_after_a_restart(running: Running, bucket: str) -> None:
    client = running.client
    content = bytes(range(256)) * 40_000
    parts = [content[: 6 * 1024 * 1024], content[6 * 1024 * 1024 :]]
    client.put_object(Bucket=bucket, Key="plain", Body=content)
    expected = {}
    for number, key_id in enumerate([KEY, KEY.rpartition("/")[2], "alias/mine", None]):
        asked = {"ServerSideEncryption": "aws:kms"} | ({"SSEKMSKeyId": key_id} if key_id else {})
        keys = [f"{number}/{name}" for name in ("put", "parts", "copy", "again")]
        expected |= dict.fromkeys(keys, key_id or "alias/aws/s3")
        put = client.put_object(Bucket=bucket, Key=keys[0], Body=content, **asked)
        assert put["SSEKMSKeyId"] == expected[keys[0]]
        upload = {"Bucket": bucket, "Key": keys[1]}
        upload["UploadId"] = client.create_multipart_upload(**upload, **asked)["UploadId"]
        tags = [client.upload_part(**upload, PartNumber=n, Body=part)["ETag"] for n, part in enumerate(parts, 1)]
        listed = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed})
        for key, source in zip(keys[2:], ("plain", keys[0]), strict=True):
            client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": source}, **asked)
    running.restart()
    client = running.client
    for key, key_id in expected.items():
        head = client.head_object(Bucket=bucket, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["ContentLength"]) == (
            "aws:kms",
            key_id,
            len(content),
        )
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == content, key
        part = client.get_object(Bucket=bucket, Key=key, Range="bytes=6291400-6291500")["Body"].read()
        assert part == content[6291400:6291501], key


@pytest.mark.parametrize("named", [{"KMSMasterKeyID": KEY}, {}])
def test_a_bucket_encrypts_with_its_kms_key(client: Any, bucket: str, named: dict[str, str]) -> None:
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", **named}, "BucketKeyEnabled": True}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    answer = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    assert answer["Rules"][0]["ApplyServerSideEncryptionByDefault"] == rule["ApplyServerSideEncryptionByDefault"]
    client.put_object(Bucket=bucket, Key="a", Body=b"1")
    head = client.head_object(Bucket=bucket, Key="a")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == (
        "aws:kms",
        named.get("KMSMasterKeyID", "alias/aws/s3"),
    )
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"


def test_files_of_the_store_do_not_hold_what_a_kms_key_encrypts(running: Running, bucket: str) -> None:
    secret, plain = os.urandom(400), os.urandom(400)
    running.client.put_object(Bucket=bucket, Key="a", Body=secret, ServerSideEncryption="aws:kms", SSEKMSKeyId=KEY)
    running.client.put_object(Bucket=bucket, Key="b", Body=plain)
    files = [path.read_bytes() for path in running.folder.rglob("*.dat")]
    assert any(plain in content for content in files)
    assert not any(secret in content for content in files)


def test_double_encryption_is_refused(client: Any, bucket: str) -> None:
    put = {"Bucket": bucket, "Key": "a", "ServerSideEncryption": "aws:kms:dsse"}
    assert code_of(client.put_object, **put, Body=b"1") == "NotImplemented"
    assert code_of(client.create_multipart_upload, **put) == "NotImplemented"
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms:dsse"}}
    told = {"Bucket": bucket, "ServerSideEncryptionConfiguration": {"Rules": [rule]}}
    assert code_of(client.put_bucket_encryption, **told) == "NotImplemented"
    assert keys(client, bucket) == []


def test_only_the_store_is_given_keys(running: Running) -> None:
    for access_key in ("none", CREDENTIALS.access_key_id):
        kms = boto3.client(
            "kms",
            "us-east-1",
            endpoint_url=running.server.endpoint_url,
            aws_access_key_id=access_key,
            aws_secret_access_key=CREDENTIALS.secret_access_key,
        )
        for call, asked in (
            (kms.generate_data_key, {"KeyId": "a", "KeySpec": "AES_256"}),
            (kms.decrypt, {"CiphertextBlob": b"0" * 40}),
        ):
            assert code_of(call, **asked) == "AccessDeniedException"


def test_a_request_for_keys_that_is_too_long_is_refused(running: Running) -> None:
    connection = HTTPConnection("127.0.0.1", running.server.port, timeout=30)
    connection.request("POST", "/", b"0" * 9_000_000, {"x-amz-target": "TrentService.Decrypt"})
    assert connection.getresponse().status == 400
    connection.close()


NOT_OFFERED: dict[str, Callable[[Any, str], Any]] = {
    "website": lambda c, b: c.put_bucket_website(
        Bucket=b, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
    ),
    "notification": lambda c, b: c.put_bucket_notification_configuration(Bucket=b, NotificationConfiguration={}),
    "logging": lambda c, b: c.put_bucket_logging(Bucket=b, BucketLoggingStatus={}),
    "accelerate": lambda c, b: c.put_bucket_accelerate_configuration(
        Bucket=b, AccelerateConfiguration={"Status": "Enabled"}
    ),
    "requestPayment": lambda c, b: c.put_bucket_request_payment(
        Bucket=b, RequestPaymentConfiguration={"Payer": "Requester"}
    ),
    "publicAccessBlock": lambda c, b: c.get_public_access_block(Bucket=b),
    "inventory": lambda c, b: c.list_bucket_inventory_configurations(Bucket=b),
    "metrics": lambda c, b: c.list_bucket_metrics_configurations(Bucket=b),
    "analytics": lambda c, b: c.list_bucket_analytics_configurations(Bucket=b),
    "renameObject": lambda c, b: c.rename_object(Bucket=b, Key="new", RenameSource=f"{b}/a"),
    "restore": lambda c, b: c.restore_object(Bucket=b, Key="a", RestoreRequest={"Days": 1}),
    "torrent": lambda c, b: c.get_object_torrent(Bucket=b, Key="a"),
    "archive": lambda c, b: c.put_object(Bucket=b, Key="cold", Body=b"", StorageClass="DEEP_ARCHIVE"),
}


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_calls_that_the_store_does_not_offer_are_refused_and_change_nothing(client: Any, tree: str, name: str) -> None:
    with pytest.raises(ClientError, match=r"NotImplemented.*embedded store"):
        NOT_OFFERED[name](client, tree)
    if name in ("website", "accelerate"):
        assert code_of(NOT_OFFERED[name], c=client, b="never-made") == "NotImplemented"
        assert code_of(client.head_bucket, Bucket="never-made") == "404"
    assert keys(client, tree) == expected(TREE)


ALTERED = [
    *("a//b", "/a", "a\\b", "a//", "//", "a/./b", "a/../b", "..", "a\x01b", "a\ufffe"),
    *(".uploads", "a/.uploads/b", ".versions/a", "a/b.versions", "a.versions/b"),
]
KEPT = [
    "a b+c%2Fd",
    "ü/ñ",
    "a?b#c",
    "a\tb",
    "-/.x",
    "a.b/..c",
    "&<>'\"",
    "e\u0301",
    "a\r\nb",
    "a/.uploads2/b",
    "versions",
    "n" * 255 + "/" + "ü" * 127,
]


@pytest.mark.parametrize("key", ALTERED)
def test_a_key_that_the_store_would_alter_is_refused(client: Any, bucket: str, key: str) -> None:
    client.put_object(Bucket=bucket, Key="a/b", Body=b"other")
    at = {"Bucket": bucket, "Key": key}
    deleted = {"Bucket": bucket, "Delete": {"Objects": [{"Key": "a/b"}, {"Key": key}]}}
    large = b"0" * 3_000_000
    calls: list[tuple[Any, dict[str, Any]]] = [
        (client.put_object, {**at, "Body": large}),
        (client.get_object, at),
        (client.delete_object, at),
        (client.delete_objects, deleted),
        (client.create_multipart_upload, at),
        (client.list_objects_v2, {"Bucket": bucket, "Prefix": f"{key}/"}),
        (client.copy_object, {**at, "CopySource": {"Bucket": bucket, "Key": "a/b"}}),
        (client.copy_object, {"Bucket": bucket, "Key": "copy", "CopySource": {"Bucket": bucket, "Key": key}}),
    ]
    for call, arguments in calls:
        assert code_of(call, **arguments) == "InvalidArgument", call
    assert keys(client, bucket) == ["a/b"]
    assert client.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"other"


def test_a_trainer_s_client_refuses_keys_that_the_store_would_alter(running: Running, bucket: str) -> None:
    direct = s3.client(running.server.direct_url, CREDENTIALS, "us-east-1", plain_keys=True)
    for arguments in ({"Key": "a//b"}, {"Key": "b", "CopySource": {"Bucket": bucket, "Key": "a//b"}}):
        with pytest.raises(JobFailure, match="a//b"):
            (direct.copy_object if len(arguments) > 1 else direct.put_object)(Bucket=bucket, **arguments)
    assert keys(direct, bucket) == []


@pytest.mark.parametrize("key", KEPT)
def test_a_key_is_kept_as_it_was_given(client: Any, bucket: str, key: str) -> None:
    client.put_object(Bucket=bucket, Key="a/b", Body=b"other")
    client.put_object(Bucket=bucket, Key=key, Body=b"this")
    assert sorted(keys(client, bucket)) == sorted(["a/b", key])
    assert keys(client, bucket, Prefix=key) == [key]
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"this"
    assert client.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"other"
    client.copy_object(Bucket=bucket, Key=f"copy/{key}", CopySource={"Bucket": bucket, "Key": key})
    assert client.get_object(Bucket=bucket, Key=f"copy/{key}")["Body"].read() == b"this"
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert sorted(keys(client, bucket)) == sorted(["a/b", f"copy/{key}"])


@pytest.mark.parametrize("prefix", [".", "..", "a/.", ".uploads", "a.versions", ""])
def test_a_prefix_may_end_anywhere_in_a_key(client: Any, bucket: str, prefix: str) -> None:
    given = [".x", "..x", "a/.x", "a/..x", ".uploads2", "a.versions2"]
    for key in given:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert keys(client, bucket, Prefix=prefix) == expected(given, prefix)


def test_keys_that_are_longer_than_the_store_keeps_are_refused(client: Any, bucket: str) -> None:
    for key in ("k" * 256, "ü" * 128, "a/" * 512 + "b"):
        assert code_of(client.put_object, Bucket=bucket, Key=key, Body=b"") == "KeyTooLongError"
    client.put_object(Bucket=bucket, Key="a/" * 511 + "bc", Body=b"")
    assert keys(client, bucket) == ["a/" * 511 + "bc"]


def test_a_folder_is_an_object_only_once_it_was_put(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="a/b", Body=b"")
    at = {"Bucket": bucket, "Key": "a/"}
    assert code_of(client.get_object, **at) == "NoSuchKey"
    assert code_of(client.head_object, **at) == "404"
    for key in ("a", "a/"):
        assert code_of(client.get_object_tagging, Bucket=bucket, Key=key) == "NoSuchKey"
    client.put_object(**at, Body=b"", ContentType="x/y")
    assert client.get_object(**at)["Body"].read() == b""
    assert client.head_object(**at)["ContentType"] == "x/y"
    client.delete_object(**at)
    assert code_of(client.head_object, **at) == "404"
    assert keys(client, bucket) == ["a/b"]


def test_a_key_that_ends_with_a_slash_holds_nothing(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="full", Body=b"1")
    client.put_object(Bucket=bucket, Key="empty/", Body=b"")
    at, full, empty = {"Bucket": bucket, "Key": "a/"}, {"Bucket": bucket, "Key": "full"}, f"{bucket}/empty/"
    for call, asked in (
        (client.put_object, {**at, "Body": b"1"}),
        (client.put_object, {**at, "Body": b"1", "ChecksumAlgorithm": "SHA256"}),
        (client.create_multipart_upload, at),
        (client.copy_object, {**at, "CopySource": full}),
        (client.copy_object, {**full, "CopySource": empty}),
    ):
        assert code_of(call, **asked) == "NotImplemented", asked
    assert keys(client, bucket) == ["empty/", "full"]
    assert client.get_object(**full)["Body"].read() == b"1"


@pytest.mark.parametrize("child", [[], ["a/b"]])
def test_of_an_object_and_the_folder_beside_it_neither_is_lost(client: Any, bucket: str, child: list[str]) -> None:
    for key in ("a", *child):
        client.put_object(Bucket=bucket, Key=key, Body=b"kept")
    client.put_object(Bucket=bucket, Key="b/", Body=b"")
    assert code_of(client.put_object, Bucket=bucket, Key="a/", Body=b"") == "InvalidArgument"
    for call in (client.put_object, client.create_multipart_upload):
        assert code_of(call, Bucket=bucket, Key="b") == "InvalidArgument"
    copied = {"CopySource": {"Bucket": bucket, "Key": "a"}}
    assert code_of(client.copy_object, Bucket=bucket, Key="b", **copied) == "InvalidArgument"
    client.delete_object(Bucket=bucket, Key="a/")
    assert keys(client, bucket) == ["a", *child, "b/"]
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"kept"


@pytest.mark.parametrize(
    ("name", "value"), [("x-amz-write-offset-bytes", "1"), ("x-amz-website-redirect-location", "/x")]
)
def test_headers_of_a_put_that_the_store_would_ignore_are_refused(
    client: Any, bucket: str, name: str, value: str
) -> None:
    client.put_object(Bucket=bucket, Key="a", Body=b"0")
    client.meta.events.register("before-call.s3.PutObject", lambda params, **_: params["headers"].update({name: value}))
    assert code_of(client.put_object, Bucket=bucket, Key="a", Body=b"1") == "NotImplemented"
    assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"0"


def test_the_expected_owner_of_a_bucket_is_the_account(client: Any, bucket: str) -> None:
    owner, other = {"ExpectedBucketOwner": "123456789012"}, {"ExpectedBucketOwner": "999999999999"}
    client.put_object(Bucket=bucket, Key="a", Body=b"1", **owner)
    for call in (client.get_object, client.put_object, client.delete_object):
        assert code_of(call, Bucket=bucket, Key="a", **other) == "AccessDenied"
    source = {"CopySource": f"{bucket}/a", "ExpectedSourceBucketOwner": "999999999999"}
    assert code_of(client.copy_object, Bucket=bucket, Key="b", **source) == "AccessDenied"
    assert code_of(client.list_objects_v2, Bucket=bucket, **other) == "AccessDenied"
    url = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a", **other})
    with pytest.raises(HTTPError, match="403"):
        urlopen(url, timeout=30)
    assert keys(client, bucket) == ["a"]


def test_presigned_addresses_work_until_they_expire(running: Running, bucket: str) -> None:
    given = {"aws_access_key_id": CREDENTIALS.access_key_id, "aws_secret_access_key": CREDENTIALS.secret_access_key}
    for version in ("s3", "s3v4"):
        config = Config(signature_version=version, s3={"addressing_style": "path"})
        client = boto3.client("s3", "us-east-1", endpoint_url=running.server.endpoint_url, config=config, **given)
        at = {"Bucket": bucket, "Key": f"a {version}+ü"}
        put = client.generate_presigned_url("put_object", at)
        connection = HTTPConnection("127.0.0.1", running.server.port, timeout=30)
        connection.request("PUT", put.partition(str(running.server.port))[2], b"sent")
        assert connection.getresponse().status == 200
        connection.close()
        with urlopen(client.generate_presigned_url("get_object", at), timeout=30) as answer:
            assert answer.read() == b"sent"
        other = client.generate_presigned_url("get_object", at).replace("/a%20", "/b%20")
        past = client.generate_presigned_url("get_object", at, ExpiresIn=-10)
        for refused in (other, past):
            with pytest.raises(HTTPError, match=r"40[03]"):
                urlopen(refused, timeout=30)


def test_uploads_from_forms_are_refused(client: Any, bucket: str) -> None:
    post = client.generate_presigned_post(bucket, "a//b")
    with pytest.raises(HTTPError, match="501"):
        urlopen(post["url"], b"form", timeout=30)


def test_a_part_of_a_wrong_size_or_order_or_content_makes_no_object(client: Any, bucket: str) -> None:
    for sizes, change, refused in (
        ((9, 9), lambda parts: parts, "EntityTooSmall"),
        ((5 * 1024 * 1024, 9), lambda parts: parts[::-1], "InvalidPartOrder"),
        ((9,), lambda parts: [{**parts[0], "ETag": f'"{"0" * 32}"'}], "InvalidPart"),
    ):
        upload = {"Bucket": bucket, "Key": "a"}
        upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
        parts = [
            {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=bytes(size))["ETag"]}
            for number, size in enumerate(sizes, 1)
        ]
        done = {**upload, "MultipartUpload": {"Parts": change(parts)}}
        assert code_of(client.complete_multipart_upload, **done) == refused
        client.abort_multipart_upload(**upload)
    assert keys(client, bucket) == []
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize(
    ("member", "right", "wrong"),
    [
        ("ChecksumCRC32", "NhCmhg==", "AAAAAA=="),
        ("ChecksumSHA256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", f"{'A' * 43}="),
        ("ChecksumCRC64NVME", "M3eFcAZSQlc=", f"{'A' * 11}="),
    ],
)
def test_an_object_with_a_wrong_checksum_is_not_stored(
    client: Any, bucket: str, member: str, right: str, wrong: str
) -> None:
    at = {"Bucket": bucket, "Key": "a"}
    assert code_of(client.put_object, **at, Body=b"hello", **{member: wrong}) == "BadDigest"
    assert keys(client, bucket) == []
    client.put_object(**at, Body=b"hello", **{member: right})
    assert client.head_object(**at, ChecksumMode="ENABLED")[member] == right


TREE = [
    *(
        "a",
        "a-b",
        "a.b",
        "a/x",
        "a/y/z",
        "a/y-z",
        "a/y.z/1",
        "a0",
        "A",
        "b/",
        "b/-",
        "b!",
        "z",
        "é",
        "\U0001f600",
        "é/x",
    ),
    *("p/q/r/s", "p/q/r-s", "p/q.r", "p-q/r", "p.q", "p+q/r", "with space/x y", "with space", "per%2Fcent", "pl+us"),
]


def expected(given: list[str], prefix: str = "", delimiter: str = "", after: str = "") -> list[str]:
    """What a list of these keys holds: keys and common prefixes, in the order of their bytes."""
    found = set()
    for key in given:
        if key.startswith(prefix) and key.encode() > after.encode():
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            found.add(prefix + head + cut if cut else key)
    return sorted(found, key=str.encode)


def listed(client: Any, operation: str, **asked: Any) -> list[str]:
    found = []
    for page in client.get_paginator(operation).paginate(**asked):
        entries = [each["Key"] for name in ("Contents", "Versions", "DeleteMarkers") for each in page.get(name, ())]
        entries += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
        found += sorted(entries, key=str.encode)
    return found


@pytest.fixture(scope="module")
def tree(running: Running) -> str:
    client = running.client
    client.create_bucket(Bucket="tree")
    for key in [*TREE, "a/empty/folder/x"]:
        client.put_object(Bucket="tree", Key=key, Body=b"")
    client.delete_object(Bucket="tree", Key="a/empty/folder/x")
    return "tree"


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_lists_are_in_the_order_of_bytes_on_every_page(client: Any, tree: str, operation: str) -> None:
    for delimiter, size in product(("", "/", "y"), (1, 3, 1000)):
        more = {"Delimiter": delimiter} if delimiter else {}
        for prefix in ("", "a", "a/", "p/q", "é", "nothing"):
            asked = {"Bucket": tree, "Prefix": prefix, "PaginationConfig": {"PageSize": size}, **more}
            assert listed(client, operation, **asked) == expected(TREE, prefix, delimiter), asked


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_list_starts_after_any_name(client: Any, tree: str, delimiter: str) -> None:
    more = {"Delimiter": delimiter} if delimiter else {}
    for after in [*TREE, "a/", "a/y", "a/y/", "b", "p/q/r/", "zz"]:
        for operation, name in (("list_objects", "Marker"), ("list_objects_v2", "StartAfter")):
            # The end of a page with a prefix is the prefix; other names leave the prefix with what follows them.
            ends = delimiter and after.find("/") == len(after) - 1
            given = [key for key in TREE if not (ends and key.startswith(after))]
            found = listed(client, operation, Bucket=tree, **{name: after}, **more)
            assert found == expected(given, "", delimiter, after), (operation, after)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("versioning", ["Enabled", "Suspended"])
def test_no_page_of_the_store_passes_over_a_key(
    client: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, versioning: str, size: int
) -> None:
    given = ["f/a", "f/a/x", "f/b", "f/b/x", "f/b-", "f/b--", "f/b-/x", "f/b.a", "f/b.z", "f/c+", "f/c/x", "f/c0", "f"]
    client.put_object(Bucket=bucket, Key="f/b", Body=b"")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": versioning})
    for key in given:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    twice = given if versioning == "Suspended" else [*given, "f/b"]
    monkeypatch.setattr(listing._query, "__defaults__", (size,))
    for prefix, delimiter in product(("", "f/", "f/b"), ("", "/")):
        asked = {"Bucket": bucket, "Prefix": prefix, **({"Delimiter": delimiter} if delimiter else {})}
        assert listed(client, "list_objects_v2", **asked) == expected(given, prefix, delimiter), asked
        found = client.list_object_versions(**asked)
        wanted = [key for key in twice if key in expected(given, prefix, delimiter)]
        assert [each["Key"] for each in found["Versions"]] == sorted(wanted, key=str.encode), asked
        prefixes = [each["Prefix"] for each in found.get("CommonPrefixes", ())]
        assert prefixes == [key for key in expected(given, prefix, delimiter) if key not in given], asked


def test_pages_say_how_they_are_cut(client: Any, tree: str) -> None:
    first = client.list_objects_v2(Bucket=tree, MaxKeys=3, Delimiter="/", FetchOwner=True)
    assert (first["KeyCount"], first["MaxKeys"], first["IsTruncated"], first["Delimiter"]) == (3, 3, True, "/")
    assert first["Contents"][0]["Owner"]
    assert "Owner" not in client.list_objects_v2(Bucket=tree)["Contents"][0]
    assert client.list_objects(Bucket=tree)["Contents"][0]["Owner"]
    second = client.list_objects_v2(Bucket=tree, ContinuationToken=first["NextContinuationToken"], Delimiter="/")
    assert second["ContinuationToken"] == first["NextContinuationToken"]
    assert client.list_objects(Bucket=tree, MaxKeys=2, Delimiter="/")["NextMarker"]
    assert "NextMarker" not in client.list_objects(Bucket=tree, MaxKeys=2)
    none = client.list_objects_v2(Bucket=tree, MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"]) == (0, False)
    assert code_of(client.list_objects_v2, Bucket=tree, ContinuationToken="no token") == "InvalidArgument"
    assert code_of(client.list_objects_v2, Bucket="no-such-bucket") == "NoSuchBucket"
    assert code_of(client.list_object_versions, Bucket="no-such-bucket") == "NoSuchBucket"


@pytest.mark.parametrize("change", ["delete_object", "delete_objects", "put_object"])
def test_the_next_page_of_a_list_shows_changes_since_the_first(client: Any, bucket: str, change: str) -> None:
    for key in "abc":
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    first = client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    given = {"Delete": {"Objects": [{"Key": "b"}]}} if change == "delete_objects" else {"Key": "b"}
    getattr(client, change)(Bucket=bucket, **(given if "delete" in change else {"Key": "d", "Body": b""}))
    rest = client.list_objects_v2(Bucket=bucket, ContinuationToken=first["NextContinuationToken"])
    assert [entry["Key"] for entry in rest["Contents"]] == (["c"] if "delete" in change else ["b", "c", "d"])


def test_a_list_needs_the_key_of_the_store(running: Running, tree: str) -> None:
    stranger = s3.client(running.server.endpoint_url, Credentials(CREDENTIALS.access_key_id, "guess"), "us-east-1")
    assert code_of(stranger.list_objects_v2, Bucket=tree) == "SignatureDoesNotMatch"
    put = {"Bucket": tree, "Key": "kms", "Body": b"", "ServerSideEncryption": "aws:kms"}
    assert code_of(stranger.put_object, **put) == "SignatureDoesNotMatch"


def test_a_written_object_is_on_the_next_page(client: Any, bucket: str) -> None:
    for key in ("a", "b", "d"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    token = client.list_objects_v2(Bucket=bucket, MaxKeys=2)["NextContinuationToken"]
    client.put_object(Bucket=bucket, Key="c", Body=b"")
    page = client.list_objects_v2(Bucket=bucket, ContinuationToken=token)
    assert [entry["Key"] for entry in page["Contents"]] == ["c", "d"]


@pytest.mark.slow
def test_lists_of_thousands_hold_every_key_once_and_in_order(running: Running, bucket: str) -> None:
    client = running.client
    given = [f"a/{number:04}" for number in range(1100)] + [f"d{number}/x" for number in range(30)]
    given += [f"a/s.{number}/t" for number in range(20)] + ["a", "a-b", "a.b", "a0", "a/0500-x", "a/0500/x"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b""), given))
    for operation in ("list_objects", "list_objects_v2", "list_object_versions"):
        for delimiter in ("", "/"):
            for prefix in ("", "a", "a/"):
                more = {"Delimiter": delimiter} if delimiter else {}
                found = listed(client, operation, Bucket=bucket, Prefix=prefix, **more)
                assert found == expected(given, prefix, delimiter), (operation, prefix, delimiter)


@pytest.mark.slow
def test_lists_of_thousands_of_versions_hold_each_once(running: Running, bucket: str) -> None:
    client = running.client
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    given = ["a/one"] * 1050 + [f"a/{number % 400:03}" for number in range(1200)]
    given += ["b", "b", "b/x"] + [f"b-{number:04}" for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda key: (key, client.put_object(Bucket=bucket, Key=key)["VersionId"]), given))
    for size in (300, 1000):
        pages = client.get_paginator("list_object_versions").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}
        )
        found = [each for page in pages for each in page["Versions"]]
        assert sorted((each["Key"], each["VersionId"]) for each in found) == sorted(made)
        assert [each["Key"] for each in found] == sorted(given)
        assert listed(client, "list_objects_v2", Bucket=bucket) == sorted(set(given))
        assert sum(each["IsLatest"] for each in found) == 401 + 1052


def test_versions_come_newest_first_on_every_page(client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made: list[tuple[str, str]] = []
    for key in ("a", "a-b", "a/x", "a.b"):
        ids = [client.put_object(Bucket=bucket, Key=key, Body=str(n).encode())["VersionId"] for n in range(3)]
        made += [(key, version) for version in reversed(ids)]
    made.sort(key=lambda each: each[0])
    for size in (1, 2, 5, 1000):
        pages = client.get_paginator("list_object_versions").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": size}
        )
        found = [(each["Key"], each["VersionId"]) for page in pages for each in page["Versions"]]
        assert found == made
    client.delete_object(Bucket=bucket, Key="a/x")
    answer = client.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Key"] for entry in answer["Contents"]] == ["a", "a-b", "a.b"]
    assert "CommonPrefixes" not in answer
    assert keys(client, bucket) == ["a", "a-b", "a.b"]


def test_a_prefix_disappears_with_its_last_object(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key="folder/sub/a", Body=b"")
    client.put_object(Bucket=bucket, Key="rest", Body=b"")
    client.delete_object(Bucket=bucket, Key="folder/sub/a")
    answer = client.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert "CommonPrefixes" not in answer
    assert [entry["Key"] for entry in answer["Contents"]] == ["rest"]
    for prefix in ("folder", "folder/", "folder/sub", "folder/sub/"):
        for more in ({}, {"Delimiter": "/"}):
            assert client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)["KeyCount"] == 0, prefix
    client.put_object(Bucket=bucket, Key="folder/", Body=b"")
    assert keys(client, bucket, Prefix="folder/") == ["folder/"]


def test_prefixes_and_objects_are_distinguished_by_the_delimiter(client: Any, bucket: str) -> None:
    for key in ("a", "a/b", "a/b/c", "ab"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = client.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a")
    assert [entry["Key"] for entry in answer["Contents"]] == ["a", "ab"]
    assert answer["CommonPrefixes"] == [{"Prefix": "a/"}]
    answer = client.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a/b/")
    assert [entry["Key"] for entry in answer["Contents"]] == ["a/b/c"]


def test_conditional_writes_and_ranges(client: Any, bucket: str) -> None:
    at = {"Bucket": bucket, "Key": "a"}
    tag = client.put_object(**at, Body=b"0123456789", IfNoneMatch="*")["ETag"]
    for call, condition in (
        (client.put_object, {"IfNoneMatch": "*"}),
        (client.put_object, {"IfMatch": '"other"'}),
        (client.delete_object, {"IfMatch": '"other"'}),
        (client.get_object, {"IfMatch": '"other"'}),
        (client.copy_object, {"CopySource": f"{bucket}/a", "Key": "b", "CopySourceIfMatch": '"other"'}),
    ):
        assert code_of(call, **{**at, **condition}) == "PreconditionFailed", (call, condition)
    assert code_of(client.get_object, **at, IfNoneMatch=tag) == "304"
    for given, answer in (("bytes=2-4", b"234"), ("bytes=9-99", b"9"), ("bytes=-99", b"0123456789")):
        assert client.get_object(**at, Range=given)["Body"].read() == answer
    assert client.get_object(Bucket=bucket, Key="a", Range="bytes=-3")["Body"].read() == b"789"
    assert code_of(client.get_object, Bucket=bucket, Key="a", Range="bytes=99-") == "InvalidRange"


def test_metadata_tags_and_checksums_are_returned(client: Any, bucket: str) -> None:
    client.put_object(
        Bucket=bucket,
        Key="a",
        Body=b"1",
        Metadata={"k": "v"},
        ContentType="text/csv",
        Tagging="x=1",
        ChecksumAlgorithm="SHA256",
    )
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a"})
    for key in ("a", "copy"):
        answer = client.get_object(Bucket=bucket, Key=key)
        assert (answer["Metadata"], answer["ContentType"]) == ({"k": "v"}, "text/csv")
        assert client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "x", "Value": "1"}]
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"n": "1"}, "TaggingDirective": "REPLACE", "Tagging": "z=9"}
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a"}, **replaced)
    assert client.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"n": "1"}
    assert client.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == [{"Key": "z", "Value": "9"}]


def test_missing_things_are_named(client: Any, bucket: str) -> None:
    assert code_of(client.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    assert code_of(client.get_object, Bucket="no-such-bucket", Key="a") == "NoSuchBucket"
    assert code_of(client.delete_object, Bucket=bucket, Key="none") is None


def test_the_provider_s_hook_encrypts_and_keeps_buckets_that_hold_objects(
    running: Running, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    connection = {
        "conn_type": "aws",
        "login": CREDENTIALS.access_key_id,
        "password": CREDENTIALS.secret_access_key,
        "extra": {"endpoint_url": running.server.endpoint_url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    hook = S3Hook("store")
    hook.conn.meta.config.user_agent_extra = ""  # not calls of the package, which docs/policies must allow
    hook.load_string("1", "a", bucket, encrypt=True)
    assert running.client.head_object(Bucket=bucket, Key="a")["ServerSideEncryption"] == "AES256"
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        hook.delete_bucket(bucket, force_delete=False)
    assert hook.read_key("a", bucket) == "1"
    hook.delete_bucket(bucket, force_delete=True)
    assert not hook.check_for_bucket(bucket)
