"""The history of a model's scores over the runs of its DAG."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_automl.report import history

EVALUATION = {
    "FinalAutoMLJobObjectiveMetric": {"MetricName": "AUC", "Value": 0.8},
    "CandidateProperties": {"CandidateMetrics": [{"StandardMetricName": "AUC", "Value": 0.8, "Set": "Test"}]},
    "intervals": {"AUC": [0.78, 0.82]},
}
SUMMARY = {"objective": "AUC", "value": 0.85, "outcome": "completed", "job_name": "churn-1", "runtime_seconds": 97.0}


def note(run: str, summary: dict[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    given = {"evaluation": None, "decision": None, "gate": None, "deployment": None, **said}
    return history.entry({"run_id": run}, SUMMARY if summary is None else summary, "2026-11-23T04:00:00+00:00", **given)


@pytest.mark.parametrize(
    ("summary", "said", "end"),
    [
        (SUMMARY, {"deployment": {"endpoint_name": "churn"}, "gate": {"passed": True}}, "deployed"),
        (SUMMARY, {"gate": {"passed": False, "reason": "AUC 0.7 is below the required 0.8."}}, "rejected"),
        (SUMMARY, {}, "trained"),
        ({}, {"decision": {"train": False, "reason": "The model is kept."}, "evaluation": EVALUATION}, "kept"),
        ({**SUMMARY, "value": None, "outcome": "failed"}, {"decision": {"train": True}}, "failed"),
        ({**SUMMARY, "value": None, "outcome": "stopped"}, {}, "stopped"),
    ],
)
def test_each_run_says_how_it_ended(summary: dict[str, Any], said: dict[str, Any], end: str) -> None:
    assert note("r", summary, **said)["end"] == end


def test_the_picture_comes_first_and_the_table_has_the_newest_run_first() -> None:
    runs = [
        note("first", deployment={"endpoint_name": "churn"}),
        note("second", {}, decision={"train": False, "reason": "kept"}, evaluation=EVALUATION),
        note("<third>", gate={"passed": False}, evaluation=EVALUATION),
    ]
    shown = str(history.section(runs))
    assert shown.index("<svg") < shown.index("<table")
    assert shown.index("&lt;third&gt;</td>") < shown.index("<td>second</td>") < shown.index("<td>first</td>")
    assert "0.8000 (0.7800 to 0.8200)" in shown
    assert "Not trained: the model is kept" in shown
    assert "1 min 37 s" in shown
    assert shown.count("<circle") == 2


def test_one_run_is_not_a_history_and_entries_of_other_tasks_are_omitted() -> None:
    assert not history.section([note("only")])
    stray: list[Any] = [note("only"), {"run_id": "x"}, "text", {**note("y"), "value": "high"}]
    assert not history.section(stray)
    wrong = [{"interval": 1}, {"interval": [1.0]}, {"interval": [0, None]}, {"live": math.nan}, {"objective": {"a": 1}}]
    assert not history.section([note("only"), *({**note("y"), **each} for each in wrong)])


def test_the_history_has_a_cost_column_if_any_run_has_a_cost() -> None:
    priced = note("new", {**SUMMARY, "cost": {"amount": 12.5, "currency": "<b>"}})
    of_an_older_release = {key: value for key, value in note("old").items() if key != "cost"}
    shown = str(history.section([of_an_older_release, priced]))
    assert '<th scope="col">Cost</th>' in shown
    assert shown.index("12.50 &lt;b&gt;") < shown.index("<td>old</td>")
    assert "Cost" not in str(history.section([note("old"), note("new")]))
    assert "\N{EN DASH}" in str(history.section([priced, {**priced, "cost": "a lot"}]))
