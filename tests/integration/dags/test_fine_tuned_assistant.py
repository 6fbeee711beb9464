"""The assistant DAG, from questions and answers to an endpoint, with a model that trains in seconds."""

from __future__ import annotations

import json

import pytest

from airflow_automl.demo import dataset
from tests import tiny_language_model as tiny
from tests.integration.dags.conftest import World

pytest.importorskip("torch", reason="the extra 'llm' is not installed")
pytest.importorskip("peft", reason="the extra 'llm' is not installed")


@pytest.mark.slow
def test_the_assistant_learns_and_answers(world: World) -> None:
    models = world.stack.folder / "models"
    tiny.write_model(models / "Tiny")
    (models / "aliases.json").write_text(json.dumps({"Falcon7BInstruct": "Tiny"}))
    questions = tiny.questions(150)
    body = questions.to_csv(index=False).encode()
    world.client("s3").put_object(Bucket=dataset.BUCKET, Key="assistant/train/questions.csv", Body=body)

    outcome = world.dags_test("fine_tuned_assistant", {"epochs": 4, "learning_rate": 0.01, "max_loss": 1.5})

    assert outcome.code == 0, outcome.log
    states = world.task_states("fine_tuned_assistant")
    assert states == dict.fromkeys(["train", "learned_enough", "deploy", "report"], "success")
    job = world.client("sagemaker").describe_auto_ml_job_v2(AutoMLJobName=world.newest_job())
    assert job["AutoMLJobStatus"] == job["AutoMLJobSecondaryStatus"] == "Completed"
    assert job["AutoMLProblemTypeConfig"]["TextGenerationJobConfig"]["BaseModelName"] == "Falcon7BInstruct"
    resolved = job["ResolvedAttributes"]
    assert "AutoMLJobObjective" not in resolved
    assert resolved["AutoMLProblemTypeResolvedAttributes"] == {
        "TextGenerationResolvedAttributes": {"BaseModelName": "Tiny"}
    }
    metrics = {
        datum["StandardMetricName"]: datum["Value"]
        for datum in job["BestCandidate"]["CandidateProperties"]["CandidateMetrics"]
    }
    assert set(metrics) == {
        *("ValidationLoss", "TrainingLoss", "Perplexity", "Rouge1", "Rouge2", "RougeL", "RougeLSum"),
    }
    runtime = world.client("sagemaker-runtime")
    ask = {"inputs": questions["input"][0], "parameters": {"max_new_tokens": 20}}
    answer = runtime.invoke_endpoint(EndpointName="assistant", ContentType="application/json", Body=json.dumps(ask))
    (generated,) = json.loads(answer["Body"].read())
    assert generated["generated_text"].startswith("The capital is")
    with pytest.raises(runtime.exceptions.ModelError, match="no parameter 'max_tokens'") as refused:
        runtime.invoke_endpoint(
            EndpointName="assistant",
            ContentType="application/json",
            Body=json.dumps({"inputs": "Hello", "parameters": {"max_tokens": 5}}),
        )
    assert refused.value.response["OriginalStatusCode"] == 400
    s3 = world.client("s3")
    (page,) = [
        item["Key"]
        for item in s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="assistant/reports/")["Contents"]
        if item["Key"].endswith(".html")
    ]
    html = s3.get_object(Bucket=dataset.BUCKET, Key=page)["Body"].read().decode()
    assert "Sample generations" in html
    assert "the base model is Tiny" in html
