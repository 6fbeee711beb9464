"""Background tasks that survive errors: each is logged and retried with a growing pause; their states can be read."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

#: Seconds until the first retry; the pause doubles each time.
_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class State(NamedTuple):
    """How a background task is.

    :param reason: why it fails; ``None`` while it works.
    :param since: when it began to fail, in epoch seconds.
    """

    reason: str | None = None
    since: float | None = None


class Background:
    """Runs background tasks of a service and knows how they are."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}

    def states(self) -> dict[str, State]:
        """Return the state of each task that runs all the time, and of each other one that fails."""
        return dict(self._states)

    def repeat(self, name: str, step: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Call ``step`` again and again until the task is cancelled.

        :param name: of the task, for logs and states.
        :param step: one turn, with the wait before the next one.
        """

        async def run() -> None:
            while True:
                await self._until_done(name, step)
                self._states[name] = State()

        self._states[name] = State()
        return asyncio.create_task(run(), name=name)

    async def until_done(self, name: str, work: Callable[[], Any]) -> Any:
        """Call ``work`` until it raises no error.

        :param name: of the work, for logs and states.
        :param work: may be called more than once; what it returns is awaited if it can be.
        :return: what ``work`` returns.
        """
        try:
            return await self._until_done(name, work)
        finally:
            self._states.pop(name, None)

    async def _until_done(self, name: str, work: Callable[[], Any]) -> Any:
        pause = _PAUSE
        while True:
            try:
                result = work()
                return await result if inspect.isawaitable(result) else result
            except Exception as error:
                known = self._states.get(name, State())
                # Logged when it changes: with a full disk, the same error repeats.
                if known.reason != repr(error):
                    log.exception("background task %s failed; retrying", name)
                self._states[name] = State(repr(error), known.since or time.time())
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class Tasks:
    """Running tasks by name."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}

    def get(self, name: str) -> asyncio.Task[None] | None:
        """Return the running task of this name."""
        return self._running.get(name)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task; it takes the place of another one of this name."""
        task = asyncio.create_task(work, name=name)
        self._running[name] = task
        task.add_done_callback(lambda ended: self._forget(name, ended))

    def _forget(self, name: str, ended: asyncio.Task[None]) -> None:
        # Another task may have replaced it.
        if self._running.get(name) is ended:
            del self._running[name]

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
