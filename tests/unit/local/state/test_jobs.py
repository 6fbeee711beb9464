"""A job's status only moves forward, and its best candidate is the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.database import SCHEMA_VERSION, Database, reading
from airflow_automl.local.state.jobs import JobStore


@pytest.mark.parametrize("folder", ["app#1", "app?1", "feature%2Fone", "äpp 1"])
def test_the_database_is_in_its_folder_whatever_that_is_called(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "state.db"
    path.parent.mkdir()
    Database(path).close()
    assert path.is_file()
    with reading(path) as database:
        assert JobStore(database).in_stage("queued") == []
    assert [each.name for each in tmp_path.iterdir()] == [folder]


@pytest.fixture
def job(jobs: JobStore) -> str:
    jobs.add("churn", "arn:churn", "V2", {})
    jobs.begin_attempt("churn", 1.0)
    return "churn"


def candidate(name: str, value: float | None = None, latency: float = 1.0, status: str = "Completed") -> dict[str, Any]:
    document: dict[str, Any] = {"CandidateName": name, "CandidateStatus": status, "CreationTime": 5.0}
    if value is not None:
        document["FinalAutoMLJobObjectiveMetric"] = {"MetricName": "AUC", "Value": value}
        metric = {"StandardMetricName": "InferenceLatency", "Value": latency, "Set": "Validation"}
        document["CandidateProperties"] = {"CandidateMetrics": [metric]}
    return document


def test_phases_only_move_forward(jobs: JobStore, job: str) -> None:
    jobs.set_phase(job, "TrainingModels")
    before = jobs.get(job).modified
    jobs.set_phase(job, "AnalyzingData")
    assert jobs.get(job).secondary == "TrainingModels"
    assert jobs.get(job).modified == before


@pytest.mark.parametrize("end", ["completed", "failed", "stopped"])
def test_a_terminal_status_never_changes(jobs: JobStore, job: str, end: str) -> None:
    if end == "stopped":
        jobs.stop(job)
        jobs.stopped(job)
    elif end == "failed":
        jobs.failed(job, "because")
    else:
        jobs.completed(job, "Completed")
    final = jobs.get(job)
    assert final.status == end.capitalize()
    jobs.stop(job)
    jobs.stopped(job)
    jobs.failed(job, "another reason")
    jobs.completed(job, "MaxCandidatesReached")
    jobs.set_phase(job, "DeployingModel")
    jobs.add_partial_failure(job, "Candidate", "late")
    jobs.put_candidate(job, candidate("late", 0.9), {}, 1)
    jobs.requeue(job, crashed=True)
    assert jobs.get(job) == final


def test_a_stopping_job_can_only_be_stopped(jobs: JobStore, job: str) -> None:
    jobs.stop(job)
    jobs.completed(job, "Completed")
    jobs.failed(job, "because")
    assert jobs.get(job).status == "Stopping"
    jobs.stopped(job)
    assert jobs.get(job).status == "Stopped"


def test_every_change_has_a_time_of_its_own(jobs: JobStore, job: str) -> None:
    times = [jobs.get(job).modified]
    for phase in ("AnalyzingData", "PreTraining", "TrainingModels"):
        jobs.set_phase(job, phase)
        times.append(jobs.get(job).modified)
    assert times == sorted(set(times))


def test_the_best_candidate_has_the_best_objective_then_the_lowest_latency(jobs: JobStore, job: str) -> None:
    for name, value, latency in [("a", 0.7, 1.0), ("b", 0.9, 3.0), ("c", 0.9, 2.0), ("d", 0.8, 0.1)]:
        jobs.put_candidate(job, candidate(name, value, latency), {}, 1)
    jobs.put_candidate(job, candidate("e", status="InProgress"), {}, 1)
    assert jobs.get(job).best == "c"


def test_the_loss_that_a_job_names_decides_between_equal_objectives(jobs: JobStore, job: str) -> None:
    jobs.set_resolved(job, {"objective": "AUC", "tie_break": "LogLoss"})
    for name, latency, loss in [("fast", 0.1, 0.5), ("sure", 2.0, 0.3), ("slow", 3.0, 0.3)]:
        document = candidate(name, 0.9, latency)
        document["CandidateProperties"]["CandidateMetrics"].append({"StandardMetricName": "LogLoss", "Value": loss})
        jobs.put_candidate(job, document, {}, 1)
    jobs.put_candidate(job, jobs.candidate(job, "sure") or {}, {}, 1)
    assert jobs.get(job).best == "sure"


def test_a_candidate_of_an_earlier_attempt_stays_until_it_is_made_again(jobs: JobStore, job: str) -> None:
    jobs.put_candidate(job, candidate("a", 0.7), {"s3://b/a": "1"}, 1)
    jobs.put_candidate(job, candidate("old", 0.9), {}, 1)
    jobs.requeue(job, crashed=True)
    jobs.begin_attempt(job, 2.0)
    jobs.put_candidate(job, candidate("a", status="InProgress"), {}, 2)
    assert jobs.get(job).best == "old"
    jobs.drop_earlier_attempts(job)
    assert len(jobs.candidates(job)) == 2
    jobs.put_candidate(job, candidate("a", 0.75), {"s3://b/a": "2"}, 2)
    jobs.drop_earlier_attempts(job)
    assert [found["CandidateName"] for found in jobs.candidates(job)] == ["a"]
    assert jobs.get(job).best == "a"
    assert jobs.digest("s3://b/a") == "2"


def test_at_most_five_partial_failures_are_returned_and_reports_come_first(jobs: JobStore, job: str) -> None:
    for number in range(7):
        jobs.add_partial_failure(job, "Candidate", f"candidate {number} " + "x" * 2000)
    jobs.add_partial_failure(job, "ModelInsightsError", "no insights")
    partial = jobs.get(job).partial
    assert len(partial) == 5
    assert partial[0] == {"kind": "ModelInsightsError", "message": "no insights"}
    assert max(len(entry["message"]) for entry in partial) == 1024
    jobs.completed(job, "Completed")
    assert jobs.get(job).secondary == "ModelInsightsError"


def test_names_are_found_in_any_case(jobs: JobStore, job: str) -> None:
    found = jobs.find("CHURN")
    assert found is not None
    assert found.name == "churn"


def test_a_transaction_happens_whole_or_not_at_all(jobs: JobStore, database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction():
        jobs.add("lost", "arn:lost", "V2", {})
        raise RuntimeError
    assert jobs.find("lost") is None


def test_a_database_of_another_schema_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "other.db")
    database.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(StartupError, match="schema version"):
        Database(tmp_path / "other.db")


@pytest.mark.parametrize("boot", [None, "boot"])
def test_a_trainer_in_a_database_of_an_earlier_release_gets_a_handle(tmp_path: Path, boot: str | None) -> None:
    earlier = Database(tmp_path / "state.db")
    JobStore(earlier).add("churn", "arn:churn", "V2", {})
    JobStore(earlier).add("queued", "arn:queued", "V2", {})
    earlier.execute("ALTER TABLE jobs DROP COLUMN handle")
    for column in ("pid", "pid_started", "pid_boot")[: 3 if boot else 2]:
        earlier.execute(f"ALTER TABLE jobs ADD COLUMN {column}")
    earlier.execute("UPDATE jobs SET pid = 7, pid_started = 8, started = 9.5 WHERE name = 'churn'")
    if boot:
        earlier.execute("UPDATE jobs SET pid_boot = ?", (boot,))
    looking = Database(tmp_path / "state.db", read_only=True)
    assert JobStore(looking).get("churn").handle is None
    for database in (earlier, looking):
        database.close()
    jobs = JobStore(Database(tmp_path / "state.db"))
    assert jobs.get("churn").handle == {"job": "churn", "pid": 7, "started": 8, "boot": boot, "at": 9.5}
    assert jobs.get("queued").handle is None
    jobs.database.close()


def test_times_increase_after_a_restart_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    first = Database(tmp_path / "state.db")
    JobStore(first).add("future", "arn:future", "V2", {})
    first.execute("UPDATE jobs SET modified = 99999999999.0")
    first.close()
    second = Database(tmp_path / "state.db")
    assert second.now() > 99999999999.0
    second.close()
