"""Comparisons with simple models, and permutation importance."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import comparison, metrics, reports
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import Clock
from airflow_automl.local.training.engines.tabular.reports import Unseen, permutation

RANDOM = np.random.default_rng(3)
TRUTH = RANDOM.normal(size=600)


def compared(noise: float, metric: str = "RMSE", others: dict[str, np.ndarray] | None = None) -> dict:
    measure = comparison.Measure("Regression", metric, TRUTH, ())
    answers = TRUTH + noise * np.random.default_rng(4).normal(size=600)
    constant = comparison.constant(metric, TRUTH, 600, ())
    return comparison.compare(measure, answers, 0.5, {comparison.CONSTANT: constant} if others is None else others)


@pytest.mark.parametrize("metric", ["RMSE", "MAE", "R2"])
def test_a_better_candidate_is_better_by_its_difference_within_an_interval(metric):
    found = compared(0.3, metric)["baselines"][comparison.CONSTANT]
    low, high = found["interval"]
    assert 0 < low < found["better_by"] < high
    assert found["verdict"].startswith(f"Better than a constant answer: {metric} ")


def test_a_candidate_that_is_not_better_than_a_constant_is_called_that(caplog):
    with caplog.at_level(logging.WARNING):
        document = compared(3.0)
    verdict = document["baselines"][comparison.CONSTANT]["verdict"]
    assert verdict.startswith("Not better than a constant answer: RMSE ")
    assert verdict in caplog.text
    assert verdict in reports.page("insights", comparison.section(document))


def test_a_candidate_as_good_as_another_model_is_not_clearly_better():
    other = TRUTH + 0.302 * np.random.default_rng(5).normal(size=600)
    found = compared(0.3, others={comparison.LINEAR: other})["baselines"][comparison.LINEAR]
    assert found["interval"][0] < 0 < found["interval"][1]
    assert "etter than a linear model" in found["verdict"]
    assert not found["verdict"].startswith("Better")


def test_the_same_rows_give_the_same_interval():
    assert compared(0.3) == compared(0.3)


def test_a_constant_answer_may_call_all_rows_positive():
    truth = np.array(["no", "yes", "yes"] * 100)
    measure = comparison.Measure("BinaryClassification", "F1", truth, ("no", "yes"))
    shares = comparison.constant("F1", truth, 300, ("no", "yes"))
    found = comparison.compare(measure, np.eye(2)[(truth == "yes").astype(int)], 0.5, {comparison.CONSTANT: shares})
    assert found["baselines"][comparison.CONSTANT]["value"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("metric", "labels", "answer"), [("MAE", (), 9.0), ("RMSE", (), 6.8), ("Accuracy", (1, 2, 9), [0.1, 0.2, 0.7])]
)
def test_a_constant_answer_counts_rows_by_their_weights(metric, labels, answer):
    learned, weights = np.array([9.0, 1.0, 2.0, 9.0]), np.array([1.0, 1.0, 2.0, 6.0])
    assert comparison.constant(metric, learned, 2, labels, weights) == pytest.approx(np.array([answer] * 2))


def permuted(clock: Clock) -> dict:
    frame = pd.DataFrame(RANDOM.normal(size=(300, 3)), columns=["a", "b", "self"])
    frame["y"] = 3 * frame["a"] - frame["b"]
    codecs = tuple(Codec(name, Kind.NUMBER) for name in ("a", "b", "self"))
    dataset = TabularDataset(frame, frame, codecs, "y", None, "Regression", "RMSE", ())
    unseen = Unseen(frame, lambda rows: (3 * rows["a"] - rows["b"]).to_numpy())
    return permutation(dataset, unseen, Candidate("n", "Regression", "RMSE", []), ["a", "b", "self"], clock)


def test_permutation_importance_ranks_features_with_intervals_and_is_json():
    found = permuted(Clock(None))
    assert list(found) == ["a", "b", "self"]
    low, high = found["a"]["interval"]
    assert 0 < low < found["a"]["value"] < high
    assert found["self"] == {"value": 0, "interval": [0, 0]}
    json.dumps(found)


def test_permutation_importance_ends_with_its_time():
    assert permuted(Clock(0)) == {}


def rare(positive: int) -> tuple[pd.DataFrame, TabularDataset, Unseen]:
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(20_000, 2)), columns=["a", "b"])
    frame["y"] = np.where(frame["a"].rank(ascending=False) <= positive, "yes", "no")
    codecs = tuple(Codec(name, Kind.NUMBER) for name in "ab")
    dataset = TabularDataset(frame, frame, codecs, "y", None, "BinaryClassification", "AUC", ("no", "yes"))
    return frame, dataset, Unseen(frame, lambda rows: np.column_stack([-rows["a"], rows["a"]]) / 10 + 0.5)


def test_permutation_importance_is_known_for_a_rare_class():
    _, dataset, unseen = rare(12)
    candidate = Candidate("n", "BinaryClassification", "AUC", [])
    found = permutation(dataset, unseen, candidate, ["a", "b"], Clock(None))
    assert found["a"]["value"] == pytest.approx(0.5, abs=0.15)
    assert found["a"]["interval"][0] > 0.2
    assert found["b"] == {"value": 0, "interval": [0, 0]}


def test_permutation_importance_that_is_undefined_is_left_out():
    _, dataset, unseen = rare(0)
    assert permutation(dataset, unseen, Candidate("n", "", "AUC", []), ["a", "b"], Clock(None)) == {}


def test_a_sample_has_rows_of_rare_classes_and_the_shares_of_all():
    frame, *_ = rare(12)
    truth = frame["y"].to_numpy()
    some, weights = metrics.draw(truth, 1000, None, classes=True)
    assert weights is not None
    assert (truth[some] == "yes").sum() == 12
    assert len(some) <= 1012
    assert weights[truth[some] == "yes"].sum() == pytest.approx(12)
    assert weights.sum() == pytest.approx(20_000)


def test_statistics_without_a_positive_row_are_json():
    truth = np.array(["no"] * 30)
    document = reports.statistics("BinaryClassification", truth, np.full((30, 2), 0.5), ("no", "yes"), 0.5, {})
    measure = comparison.Measure("BinaryClassification", "AUC", truth, ("no", "yes"))
    document["comparison"] = comparison.compare(measure, np.full((30, 2), 0.5), 0.5, {})
    found = json.loads(reports.encode(document), parse_constant=pytest.fail)
    assert found["comparison"]["value"] is None
    assert reports.sections(document)
