"""How a job's time is divided, so that it ends by itself before the service ends it."""

from __future__ import annotations

import time

__all__ = ["Budget"]

_RESERVE = 0.15
_RESERVE_BOUNDS = (6.0, 120.0)


class Budget:
    """The time of one job.

    :param deadline: monotonic time at which the service kills the trainer; ``None`` for never.
    :param training_ends: monotonic time by which training should be done though nobody kills it; ``None`` for never.
    """

    def __init__(self, deadline: float | None, training_ends: float | None = None) -> None:
        self._deadline = deadline
        self._training_ends = training_ends

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self._deadline is not None or self._training_ends is not None

    def left(self) -> float | None:
        """Seconds until the trainer is killed, ``None`` for no limit."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def for_training(self) -> float | None:
        """Seconds for training from now on; the rest is kept for uploads and reports.

        Training libraries overrun their limits, hence the reserve.
        """
        limits = []
        left = self.left()
        if left is not None:
            reserve = min(max(left * _RESERVE, _RESERVE_BOUNDS[0]), _RESERVE_BOUNDS[1])
            limits.append(max(left - reserve, left * 0.5, 1.0))
        if self._training_ends is not None:
            limits.append(max(self._training_ends - time.monotonic(), 1.0))
        return min(limits) if limits else None

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long still ends in time."""
        left = self.left()
        return left is None or left > seconds

    def share(self, most: float, part: float = 0.5) -> float:
        """Seconds that a report may take.

        :param most: upper limit.
        :param part: share of what is left.
        """
        left = self.left()
        return most if left is None else max(min(most, left * part), 0.0)
