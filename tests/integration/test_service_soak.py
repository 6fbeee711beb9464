"""A hundred short jobs, four at a time, with random stops and kills: every job is accounted for, nothing is left."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

from airflow_automl.local import processes
from tests.service.running import ended, real_service, request, scripted_service, until

pytestmark = pytest.mark.slow
JOBS = int(os.environ.get("SOAK_JOBS", "100"))


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
            # Some had ended before they were stopped; no other outcome is allowed.
            assert status in ("Stopped", "Completed", "Failed")
        orphans = [e.name for e in Path("/proc").iterdir() if e.name.isdigit() and _is_trainer(e, service.data_dir)]
        assert orphans == []
        assert _memory(service.process.pid) < begun * 1.1


def test_every_job_that_really_trains_is_accounted_for(tmp_path: Path) -> None:
    """Real data, real candidates; jobs are stopped, their trainers killed, and the service too, at random."""
    chance = random.Random(11)
    with real_service(tmp_path / "data", "--max-jobs", "4") as service:
        body = load_breast_cancer(as_frame=True).frame.to_csv(index=False).encode()
        service.client("s3").put_object(Bucket="automl", Key="in/train.csv", Body=body)
        sagemaker = service.client()
        fates: dict[str, str] = {}
        begun = 0
        for number in range(JOBS):
            name = f"job-{number}"
            sagemaker.create_auto_ml_job_v2(**_training(name))
            fates[name] = chance.choices(["completes", "stopped", "killed"], [6, 2, 2])[0]
            # Four jobs train, and some wait; job and phase are chosen at random.
            until(lambda: len(_unfinished(service.client())) < 6, 600)
            victims = [victim for victim in _unfinished(sagemaker) if fates[victim] != "completes"]
            if victims and chance.random() < 0.5:
                victim = chance.choice(victims)
                if fates[victim] == "stopped":
                    sagemaker.stop_auto_ml_job(AutoMLJobName=victim)
                else:
                    _kill_trainer(service.data_dir, victim)
            if number in (JOBS // 3, 2 * JOBS // 3):
                service.kill()
                service.start()
                sagemaker = service.client()
                # Caches fill with the first requests, and the last restart is what growth is measured from.
                ended(sagemaker, "job-0", 600)
                begun = 0
            if not begun and number > 2 * JOBS // 3 + 3:
                begun = _memory(service.process.pid)
        until(lambda: not _unfinished(service.client()), 1800)
        pages = sagemaker.get_paginator("list_auto_ml_jobs").paginate()
        listed = {job["AutoMLJobName"]: job["AutoMLJobStatus"] for page in pages for job in page["AutoMLJobSummaries"]}
        assert listed.keys() == fates.keys()
        for name, status in listed.items():
            described = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)
            other = {"completes": "Completed", "stopped": "Stopped", "killed": "Failed"}[fates[name]]
            assert status in ("Completed", other), (name, fates[name], described.get("FailureReason"))
            if status == "Completed":
                assert described["BestCandidate"]["CandidateStatus"] == "Completed"
            if status == "Failed":
                assert "without a result" in described["FailureReason"]
        orphans = [e.name for e in Path("/proc").iterdir() if e.name.isdigit() and _is_trainer(e, service.data_dir)]
        assert orphans == []
        grown = _memory(service.process.pid) / begun
        print(f"{JOBS} jobs: {sorted(listed.values()).count('Completed')} completed, memory x {grown:.3f}")
        assert grown < 1.1


def _training(name: str) -> dict[str, Any]:
    config = {
        "TargetAttributeName": "target",
        "Mode": "HYPERPARAMETER_TUNING",
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["linear-learner"]}]},
        "CompletionCriteria": {"MaxCandidates": 2},
    }
    found = request(name, "", AutoMLProblemTypeConfig={"TabularJobConfig": config})
    found["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://automl/in/"
    return found


def _unfinished(sagemaker: Any) -> list[str]:
    found: list[str] = []
    for status in ("InProgress", "Stopping"):
        pages = sagemaker.get_paginator("list_auto_ml_jobs").paginate(StatusEquals=status)
        found += [job["AutoMLJobName"] for page in pages for job in page["AutoMLJobSummaries"]]
    return sorted(found)


def _kill_trainer(folder: Path, name: str) -> None:
    """Kill a job's trainer, if it has one now."""
    wanted = str(folder.resolve() / "jobs" / name)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and processes.identify(int(entry.name)):
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if wanted in line:
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue


def _memory(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def _is_trainer(entry: Path, folder: Path) -> bool:
    try:
        return (entry / "cwd").resolve().is_relative_to(folder.resolve() / "jobs")
    except OSError:
        return False
