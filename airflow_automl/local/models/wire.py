"""Messages between the service and the processes of models: a JSON document, and bodies of bytes that follow it.

Both sides import it, so it imports nothing: neither asyncio nor what a model needs.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: Bytes of the document's length.
HEAD = 4


class Payload(NamedTuple):
    """A request to a model."""

    body: bytes
    content_type: str | None = None
    accept: str | None = None


class Answer(NamedTuple):
    """A model's answer; any status but 200 comes with a reason as its body."""

    status: int
    content_type: str
    body: bytes


def pack(document: Mapping[str, Any], bodies: Sequence[bytes] = ()) -> bytes:
    """Return a message in bytes."""
    text = json.dumps({**document, "sizes": [len(body) for body in bodies]}).encode()
    return b"".join((len(text).to_bytes(HEAD, "big"), text, *bodies))


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """Wait for a message.

    :return: its document and bodies.
    :raises EOFError: the other side has closed the connection.
    """
    document = json.loads(_exactly(connection, int.from_bytes(_exactly(connection, HEAD), "big")))
    return document, [_exactly(connection, size) for size in document.pop("sizes")]


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        chunk = connection.recv(min(size - len(found), 1 << 20))
        if not chunk:
            raise EOFError
        found += chunk
    return bytes(found)
