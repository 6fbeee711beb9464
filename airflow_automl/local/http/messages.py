"""Requests and responses, and the JSON bodies of requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_automl.local.errors import malformed

JSON = "application/x-amz-json-1.1"


class Request(NamedTuple):
    """An HTTP request.

    :param headers: by lower-case name.
    """

    method: str
    path: str
    raw_path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse(body: bytes) -> dict[str, Any]:
    """Read the input of an operation.

    :raises ServiceError: SerializationException if the body is not a JSON object.
    """
    try:
        # Decoded here, because json also accepts UTF-16.
        members = json.loads(body.decode() or "{}", parse_constant=_reject_constant)
        # Lone surrogates pass as JSON, but they can't be encoded.
        json.dumps(members, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise malformed(f"the body can't be read as JSON: {error}") from None
    if not isinstance(members, dict):
        raise malformed(f"received a JSON {type(members).__name__}; the body must be a JSON object")
    return members


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
