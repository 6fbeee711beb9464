"""Every Airflow of `requirements/compat.toml`, with scheduler, triggerer and API server: real DAGs, real service."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_automl.triggers.event import PROGRESS_KEY
from tests.compat.conftest import cell_parameters, programs
from tests.integration.waiting.autopilot import Autopilot, autopilot
from tests.integration.waiting.jobs import ENDLESS, Jobs
from tests.integration.waiting.stack import FullAirflow, full_airflow
from tests.service.running import ROLE

BUCKET = "automl"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autopilot]:
    """The embedded service: jobs with data are trained, and jobs with a script follow it."""
    with autopilot(tmp_path_factory.mktemp("autopilot") / "data") as service:
        generator = random.Random(7)
        rows = ["tenure,charge,plan,left"]
        for _ in range(800):
            tenure, charge, plan = generator.randint(1, 72), generator.uniform(20, 120), generator.choice("abc")
            leaves = tenure + generator.gauss(0, 15) < 24
            rows.append(f"{tenure},{charge:.2f},{plan},{'yes' if leaves else 'no'}")
        s3 = service.client("s3")
        s3.put_object(Bucket=BUCKET, Key="compat/train/part-0.csv", Body="\n".join(rows).encode())
        yield service


@pytest.fixture(scope="module", params=cell_parameters())
def airflow(
    request: pytest.FixtureRequest, service: Autopilot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FullAirflow]:
    info = service.info
    connection = {
        "conn_type": "aws",
        "login": info.access_key_id,
        "password": info.secret_access_key,
        "extra": {
            "region_name": info.region,
            "endpoint_url": info.endpoint_url,
            "service_config": {"s3": {"endpoint_url": info.s3_endpoint_url}},
        },
    }
    folder = tmp_path_factory.mktemp(f"airflow-{request.param}")
    with full_airflow(
        folder,
        {"aws_default": json.dumps(connection)},
        python=programs(request.param) / "python",
        dags=Path(__file__).with_name("dags"),
        overrides={
            # The wheel, without the checkout.
            "PYTHONPATH": "",
            "AIRFLOW__AUTOML__DEPLOYMENT": request.param,
            # Airflow 3.0 starts to watch an asset when the DAG file is parsed again after the asset was registered.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "20",
            "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "5",
        },
    ) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def jobs(service: Autopilot) -> Jobs:
    return Jobs(service)


def test_a_model_is_trained_judged_deployed_and_reported(airflow: FullAirflow, service: Autopilot) -> None:
    run = airflow.trigger("retraining", "compat")
    seen: set[str] = set()

    def ended() -> bool:
        seen.add(airflow.states(run).get("train", ""))
        return airflow.run_state(run) in {"success", "failed"}

    airflow.until(ended, f"{run} has ended")
    assert airflow.states(run) == dict.fromkeys(("train", "good_enough", "deploy", "report"), "success")
    assert "deferred" in seen
    sagemaker = service.client()
    assert sagemaker.describe_endpoint(EndpointName="compat")["EndpointStatus"] == "InService"
    reports = service.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="reports/").get("Contents", [])
    assert any(each["Key"].endswith(".html") for each in reports)


@pytest.mark.parametrize("act", ["mark_failed", "mark_success", "run_marked_failed"])
def test_a_deferred_task_that_a_user_ends_stops_its_job(airflow: FullAirflow, jobs: Jobs, act: str) -> None:
    run = airflow.trigger("deferred", act, script=ENDLESS)
    airflow.until(lambda: airflow.watched(run) and jobs.states(run) == ["InProgress"], f"the triggerer watches {run}")
    if act == "run_marked_failed":
        airflow.mark_run(run, "failed")
    else:
        airflow.mark_task(run, act.removeprefix("mark_"))
    airflow.until(lambda: jobs.states(run) == ["Stopped"], f"the job of {run} is stopped")


@pytest.mark.parametrize("dag_id", ["deferred", "in_worker"])
def test_a_clear_stops_the_old_job_and_trains_again(airflow: FullAirflow, jobs: Jobs, dag_id: str) -> None:
    run = airflow.trigger(dag_id, "clear", script=ENDLESS)
    airflow.until(lambda: jobs.states(run) == ["InProgress"], f"the job of {run} runs")
    if dag_id == "deferred":
        airflow.until(lambda: airflow.watched(run), f"the triggerer watches {run}")
    airflow.clear(run)
    if dag_id == "in_worker" and airflow.version < (3, 1):
        # Airflow 3.0 leaves a running task that was cleared in this state.
        airflow.until(lambda: jobs.states(run) == ["Stopped"], f"the job of {run} is stopped")
        airflow.until(lambda: airflow.states(run)["train"] == "restarting", f"{run} is restarting")
        airflow.mark_run(run, "failed")
        return
    airflow.until(lambda: jobs.states(run) == ["Stopped", "InProgress"], f"{run} trains again")
    if dag_id == "deferred":
        airflow.until(lambda: airflow.watched(run, attempt=2), f"the triggerer watches {run} again")
    airflow.mark_run(run, "failed")
    airflow.until(lambda: jobs.states(run) == ["Stopped", "Stopped"], f"the jobs of {run} are stopped")


def test_a_triggerer_that_dies_or_restarts_stops_nothing(airflow: FullAirflow, jobs: Jobs) -> None:
    run = airflow.trigger("deferred", "restart", script=ENDLESS)
    airflow.until(lambda: airflow.watched(run), f"the triggerer watches {run}")
    airflow.stack.stop("triggerer")
    airflow.start("triggerer")
    # The next trigger's log has another name: it has the triggerer's number in it.
    airflow.until(lambda: airflow.watched(run, times=2), f"the next triggerer watches {run}")
    assert jobs.states(run) == ["InProgress"]
    assert airflow.states(run)["train"] == "deferred"
    airflow.mark_task(run, "failed")
    airflow.until(lambda: jobs.states(run) == ["Stopped"], f"the job of {run} is stopped")


def test_an_error_that_would_recur_is_not_retried(airflow: FullAirflow, jobs: Jobs) -> None:
    run = airflow.trigger("deferred", "failing", script="phases,failed")
    airflow.until(lambda: airflow.run_state(run) == "failed", f"{run} has failed")
    assert jobs.states(run) == ["Failed"]
    (task,) = airflow.task_instances(run)
    assert task["try_number"] == 1


def test_sensors_wait_for_a_job(airflow: FullAirflow, jobs: Jobs, service: Autopilot) -> None:
    run = airflow.trigger("sensed", "sensed", script="phases,wait,candidate-70,completed")
    airflow.until(
        lambda: (
            airflow.states(run).get("deferred") == "deferred"
            and airflow.states(run).get("rescheduled") in {"up_for_reschedule", "scheduled", "queued", "running"}
        ),
        "both sensors wait",
    )
    (job,) = jobs.of(run)
    service.release(job["AutoMLJobName"])
    airflow.until(lambda: airflow.run_state(run) == "success", f"{run} has succeeded")


def test_a_job_of_another_user_starts_a_dag_once_even_if_the_triggerer_restarts(
    airflow: FullAirflow, service: Autopilot
) -> None:
    def submit(name: str) -> None:
        source = {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/script/phases,candidate-70,completed"}
        service.client().create_auto_ml_job_v2(
            AutoMLJobName=name,
            AutoMLJobInputDataConfig=[{"DataSource": {"S3DataSource": source}}],
            OutputDataConfig={"S3OutputPath": "s3://automl/out/"},
            RoleArn=ROLE,
            AutoMLProblemTypeConfig={"TabularJobConfig": {"TargetAttributeName": "y"}},
        )

    def told(prefix: str) -> list[str]:
        found = []
        for run in airflow.runs("on_watched"):
            if airflow.run_state(run) == "success":
                names = airflow.xcom(run, "names") or []
                names = json.loads(names) if isinstance(names, str) else names
                found += [name for name in names if name.startswith(prefix)]
        return sorted(found)

    def watches() -> bool:
        """Whether the watcher has stored its position: a job that ended before fires no event."""
        if airflow.version >= (3, 3):
            return bool(airflow.watermarks("watched"))
        variables = airflow.api.get("/variables")["variables"]
        return any(each["key"].startswith(PROGRESS_KEY) for each in variables)

    airflow.until(watches, "Airflow watches for jobs that end")
    # One at a time: Airflow may add an event that closely follows another one to the run of the next event.
    prefix = f"watched-{secrets.token_hex(3)}-job-"
    submit(f"{prefix}1")
    airflow.until(lambda: told(prefix) == [f"{prefix}1"], "an event of the first job")
    airflow.stack.stop("triggerer")
    submit(f"{prefix}2")
    airflow.start("triggerer")
    airflow.until(lambda: f"{prefix}2" in told(prefix), "an event of the job that ended meanwhile")
    submit(f"{prefix}3")
    airflow.until(lambda: f"{prefix}3" in told(prefix), "an event of the third job")
    assert told(prefix) == [f"{prefix}{number}" for number in (1, 2, 3)]


def test_the_tab_is_there_from_3_1_on(airflow: FullAirflow) -> None:
    answer = airflow.api.send("GET", f"{airflow.stack.url}/automl/jobs")
    has_pages = airflow.version >= (3, 1)
    assert (answer.status_code == 200 and "AutoML" in answer.text) is has_pages
    views = airflow.api.get("/plugins")["plugins"]
    (plugin,) = (each for each in views if each["name"] == "airflow_automl")
    assert bool(plugin.get("external_views")) is has_pages
