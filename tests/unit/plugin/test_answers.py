"""Answers are requested once, cached and expire, and pages do not wait for late answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from airflow_automl.plugin.answers import TIMEOUT, Answers, NotAnswered


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers(size=3, timeout=600.0)
    yield made
    made.close()


class Service:
    """Counts calls; answers when released."""

    def __init__(self, *, hangs: bool = False, fails: bool = False) -> None:
        self.asked, self.fails = 0, fails
        self.let = threading.Event()
        if not hangs:
            self.let.set()

    def __call__(self) -> str:
        self.asked += 1
        self.let.wait()
        if self.fails:
            raise LookupError(f"question {self.asked}")
        return f"answer {self.asked}"


def forever(_: object) -> float:
    return 1e9


def never(_: object) -> float:
    return -1.0


def test_a_page_is_there_within_three_seconds() -> None:
    assert TIMEOUT < 3


async def test_an_answer_is_cached_for_its_own_duration(answers: Answers) -> None:
    service = Service()
    assert [await answers.get("a", service, forever) for _ in range(3)] == ["answer 1"] * 3
    assert [await answers.get("b", service, never) for _ in range(2)] == ["answer 2", "answer 3"]


async def test_many_requests_at_the_same_time_make_one_call(answers: Answers) -> None:
    service = Service(hangs=True)
    asking = [asyncio.ensure_future(answers.get("a", service, never)) for _ in range(20)]
    await asyncio.sleep(0)
    service.let.set()
    assert set(await asyncio.gather(*asking)) == {"answer 1"}


async def test_a_failure_is_shown_again_without_another_call(answers: Answers) -> None:
    service = Service(fails=True)
    for _ in range(3):
        with pytest.raises(LookupError, match="question 1"):
            await answers.get("a", service, forever)


async def test_a_service_that_does_not_answer_times_out_and_is_called_only_once() -> None:
    answers, service = Answers(timeout=0.05), Service(hangs=True)
    for _ in range(3):
        with pytest.raises(NotAnswered):
            await answers.get("a", service, forever)
    service.let.set()
    answers.timeout = 60.0
    assert await answers.get("a", service, forever) == "answer 1"
    assert service.asked == 1
    answers.close()


async def test_an_answer_that_was_dropped_is_requested_again(answers: Answers) -> None:
    service = Service()
    await answers.get("a", service, forever)
    await answers.get("b", service, forever)
    answers.forget(lambda key: key == "a")
    assert await answers.get("a", service, forever) == "answer 3"
    assert await answers.get("b", service, forever) == "answer 2"


async def test_the_memory_is_bounded_and_keeps_what_was_used_last(answers: Answers) -> None:
    service = Service()
    for key in "abcad":
        await answers.get(key, service, forever)
    assert await answers.get("a", service, forever) == "answer 1"
    assert await answers.get("b", service, forever) == "answer 5"
