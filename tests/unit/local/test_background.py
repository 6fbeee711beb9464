"""A background task that fails is retried and says so; nothing ends it but its cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from airflow_automl.local import background
from airflow_automl.local.background import Background, State


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_PAUSE", 0.0)


async def test_a_background_task_that_fails_continues_and_reports_its_state(caplog: pytest.LogCaptureFixture) -> None:
    tasks, works, failed, settled = Background(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    turns = 0

    async def step() -> None:
        nonlocal turns
        turns += 1
        if turns < 4:
            raise OSError(28, "No space left on device")
        failed.set()
        await works.wait()
        if turns > 5:
            settled.set()
            await asyncio.Event().wait()

    task = tasks.repeat("watch", step)
    assert tasks.states() == {"watch": State()}
    with caplog.at_level(logging.ERROR):
        await failed.wait()
    state = tasks.states()["watch"]
    assert "No space left" in str(state.reason)
    assert state.since is not None
    assert len(caplog.records) == 1, "the same error is logged once"
    works.set()
    await settled.wait()
    assert tasks.states() == {"watch": State()}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_work_is_done_once_it_can_be() -> None:
    tasks = Background()
    errors = [RuntimeError("not yet"), RuntimeError("nor now")]

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await tasks.until_done("write", work) == "done"
    assert tasks.states() == {}
