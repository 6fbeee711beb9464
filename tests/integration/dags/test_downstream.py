"""Every task after training, in a real DAG on a real job, failing after each of its calls."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.contract import tabular
from airflow_automl.demo import dataset
from tests.integration.dags.conftest import World

WRITES = [
    *(("first", name) for name in ("create_model", "create_endpoint_config", "create_endpoint")),
    *(("second", name) for name in ("create_model", "create_endpoint_config", "update_endpoint")),
    ("back", "update_endpoint"),
    *(("delete", name) for name in ("delete_endpoint", "delete_endpoint_config", "delete_model")),
    *(("score", name) for name in ("create_model", "create_transform_job", "delete_model")),
    *(("register", name) for name in ("create_model_package_group", "create_model_package")),
]
ROLE = "arn:aws:iam::123456789012:role/automl"


def finished_job(world: World, name: str, target: str) -> dict[str, Any]:
    client = world.client("sagemaker")
    request = tabular(
        f"{dataset.FOLDER}/train/",
        target=target,
        problem_type="BinaryClassification",
        objective="AUC",
        mode="ENSEMBLING",
        max_candidates=3,
        max_runtime=60,
        name=name,
        role=ROLE,
        output=f"s3://{dataset.BUCKET}/out/",
    )
    client.create_auto_ml_job_v2(**request)
    while True:
        job: dict[str, Any] = client.describe_auto_ml_job_v2(AutoMLJobName=name)
        if job["AutoMLJobStatus"] in {"Completed", "Failed", "Stopped"}:
            return job
        time.sleep(1)


@pytest.fixture
def downstream(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    folder = Path(__file__).parent / "downstream"
    monkeypatch.setitem(world.stack.environment, "AIRFLOW__CORE__DAGS_FOLDER", str(folder))
    return world


def test_tasks_that_fail_after_each_of_their_calls_make_nothing_twice(downstream: World, tmp_path: Path) -> None:
    world, client = downstream, downstream.client("sagemaker")
    job = finished_job(world, "downstream-job", dataset.TARGET)
    assert job["AutoMLJobStatus"] == "Completed", job
    assert finished_job(world, "downstream-failed", "no_such_column")["AutoMLJobStatus"] == "Failed"
    customers = dataset.load().test.head(40).drop(columns=dataset.TARGET)
    s3 = world.client("s3")
    s3.put_object(Bucket=dataset.BUCKET, Key="new/part-0.csv", Body=dataset.to_csv(customers, header=False))

    outcome = world.dags_test(
        "downstream",
        {
            "job": "downstream-job",
            "failed_job": "downstream-failed",
            "input": f"s3://{dataset.BUCKET}/new/",
            "out": f"s3://{dataset.BUCKET}/down/",
            "reports": str(tmp_path),
        },
    )

    assert outcome.code == 0, outcome.log
    states = world.task_states("downstream")
    assert states.pop("never") == "skipped"
    assert set(states.values()) == {"success"}, states
    for task, operation in WRITES:
        assert (tmp_path / f"{task}.{operation}").exists(), f"{task} was not interrupted after {operation}"

    transforms = client.list_transform_jobs(NameContains="downstream-job")["TransformJobSummaries"]
    assert [each["TransformJobStatus"] for each in transforms] == ["Completed"]
    (package,) = client.list_model_packages(ModelPackageGroupName="downstream")["ModelPackageSummaryList"]
    assert package["ModelApprovalStatus"] == "Approved"
    assert client.list_endpoints(NameContains="downstream")["Endpoints"] == []
    assert client.list_endpoint_configs(NameContains="downstream")["EndpointConfigs"] == []
    assert client.list_models(NameContains="downstream")["Models"] == []

    scored = s3.get_object(Bucket=dataset.BUCKET, Key="down/scored/part-0.csv.out")["Body"].read().decode()
    assert len(scored.splitlines()) == len(customers)
    pages = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="down/reports/")["Contents"]
    assert sorted(item["Key"].rpartition("/")[2] for item in pages) == ["report.html", "report.json"]
    report = json.loads(s3.get_object(Bucket=dataset.BUCKET, Key=pages[1]["Key"])["Body"].read())
    assert report["summary"]["candidate_name"] == job["BestCandidate"]["CandidateName"]
    assert report["insights"]["feature_importance"]
    assert report["insights"]["confusion_matrix"]
    failed = (tmp_path / "failed" / "report.html").read_text()
    assert "no_such_column" in failed
    assert "<h2>Problems</h2>" not in failed


@pytest.mark.slow
def test_a_mapped_pipeline_deploys_what_its_gate_accepts_and_only_that(
    downstream: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, client = downstream, downstream.client("sagemaker")
    prices = {"currency": "USD", "job": 1.0, "default": 36.0}
    monkeypatch.setitem(world.stack.environment, "AIRFLOW__AUTOML__PRICES", json.dumps(prices))
    for name in ("mapped-churn", "mapped-female"):
        with suppress(client.exceptions.ClientError):
            client.delete_endpoint(EndpointName=name)

    outcome = world.dags_test("mapped_pipeline", {})

    assert outcome.code == 0, outcome.log
    done = dict.fromkeys(("evaluate", "decide", "train", "challenger", "gate", "deploy", "report"), "success")
    assert world.task_states("mapped_pipeline") == {
        **{f"each.{step}[0]": state for step, state in done.items()},
        **{f"each.{step}[1]": state for step, state in {**done, "deploy": "skipped"}.items()},
    }
    endpoints = client.list_endpoints(NameContains="mapped-")["Endpoints"]
    assert [each["EndpointName"] for each in endpoints] == ["mapped-churn"]
    rejected = json.loads(
        world.client("s3").get_object(Bucket=dataset.BUCKET, Key="mapped/female/report.json")["Body"].read()
    )
    assert [each["end"] for each in rejected["history"]] == ["rejected"] * len(rejected["history"])
    cost, summary = rejected["summary"]["cost"], rejected["summary"]
    assert cost["amount"] == pytest.approx(summary["candidate_seconds"] / 100 + summary["runtime_seconds"] / 3600)
    assert "DAG mapped_pipeline has spent" in outcome.log
