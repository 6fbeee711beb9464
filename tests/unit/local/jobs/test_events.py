"""Events are applied once, in order, whole lines only, of the current attempt only."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local.jobs import events
from airflow_automl.local.jobs.executors.local import LocalExecutor
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import JobStore


@pytest.fixture
def path(jobs: JobStore, tmp_path: Path) -> Path:
    jobs.add("churn", "arn:churn", "V2", {})
    jobs.begin_attempt("churn", 1.0)
    path = DataFolder(tmp_path).job("churn") / "events.jsonl"
    path.parent.mkdir(parents=True)
    return path


def line(attempt: int = 1, **event: Any) -> bytes:
    return json.dumps({"attempt": attempt, "at": 1.0, **event}).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as handle:
        handle.write(b"".join(lines))


def apply(jobs: JobStore, path: Path) -> events.Final | None:
    executor = LocalExecutor(DataFolder(path.parents[2]), (), dict)
    return events.apply(jobs, jobs.get("churn"), partial(executor.events, {"job": "churn"}))


def test_a_missing_file_has_no_events(jobs: JobStore, path: Path) -> None:
    assert apply(jobs, path) is None


def test_a_line_that_is_still_being_written_waits(jobs: JobStore, path: Path) -> None:
    whole = line(event="phase", secondary="PreTraining")
    append(path, line(event="phase", secondary="AnalyzingData"), whole[:20])
    apply(jobs, path)
    assert jobs.get("churn").secondary == "AnalyzingData"
    append(path, whole[20:])
    apply(jobs, path)
    assert jobs.get("churn").secondary == "PreTraining"


def test_nothing_is_applied_twice(jobs: JobStore, path: Path) -> None:
    append(path, line(event="partial_failure", kind="Candidate", message="one"))
    apply(jobs, path)
    modified = jobs.get("churn").modified
    apply(jobs, path)
    assert jobs.get("churn").modified == modified


def test_another_attempt_says_nothing(jobs: JobStore, path: Path) -> None:
    append(path, line(2, event="completed", secondary="Completed"))
    assert apply(jobs, path) is None
    assert jobs.get("churn").outcome is None


@pytest.mark.parametrize(
    "broken",
    [
        b"no json\n",
        b"[]\n",
        b"\xff\xfe\n",
        line(),
        line(event="phase"),
        line(event="later"),
        line(event="candidate", candidate={"CandidateName": "x"}),
        line(event="candidate", candidate={"CandidateName": "x", "CandidateStatus": "Fine"}),
        line(event="artifacts", artifacts=7),
    ],
)
def test_a_broken_event_is_passed_over(jobs: JobStore, path: Path, broken: bytes) -> None:
    append(path, broken, line(event="failed", reason="final"))
    assert apply(jobs, path) == events.Final("final", None)
    assert jobs.candidates("churn") == []


def test_a_long_line_is_read_whole(jobs: JobStore, path: Path) -> None:
    append(path, line(event="partial_failure", kind="Candidate", message="x" * (3 << 20)))
    append(path, line(event="completed", secondary="Completed"))
    assert apply(jobs, path) == events.Final(None, "Completed")
    assert jobs.get("churn").outcome == "Completed"


def test_a_failure_is_kept_until_the_job_fails(jobs: JobStore, path: Path) -> None:
    append(path, line(event="failed", reason="y" * 3000))
    apply(jobs, path)
    assert jobs.get("churn").status == "InProgress"
    assert jobs.get("churn").failure == "y" * 1024
