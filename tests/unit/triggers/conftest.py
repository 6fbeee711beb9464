"""Waiting at a fiftieth of its real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from airflow_automl.triggers._watcher import listing, rate_limiter, watcher
from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger
from tests.standin import StandIn, ends

INTERVAL = 0.2
ENDS = (("Completed", "Completed"), ("Failed", "Failed"), ("Stopped", "Stopped"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every interval that is not a parameter."""
    monkeypatch.setattr(listing, "LISTS_PER_SECOND", 50.0)
    monkeypatch.setattr(listing, "OVERLAP", timedelta(seconds=3))
    monkeypatch.setattr(rate_limiter, "SLOWEST", 2.0)
    monkeypatch.setattr(rate_limiter, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(watcher, "SWEEP_SECONDS", 0.1)
    monkeypatch.setattr(watcher, "SWEEP_INTERVALS", 5)
    monkeypatch.setattr(watcher, "RECHECK_SHARE", 10)
    monkeypatch.setattr("airflow_automl.settings.max_calls_per_second", lambda: 200.0)


@dataclass
class Fired:
    """One event, and its time."""

    payload: dict[str, Any]
    at: float = field(default_factory=time.time)


async def fire(trigger: SageMakerAutoMLJobTrigger) -> Fired:
    """Run a trigger to its event; there must be exactly one."""
    events = [Fired(event.payload) async for event in trigger.run()]
    assert len(events) == 1
    return events[0]


async def until(condition: Callable[[], bool], within: float = 60.0) -> None:
    """Poll for a change in the stand-in's thread, where no event can be awaited."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


Herd = Callable[..., Awaitable[None]]


@pytest.fixture
def herd(standin: StandIn) -> Herd:
    """Return a function that waits for many jobs of every kind, and proves that no event is lost, early or wrong."""

    async def run(count: int = 40, *, first: float = 0.4, last: float = 2.0, within: float = 120.0) -> None:
        jobs = {}
        for number in range(count):
            status, secondary = ENDS[number % len(ENDS)]
            api = "V1" if number % 2 else "V2"
            script = ends(status, secondary, first + (last - first) * number / count)
            jobs[f"Job-{number}"] = standin.add_job(f"Job-{number}", script, api=api)
        triggers = [
            SageMakerAutoMLJobTrigger(name, None if number % 3 else job.api, INTERVAL)  # type: ignore[arg-type]
            for number, (name, job) in enumerate(jobs.items())
        ]
        fired = await asyncio.wait_for(asyncio.gather(*map(fire, triggers)), within)
        for job, event in zip(jobs.values(), fired, strict=True):
            offset, status, _ = job.script[-1]
            assert event.payload["job_name"] == job.name
            assert event.payload["status"] == status.lower()
            assert event.payload["job"]["AutoMLJobStatus"] == status
            assert event.at >= job.created + offset

    return run
