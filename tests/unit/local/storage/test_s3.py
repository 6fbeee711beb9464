"""The service's own S3 store across crashes of the service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local import background
from airflow_automl.local.background import Background
from airflow_automl.local.storage import s3
from airflow_automl.local.storage.client import Credentials
from airflow_automl.local.storage.s3 import SeaweedFS


async def test_a_store_that_a_crash_left_unrecorded_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CrashError(Exception):
        pass

    first, second = (SeaweedFS(tmp_path, Credentials("key", "secret"), "us-east-1", Background()) for _ in range(2))
    write = first._write_record

    def write_until_it_runs(*given: Any) -> None:
        if first._child is not None:
            raise CrashError
        write(*given)

    monkeypatch.setattr(first, "_write_record", write_until_it_runs)
    with pytest.raises(CrashError):
        await first.start()
    await first._gate.stop()  # as the end of its process does
    try:
        await second.start()
        assert second._process == first._process
    finally:
        await second.stop()
        await first.stop()


async def test_a_full_disk_does_not_end_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_PAUSE", 0.0)
    monkeypatch.setattr(s3, "_WATCH_INTERVAL", 0.0)
    tasks = Background()
    store = SeaweedFS(tmp_path, Credentials("key", "secret"), "us-east-1", tasks)
    full = [OSError(28, "No space left on device")] * 5
    running, restarted = True, asyncio.Event()
    loop = asyncio.get_running_loop()

    def restart() -> None:
        nonlocal running
        if full:
            raise full.pop()
        running = True
        loop.call_soon_threadsafe(restarted.set)

    monkeypatch.setattr(store, "_adopt_or_start", lambda: None)
    monkeypatch.setattr(store, "_running", lambda: running)
    monkeypatch.setattr(store, "_restart", restart)
    await store.start()
    assert tasks.states()["s3-watch"].reason is None
    running = False
    await restarted.wait()
    await store.stop()
