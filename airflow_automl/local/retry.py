"""Retries while the S3 store is unreachable: the service restarts its own store within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

TIMEOUT = 60.0
"""Seconds from the first failure during which calls of an unreachable store are repeated."""

_PAUSE = 0.5


class Retries:
    """Decides how often a call is repeated. What it did before it failed, such as half of a download, may take long."""

    def __init__(self) -> None:
        self._ends: float | None = None

    def left(self, error: Exception) -> bool:
        """Return whether the call should be repeated after this error."""
        if self._ends is None:
            self._ends = time.monotonic() + TIMEOUT
        return unreachable(error) and time.monotonic() < self._ends


def retrying(work: Callable[[], _T]) -> _T:
    """Call ``work``; if the store is unreachable, call it again until :data:`TIMEOUT` is over.

    :param work: uses the store; it may be called more than once.
    :return: what ``work`` returns.
    """
    retries = Retries()
    while True:
        try:
            return work()
        except Exception as error:
            if not retries.left(error):
                raise
            time.sleep(_PAUSE)


def unreachable(error: BaseException | None) -> bool:
    """Return whether an error says that the store can't be reached or isn't ready, rather than that it refuses."""
    from botocore import exceptions

    # The actual error of an upload is the cause of the exception.
    while error is not None:
        if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | exceptions.IncompleteReadError):
            return True
        if isinstance(error, exceptions.ClientError):
            return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
        error = error.__cause__ or error.__context__
    return False
