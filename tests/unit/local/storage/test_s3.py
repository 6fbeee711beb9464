"""The service's own S3 store across crashes of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local.storage.client import Credentials
from airflow_automl.local.storage.s3 import SeaweedFS


async def test_a_store_that_a_crash_left_unrecorded_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CrashError(Exception):
        pass

    first, second = (SeaweedFS(tmp_path, Credentials("key", "secret"), "us-east-1") for _ in range(2))
    write = first._write_record

    def write_until_it_runs(*given: Any) -> None:
        if first._child is not None:
            raise CrashError
        write(*given)

    monkeypatch.setattr(first, "_write_record", write_until_it_runs)
    with pytest.raises(CrashError):
        await first.start()
    try:
        await second.start()
        assert second._process == first._process
    finally:
        await second.stop()
        await first.stop()
