"""Every way to wait, once, in a full Airflow; and its metrics and lineage."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.integration.waiting.autopilot import Autopilot
from tests.integration.waiting.jobs import Jobs
from tests.integration.waiting.stack import FullAirflow
from tests.integration.waiting.statsd import Received
from tests.service.running import ended, request

SENSORS = ("from_trigger", "reschedule", "deferred")


def test_sensors_wait_in_every_mode_and_hand_on_the_candidate(airflow: FullAirflow, service: Autopilot) -> None:
    run = airflow.trigger("sensors", "sensors", script="phases,begin,wait,candidate-60,completed")
    waiting = {
        "train": "success",
        "from_trigger": "deferred",
        "reschedule": "up_for_reschedule",
        "deferred": "deferred",
        "times_out_from_trigger": "failed",
    }
    airflow.until(lambda: airflow.states(run) == waiting, f"the sensors wait: {waiting}")
    (job,) = Jobs(service).of(run)
    service.release(job["AutoMLJobName"])
    airflow.until(lambda: airflow.run_state(run) == "failed", "the run has ended")
    states = airflow.states(run)
    assert {name: states[name] for name in SENSORS} == dict.fromkeys(SENSORS, "success")
    for name in SENSORS:
        best = airflow.xcom(run, name)
        assert best["CandidateName"].startswith(job["AutoMLJobName"]), name
    (event,) = airflow.asset_events("sensed_model")
    assert event["extra"]["job"]["name"] == job["AutoMLJobName"]
    assert event["source_task_id"] == "from_trigger"


def test_a_request_gives_up_a_locked_database_before_the_scheduler_dies_of_it(airflow: FullAirflow) -> None:
    with contextlib.closing(sqlite3.connect(airflow.folder / "airflow" / "airflow.db")) as database:
        database.execute("BEGIN IMMEDIATE")
        body = {"logical_date": None}
        refused = airflow.api.client.post("/dags/mapped/dagRuns", json=body, timeout=40)
        assert refused.is_server_error, refused.text
    airflow.stack.check()


def test_mapped_tasks_have_a_job_each(airflow: FullAirflow, service: Autopilot) -> None:
    run = airflow.trigger("mapped", "mapped")
    airflow.until(lambda: airflow.run_state(run) == "success", "the mapped tasks have ended")
    values = [
        airflow.xcom(run, "train", map_index=index)["FinalAutoMLJobObjectiveMetric"]["Value"] for index in range(3)
    ]
    assert values == [0.61, 0.62, 0.63]
    assert Jobs(service).states(run) == ["Completed"] * 3


@pytest.mark.slow
def test_a_rejection_in_a_group_mapped_over_xcoms_skips_its_own_map_index_only(airflow: FullAirflow) -> None:
    run = airflow.trigger("gated", "gated")
    airflow.until(lambda: airflow.run_state(run) in {"success", "failed"}, "the run has ended")
    states = airflow.states(run)
    assert states.pop("candidates") == "success"
    expected = {"gate": "success", "remove": "success"}
    skipped = dict.fromkeys(("deploy", "use", "min_one", "any_way"), "skipped")
    passed = dict.fromkeys(skipped, "success")
    assert states == {
        **{f"segment.{name}[0]": state for name, state in {**expected, **passed}.items()},
        **{f"segment.{name}[1]": state for name, state in {**expected, **skipped}.items()},
    }


def test_a_restart_of_the_triggerer_neither_repeats_nor_loses_an_event(
    airflow: FullAirflow, service: Autopilot
) -> None:
    sagemaker = service.client()
    # Unique in each run of the test, because job names can't be reused.
    tag = secrets.token_hex(3)
    first, second, third = (f"watched-{tag}-{number}" for number in (1, 2, 3))

    def train(name: str) -> None:
        sagemaker.create_auto_ml_job_v2(**request(name, "phases,candidate-60,completed"))
        assert ended(sagemaker, name, 120)["AutoMLJobStatus"] == "Completed"

    def told() -> list[str]:
        # Not what runs saw: Airflow puts events that come close together into one run, or leaves them to the next.
        names = [event["extra"]["payload"]["job"]["name"] for event in airflow.asset_events("trained_model")]
        return sorted(name for name in names if tag in name)

    # The watcher starts with its first poll: jobs that ended before it cause no event.
    airflow.until(lambda: any(airflow.watermarks("trained_model")), "the jobs are watched")
    train(first)
    airflow.until(lambda: told() == [first], "an event of the first job")
    airflow.until(
        lambda: [first] in [airflow.xcom(run, "names") for run in airflow.runs("on_trained")],
        "the DAG that is scheduled on the asset has run",
    )
    airflow.stack.stop("triggerer")
    train(second)
    train(f"of-no-interest-{tag}")
    airflow.start("triggerer")
    train(third)
    airflow.until(lambda: len(told()) >= 3, "events of all jobs")
    assert told() == [first, second, third]


def test_lineage_is_as_the_provider_sends_it(airflow: FullAirflow, service: Autopilot, lineage_file: Path) -> None:
    run = airflow.trigger("lineage", "lineage")
    airflow.until(lambda: airflow.run_state(run) == "success", "the run has ended")

    def told() -> list[dict[str, Any]]:
        lines = lineage_file.read_text().splitlines() if lineage_file.exists() else []
        events = [json.loads(line) for line in lines]
        return [
            event for event in events if event["eventType"] == "COMPLETE" and event["job"]["name"] == "lineage.train"
        ]

    (event,) = airflow.until(told, "the task's lineage")
    (job,) = Jobs(service).of(run)
    assert [(data["namespace"], data["name"]) for data in event["inputs"]] == [
        ("s3://automl", "script/phases,candidate-71,completed")
    ]
    assert [data["name"].rpartition("/")[2] for data in event["outputs"]] == ["model.tar.gz"]
    facet = event["run"]["facets"]["automl"]
    assert (facet["jobName"], facet["status"], facet["bestValue"]) == (job["AutoMLJobName"], "Completed", 0.71)
    assert event["job"]["facets"]["automl"]["problemType"] == "BinaryClassification"


def test_metrics_of_the_watcher_arrive(airflow: FullAirflow, service: Autopilot, metrics: Received) -> None:
    run = airflow.trigger("deferred", "metrics", script="phases,candidate-60,wait,completed")
    airflow.until(lambda: airflow.states(run)["train"] == "deferred", "the task waits")
    # The latency of an event is measured from the end of the job.
    airflow.until(lambda: "airflow.automl.poll_duration" in metrics.metrics, "a poll")
    (job,) = Jobs(service).of(run)
    service.release(job["AutoMLJobName"])
    airflow.until(lambda: airflow.run_state(run) == "success", "the run has ended")
    expected = {
        "airflow.automl.jobs_watched": "g",
        "airflow.automl.calls": "c",
        "airflow.automl.call_duration": "ms",
        "airflow.automl.poll_duration": "ms",
        "airflow.automl.event_latency": "ms",
    }
    airflow.until(lambda: expected.keys() <= metrics.metrics.keys(), f"{sorted(expected)} arrive")
    assert {name: metrics.metrics[name][0] for name in expected} == expected
