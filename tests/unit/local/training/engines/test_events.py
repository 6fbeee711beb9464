import json
import math
import threading

from airflow_automl.contract.metrics import best
from airflow_automl.local.training.engines.base import JobSpec
from airflow_automl.local.training.engines.candidates import Candidate, step
from airflow_automl.local.training.engines.events import EventLog

SPEC = JobSpec(
    "churn-2026-nightly",
    "arn:aws:sagemaker:us-east-1:123456789012:automl-job/churn",
    "123456789012",
    "us-east-1",
    {},
    1,
    None,
    None,
    0.0,
    1,
    "s3://b/o/",
)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_of_many_threads_are_whole_lines(tmp_path):
    log = EventLog(tmp_path / "events", 3)
    threads = [threading.Thread(target=lambda: [log.phase("x" * 5000) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = read(tmp_path / "events")
    assert len(events) == 160
    assert {event["attempt"] for event in events} == {3}


def test_nothing_comes_after_the_end(tmp_path):
    log = EventLog(tmp_path / "events", 1)
    log.failed("why " * 1000)
    log.phase("TrainingModels")
    log.completed("Completed")
    events = read(tmp_path / "events")
    assert [event["event"] for event in events] == ["failed"]
    assert len(events[0]["reason"]) == 1024


def test_partial_failures_are_five_at_most_and_each_once(tmp_path):
    log = EventLog(tmp_path / "events", 1)
    for number in (1, 1, 2, 3, 4, 5, 6):
        log.partial_failure(f"model {number}", "Candidate")
    assert [event["message"] for event in read(tmp_path / "events")] == [f"model {number}" for number in range(1, 6)]


def test_a_metric_that_is_not_a_number_is_omitted(tmp_path):
    log = EventLog(tmp_path / "events", 1)
    candidate = Candidate("c", "Regression", "MSE", [])
    candidate.validation = {"MSE": 1.0, "R2": math.nan}
    log.candidate(candidate.document())
    listed = read(tmp_path / "events")[0]["candidate"]["CandidateProperties"]["CandidateMetrics"]
    assert [metric["StandardMetricName"] for metric in listed] == ["MSE"]


def test_children_keep_ten_characters_of_the_jobs_name():
    made = step(SPEC, "training-job", "t1-LightGBM")
    assert made["CandidateStepName"].startswith("churn-2026-t1-LightGBM-")
    assert len(made["CandidateStepName"]) <= 64
    assert made["CandidateStepArn"].startswith("arn:aws:sagemaker:us-east-1:123456789012:training-job/churn-2026-")


def test_names_are_the_same_in_every_attempt_and_short_enough():
    name = Candidate.name_for(SPEC, "WeightedEnsemble_L2" * 5)
    assert name == Candidate.name_for(SPEC, "WeightedEnsemble_L2" * 5)
    assert len(name) <= 64


def test_a_candidate_goes_from_in_progress_to_completed():
    candidate = Candidate("c", "BinaryClassification", "F1", [step(SPEC, "training-job", "t1")])
    first = candidate.document()
    assert (first["CandidateStatus"], first["ObjectiveStatus"], "EndTime" in first) == ("InProgress", "Pending", False)
    candidate.validation, candidate.insights = {"F1": 0.5}, "s3://b/insights"
    candidate.complete()
    done = candidate.document()
    assert done["FinalAutoMLJobObjectiveMetric"] == {
        "Type": "Maximize",
        "MetricName": "F1",
        "Value": 0.5,
        "StandardMetricName": "F1",
    }
    assert (done["CandidateStatus"], done["ObjectiveStatus"]) == ("Completed", "Succeeded")
    # The structure requires the explainability report (R98).
    assert "CandidateArtifactLocations" not in done["CandidateProperties"]
    assert best([done]) == done


def test_a_failed_candidate_says_why():
    candidate = Candidate("c", "Regression", "MSE", [])
    candidate.fail("no memory")
    assert (candidate.document()["CandidateStatus"], candidate.document()["FailureReason"]) == ("Failed", "no memory")
    candidate.stop("no time")
    assert (candidate.document()["CandidateStatus"], candidate.document()["ObjectiveStatus"]) == ("Stopped", "Failed")
