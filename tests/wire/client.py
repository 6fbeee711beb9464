"""A client that sends exactly the given bytes, as no SDK would."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

JSON_1_1 = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Answer:
    """The answer.

    :param code: the error's name as SDKs read it, empty for a success.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        if self.status < 300:
            return ""
        named = self.headers.get("x-amzn-errortype") or self.json.get("__type", "")
        return str(named).partition(":")[0].rpartition("#")[2]

    @property
    def message(self) -> str:
        answer = self.json
        return str(answer.get("message") or answer.get("Message") or "")


class Wire:
    """One kept connection to an endpoint, opened again when the other side closes it.

    :param endpoint: such as ``http://127.0.0.1:4566``.
    """

    def __init__(self, endpoint: str, timeout: float = 30) -> None:
        url = urlsplit(endpoint)
        self._connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def call(self, operation: str, request: Any = None, **headers: str) -> Answer:
        """Call an operation of SageMaker's with a request of any form, unsigned."""
        return self.send(
            json.dumps({} if request is None else request).encode(),
            {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": JSON_1_1, **headers},
        )

    def send(self, body: bytes, headers: Mapping[str, str], method: str = "POST", path: str = "/") -> Answer:
        """Send bytes. A connection that was closed since the last answer is opened again."""
        try:
            return self._send(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()
            return self._send(method, path, body, headers)

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        self._connection.request(method, path, body=body, headers=dict(headers))
        answer = self._connection.getresponse()
        lowered = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, lowered, answer.read())
