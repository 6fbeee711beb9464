"""The processes of one model: requests that wait are put into batches, each batch into a process that is free."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.local import processes
from airflow_automl.local.models.wire import HEAD, Answer, Payload, pack
from airflow_automl.local.processes import Process

#: Requests and bytes of one batch, and requests that may wait for one model.
_REQUESTS, _BYTES, _WAITING = 64, 1 << 20, 1024


class HostingError(Exception):
    """A model can't be loaded, or gave no answer; the message says why."""


class BusyError(HostingError):
    """More requests wait for a model than it may have."""


class ModelProcess:
    """A process that holds one model, as the service sees it.

    :param reader: what it says.
    :param writer: where its requests are written.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._process: Process | None = None
        self.busy = False
        self.asked = time.monotonic()
        self.loaded = 0
        self.ended: str | None = None

    async def load(self, document: Mapping[str, Any]) -> None:
        """Load the model.

        :raises HostingError: it can't be loaded.
        :raises EOFError: the process ended.
        :raises OSError: likewise.
        """
        self._writer.write(pack(document))
        hello, _ = await self._receive()
        self._process = processes.holder(hello["pid"])
        answer, _ = await self._receive()
        if answer["status"] != 200:
            raise HostingError(answer["error"])
        self.loaded = await asyncio.to_thread(self.memory)

    async def ask(self, requests: Sequence[Payload]) -> list[Answer]:
        """Put requests to the model.

        :return: an answer for each of the first requests, at least for one.
        :raises EOFError: the process ended.
        :raises OSError: likewise.
        """
        kinds = [(request.content_type, request.accept) for request in requests]
        self._writer.write(pack({"requests": kinds}, [request.body for request in requests]))
        document, bodies = await self._receive()
        return [Answer(status, kind, body) for (status, kind), body in zip(document["answers"], bodies, strict=True)]

    async def _receive(self) -> tuple[dict[str, Any], list[bytes]]:
        size = int.from_bytes(await self._reader.readexactly(HEAD), "big")
        document = json.loads(await self._reader.readexactly(size))
        return document, [await self._reader.readexactly(size) for size in document["sizes"]]

    def memory(self) -> int:
        """Bytes that it uses; what it shares with others counts by its share."""
        return 0 if self._process is None else processes.memory(self._process)

    def kill(self, reason: str | None = None) -> None:
        """End it.

        :param reason: the error of the requests that it works on.
        """
        self.ended = self.ended or reason
        self._writer.close()
        if self._process is not None and processes.alive(self._process):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._reader.at_eof() or self._writer.is_closing()


@dataclass(eq=False)
class _Waiting:
    """A request.

    :param limit: seconds that the model has for it.
    :param alone: whether it gets a prediction of its own, because the process ended at the last one.
    """

    payload: Payload
    limit: float
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    alone: bool = False


class ModelPool:
    """All processes of one model.

    :param start: starts one more, with the model loaded.
    :param batched: told the size of each batch.
    """

    def __init__(
        self, start: Callable[[], Awaitable[ModelProcess]], batched: Callable[[int], None] = lambda size: None
    ) -> None:
        self._start = start
        self._batched = batched
        self._waiting: deque[_Waiting] = deque()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.processes: list[ModelProcess] = []
        self.most = 1

    async def load(self) -> None:
        """Start a process, if there is none.

        :raises HostingError: that failed.
        """
        self._forget_gone()
        if not self.processes:
            await asyncio.shield(self._start_one())

    async def invoke(self, payload: Payload, limit: float) -> Answer:
        """Ask the model; loading it takes nothing off the limit.

        :raises HostingError: it can't be loaded, or gave no answer.
        """
        if len(self._waiting) >= _WAITING:
            raise BusyError(f"{_WAITING} requests wait for the model already; send fewer at once")
        await self.load()
        waiting = _Waiting(payload, limit)
        self._waiting.append(waiting)
        self._dispatch()
        try:
            async with asyncio.timeout(limit):
                return await waiting.answer
        except TimeoutError:
            raise HostingError(f"the model gave no answer within {limit:.0f} seconds") from None

    def close(self) -> None:
        """End the processes; those that work do it when what waits is answered."""
        self.most = 0
        self._dispatch()

    def _start_one(self) -> asyncio.Task[None]:
        if self._starting is None:
            self._starting = self._task(self._started())
            self._starting.add_done_callback(self._start_ended)
        return self._starting

    async def _started(self) -> None:
        try:
            process = await self._start()
            # Only now: while it starts, the list is made again.
            self.processes.append(process)
        finally:
            self._starting = None
        self._dispatch()

    def _task(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget_gone(self) -> None:
        self.processes = [process for process in self.processes if process.busy or not process.gone]

    def _dispatch(self) -> None:
        self._forget_gone()
        while self._waiting and self._waiting[0].answer.done():
            self._waiting.popleft()
        for process in [each for each in self.processes if not each.busy]:
            if len(self.processes) > self.most and (self.most or not self._waiting):
                process.kill()
                self.processes.remove(process)
            elif batch := self._batch():
                process.busy = True
                self._task(self._work(process, batch))
        if self._waiting and len(self.processes) < max(1, self.most) and self._starting is None:
            self._start_one()

    def _start_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.processes:
            while self._waiting:
                _fail(self._waiting.popleft(), str(error))

    def _batch(self) -> list[_Waiting]:
        """Take what waits, as far as it fits into one batch."""
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < _REQUESTS:
            first = self._waiting[0]
            size += len(first.payload.body)
            if batch and (size > _BYTES or first.alone or batch[0].alone) and not first.answer.done():
                break
            self._waiting.popleft()
            if first.answer.done():
                # Nobody waits for it any more.
                size -= len(first.payload.body)
            else:
                batch.append(first)
        return batch

    async def _work(self, process: ModelProcess, batch: list[_Waiting]) -> None:
        limit = max(waiting.limit for waiting in batch)
        try:
            async with asyncio.timeout(limit):
                answers = await process.ask([waiting.payload for waiting in batch])
            self._batched(len(answers))
            for waiting, answer in zip(batch, answers, strict=False):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
            self._waiting.extendleft(reversed(batch[len(answers) :]))
        except TimeoutError:
            process.kill()
            for waiting in batch:
                _fail(waiting, f"the model gave no answer within {limit:.0f} seconds")
        except (OSError, EOFError):
            self._again(batch, process.ended)
            process.kill()
        finally:
            process.busy, process.asked = False, time.monotonic()
            self._dispatch()

    def _again(self, batch: list[_Waiting], reason: str | None) -> None:
        """Put requests whose process ended back, each for one more chance, alone: one of them may be what ended it."""
        for waiting in reversed(batch):
            if waiting.alone or (reason is not None and len(batch) == 1):
                _fail(waiting, reason or "the model's process ended while it worked on the request")
            else:
                waiting.alone = True
                self._waiting.appendleft(waiting)


def _fail(waiting: _Waiting, reason: str) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(HostingError(reason))
