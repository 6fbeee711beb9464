"""Answers of a service that may be slow or dead: asked for in threads of our own, once at a time, and remembered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from airflow_automl.exceptions import AutoMLTransientError

#: Seconds that a page waits for the service; the whole page takes at most three.
TIMEOUT = 2.0
#: Seconds for which a failure is cached, so that reloads make no calls.
FAILURE_LIFETIME = 5.0

T = TypeVar("T")


class NotAnswered(AutoMLTransientError):
    """The service did not answer in the time that a page has."""


@dataclass(slots=True)
class _Entry:
    future: Future[Any]
    asked: float
    expires: float = 0.0  # of use once the future is done


class Answers:
    """A bounded memory of answers, with one call at a time for each key.

    The calls run in a pool of their own: neither the event loop nor the threads in which Airflow serves its own
    requests ever wait for AWS.

    :param workers: how many calls run at the same time.
    :param size: how many answers are kept; the ones that were used last.
    :param timeout: seconds after which :meth:`get` gives up; the call continues, and its answer is kept.
    """

    def __init__(self, workers: int = 8, size: int = 256, timeout: float = TIMEOUT) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="automl-pages")
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._size = size
        self.timeout = timeout

    async def get(self, key: Hashable, fetch: Callable[[], T], lifetime: Callable[[T], float]) -> T:
        """Return the remembered answer, or ask for it.

        :param key: what is asked.
        :param fetch: asks; runs in a thread.
        :param lifetime: for how many seconds an answer is cached.
        :raises NotAnswered: the time is up; while the call still hangs, it is raised again at once.
        """
        entry = self._entry(key, fetch, lifetime)
        if not entry.future.done():
            left = entry.asked + self.timeout - time.monotonic()
            waiter = asyncio.wrap_future(entry.future)
            # The entry below reports a failure; one that comes too late is ignored.
            waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
            # Waiting, rather than a timeout that cancels: others may wait for the same answer.
            await asyncio.wait({waiter}, timeout=max(0.0, left))
        if not entry.future.done():
            raise NotAnswered(f"It gave no answer within {self.timeout:g} seconds")
        return cast(T, entry.future.result())

    def forget(self, belongs: Callable[[Any], bool]) -> None:
        """Forget the answers whose keys ``belongs`` says yes to; what was changed is to be asked for again."""
        with self._lock:
            for key in [key for key in self._entries if belongs(key)]:
                del self._entries[key]

    def close(self) -> None:
        """End the threads; calls that still hang end with their sockets."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _entry(self, key: Hashable, fetch: Callable[[], T], lifetime: Callable[[T], float]) -> _Entry:
        now = time.monotonic()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or (entry.future.done() and entry.expires <= now):
                entry = _Entry(Future(), now)
                self._entries[key] = entry
                self._pool.submit(self._run, entry, fetch, lifetime)
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return entry

    @staticmethod
    def _run(entry: _Entry, fetch: Callable[[], T], lifetime: Callable[[T], float]) -> None:
        try:
            answer = fetch()
            entry.expires = time.monotonic() + lifetime(answer)
        except Exception as error:
            entry.expires = time.monotonic() + FAILURE_LIFETIME
            entry.future.set_exception(error)
        else:
            entry.future.set_result(answer)
