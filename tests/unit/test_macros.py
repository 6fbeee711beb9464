"""Macros, as Airflow's own template context offers them."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import jinja2
import pytest

from airflow_automl import macros
from airflow_automl.exceptions import AutoMLValidationError, NoBestCandidate
from tests.airflows import airflow_macros
from tests.unit.operators.conftest import make_candidate


class TaskInstance:
    """XComs by task and key."""

    def __init__(self) -> None:
        best = make_candidate()
        best["CandidateProperties"]["CandidateArtifactLocations"] = {"Explainability": "s3://acme-ml/e/"}
        self.xcoms = {
            ("train", "return_value"): best,
            ("train", "job"): {"name": "churn-5a8e", "status": "Completed"},
            ("board", "return_value"): [best, make_candidate("a|b\nc", 0.8), make_candidate("third", 0.7)],
        }

    def xcom_pull(self, task_ids: str, key: str = "return_value", **select: Any) -> Any:
        return self.xcoms.get((task_ids, key)) if not select else f"selected {select}"


def rendered(template: str) -> str:
    """Render with the macros that Airflow integrates from its plugins."""
    return jinja2.Template(template).render(ti=TaskInstance(), macros=airflow_macros())


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("macros.automl.best_metric(ti, 'train', 'AUC')", "0.85"),
        ("macros.automl.best_metric(ti, 'train', 'log_loss')", "0.41"),
        ("macros.automl.best_metric(ti, 'train')", "0.85"),
        ("macros.automl.best_candidate_name(ti, 'train')", "churn-WeightedEnsemble-L2"),
        ("macros.automl.best_candidate(ti, 'train').CandidateStatus", "Completed"),
        ("macros.automl.artifact(ti, 'train', 'Explainability')", "s3://acme-ml/e/"),
        ("macros.automl.job_name(ti, 'train')", "churn-5a8e"),
        ("macros.automl.job_name(ti, 'elsewhere')", ""),
        ("macros.automl.job(ti, 'train').status", "Completed"),
    ],
)
def test_the_macros_render_their_values(template: str, text: str) -> None:
    try:
        metadata.distribution("airflow-automl")
    except metadata.PackageNotFoundError:
        pytest.skip("the package is not installed, so that Airflow does not find its plugins")
    assert rendered("{{ " + template + " }}") == text


def test_a_leaderboard_is_a_markdown_table() -> None:
    assert macros.leaderboard(TaskInstance(), "board", limit=2) == (
        "| Candidate | AUC | F1 | LogLoss |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| `churn-WeightedEnsemble-L2` | 0.8500 | 0.6400 | 0.4100 |\n"
        "| `a/b c` | 0.8000 | 0.6400 | 0.4100 |"
    )
    assert macros.leaderboard(TaskInstance(), "train").count("\n") == 2
    assert macros.leaderboard(TaskInstance(), "nothing") == "| Candidate |\n| --- |"


def test_missing_candidates_metrics_and_artefacts_are_errors() -> None:
    ti = TaskInstance()
    with pytest.raises(NoBestCandidate, match="task 'elsewhere' has no best candidate"):
        macros.best_metric(ti, "elsewhere")
    with pytest.raises(AutoMLValidationError, match="no RMSE; it has: AUC, F1, LogLoss"):
        macros.best_metric(ti, "train", "rmse")
    with pytest.raises(AutoMLValidationError, match="no artefact 'BacktestResults'; it has: Explainability"):
        macros.artifact(ti, "train", "BacktestResults")


def test_mapped_tasks_are_distinguished() -> None:
    with pytest.raises(NoBestCandidate):
        # What was pulled is the argument itself: it went through.
        macros.best_candidate(TaskInstance(), "train", map_indexes=3)
