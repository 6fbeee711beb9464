"""The rate limiter keeps its rate, slows down when throttled, and ignores single errors."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_automl.triggers._watcher import rate_limiter as module
from airflow_automl.triggers._watcher.rate_limiter import RateLimiter


async def _turns(pace: RateLimiter, count: int) -> float:
    began = time.monotonic()
    for _ in range(count):
        await pace.turn()
    return time.monotonic() - began


async def test_a_burst_does_not_wait() -> None:
    pace = RateLimiter(1 / 3600, burst=10)
    async with asyncio.timeout(60):
        await _turns(pace, 10)


async def test_turns_keep_the_rate_after_the_burst() -> None:
    assert await _turns(RateLimiter(50.0, burst=10), 20) >= 0.19


async def test_urgent_turns_come_first() -> None:
    pace, order = RateLimiter(50.0), []

    async def take(name: str, urgent: bool) -> None:
        await pace.turn(urgent)
        order.append(name)

    await pace.turn()
    await asyncio.gather(take("one", False), take("two", False), take("urgent", True))
    assert order == ["urgent", "one", "two"]


async def test_a_turn_that_is_given_up_is_not_spent() -> None:
    pace = RateLimiter(10.0)
    await pace.turn()
    waiting = [asyncio.ensure_future(pace.turn()) for _ in range(10_000)]
    await asyncio.sleep(0)
    for each in waiting:
        each.cancel()
    async with asyncio.timeout(60):
        await pace.turn()


async def test_throttling_halves_the_rate_once_for_calls_under_way_together() -> None:
    pace = RateLimiter(8.0)
    turns = [await pace.turn() for _ in range(3)]
    for turn in turns:
        pace.throttled(turn)
    assert pace.rate == 4.0
    for _ in range(100):
        pace.succeeded()
    assert pace.rate == 8.0


async def test_errors_do_not_lower_the_rate() -> None:
    pace = RateLimiter(100.0)
    for _ in range(5):
        pace.failed(await pace.turn())
        pace.succeeded()
    assert pace.rate == 100.0


async def test_failures_in_a_row_make_ever_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    longest: list[float] = []

    def uniform(least: float, most: float) -> float:
        longest.append(most)
        return most

    monkeypatch.setattr(module.random, "uniform", uniform)
    turns = RateLimiter(1000.0)
    began = time.monotonic()
    for _ in range(4):
        turns.failed(await turns.turn())
    await turns.turn()
    assert longest == [0.1, 0.2, 0.2, 0.2], "doubled, up to the longest"
    assert time.monotonic() - began >= 0.69
