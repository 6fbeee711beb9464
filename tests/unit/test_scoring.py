"""Metrics in plain Python, against scikit-learn's."""

from __future__ import annotations

import random

import pytest

from airflow_automl.scoring import class_metrics, label_of, number_metrics

sklearn = pytest.importorskip("sklearn.metrics")
RANDOM = random.Random(7)


def test_numbers() -> None:
    truth = [RANDOM.gauss(10, 3) for _ in range(200)]
    guess = [value + RANDOM.gauss(0, 1) for value in truth]
    assert number_metrics(truth, guess) == pytest.approx(
        {
            "MSE": sklearn.mean_squared_error(truth, guess),
            "RMSE": sklearn.mean_squared_error(truth, guess) ** 0.5,
            "MAE": sklearn.mean_absolute_error(truth, guess),
            "R2": sklearn.r2_score(truth, guess),
        }
    )
    assert "R2" not in number_metrics([2.0, 2.0], [1.0, 2.0])


def test_two_classes() -> None:
    # Few different scores, so that many rows are tied.
    scores = [RANDOM.randrange(20) / 20 for _ in range(300)]
    truth = ["Yes" if RANDOM.random() < score else "No" for score in scores]
    guess = ["Yes" if score >= 0.5 else "No" for score in scores]
    found = class_metrics(truth, guess, [[score, 1 - score] for score in scores], ["Yes", "No"])
    positive = [each == "Yes" for each in truth]
    assert found == pytest.approx(
        {
            "Accuracy": sklearn.accuracy_score(truth, guess),
            "BalancedAccuracy": sklearn.balanced_accuracy_score(truth, guess),
            "F1": sklearn.f1_score(truth, guess, pos_label="Yes"),
            "Precision": sklearn.precision_score(truth, guess, pos_label="Yes"),
            "Recall": sklearn.recall_score(truth, guess, pos_label="Yes"),
            "AUC": sklearn.roc_auc_score(positive, scores),
            "LogLoss": sklearn.log_loss(positive, scores),
        }
    )


def test_several_classes() -> None:
    names = ["a", "b", "c", "never said"]
    truth = [RANDOM.choice(names) for _ in range(300)]
    guess = [each if RANDOM.random() < 0.7 else RANDOM.choice(names[:3]) for each in truth]
    guess = ["a" if each == "never said" else each for each in guess]
    macro = {"average": "macro", "zero_division": 0}
    assert class_metrics(truth, guess) == pytest.approx(
        {
            "Accuracy": sklearn.accuracy_score(truth, guess),
            "BalancedAccuracy": sklearn.balanced_accuracy_score(truth, guess),
            "F1macro": sklearn.f1_score(truth, guess, **macro),
            "PrecisionMacro": sklearn.precision_score(truth, guess, **macro),
            "RecallMacro": sklearn.recall_score(truth, guess, **macro),
        }
    )


def test_a_class_has_one_spelling() -> None:
    assert {label_of(text) for text in ("1", "1.0", " 1 ", "1e0")} == {"1"}
    assert label_of("0.5") == "0.5"
    assert label_of("nan") == "nan"
    assert class_metrics(["10", "9"], ["10", "9"], [[0.1, 0.9], [0.9, 0.1]], ["9", "10"])["AUC"] == 1


def test_rows_of_one_class_have_no_auc() -> None:
    assert "AUC" not in class_metrics(["Yes", "Yes"], ["Yes", "No"], [[0.3, 0.7], [0.8, 0.2]], ["No", "Yes"])
