"""A request that is refused before submission, and everything downstream of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_automl.contract import tabular
from airflow_automl.exceptions import NoBestCandidate
from airflow_automl.notifications import SageMakerAutoMLNotifier
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
    SageMakerAutoMLStopOperator,
)
from tests.standin import StandIn

BAD = tabular("s3://data/train/", target="y", output="s3://out/", role="no role", mode="ENSEMBLING", max_runtime=3600)


def run(run_dag: Any, tmp_path: Path, **settings: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Run train, stop, report; return the states of the tasks, and what the notifier said."""
    said: list[dict[str, Any]] = []
    with DAG("refused", schedule=None) as dag:
        train = SageMakerAutoMLJobOperator(
            task_id="train", on_failure_callback=SageMakerAutoMLNotifier(said.append), **settings
        )
        SageMakerAutoMLStopOperator(task_id="stop", job=train.job, trigger_rule="all_done")
        SageMakerAutoMLReportOperator(task_id="report", job=train.job, path=str(tmp_path), trigger_rule="all_done")
    ended = run_dag(dag)
    return {ti.task_id: str(ti.state) for ti in ended.get_task_instances()}, said


def test_stop_succeeds_the_report_shows_the_violations_and_the_notifier_says_once_why(
    standin: StandIn, run_dag: Any, tmp_path: Path
) -> None:
    states, said = run(run_dag, tmp_path, config=BAD)
    assert states == {"train": "failed", "stop": "success", "report": "success"}
    assert "RoleArn" in (tmp_path / "report.html").read_text()
    assert "RoleArn" in json.loads((tmp_path / "report.json").read_text())["violations"][0]
    (summary,) = said
    assert summary["title"] == "refused: no AutoML job was submitted"
    assert summary["text"].count("RoleArn") == 1


def test_a_task_that_fails_before_it_has_a_request_breaks_nothing_downstream(
    standin: StandIn, run_dag: Any, tmp_path: Path
) -> None:
    states, said = run(run_dag, tmp_path, config="{{ no.such.name }}")
    assert states == {"train": "failed", "stop": "success", "report": "success"}
    assert "see its log" in (tmp_path / "report.html").read_text()
    assert said[0]["title"] == "refused: no AutoML job was submitted"


@pytest.mark.parametrize("given", [{"candidate": None}, {}])
def test_a_task_that_needs_a_candidate_fails_with_the_reason_for_the_missing_job(
    standin: StandIn, given: dict[str, Any]
) -> None:
    refusal = {"schema_version": 1, "name": None, "reason": "RoleArn: no role", "violations": []}
    task = SageMakerAutoMLDeployOperator(task_id="deploy", job=refusal, endpoint_name="churn", **given)
    with pytest.raises(NoBestCandidate, match=r"no job was submitted, .* RoleArn: no role"):
        task.resolve()
    assert not standin.calls
