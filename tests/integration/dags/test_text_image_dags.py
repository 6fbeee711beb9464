"""Ticket routing and image sorting, from data in a package to endpoints that answer and a report."""

from __future__ import annotations

import csv
import io
import json

import pytest

from airflow_automl.demo import corpora, dataset
from tests.integration.dags.conftest import World

pytest.importorskip("onnxruntime", reason="the extras 'text' and 'image' are not installed")
pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")


def page(world: World, folder: str) -> str:
    """The report that the newest run has left in a folder."""
    s3 = world.client("s3")
    found = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix=f"{folder}/reports/")["Contents"]
    newest = max((item for item in found if item["Key"].endswith(".html")), key=lambda item: item["LastModified"])
    return str(s3.get_object(Bucket=dataset.BUCKET, Key=newest["Key"])["Body"].read().decode())


def outputs(world: World, prefix: str) -> dict[str, bytes]:
    """The transform's answers by the name of the input."""
    s3 = world.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix=prefix)["Contents"]]
    return {
        key.rpartition("/")[2].removesuffix(".out"): s3.get_object(Bucket=dataset.BUCKET, Key=key)["Body"].read()
        for key in keys
    }


@pytest.mark.slow
def test_tickets_are_routed(world: World) -> None:
    dataset.upload(world.client("s3"), corpora.tickets(rows=100, waiting=12))

    outcome = world.dags_test("ticket_routing", {"min_accuracy": 0.5})

    assert outcome.code == 0, outcome.log
    states = world.task_states("ticket_routing")
    assert states == dict.fromkeys(["train", "good_enough", "deploy", "route", "report"], "success")
    job = world.client("sagemaker").describe_auto_ml_job_v2(AutoMLJobName=world.newest_job())
    assert job["AutoMLProblemTypeConfigName"] == "TextClassification"
    assert job["ResolvedAttributes"]["AutoMLJobObjective"] == {"MetricName": "Accuracy"}
    assert set(job["BestCandidate"]["InferenceContainerDefinitions"]) == {"CPU", "GPU"}
    answer = world.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="ticket-routing",
        ContentType="application/json",
        Accept="application/json",
        Body='["It is stale."]',
    )
    (row,) = json.loads(answer["Body"].read())["predictions"]
    assert row["predicted_label"] in {"care", "thanks"}
    assert 0.5 <= row["probability"] <= 1
    (routed,) = outputs(world, "tickets/routed/").values()
    teams = [line[0] for line in csv.reader(io.StringIO(routed.decode()))]
    assert len(teams) == 12
    assert set(teams) <= {"care", "thanks"}
    html = page(world, "tickets")
    assert "Samples and predictions of the best candidate" in html
    assert "What influences the best candidate" in html
    assert "Confusion matrix" in html


@pytest.mark.slow  # image jobs are trained and served in test_text_image.py, too
def test_digits_are_sorted(world: World) -> None:
    files = corpora.digits(rows=106, waiting=6)
    dataset.upload(world.client("s3"), files)

    outcome = world.dags_test("image_sorting", {"min_accuracy": 0.5})

    assert outcome.code == 0, outcome.log
    states = world.task_states("image_sorting")
    assert states == dict.fromkeys(["train", "good_enough", "deploy", "sort", "report"], "success")
    job = world.client("sagemaker").describe_auto_ml_job_v2(AutoMLJobName=world.newest_job())
    assert job["AutoMLProblemTypeConfigName"] == "ImageClassification"
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] >= 0.5
    runtime = world.client("sagemaker-runtime")
    waiting = {key.rpartition("/")[2]: content for key, content in files.items() if "/unsorted/" in key}
    said = outputs(world, "digits/sorted/")
    assert set(said) == set(waiting)
    for name, image in waiting.items():
        answer = runtime.invoke_endpoint(EndpointName="digits", ContentType="application/x-image", Body=image)
        label = answer["Body"].read().decode().split(",")[0]
        assert label == said[name].decode().strip()
    right = sum(content.decode().strip() == name[-5] for name, content in said.items())
    assert right >= 2
    html = page(world, "digits")
    assert 'src="data:image/png;base64,' in html
    assert "img-src data:" in html
