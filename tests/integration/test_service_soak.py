"""A hundred short jobs, four at a time, with random stops and kills: every job is accounted for, nothing is left."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.service.running import request, scripted_service, until

pytestmark = pytest.mark.slow
JOBS = 100


def test_every_job_is_accounted_for(tmp_path: Path) -> None:
    chance = random.Random(7)
    with scripted_service(tmp_path / "data", max_jobs=4) as service:
        sagemaker = service.client()
        begun = 0
        stopped: set[str] = set()
        for number in range(JOBS):
            name = f"job-{number}"
            script = chance.choice(["phases,candidate-60,child,completed", "phases,failed", "phases,child,exit-1"])
            sagemaker.create_auto_ml_job_v2(**request(name, script))
            if chance.random() < 0.2:
                time.sleep(chance.random() * 0.5)
                sagemaker.stop_auto_ml_job(AutoMLJobName=name)
                stopped.add(name)
            if number == 65:
                begun = _memory(service.process.pid)
            if number in (24, 49):
                service.kill()
                if chance.random() < 0.5:
                    for entry in Path("/proc").iterdir():
                        if entry.name.isdigit() and _is_trainer(entry, service.data_dir):
                            os.kill(int(entry.name), 9)
                service.start()
                sagemaker = service.client()

        def unfinished() -> int:
            pages = sagemaker.get_paginator("list_auto_ml_jobs").paginate()
            jobs = [job for page in pages for job in page["AutoMLJobSummaries"]]
            assert len(jobs) == JOBS
            return sum(job["AutoMLJobStatus"] in ("InProgress", "Stopping") for job in jobs)

        until(lambda: unfinished() == 0, 120)
        for name in stopped:
            status = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)["AutoMLJobStatus"]
            # Some had ended before they were stopped; nothing else may have come of it.
            assert status in ("Stopped", "Completed", "Failed")
        orphans = [e.name for e in Path("/proc").iterdir() if e.name.isdigit() and _is_trainer(e, service.data_dir)]
        assert orphans == []
        assert _memory(service.process.pid) < begun * 1.1


def _memory(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def _is_trainer(entry: Path, folder: Path) -> bool:
    try:
        return (entry / "cwd").resolve().is_relative_to(folder.resolve() / "jobs")
    except OSError:
        return False
