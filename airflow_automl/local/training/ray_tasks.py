"""Tasks on the cluster of the Ray job that this process belongs to; they may ask it questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class RayTasks:
    """Runs a function in tasks.

    :param work: gets an actor whose ``ask(key, question)`` returns this process's answer, and further arguments.
    """

    def __init__(self, work: Callable[..., Any]) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray.init("auto", log_to_driver=False, logging_level="WARNING")
        self.ray = ray
        place = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.here = {"num_cpus": 0, "scheduling_strategy": place}
        """The options of a task that runs beside this process, in the job's own share of the node."""
        # Ray's own retries would wait for room elsewhere, although there may be some here.
        self._run = ray.remote(max_retries=0)(work)
        self._questions = ray.remote(_Questions).options(**self.here).remote()
        self._asked = self._questions.next.remote()

    def start(self, options: Mapping[str, Any], *arguments: Any) -> Any:
        """Start a task; return the reference of its result."""
        return self._run.options(**options).remote(self._questions, *arguments)

    def wait(self, tasks: Iterable[Any], seconds: float | None = None) -> tuple[tuple[Any, Any] | None, list[Any]]:
        """Wait for a question or the end of a task.

        :param tasks: references.
        :param seconds: how long to wait; ``None`` for no limit.
        :return: a key and a question, if there is one, and the tasks that have ended.
        """
        ended, _ = self.ray.wait([self._asked, *tasks], timeout=seconds)
        if self._asked not in ended:
            return None, ended
        asked = self.ray.get(self._asked)
        self._asked = self._questions.next.remote()
        return asked, []

    def answer(self, key: Any, answer: Any) -> None:
        """Answer the question of a key."""
        self._questions.answer.remote(key, answer)


class _Questions:
    """An actor through which tasks ask."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[tuple[Any, Any]] = asyncio.Queue()
        self._answers: dict[Any, asyncio.Future[Any]] = {}

    async def ask(self, key: Any, question: Any) -> Any:
        # A task that begins again on another node does not have a caller that waits for the earlier answer.
        self._answers[key] = answer = asyncio.get_running_loop().create_future()
        await self._asked.put((key, question))
        return await answer

    async def next(self) -> tuple[Any, Any]:
        return await self._asked.get()

    async def answer(self, key: Any, answer: Any) -> None:
        if (waiting := self._answers.pop(key, None)) is not None:
            waiting.set_result(answer)
