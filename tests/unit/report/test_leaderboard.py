"""The leaderboard of the report, and plots of hundreds of candidates."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_automl.report import build, plots, render
from airflow_automl.report.leaderboard import algorithm, board
from tests.unit.report.samples import candidate, describe


def row(name: str, status: str = "Completed", **measured: float) -> dict[str, Any]:
    return {"name": name, "status": status, "metrics": measured, "best": False}


def test_names_are_shown_without_their_common_part_and_scores_with_the_same_decimals() -> None:
    laid = board([row("churn-1-LightGBM-a", AUC=0.9), row("churn-1-XGBoost-b", AUC=0.87654321)], ["AUC"])
    assert [each["label"] for each in laid["rows"]] == ["LightGBM-a", "XGBoost-b"]
    assert [each["cells"] for each in laid["rows"]] == [["0.9000"], ["0.8765"]]


def test_latency_is_in_milliseconds_and_large_scores_have_no_decimals() -> None:
    laid = board([row("a", InferenceLatency=0.0123, RMSE=45231.27)], ["InferenceLatency", "RMSE"])
    assert [column.label for column in laid["columns"]] == ["InferenceLatency (ms)", "RMSE"]
    assert laid["rows"][0]["cells"] == ["12.30", "45,231"]


def test_candidates_that_were_given_up_are_apart() -> None:
    laid = board([row("a", AUC=0.9), row("b", "Stopped")], ["AUC"])
    assert [each["name"] for each in laid["rows"]] == ["a"]
    assert [each["name"] for each in laid["given_up"]] == ["b"]


@pytest.mark.parametrize(
    ("label", "images", "expected"),
    [
        ("WeightedEnsemble-L2", [], "Weighted ensemble"),
        ("LightGBM-BAG-L1-ab12cd34", [], "LightGBM"),
        ("NeuralNetFastAI-3", [], "Neural network (fastai)"),
        ("dpp0-7-9f2", ["683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.3-1"], "XGBoost"),
        ("cnn-qr-1", [], "CNN-QR"),
        ("assets-model", [], "\N{EN DASH}"),
    ],
)
def test_an_algorithm_is_recognized_by_name_or_image(label: str, images: list[str], expected: str) -> None:
    assert algorithm(label, images) == expected


def test_hundreds_of_points_have_no_outline_and_lie_below_the_line() -> None:
    rows = [candidate(f"c-{number}", 0.5 + (number * 37 % 500) / 1000, number) for number in range(500)]
    report = build(
        describe(BestCandidate=max(rows, key=lambda each: each["FinalAutoMLJobObjectiveMetric"]["Value"])), rows
    )
    drawn = str(plots.progress(report["progress"], "AUC"))
    assert drawn.count('class="dot') == 1
    assert drawn.count('class="point"') == 499
    assert drawn.rindex('class="point"') < drawn.index('class="line"') < drawn.index('class="dot best"')


def test_the_numbers_of_an_axis_have_the_same_decimals() -> None:
    drawn = "".join(plots.Axes((0.0, 1.0), (0.798, 0.85)).frame("across"))
    upwards, across = ["0.80", "0.82", "0.84"], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert re.findall(r">([\d.]+)</text>", drawn) == upwards + across


def test_names_of_candidates_are_data_in_the_leaderboard() -> None:
    rows = [candidate("<b>a</b>", 0.8, 0), candidate('"><script>x</script>', 0.7, 1)]
    page = render(build(describe(BestCandidate=rows[0]), rows))
    assert "<script>" not in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page
