"""Waiting for an S3 store that is away: the service starts its own again when that dies, which takes seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PATIENCE", "away", "patiently"]

_T = TypeVar("_T")

PATIENCE = 60.0
"""Seconds in which a store that is away may come back."""

_PAUSE = 0.5


def patiently(work: Callable[[], _T]) -> _T:
    """Do something with the store; where it is away, do it again until it is back or :data:`PATIENCE` is over.

    :param work: what to do; it may be begun more than once.
    """
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except Exception as error:
            if not away(error) or time.monotonic() >= ends:
                raise
            time.sleep(_PAUSE)


def away(error: BaseException | None) -> bool:
    """Whether an error says that the store can't be reached or is not ready, rather than that it refuses."""
    from botocore import exceptions

    # An upload's error has what happened as its cause.
    while error is not None:
        if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError | exceptions.IncompleteReadError):
            return True
        if isinstance(error, exceptions.ClientError):
            return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
        error = error.__cause__ or error.__context__
    return False
