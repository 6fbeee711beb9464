"""A moment for the scheduler between a deferral and the event that ends it."""

from __future__ import annotations

import asyncio

__all__ = ["settle"]

_LONGEST = 3.0


async def settle(poll_interval: float) -> None:
    """Wait before a trigger looks for the first time.

    Airflow fails a task whose second half already runs when the scheduler hears from the executor that the first half
    has ended. On a busy scheduler that takes a second or two, and a trigger that fires at once is faster. Nothing is
    lost by waiting: the operator has looked just before it deferred.

    :param poll_interval: of the trigger, in seconds; it never waits for longer than that.
    """
    await asyncio.sleep(min(poll_interval, _LONGEST))
