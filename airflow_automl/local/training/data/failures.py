"""The one error that ends a job as ``Failed``."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_automl.exceptions import AutoMLTerminalError

__all__ = ["JobFailure", "listing"]

MAX_REASON = 1024
"""What the API allows for a FailureReason, in characters (R92)."""


class JobFailure(AutoMLTerminalError):
    """The job can't go on; the message is its FailureReason and names the column or object that is at fault.

    :param reason: one or more sentences for the person who started the job; cut to 1,024 characters.
    """

    def __init__(self, reason: str) -> None:
        reason = " ".join(reason.split())
        if len(reason) > MAX_REASON:
            reason = reason[: MAX_REASON - 1] + "…"
        super().__init__(reason)

    @property
    def reason(self) -> str:
        """The FailureReason."""
        return str(self.args[0])


def listing(names: Iterable[object], limit: int = 10) -> str:
    """Names for a message: the first few in quotes, and how many more there are.

    :param names: what to list.
    :param limit: how many are shown.
    """
    texts = [str(name) for name in names]
    shown = ", ".join(f"'{text[:60]}'" for text in texts[:limit])
    more = len(texts) - limit
    return f"{shown} and {more} more" if more > 0 else shown
