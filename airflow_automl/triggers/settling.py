"""A moment for the scheduler between a deferral and the event that ends it."""

from __future__ import annotations

import asyncio

__all__ = ["settle"]

#: Seconds that a scheduler on a busy machine was seen to be late: six.
SHORTEST, LONGEST = 5.0, 10.0


async def settle(poll_interval: float = LONGEST) -> None:
    """Wait before a trigger looks for the first time.

    Airflow fails a task whose second half already runs when the scheduler hears from the executor that the first half
    has ended. On a busy scheduler that takes seconds, and a trigger that fires at once is faster. Nothing is lost by
    waiting: the operator has looked just before it deferred.

    :param poll_interval: of the trigger, in seconds: so long it waits, but at least :data:`SHORTEST` and at most
        :data:`LONGEST`.
    """
    await asyncio.sleep(min(max(poll_interval, SHORTEST), LONGEST))
