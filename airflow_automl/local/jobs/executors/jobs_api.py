"""Ray's Jobs API over HTTP: this machine needs no package of Ray's."""

from __future__ import annotations

import json
import os
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
"""The statuses of a job that has ended."""

_TIMEOUT = 10.0


class JobsApi:
    """Calls of the dashboard of a Ray cluster, with the token in ``RAY_AUTH_TOKEN``, if there is one.

    :param address: such as ``http://head:8265``.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self.heard = float("-inf")
        """When Ray answered last, in monotonic time."""

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """Return Ray's answer; ``None`` if it does not know what was asked for.

        :raises PermissionError: it refuses the token.
        :raises HTTPError: it refuses something else.
        :raises ConnectionError: it can't be reached.
        """
        headers = {"Content-Type": "application/json"}
        if token := os.environ.get("RAY_AUTH_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._address + path, data, headers, method=method)  # noqa: S310 - the user's own address
        try:
            with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            if error.code == 404:
                return None
            if error.code in (401, 403):
                why = f"Ray at {self._address} refuses the token in RAY_AUTH_TOKEN of the service (HTTP {error.code})"
                raise PermissionError(why) from error
            raise
        except (URLError, OSError, HTTPException) as error:
            raise ConnectionError(
                f"Ray at {self._address} can't be reached: {getattr(error, 'reason', error)}"
            ) from error
        self.heard = time.monotonic()
        return found


def one_line(text: str | None) -> str:
    """Return the end of what Ray said, on one line."""
    return " ".join((text or "").split())[-500:]
