"""How long a candidate may train."""

from __future__ import annotations

import time

__all__ = ["Deadline", "TimeIsUp"]


class TimeIsUp(Exception):
    """The time was over before there was anything to measure."""


class Deadline:
    """The end of one candidate's training.

    :param seconds: from now; ``None`` for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._ends = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """Seconds, at least 0; ``None`` without an end."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self.left == 0.0

    def part(self, share: float) -> Deadline:
        """An earlier end: a share of what is left."""
        return Deadline(None if self.left is None else self.left * share)
