"""The address of the embedded store: hands requests on to it unchanged, except those that it would carry out wrongly.

SeaweedFS keeps ``a//b`` and ``a\\b`` as ``a/b``, deletes a bucket that holds only older versions, and answers
``aws:kms:dsse`` with HTTP 500. Such requests are refused before they reach it, with an S3 error that says what to do.
The store's own requests for the keys of ``aws:kms`` come here too: of its addresses this one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from html import unescape
from http import HTTPStatus
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from airflow_automl.local.storage.client import KEYS, keeps
from airflow_automl.local.storage.keys import DataKeys

log = logging.getLogger(__name__)

_BLOCK = 256 * 1024
#: Bodies that are read before they are handed on: DeleteObjects names 1,000 keys of 1,024 bytes at most.
_READ = 8 * 1024 * 1024
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_SSE = "x-amz-server-side-encryption"
_SSE_KEY = "x-amz-server-side-encryption-aws-kms-key-id"
_DSSE = "aws:kms:dsse"
_HELP_KEY = (
    "'aws:kms' is not valid for ServerSideEncryption without a key: the embedded store asks for its name. "
    "Set SSEKMSKeyId (such as alias/aws/s3), or make aws:kms the bucket's default with PutBucketEncryption."
)
_HELP_DSSE = "The embedded store encrypts once. Use ServerSideEncryption aws:kms or AES256."


class _Refusal(Exception):
    """A request that is not handed on: an HTTP status, S3's code and a message."""


class Gate:
    """Listens where clients expect the store.

    :param store: returns the port of the store itself.
    :param holds_versions: tells whether a bucket holds versions of objects.
    :param keys: answers the store's requests for the keys of ``aws:kms``.
    """

    def __init__(
        self, store: Callable[[], int], holds_versions: Callable[[str], Awaitable[bool]], keys: DataKeys
    ) -> None:
        self._store = store
        self._keys = keys
        self._holds_versions = holds_versions
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
            # One side has gone, or the client does not speak HTTP: the connection is closed.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, store = await asyncio.open_connection("127.0.0.1", self._store(), limit=_BLOCK)
        answering = asyncio.create_task(_pump(answers, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, headers = _parse(head)
                method, target, _ = line.split(" ")
                try:
                    if self._keys.asked(headers):
                        status, answer = self._keys.answer(headers, await reader.readexactly(_size(headers)))
                        writer.write(_head(status, "application/x-amz-json-1.1", answer) + answer)
                        await writer.drain()
                        return
                    body = await self._check(method, target, headers, reader)
                except _Refusal as refusal:
                    if "expect" not in headers:
                        await _copy_body(headers, reader, None)
                    writer.write(_error(method, *refusal.args))
                    await writer.drain()
                    return
                store.write(head)
                if body is None:
                    await _copy_body(headers, reader, store)
                else:
                    store.write(body)
                    await store.drain()
        finally:
            answering.cancel()
            store.close()

    async def _check(
        self, method: str, target: str, headers: dict[str, str], reader: asyncio.StreamReader
    ) -> bytes | None:
        """Refuse a request, or return its body if that had to be read.

        :raises _Refusal: the store would carry the request out wrongly.
        """
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        asked = parse_qs(query, keep_blank_values=True)
        source = unquote(headers.get("x-amz-copy-source", "").partition("?")[0]).removeprefix("/").partition("/")[2]
        for name in (key, source, *asked.get("prefix", ())):
            _check_key(name)
        if headers.get(_SSE) == _DSSE:
            raise _Refusal(501, "NotImplemented", _HELP_DSSE)
        if headers.get(_SSE) == "aws:kms" and not headers.get(_SSE_KEY):
            raise _Refusal(501, "NotImplemented", _HELP_KEY)
        if method == "DELETE" and bucket and not key and not set(asked) - {"x-id"}:
            if await self._holds_versions(bucket):
                raise _Refusal(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
            return None
        if key or not ({"delete", "encryption"} & set(asked)) or "expect" in headers:
            return None
        body = await reader.readexactly(_size(headers))
        headers["content-length"] = "0"  # nothing is left to read
        if "encryption" in asked and _DSSE.encode() in body:
            raise _Refusal(501, "NotImplemented", _HELP_DSSE)
        for found in _KEY.findall(body):
            _check_key(unescape(found.decode(errors="replace")))
        return body


def _check_key(key: str) -> None:
    if not keeps(key):
        raise _Refusal(400, "InvalidArgument", f"'{key}' is not valid for Key: {KEYS}")


def _size(headers: Mapping[str, str]) -> int:
    size = int(headers.get("content-length", 0))
    if size > _READ:
        raise _Refusal(400, "MaxMessageLengthExceeded", f"The body has {size} bytes; at most {_READ} are read.")
    return size


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (each.partition(":") for each in lines if each)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}


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
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'.encode()
    return _head(status, "application/xml", body) + (b"" if method == "HEAD" else body)


def _head(status: int, content_type: str, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\nx-amz-request-id: {uuid.uuid4().hex}\r\nconnection: close\r\n\r\n"
    ).encode()
