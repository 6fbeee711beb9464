import io

import pytest
from rich.console import Console

from airflow_automl.demo.screen import comparison, leaderboard

METRICS = ("AUC", "Accuracy", "F1", "LogLoss")


def candidate(name, value, status="Completed"):
    described = {"CandidateName": name, "CandidateStatus": status}
    if value is not None:
        described["FinalAutoMLJobObjectiveMetric"] = {"MetricName": "AUC", "Value": value, "Type": "Maximize"}
        measured = [{"StandardMetricName": metric, "Value": value, "Set": "Validation"} for metric in METRICS]
        described["CandidateProperties"] = {"CandidateMetrics": measured}
    return described


CANDIDATES = [
    candidate("chur-k3x9aqw7b2mz-train-lightgbm-1-8f3a5c", 0.84211),
    candidate("chur-k3x9aqw7b2mz-train-weighted-ensemble-l2-91bd01", 0.85),
    candidate("chur-k3x9aqw7b2mz-train-fastai-1-000000", None, "Stopped"),
]


def drawn(table, width):
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 70, 80, 100, 140])
def test_no_score_of_the_leaderboard_is_cut(width):
    lines = drawn(leaderboard(CANDIDATES, width), width)
    assert all(len(line) <= width for line in lines)
    assert "…" not in "".join(lines) or width < 60
    assert lines[0].split()[:2] == ["candidate", "AUC"]
    columns = lines[0].split()[1:]
    assert lines[1].split()[1:] == ["0.8500"] * len(columns)
    assert lines[2].split()[1:] == ["0.8421"] * len(columns)
    assert lines[1].split()[0].startswith("weighted-ensemble")
    assert "1 candidate was stopped ea" in lines[3]


def test_a_wide_terminal_shows_every_metric_in_its_unit():
    assert sorted(drawn(leaderboard(CANDIDATES, 100), 100)[0].split()) == [
        "AUC",
        "Accuracy",
        "F1",
        "LogLoss",
        "candidate",
    ]
    quick = {
        **candidate("quick", 0.7),
        "CandidateProperties": {"CandidateMetrics": [{"MetricName": "InferenceLatency", "Value": 0.0123}]},
    }
    lines = drawn(leaderboard([quick, candidate("later", None, "InProgress")], 80), 80)
    assert lines[0].split() == ["candidate", "AUC", "InferenceLatency", "(ms)"]
    assert lines[1].split() == ["quick", "0.7000", "12.30"]
    assert lines[2].split() == ["later:", "In", "progress"]


@pytest.mark.parametrize("width", [70, 80, 100, 140])
def test_no_score_of_the_comparison_is_cut(width):
    scores = {"Validation": {"AUC": 0.85, "F1": 0.6}, "Test": {"AUC": 0.84, "F1": 0.59}}
    lines = drawn(comparison({"best candidate": scores, "scikit-learn gradient boosting": scores}), width)
    assert "…" not in "".join(lines)
    assert lines[1].split() == ["Validation", "AUC", "0.8500", "0.8500"]


def test_one_candidate_keeps_its_name():
    assert "lightgbm-1" in drawn(leaderboard([candidate("job-lightgbm-1", 0.5)], 80), 80)[1]
