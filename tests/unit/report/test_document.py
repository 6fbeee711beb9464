"""The report's document, of jobs in every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_automl.report.document import build
from airflow_automl.times import duration_text, seconds_between
from tests.unit.report.samples import BEGAN, candidate, describe


def test_the_leaderboard_puts_the_best_first_and_the_unscored_last() -> None:
    rows = [candidate("b", 0.8, 2), candidate("c", 0.9, 1), candidate("broken", None, 3), candidate("a", 0.85, 0)]
    board = build(describe(BestCandidate=rows[1]), rows)["leaderboard"]
    assert [(row["rank"], row["name"], row["best"]) for row in board] == [
        (1, "c", True),
        (2, "a", False),
        (3, "b", False),
        (None, "broken", False),
    ]


def test_a_minimised_objective_ranks_and_runs_the_other_way() -> None:
    rows = [candidate("a", 3.0, 0, "RMSE"), candidate("b", 2.0, 1, "RMSE"), candidate("c", 2.5, 2, "RMSE")]
    report = build(describe(BestCandidate=rows[1]), rows)
    assert [row["name"] for row in report["leaderboard"]] == ["b", "c", "a"]
    assert [point["running_best"] for point in report["progress"]] == [3.0, 2.0, 2.0]
    assert report["summary"]["direction"] == "Minimize"


def test_progress_is_in_the_order_of_finishing() -> None:
    rows = [candidate("late", 0.7, 9), candidate("early", 0.8, 1)]
    points = build(describe(BestCandidate=rows[1]), rows)["progress"]
    assert [(point["name"], point["seconds"], point["running_best"]) for point in points] == [
        ("early", 10.0, 0.8),
        ("late", 90.0, 0.8),
    ]


@pytest.mark.parametrize(
    ("members", "tone", "title", "sentence"),
    [
        ({"BestCandidate": candidate("a", 0.8, 0)}, "good", "Completed", "a is the best candidate with AUC 0.8000."),
        (
            {"BestCandidate": candidate("a", 0.8, 0), "PartialFailureReasons": [{"PartialFailureMessage": "x"}]},
            "warning",
            "Completed with warnings",
            "a is the best candidate with AUC 0.8000, but not everything went well.",
        ),
        (
            {"AutoMLJobSecondaryStatus": "MaxAutoMLJobRuntimeReached"},
            "bad",
            "Runtime limit before any candidate",
            "The job's runtime limit ended it before any candidate was finished.",
        ),
        (
            {"AutoMLJobStatus": "Failed", "FailureReason": "No such column: churn"},
            "bad",
            "Failed",
            "No such column: churn",
        ),
        ({"AutoMLJobStatus": "Stopped"}, "warning", "Stopped", "It was stopped after 2 min 0 s."),
        (
            {"BestCandidate": candidate("a", 0.8, 0), "ModelDeployConfig": {"EndpointName": "x"}},
            "bad",
            "Completed, not deployed",
            "a is the best candidate with AUC 0.8000.",
        ),
    ],
)
def test_verdicts(members: dict[str, Any], tone: str, title: str, sentence: str) -> None:
    verdict = build(describe(**members), [])["verdict"]
    assert (verdict["tone"], verdict["title"], verdict["sentence"]) == (tone, title, sentence)


def test_a_running_job_is_timed_until_now() -> None:
    running = describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus="TrainingModels")
    del running["EndTime"]
    report = build(running, [], now=BEGAN + timedelta(seconds=30))
    assert report["summary"]["runtime_seconds"] == 30
    assert report["verdict"]["tone"] == "running"


def test_problems_are_gathered_from_everywhere() -> None:
    rows = [candidate("a", 0.8, 0), {**candidate("b", None, 1), "FailureReason": "out of memory"}]
    described = describe(BestCandidate=rows[0], PartialFailureReasons=[{"PartialFailureMessage": "no insights"}])
    report = build(described, rows, insights={"notes": ["Explainability could not be read"]})
    assert [(each["where"], each["message"]) for each in report["problems"]] == [
        ("partial failure", "no insights"),
        ("candidate b", "out of memory"),
        ("report", "Explainability could not be read"),
    ]


def test_v1_jobs_and_their_spellings() -> None:
    old = {
        "AutoMLJobName": "old",
        "AutoMLJobArn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/old",
        "AutoMLJobStatus": "Completed",
        "AutoMLJobSecondaryStatus": "MaxCandidatesReached",
        "InputDataConfig": [],
        "ProblemType": "BinaryClassification",
        "CreationTime": BEGAN,
        "BestCandidate": {
            "CandidateName": "tuning-1",
            "FinalAutoMLJobObjectiveMetric": {"MetricName": "validation:f1", "Value": 0.6},
            "CandidateStatus": "Completed",
        },
    }
    report = build(old, [old["BestCandidate"]])
    assert report["summary"]["objective"] == "F1"
    assert report["leaderboard"][0]["metrics"] == {"F1": 0.6}
    assert report["progress"] == []


def test_the_previous_run_is_compared_in_the_objectives_direction() -> None:
    best = candidate("a", 2.0, 0, "RMSE")
    report = build(describe(BestCandidate=best), [best], previous={"job_name": "before", "metrics": {"RMSE": 2.5}})
    assert report["previous"] == report["previous"] | {"before": 2.5, "now": 2.0, "gain": 0.5}
    assert build(describe(BestCandidate=best), [best], previous={"metrics": {"MSE": 1}})["previous"] is None


def test_the_configuration_has_the_requested_values_and_no_results() -> None:
    report = build(describe(BestCandidate=candidate("a", 0.8, 0)), [])
    assert "AutoMLProblemTypeConfig" in report["configuration"]
    assert not {"BestCandidate", "AutoMLJobStatus", "EndTime"} & report["configuration"].keys()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "\N{EN DASH}"), (0, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_times_that_cannot_be_read_are_omitted() -> None:
    assert seconds_between("yesterday", "2026-01-01T00:00:00+00:00") is None
    assert seconds_between(None, datetime.now(UTC).isoformat()) is None
    assert seconds_between("2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00") is None


def test_a_running_job_that_names_no_objective_has_that_of_its_candidates() -> None:
    answer = describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus="TrainingModels", EndTime=None)
    report = build(answer, [candidate("a", 0.7, 0), candidate("b", 0.8, 1)])
    assert report["summary"]["objective"] == "AUC"
    assert [point["running_best"] for point in report["progress"]] == [0.7, 0.8]


def test_a_job_costs_by_its_run_time_and_its_candidates() -> None:
    rows = [candidate("a", 0.8, 0), candidate("b", 0.9, 1)]
    prices = {"currency": "USD", "job": 30.0, "default": 180.0}
    summary = build(describe(BestCandidate=rows[1]), rows, prices=prices)["summary"]
    assert (summary["runtime_seconds"], summary["candidate_seconds"]) == (120.0, 20.0)
    assert summary["cost"] == {"amount": pytest.approx(2.0), "currency": "USD"}
    assert build(describe(), rows)["summary"]["cost"] is None
    assert build(describe(), None, prices=prices)["summary"]["cost"] is None


def test_candidates_in_training_cost_until_now_and_the_whole_run_time_counts_where_nothing_queues() -> None:
    row = candidate("a", None, 2)
    del row["EndTime"]
    running = describe(AutoMLJobStatus="InProgress", EndTime=None)
    now = BEGAN + timedelta(seconds=80)
    for queues, seconds in ((True, 60.0), (False, 80.0)):
        summary = build(running, [row], prices={"default": 3600.0}, queues=queues, now=now)["summary"]
        assert (summary["runtime_seconds"], summary["candidate_seconds"]) == (seconds, 60.0)
        assert summary["cost"]["amount"] == pytest.approx(60.0)
