"""The README's DAG on what Amazon MWAA installs for Airflow 3.2.1, against `airflow-automl local`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from airflow_automl.demo import dataset
from airflow_automl.demo.stack import Stack
from airflow_automl.pipeline import STEPS
from tests.compat.conftest import programs
from tests.docs.pages import blocks
from tests.integration.waiting.stack import full_airflow


@pytest.mark.slow
def test_the_readmes_dag_runs_deferred_on_what_mwaa_installs(tmp_path: Path) -> None:
    (dag,) = (block for block in blocks("python") if block.page == "README.md" and "with DAG(" in block.text)
    dags = tmp_path / "dags"
    dags.mkdir()
    # The README lets a job train for two hours.
    (dags / "pasted.py").write_text(
        dag.text.replace("max_runtime=timedelta(hours=2)", "max_runtime=timedelta(minutes=4)")
    )
    with Stack(tmp_path / "autopilot") as stack:
        stack.environment = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "AWS"))}
        stack.start_autopilot()
        printed = stack.environment
        aws = boto3.session.Session(
            printed["AWS_ACCESS_KEY_ID"],
            printed["AWS_SECRET_ACCESS_KEY"],
            region_name=printed["AWS_DEFAULT_REGION"],
        )
        s3 = aws.client("s3", endpoint_url=printed["AWS_ENDPOINT_URL_S3"])
        s3.create_bucket(Bucket=dataset.BUCKET)
        split = dataset.load()
        s3.put_object(Bucket=dataset.BUCKET, Key="churn/train/rows.csv", Body=dataset.to_csv(split.train, header=True))
        labelled = dataset.to_csv(split.test, header=True)
        for days in range(8):  # the run is that of the last Sunday
            day = datetime.now(UTC).date() - timedelta(days)
            s3.put_object(Bucket=dataset.BUCKET, Key=f"churn/labelled/{day}/rows.csv", Body=labelled)
        with full_airflow(
            tmp_path / "airflow",
            {"aws_default": printed["AIRFLOW_CONN_AWS_DEFAULT"]},
            python=programs("3.2") / "python",
            dags=dags,
            overrides={
                "PYTHONPATH": "",  # the wheel, without the checkout
                "AIRFLOW__AUTOML__POLL_INTERVAL": "1",
            },
        ) as airflow:
            airflow.api.ask("PATCH", "/dags/churn_retraining", json={"is_paused": False})
            (run,) = airflow.until(lambda: airflow.runs("churn_retraining"), "the schedule begins a run")
            deferred = set()

            def ended() -> bool:
                deferred.update(name for name, state in airflow.states(run).items() if state == "deferred")
                return airflow.run_state(run) in {"success", "failed"}

            airflow.until(ended, f"{run} has ended")
            assert airflow.states(run) == dict.fromkeys((f"automl.{step}" for step in STEPS), "success")
            assert "automl.train" in deferred
        sagemaker = aws.client("sagemaker", endpoint_url=printed["AWS_ENDPOINT_URL"])
        assert sagemaker.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"
        reports = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="reports/").get("Contents", [])
        assert any(item["Key"].endswith(".html") for item in reports)
