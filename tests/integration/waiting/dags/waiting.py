"""One DAG for each way to wait; ``conf["script"]`` is the script of the job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task, task_group

from airflow_automl.operators import (
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLStopOperator,
)
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from airflow_automl.triggers.event import SageMakerAutoMLEventTrigger

ROLE = "arn:aws:iam::123456789012:role/AutoMLExecutionRole"


def config(script: str) -> dict[str, Any]:
    return {
        "AutoMLJobInputDataConfig": [
            {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://automl/script/{script}"}}}
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://automl/out/"},
        "RoleArn": ROLE,
        "AutoMLProblemTypeConfig": {
            "TabularJobConfig": {
                "TargetAttributeName": "y",
                "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 3600},
            }
        },
    }


CONFIG = config("{{ dag_run.conf['script'] }}")
COMMON: dict[str, Any] = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1),
    "is_paused_upon_creation": False,
    "max_active_runs": 100,
}
QUICK = {"poll_interval": 1.0}
TRIED_AGAIN = {"retries": 30, "retry_delay": timedelta(seconds=1)}

#: DAG → how its one task ``train`` waits.
WAITS: dict[str, dict[str, Any]] = {
    "deferred": {"deferrable": True, **TRIED_AGAIN},
    "in_worker": {"deferrable": False, **TRIED_AGAIN},
    "deferred_kept": {"deferrable": True, "stop_on_kill": False},
    "in_worker_kept": {"deferrable": False, "stop_on_kill": False},
    "deferred_timeout": {"deferrable": True, "timeout": timedelta(seconds=1)},
    "in_worker_timeout": {"deferrable": False, "timeout": timedelta(seconds=1)},
    "deferred_execution_timeout": {"deferrable": True, "execution_timeout": timedelta(seconds=15)},
    "in_worker_execution_timeout": {"deferrable": False, "execution_timeout": timedelta(seconds=15)},
}
for dag_id, arguments in WAITS.items():
    with DAG(dag_id, **COMMON):
        SageMakerAutoMLJobOperator(task_id="train", config=CONFIG, **QUICK, **arguments)

with DAG("mapped", **COMMON):
    SageMakerAutoMLJobOperator.partial(task_id="train", deferrable=True, **QUICK, **TRIED_AGAIN).expand(
        config=[config(f"phases,candidate-{value},completed") for value in (61, 62, 63)]
    )

with DAG("sensors", **COMMON):
    train = SageMakerAutoMLJobOperator(task_id="train", config=CONFIG, wait_for_completion=False)
    job_name = "{{ ti.xcom_pull(task_ids='train', key='job', map_indexes=-1)['name'] }}"
    watch: dict[str, Any] = {"poke_interval": 1.0, "timeout": 3600, **TRIED_AGAIN}
    model = Asset("sensed_model")
    sensors = [
        SageMakerAutoMLJobSensor(
            task_id="from_trigger", job_name=job_name, start_from_trigger=True, outlets=[model], **watch
        ),
        SageMakerAutoMLJobSensor(task_id="reschedule", job_name=job_name, mode="reschedule", **watch),
        SageMakerAutoMLJobSensor(task_id="deferred", job=train.job, deferrable=True, **watch),
        SageMakerAutoMLJobSensor(
            task_id="times_out_from_trigger",
            job_name=job_name,
            start_from_trigger=True,
            poke_interval=1.0,
            timeout=2,
        ),
    ]
    train >> sensors

with DAG("torn_down", **COMMON):
    endless = SageMakerAutoMLJobOperator(task_id="train", config=CONFIG, wait_for_completion=False)

    @task
    def fails() -> None:
        raise RuntimeError("something else went wrong")

    # Without retries, Airflow fails the task if it is resumed before a busy scheduler has recorded its deferral.
    stop = SageMakerAutoMLStopOperator(task_id="stop", job=endless.job, deferrable=True, **QUICK, **TRIED_AGAIN)
    endless >> fails() >> stop.as_teardown(setups=endless)

with DAG("gated", **COMMON):

    @task
    def candidates() -> list[dict[str, Any]]:
        measured = [{"MetricName": "AUC", "StandardMetricName": "AUC", "Value": 0.9, "Set": "Validation"}]
        good = {"CandidateName": "good", "CandidateProperties": {"CandidateMetrics": measured}}
        bad = {"CandidateName": "bad", "CandidateProperties": {"CandidateMetrics": [{**measured[0], "Value": 0.5}]}}
        return [{"candidate": good}, {"candidate": bad}]

    @task
    def note() -> None: ...

    @task_group
    def segment(candidate: Any) -> None:
        gate = SageMakerAutoMLGateOperator(task_id="gate", candidate=candidate, require={"AUC": 0.8})
        deployed = note.override(task_id="deploy")()
        gate >> deployed >> note.override(task_id="use")()
        gate >> note.override(task_id="min_one", trigger_rule="none_failed_min_one_success")()
        gate >> note.override(task_id="any_way", trigger_rule="all_done")()
        gate >> note.override(task_id="remove")().as_teardown()

    segment.expand_kwargs(candidates())

trained = Asset(
    "trained_model",
    watchers=[
        AssetWatcher(name="jobs", trigger=SageMakerAutoMLEventTrigger(name_prefix="watched-", poll_interval=1.0))
    ],
)
with DAG("on_trained", **{**COMMON, "schedule": [trained]}):

    @task
    def names(*, triggering_asset_events: Any) -> list[str]:
        return [event.extra["payload"]["job"]["name"] for event in triggering_asset_events[trained]]

    names()
