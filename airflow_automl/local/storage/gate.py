"""The address of the embedded store: hands requests on to it, except those that it would carry out wrongly.

SeaweedFS keeps ``a//b`` and ``a\\b`` as ``a/b``, takes any folder for an object, loses ``a`` or ``a/`` if it is given
both, deletes a bucket that holds only older versions, and answers ``aws:kms:dsse`` with HTTP 500. Such requests are
refused before they reach it, with an S3 error that says what to do.
Lists are answered here, in S3's order, and ``aws:kms`` without a key gets the account's.
The store's own requests for the keys of ``aws:kms`` come here too: of its addresses this one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from html import unescape
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from airflow_automl.local.storage.client import KEYS, keeps
from airflow_automl.local.storage.keys import DataKeys
from airflow_automl.local.storage.listing import PARAMETERS, Ask, Lists, holds, holds_versions
from airflow_automl.local.storage.signing import Signer

log = logging.getLogger(__name__)

_BLOCK = 256 * 1024
#: Bodies that are read before they are passed on: DeleteObjects names 1,000 keys of 1,024 bytes at most.
_READ = 8 * 1024 * 1024
_NAMESPACE = b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_SSE = "x-amz-server-side-encryption"
_SSE_KEY = "x-amz-server-side-encryption-aws-kms-key-id"
_DSSE = "aws:kms:dsse"
_ACCOUNT_KEY = "alias/aws/s3"
"""The key of ``aws:kms`` where a request names none, as on AWS."""
_HELP_KEY = (
    "'aws:kms' is not valid for ServerSideEncryption without a key where the body or the address is signed: the gate "
    "can't add the key of the account. Set SSEKMSKeyId (such as alias/aws/s3)."
)
_OFFERED = PARAMETERS | {
    *("acl", "attributes", "cors", "delete", "encryption", "legal-hold", "lifecycle", "location", "object-lock"),
    *("ownershipControls", "policy", "policyStatus", "retention", "tagging", "versionId", "versioning"),
    *("uploads", "uploadId", "partNumber", "max-uploads", "upload-id-marker", "max-parts", "part-number-marker"),
    *("bucket-region", "max-buckets", "AWSAccessKeyId", "Expires", "Signature"),
}
"""What the store does by a request's query. It takes a PUT with any other one for CreateBucket or PutObject."""
_UNSET = {"logging", "notification", "website"}
"""What the store answers that nothing is set."""
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
_HELP_STORE = "Use a store of your own (--s3-endpoint), or AWS."
_HEADERS = {"x-amz-write-offset-bytes", "x-amz-website-redirect-location"}
"""What the store would ignore."""
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_SIGNED = {"x-id", "AWSAccessKeyId", "Expires", "Signature"}
_HELP_FOLDER = (
    "the embedded store keeps only empty objects under keys that end with '/', uploads none in parts and copies none. "
    "Use a key without '/' at its end, or a store of your own (--s3-endpoint)."
)
_HELP_DSSE = "The embedded store encrypts once. Use ServerSideEncryption aws:kms or AES256."


class _Refusal(Exception):
    """A request that is not passed on: an HTTP status, S3's code and a message."""


class _Answer(Exception):
    """An answer in place of the store's: an HTTP status and a body."""


class _Asked(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    bucket: str
    key: str
    query: dict[str, list[str]]

    @classmethod
    def of(cls, head: bytes) -> _Asked:
        line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (each.partition(":") for each in lines if each)
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return cls(method, target, headers, bucket, key, parse_qs(query, keep_blank_values=True))

    @property
    def lists(self) -> bool:
        return self.method == "GET" and bool(self.bucket) and not self.key and self.names <= PARAMETERS

    @property
    def names(self) -> set[str]:
        """The parameters of its query that do not belong to its signature."""
        return {name for name in self.query if not name.lower().startswith("x-amz-")} - _SIGNED

    @property
    def makes(self) -> bool:
        return bool(self.key) and (
            (self.method == "PUT" and not self.names) or (self.method == "POST" and "uploads" in self.names)
        )


class Gate:
    """Listens where clients expect the store.

    :param store: returns the host and the port of the store itself.
    :param signer: signs as the store demands it.
    :param keys: answers the store's requests for the keys of ``aws:kms``.
    :param account: the AWS account that all buckets belong to.
    """

    def __init__(self, store: Callable[[], tuple[str, int]], signer: Signer, keys: DataKeys, account: str) -> None:
        self._account = account
        self._store = store
        self._signer = signer
        self._keys = keys
        self._lists = Lists()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen.

        :param port: to listen on; if it is taken, a free one.
        :return: the port.
        """
        for wanted in (port, 0):
            with contextlib.suppress(OSError):
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", wanted, limit=_BLOCK)
                break
        assert self._server is not None, "a free port can't be taken"  # noqa: S101
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the address and all connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            # One side has closed, or the client does not speak HTTP.
            pass
        except asyncio.CancelledError:
            # By `stop`. CPython 3.11 logs a connection's task that ends as cancelled as an error.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, store = await asyncio.open_connection(*self._store(), limit=_BLOCK)
        answering = asyncio.create_task(_pump(answers, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked = _Asked.of(head)
                try:
                    own, body = b"", None
                    if self._keys.asked(asked.headers):
                        given = await reader.readexactly(_size(asked.headers))
                        own = _answer(*self._keys.answer(asked.headers, given), "application/x-amz-json-1.1")
                    else:
                        body = await self._check(asked, reader)
                        head = self._with_account_key(asked, head)
                        if asked.lists:
                            own = _answer(*await asyncio.to_thread(self._list, asked, head))
                except _Refusal as refusal:
                    if "expect" not in asked.headers:
                        await _copy_body(asked.headers, reader, None)
                    own = _error(asked.method, *refusal.args)
                if own:
                    writer.write(own)
                    await writer.drain()
                    return
                if asked.method not in ("GET", "HEAD"):
                    self._lists.forget()
                store.write(head)
                if body is None:
                    await _copy_body(asked.headers, reader, store)
                else:
                    store.write(body)
                    await store.drain()
        finally:
            answering.cancel()
            store.close()

    async def _check(self, asked: _Asked, reader: asyncio.StreamReader) -> bytes | None:
        """Refuse a request that the store would carry out wrongly, or return its body if that had to be read."""
        headers, query = asked.headers, asked.query
        source = unquote(headers.get("x-amz-copy-source", "").partition("?")[0]).removeprefix("/").partition("/")[2]
        for name in (asked.key, source):
            _check_key(name)
        for name in query.get("prefix", ()):
            _check_key(name, prefix=True)
        offered = _OFFERED | _UNSET if asked.method == "GET" else _OFFERED
        for name in query:
            if name not in offered and not name.lower().startswith(("x-amz-", "response-")):
                raise _Refusal(501, "NotImplemented", f"'{name}' is not offered by the embedded store. {_HELP_STORE}")
        for name in _HEADERS & set(headers):
            raise _Refusal(501, "NotImplemented", f"'{name}' is not offered by the embedded store. {_HELP_STORE}")
        for owner in (headers.get(name) or query.get(name, [None])[0] for name in _OWNERS):
            if owner not in (None, self._account):
                raise _Refusal(403, "AccessDenied", f"Access Denied. The bucket belongs to account {self._account}.")
        if asked.method == "POST" and asked.bucket and not asked.key and "delete" not in query:
            raise _Refusal(501, "NotImplemented", f"The embedded store takes no uploads from forms. {_HELP_STORE}")
        await self._check_folder(asked, source)
        if headers.get("x-amz-storage-class") in _ARCHIVES:
            raise _Refusal(501, "NotImplemented", f"The embedded store archives nothing. {_HELP_STORE}")
        if headers.get(_SSE) == _DSSE:
            raise _Refusal(501, "NotImplemented", _HELP_DSSE)
        if asked.method == "DELETE" and asked.bucket and not asked.key and not asked.names:
            if await asyncio.to_thread(self._told, asked.bucket, holds_versions):
                raise _Refusal(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
            return None
        if asked.key or not {"delete", "encryption"} & asked.names:
            return None
        if "expect" in headers:
            raise _Refusal(417, "ExpectationFailed", "Send the body with the request, without the header Expect.")
        body = await reader.readexactly(_size(headers))
        headers["content-length"] = "0"  # nothing is left to read
        if "encryption" in query and _DSSE.encode() in body:
            raise _Refusal(501, "NotImplemented", _HELP_DSSE)
        for found in _KEY.findall(body):
            _check_key(unescape(found.decode(errors="replace")))
        return body

    def _with_account_key(self, asked: _Asked, head: bytes) -> bytes:
        if asked.headers.get(_SSE) != "aws:kms" or asked.headers.get(_SSE_KEY):
            return head
        old = asked.headers.get("authorization", "")
        new = self._signer.authorization(asked.method, asked.target, asked.headers, _SSE_KEY, _ACCOUNT_KEY)
        if new is None:
            raise _Refusal(501, "NotImplemented", _HELP_KEY)
        return head[:-2].replace(old.encode(), new.encode()) + f"{_SSE_KEY}: {_ACCOUNT_KEY}\r\n\r\n".encode()

    def _list(self, asked: _Asked, head: bytes) -> tuple[int, bytes]:
        """Answer a list that the store accepts, or as the store refuses it."""
        query = {name: values[0] for name, values in asked.query.items()}
        with contextlib.closing(HTTPConnection(*self._store(), timeout=60)) as connection:
            try:
                connection.connect()
                connection.sock.sendall(head)
                with HTTPResponse(connection.sock, method="GET") as response:
                    response.begin()
                    status, body = response.status, response.read()
                if status == 200:
                    body = self._lists.answer(asked.bucket, query, self._asker(connection, asked.bucket))
            except _Answer as answer:
                status, body = answer.args
            except ValueError as error:
                raise _Refusal(
                    400, "InvalidArgument", f"max-keys or continuation-token is not valid: {error}"
                ) from None
            except HTTPException as error:
                raise OSError(f"the store's answer is not HTTP: {error!r}") from error
        return status, body

    def _asker(self, connection: HTTPConnection, bucket: str) -> Callable[[Mapping[str, str]], ElementTree.Element]:
        def ask(query: Mapping[str, str]) -> ElementTree.Element:
            target = f"/{quote(bucket)}?{urlencode(query, quote_via=quote, safe='')}"
            url = f"http://{connection.host}:{connection.port}{target}"
            connection.request("GET", target, headers=self._signer.get(url))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise _Answer(response.status, body)
            return ElementTree.fromstring(body.replace(_NAMESPACE, b"", 1))  # noqa: S314 - of our own store

        return ask

    async def _check_folder(self, asked: _Asked, source: str) -> None:
        """Refuse what the store does wrongly to a key that ends with '/', or to a key beside it."""
        folder = asked.key.endswith("/")
        if asked.makes:
            given = ("x-amz-decoded-content-length", "content-length", "transfer-encoding")
            size = next((asked.headers[name] for name in given if name in asked.headers), "0")
            if source.endswith("/") or (folder and (source or "uploads" in asked.names or size != "0")):
                raise _Refusal(501, "NotImplemented", f"'{asked.key}' is not valid for Key: {_HELP_FOLDER}")
            other = asked.key.removesuffix("/") if folder else f"{asked.key}/"
            if await asyncio.to_thread(self._told, asked.bucket, partial(holds, key=other)):
                help_text = f"the embedded store holds '{other}', and keeps one of the two. Delete that first."
                raise _Refusal(400, "InvalidArgument", f"'{asked.key}' is not valid for Key: {help_text}")
        elif (
            (folder or {"attributes", "tagging"} & asked.names)
            and asked.method != "DELETE"
            and "versionId" not in asked.query
            and not await asyncio.to_thread(self._told, asked.bucket, partial(holds, key=asked.key))
        ):
            raise _Refusal(404, "NoSuchKey", "The specified key does not exist.")

    def _told(self, bucket: str, question: Callable[[Ask], bool]) -> bool:
        with contextlib.closing(HTTPConnection(*self._store(), timeout=60)) as connection:
            try:
                return question(self._asker(connection, bucket))
            except _Answer:
                return False  # the store's own answer says why


def _check_key(key: str, *, prefix: bool = False) -> None:
    if not keeps(key, prefix=prefix):
        raise _Refusal(400, "InvalidArgument", f"{key!r} is not valid for Key: {KEYS}")


def _size(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise _Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    size = int(headers.get("content-length", 0))
    if size > _READ:
        raise _Refusal(400, "MaxMessageLengthExceeded", f"The body has {size} bytes; at most {_READ} are read.")
    return size


async def _copy_body(headers: Mapping[str, str], reader: asyncio.StreamReader, to: asyncio.StreamWriter | None) -> None:
    if "chunked" not in headers.get("transfer-encoding", ""):
        await _copy(int(headers.get("content-length", 0)), reader, to)
        return
    size = 1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if to is not None:
            to.write(line)
        if size:
            await _copy(size + 2, reader, to)
    while line != b"\r\n":  # the trailers, and the empty line after them
        line = await reader.readuntil(b"\r\n")
        if to is not None:
            to.write(line)


async def _copy(size: int, reader: asyncio.StreamReader, to: asyncio.StreamWriter | None) -> None:
    while size:
        block = await reader.read(min(size, _BLOCK))
        if not block:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(block)
        if to is not None:
            to.write(block)
            await to.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    writer.close()


def _error(method: str, status: int, code: str, message: str) -> bytes:
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return _answer(status, f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'.encode(), head_only=method == "HEAD")


def _answer(status: int, body: bytes, content_type: str = "application/xml", *, head_only: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\nx-amz-request-id: {uuid.uuid4().hex}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)
