"""The events for OpenLineage, through its provider's own extractors and serializer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_automl.exceptions import AutoMLJobFailed
from airflow_automl.operators import SageMakerAutoMLJobOperator
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from tests.airflows import TaskInstanceState
from tests.fakes import fake
from tests.standin import ENDLESS, StandIn, ends
from tests.unit.operators.test_resuming import V2_RENDERED, TaskRun

manager = pytest.importorskip("airflow.providers.openlineage.extractors.manager")

LOCATIONS = {"CandidateArtifactLocations": {"Explainability": "s3://out/explained/", "ModelInsights": "s3://out/ins"}}
NOTEBOOKS = {"DataExplorationNotebookLocation": "s3://out/notebooks/explore.ipynb"}


def told(task: Any, state: TaskInstanceState) -> dict[str, Any]:
    """What the provider makes of a task that has ended, as it would send it."""
    from openlineage.client.serde import Serde

    run = fake(DagRun, run_id="manual__1")
    found = manager.ExtractorManager().extract_metadata(run, task, state, task_instance=fake(RuntimeTaskInstance))
    document: dict[str, Any] = {}
    for kind in ("inputs", "outputs"):
        document[kind] = [(each.namespace, each.name) for each in getattr(found, kind)]
    for kind in ("run_facets", "job_facets"):
        document[kind] = {name: json.loads(Serde.to_json(facet)) for name, facet in getattr(found, kind).items()}
    return document


@pytest.fixture
def task_run(standin: StandIn) -> TaskRun:
    return TaskRun()


def test_the_lineage_of_a_completed_job_has_its_data_its_artefacts_and_its_candidate(
    standin: StandIn, task_run: TaskRun
) -> None:
    from tests.standin import candidate

    best = {**candidate("job"), "CandidateProperties": LOCATIONS}
    standin.extra_by_task = {"train": {"AutoMLJobArtifacts": NOTEBOOKS, "BestCandidate": best}}
    operator = task_run.operator()
    operator.execute(task_run.context())
    document = told(operator, TaskInstanceState.SUCCESS)
    assert document["inputs"] == [("s3://data", "train")]
    assert document["outputs"] == [
        ("s3://out", "job/model.tar.gz"),
        ("s3://out", "explained"),
        ("s3://out", "ins"),
        ("s3://out", "notebooks/explore.ipynb"),
    ]
    (job,) = standin.jobs.values()
    run = document["run_facets"]["automl"]
    assert (run["jobName"], run["jobArn"], run["status"]) == (job.name, job.arn, "Completed")
    assert (run["bestCandidate"], run["bestValue"]) == ("job-best", 0.87)
    assert run["seconds"] == pytest.approx(0.1, abs=0.01)
    assert document["run_facets"]["externalQuery"]["externalQueryId"] == job.arn
    facet = document["job_facets"]["automl"]
    assert (
        facet.items()
        >= {
            "apiVersion": "V2",
            "problemType": "Tabular",
            "objectiveMetric": "AUC",
            "direction": "Maximize",
        }.items()
    )
    for each in (run, facet):
        assert each["_producer"]
        assert each["_schemaURL"]


def test_the_lineage_of_a_failed_job_has_its_reason(standin: StandIn, task_run: TaskRun) -> None:
    standin.plan = lambda request: ends("Failed", "Failed")
    standin.extra_by_task = {"train": {"FailureReason": "column y is missing"}}
    operator = task_run.operator()
    with pytest.raises(AutoMLJobFailed):
        operator.execute(task_run.context())
    document = told(operator, TaskInstanceState.FAILED)
    assert document["inputs"] == [("s3://data", "train")]
    assert document["outputs"] == []
    run = document["run_facets"]["automl"]
    assert (run["status"], run["failureReason"], run.get("bestCandidate")) == ("Failed", "column y is missing", None)


def test_the_lineage_of_a_job_that_is_not_waited_for_is_that_of_its_submission(
    standin: StandIn, task_run: TaskRun
) -> None:
    standin.plan = lambda request: ENDLESS
    operator = task_run.operator(wait_for_completion=False)
    operator.execute(task_run.context())
    run = told(operator, TaskInstanceState.SUCCESS)["run_facets"]["automl"]
    assert run["status"] == "InProgress"
    assert not {"ended", "seconds", "bestCandidate"} & run.keys()


def test_the_lineage_of_a_sensor_has_its_job(standin: StandIn, task_run: TaskRun) -> None:
    standin.add_job("theirs", api="V1", age=10.0)
    sensor = SageMakerAutoMLJobSensor(task_id="wait", job_name="theirs", api_version="V1", poke_interval=0.1)
    sensor.execute(task_run.context())
    document = told(sensor, TaskInstanceState.SUCCESS)
    assert document["inputs"] == [("s3://data", "train")]
    assert document["job_facets"]["automl"]["apiVersion"] == "V1"


def test_a_task_without_a_job_has_no_lineage(standin: StandIn) -> None:
    operator = SageMakerAutoMLJobOperator(task_id="train", config=V2_RENDERED)
    document = told(operator, TaskInstanceState.FAILED)
    assert (document["inputs"], document["outputs"], document["run_facets"]) == ([], [], {})
