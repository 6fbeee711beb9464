"""A pause between a deferral and the event that ends it."""

from __future__ import annotations

import asyncio

#: Seconds by which a scheduler on a busy machine was seen to be late: six.
SHORTEST, LONGEST = 5.0, 10.0


async def start_delay(poll_interval: float = LONGEST) -> None:
    """Wait before the first poll of a trigger.

    If a trigger fires before the scheduler has recorded the deferral, Airflow fails the resumed task. The pause costs
    nothing: the operator has described the resource just before it deferred.

    :param poll_interval: of the trigger, in seconds. The pause lasts so long, but at least :data:`SHORTEST` and at most
        :data:`LONGEST`.
    """
    await asyncio.sleep(min(max(poll_interval, SHORTEST), LONGEST))
