"""The metrics against scikit-learn's, which follow the same definitions."""

import numpy as np
import pytest
from sklearn import metrics as reference

from airflow_automl.local.training.engines import metrics

RANDOM = np.random.default_rng(1)


def binary(rows=400):
    positive = RANDOM.random(rows)
    truth = np.where(RANDOM.random(rows) < positive, "yes", "no")
    return truth, np.column_stack([1 - positive, positive]), RANDOM.random(rows)


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_metrics(weighted):
    truth, scores, weights = binary()
    weights = weights if weighted else None
    found = metrics.scores("BinaryClassification", truth, scores, ("no", "yes"), weights, threshold=0.4)
    guess = np.where(scores[:, 1] >= 0.4, "yes", "no")
    options = {"sample_weight": weights}
    assert found == pytest.approx(
        {
            "Accuracy": reference.accuracy_score(truth, guess, **options),
            "BalancedAccuracy": reference.balanced_accuracy_score(truth, guess, **options),
            "F1": reference.f1_score(truth, guess, pos_label="yes", **options),
            "Precision": reference.precision_score(truth, guess, pos_label="yes", **options),
            "Recall": reference.recall_score(truth, guess, pos_label="yes", **options),
            "AUC": reference.roc_auc_score(truth == "yes", scores[:, 1], **options),
            "LogLoss": reference.log_loss(truth, scores, labels=["no", "yes"], **options),
        }
    )


def test_multiclass_metrics():
    scores = RANDOM.dirichlet([1, 1, 1], 500)
    truth = np.array([RANDOM.choice([1, 2, 10], p=row) for row in scores])
    found = metrics.scores("MulticlassClassification", truth, scores, (1, 2, 10))
    guess = np.array([1, 2, 10])[scores.argmax(axis=1)]
    assert found == pytest.approx(
        {
            "Accuracy": reference.accuracy_score(truth, guess),
            "BalancedAccuracy": reference.balanced_accuracy_score(truth, guess),
            "F1macro": reference.f1_score(truth, guess, average="macro"),
            "PrecisionMacro": reference.precision_score(truth, guess, average="macro"),
            "RecallMacro": reference.recall_score(truth, guess, average="macro"),
            "LogLoss": reference.log_loss(truth, scores),
        }
    )


def test_regression_metrics_and_a_negative_r2():
    truth, predicted = RANDOM.normal(size=300), RANDOM.normal(size=300)
    found = metrics.scores("Regression", truth, predicted)
    assert found == pytest.approx(
        {
            "MSE": reference.mean_squared_error(truth, predicted),
            "RMSE": reference.root_mean_squared_error(truth, predicted),
            "MAE": reference.mean_absolute_error(truth, predicted),
            "R2": reference.r2_score(truth, predicted),
        }
    )
    assert found["R2"] < 0


@pytest.mark.parametrize(("problem", "scores"), [("Regression", np.ones(2)), ("BinaryClassification", np.eye(2))])
def test_rows_that_weigh_nothing_leave_all_metrics_undefined(problem, scores):
    assert metrics.scores(problem, np.array([0, 1]), scores, (0, 1), np.zeros(2)) == {}


def test_undefined_metrics_are_left_out():
    assert "AUC" not in metrics.scores(
        "BinaryClassification", np.array(["a", "a"]), np.array([[1, 0], [0.5, 0.5]]), ("a", "b")
    )
    assert "R2" not in metrics.scores("Regression", np.array([1.0, 1.0]), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("objective", "score"), [("F1", reference.f1_score), ("BalancedAccuracy", reference.balanced_accuracy_score)]
)
def test_the_threshold_is_the_best_of_all(objective, score):
    truth, scores, _ = binary()
    positive = truth == "yes"
    (chosen,) = metrics.best_thresholds(objective, positive, scores[:, 1], np.ones((1, len(truth))))
    best = max(score(positive, scores[:, 1] >= threshold) for threshold in scores[:, 1])
    assert score(positive, scores[:, 1] >= chosen) == pytest.approx(best)


@pytest.mark.parametrize("objective", ["F1", "BalancedAccuracy"])
def test_a_threshold_from_resamples_is_better_on_other_rows(objective):
    gains = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        actual = (random.random(4000) < 0.15).astype(int)
        positive = 1 / (1 + np.exp(2 - 1.5 * actual - random.normal(size=4000)))
        scores = np.column_stack([1 - positive, positive])
        known, others = slice(0, 200), slice(200, None)

        def reached(threshold, actual=actual[others], scores=scores[others]):
            return metrics.scores("BinaryClassification", actual, scores, range(2), None, threshold)[objective]

        (best,) = metrics.best_thresholds(objective, actual[known] == 1, positive[known], np.ones((1, 200)))
        gains.append(reached(metrics.decide(objective, actual[known], scores[known])) - reached(best))
    assert np.mean(gains) > 0.0005


def test_a_threshold_is_never_one_of_the_probabilities():
    actual, positive = np.array([0, 0, 1, 0, 1, 1] * 30), np.array([0.2, 0.4, 0.4, 0.6, 0.6, 0.8] * 30)
    threshold = metrics.decide("F1", actual, np.column_stack([1 - positive, positive]))
    assert threshold in (0.0, pytest.approx(0.3), 0.5, pytest.approx(0.7))


@pytest.mark.parametrize("objective", ["BalancedAccuracy", "F1macro", "RecallMacro"])
def test_rare_classes_are_favoured_if_that_helps_the_objective(objective):
    random = np.random.default_rng(1)
    actual = random.choice(3, 3000, p=[0.9, 0.07, 0.03])
    likelihood = np.exp(1.5 * random.normal(size=(3000, 3)) + 2 * np.eye(3)[actual]) * [0.9, 0.07, 0.03]
    probabilities = likelihood / likelihood.sum(axis=1, keepdims=True)

    def reached(threshold):
        return metrics.scores("MulticlassClassification", actual, probabilities, range(3), None, threshold)[objective]

    factors = metrics.decide(objective, actual, probabilities)
    assert 1 <= factors[0] < factors[1] < factors[2]
    assert reached(factors) > reached(0.5) + 0.02
    assert metrics.decide("Accuracy", actual, probabilities) == 0.5


def test_a_class_without_rows_leaves_the_factors_finite():
    probabilities = np.random.default_rng(1).dirichlet([3, 2, 1], 50)
    factors = metrics.decide("BalancedAccuracy", np.array([0, 1] * 25), probabilities)
    assert np.isfinite(factors).all()


def test_other_objectives_leave_the_threshold_alone():
    truth, scores, _ = binary()
    assert metrics.decide("Accuracy", (truth == "yes").astype(int), scores) == 0.5


def test_metrics_that_are_not_objectives_have_their_standard_name_alone():
    assert metrics.data({"AUC": 0.5, "LogLoss": 0.1}, "Validation") == [
        {"MetricName": "AUC", "StandardMetricName": "AUC", "Value": 0.5, "Set": "Validation"},
        {"StandardMetricName": "LogLoss", "Value": 0.1, "Set": "Validation"},
    ]
