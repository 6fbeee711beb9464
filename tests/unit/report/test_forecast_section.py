"""What the report shows of a forecast."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_automl.report import build, render
from airflow_automl.report.insights import read
from tests.unit.report.samples import candidate, describe

FOLDER = "s3://b/out/job/backtest-results/c"
CONFIG = {
    "AutoMLProblemTypeConfig": {"TimeSeriesForecastingJobConfig": {}},
    "AutoMLProblemTypeConfigName": "TimeSeriesForecasting",
}
BAND = {"timestamps": ["2024-01-03", "2024-01-04"], "mean": [3.0, 4.0], "p10": [2.0, 3.0], "p90": [4.0, 6.0]}
SUMMARY = {
    "objective": "WAPE",
    "metrics": {"WAPE": 0.2, "RMSE": 5.0},
    "seasonal_naive": {"WAPE": 0.1, "RMSE": 6.0},
    "coverage": {"p10": 0.25, "p90": 0.85},
    "intervals": [{"lower": "p10", "upper": "p90", "nominal": 0.8, "measured": 0.6}],
    "weights": {"ets": 0.75, "npts": 0.25},
    "examples": [
        {
            "key": ["<tea>", "B & C"],
            "timestamps": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
            "actual": [1.0, 2.0, 3.5, 4.5],
            "backtests": [BAND],
            "forecast": BAND | {"timestamps": ["2024-01-05", "2024-01-06"]},
        }
    ],
    "items": [{"key": ["<tea>", "B & C"], "metrics": {"WAPE": 0.2}}],
}


def found(content: Any) -> dict[str, Any]:
    best = candidate("c", 0.2, 1, "WAPE")
    best["CandidateProperties"]["CandidateArtifactLocations"] = {"BacktestResults": FOLDER}
    objects = {f"{FOLDER}/predictions.csv": b"", f"{FOLDER}/summary.json": json.dumps(content).encode()}
    return read(
        best,
        lambda prefix: [each for each in objects if each.startswith(prefix)],
        objects.__getitem__,
        "TimeSeriesForecasting",
    )


def page(content: Any) -> str:
    return render(build(describe(**CONFIG), [], insights=found(content)))


def test_forecasts_are_drawn_with_their_bands_and_judged_beside_the_naive_one() -> None:
    shown = page(SUMMARY)
    assert "<h2>&lt;tea&gt; / B &amp; C</h2>" in shown
    assert shown.count('class="band"') == 2
    assert shown.count('class="actual"') == 1
    assert '<td>WAPE</td><td class="n worse">0.2000</td><td class="n">0.1000</td>' in shown
    assert '<td>RMSE</td><td class="n better">5.000</td><td class="n">6.000</td>' in shown
    assert "Not better than the seasonal naive forecast in WAPE: use that one instead." in shown
    assert '<td>p10 to p90</td><td class="n">80 %</td><td class="n">60 %</td>' in shown
    assert "<td>ets</td>" in shown
    assert '<td>&lt;tea&gt; / B &amp; C</td><td class="n">0.2000</td>' in shown


def test_one_quantile_has_no_band() -> None:
    single = {key: value for key, value in BAND.items() if key not in ("p10",)}
    example = SUMMARY["examples"][0] | {"backtests": [], "forecast": single}
    assert 'class="band"' not in page(SUMMARY | {"examples": [example]})


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"metrics": "many"},
        SUMMARY | {"examples": [{"key": "tea"}], "items": [3], "intervals": [{"lower": 1}]},
        SUMMARY | {"examples": [SUMMARY["examples"][0] | {"actual": [1.0]}]},
        SUMMARY | {"examples": [SUMMARY["examples"][0] | {"forecast": BAND | {"p90": ["high", None]}}]},
    ],
)
def test_a_summary_of_another_shape_is_no_reason_for_an_error(content: Any) -> None:
    shown = page(content)
    assert 'class="actual"' not in shown
    assert "could not be read" not in shown
