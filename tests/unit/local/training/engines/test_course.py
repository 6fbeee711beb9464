"""The course of a job: its time, its candidates, and how it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines import isolation
from airflow_automl.local.training.engines.base import JobSpec, Run
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import OUT_OF_TIME, Clock, Course, Stopped
from airflow_automl.local.training.engines.events import EventLog
from tests.unit.local.training import running as training


@pytest.fixture
def course(tmp_path: Path) -> Any:
    """Makes the course of a job with some limits; S3 is a dictionary."""

    def make(max_runtime: float | None = None, **criteria: int) -> Course:
        config = {"CompletionCriteria": criteria}
        folder = training.write_job(tmp_path / "job", "s3://b/in/", config, max_runtime=max_runtime)
        written: dict[str, str] = {}
        store: Any = SimpleNamespace(write=lambda content, uri, kind: written.update({uri: content}), written=written)
        spec = JobSpec.read(folder / "spec.json")
        run = Run(spec, EventLog(folder / "events.jsonl", 1), store, folder / "work")
        return Course(run, "Regression", "MSE", criteria, "LogLoss")

    return make


def done(candidate: Candidate) -> dict[str, str]:
    candidate.validation = {"MSE": 1.0}
    return {"s3://b/model": "0" * 64}


def events(course: Course) -> list[dict[str, Any]]:
    return training.events(course.run.folder.parent)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_does_not_notice_that_the_system_clock_was_set(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(60)
    monkeypatch.setattr(time, "time", lambda known=time.time: known() + hours * 3600)
    assert clock.left == pytest.approx(60, abs=5)
    assert not clock.passed
    assert Clock(0).passed
    assert clock.part(0.5).left == pytest.approx(30, abs=5)
    assert clock.within(10).left == pytest.approx(10, abs=5)
    assert Clock(None).within(None).left is None


def test_training_leaves_time_for_what_comes_after(course: Any, tmp_path: Path) -> None:
    limited = course(60)
    assert 50 < limited.for_training() < 55
    assert limited.time_for_report()
    assert limited.for_report(10) == 10
    assert limited.for_candidate(2).left == pytest.approx(27, abs=2)


def test_a_job_without_a_limit_keeps_to_the_default_one_by_itself(course: Any) -> None:
    by_default = course(MaxAutoMLJobRuntimeInSeconds=100)
    assert by_default.for_training() == pytest.approx(100, abs=5)
    assert by_default.time_for_report()


def test_no_limit_is_none(course: Any) -> None:
    assert course().for_training() is None


def test_a_candidate_is_killed_at_its_own_limit(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "GRACE", 0.0)
    job = course(MaxRuntimePerTrainingJobInSeconds=1)
    candidate = job.make("slow", [], lambda candidate: job.limited(lambda ask: time.sleep(60)))
    assert (candidate.status, job.completed) == ("Stopped", [])
    assert "MaxRuntimePerTrainingJobInSeconds (1 s)" in str(candidate.failure)
    with pytest.raises(JobFailure, match=r"None of 1 candidates was done within .* \(1 s\): allow more time"):
        job.without_result()


def test_a_failed_candidate_does_not_fail_the_job_that_has_another(course: Any) -> None:
    job = course()
    job.make("broken", [], lambda candidate: 1 / 0)
    job.make("good", [], done)
    assert job.without_result() is None
    assert job.best().label == "good"
    found = {entry["CandidateStatus"] for entry in training.candidates(events(job)).values()}
    assert found == {"Failed", "Completed"}
    (partial,) = [event for event in events(job) if event["event"] == "partial_failure"]
    assert "broken failed: ZeroDivisionError" in partial["message"]


def test_a_candidate_without_a_value_of_the_objective_failed(course: Any) -> None:
    def overflow(candidate: Candidate) -> dict[str, str]:
        candidate.validation = {"MAE": 1e200}
        return {"s3://b/model": "0" * 64}

    job = course()
    candidate = job.make("huge", [], overflow)
    assert (candidate.status, candidate.validation) == ("Failed", {})
    assert candidate.failure == "huge failed: MSE of the model's answers is not finite"


def test_the_likelier_of_two_equal_candidates_is_the_best(course: Any) -> None:
    job = course()
    for label, loss, latency in (("fast", 0.5, 0.1), ("sure", 0.3, 2.0), ("slow", 0.3, 3.0)):
        job.make(label, [], done)
        job.completed[-1].validation |= {"LogLoss": loss, "InferenceLatency": latency}
    assert job.best().label == "sure"


def test_a_job_whose_candidates_all_failed_fails_with_a_reason(course: Any) -> None:
    job = course()
    job.make("broken", [], lambda candidate: 1 / 0)
    with pytest.raises(JobFailure, match="No candidate could be trained: broken: ZeroDivisionError"):
        job.without_result()


def test_a_job_whose_own_limit_came_first_is_complete_without_a_candidate(course: Any) -> None:
    job = course(10, MaxRuntimePerTrainingJobInSeconds=3600)

    def stop(candidate: Candidate) -> dict[str, str]:
        raise Stopped("There was no time.")

    candidate = job.make("late", [], stop)
    assert (candidate.status, candidate.failure) == ("Stopped", "There was no time.")
    assert job.without_result() == OUT_OF_TIME


def test_a_report_that_fails_is_a_partial_failure_and_the_other_one_is_written(course: Any) -> None:
    job = course()
    best = job.make("good", [], done)
    assert (
        job.report(best, lambda: 1 / 0, lambda: {"statistics.json": "{}", "report.html": "x"}, "Completed")
        == "Completed"
    )
    assert best.explainability is None
    assert best.insights is not None
    assert set(job.run.store.written) == {f"{best.insights}/statistics.json", f"{best.insights}/report.html"}
    assert [event["kind"] for event in events(job) if event["event"] == "partial_failure"] == ["ExplainabilityError"]
    assert training.phases(events(job)) == ["GeneratingExplainabilityReport", "GeneratingModelInsightsReport"]


def test_without_time_no_report_is_started(course: Any) -> None:
    job = course(0)
    best = job.make("good", [], done)
    assert job.report(best, pytest.fail, pytest.fail, "Completed") == OUT_OF_TIME
    assert json.dumps(training.phases(events(job))) == "[]"
