"""Multinomial logistic regression on fixed features; its strength of regularization is chosen on validation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.course import Clock, TimeIsUp

FILE = "head.npz"

_ITERATIONS = 300


@dataclass(frozen=True)
class Head:
    """A trained classifier.

    :param weights: features by classes.
    :param bias: of each class.
    """

    weights: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: Any) -> np.ndarray:
        """The probability of each class.

        :param features: rows by features, dense or sparse.
        """
        scores = np.asarray(features @ self.weights, dtype="float64") + self.bias
        scores -= scores.max(axis=1, keepdims=True)
        powers = np.exp(scores)
        found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return found

    def save(self, folder: Path) -> None:
        """Write it as numbers, without any code."""
        np.savez(folder / FILE, weights=self.weights.astype("float32"), bias=self.bias.astype("float64"))

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read what :meth:`save` wrote."""
        with np.load(folder / FILE, allow_pickle=False) as file:
            return cls(file["weights"], file["bias"])


@dataclass(frozen=True)
class Fitted:
    """A head with what it was chosen for.

    :param head: the best one.
    :param probabilities: what it answered for the validation rows before it had seen any of them.
    :param strength: the inverse of its regularization (C).
    """

    head: Head
    probabilities: np.ndarray
    strength: float


def fit(
    features: Any,
    codes: np.ndarray,
    validation: Any,
    validation_codes: np.ndarray,
    classes: int,
    strengths: Sequence[float],
    clock: Clock,
    own: bool = False,
) -> Fitted:
    """Train a head for each strength, until they get worse or the time is over, and keep the most accurate one.

    :param features: rows by features, dense or sparse; every class must occur.
    :param codes: class of each row.
    :param validation: rows that are measured.
    :param validation_codes: class of each of these.
    :param classes: how many there are.
    :param strengths: inverse regularizations, from strong to weak.
    :param clock: when to end; looked at between two strengths.
    :param own: whether the chosen head, once it was measured, is to learn from the validation rows too.
    :raises TimeIsUp: not even the first was done in time.
    """
    from sklearn.linear_model import LogisticRegression

    if clock.passed:
        raise TimeIsUp
    best: tuple[tuple[float, float], Fitted] | None = None
    worse = 0
    # Each strength starts from the last one's weights, which are close.
    model = LogisticRegression(max_iter=_ITERATIONS, warm_start=True)
    for strength in strengths:
        head = _learn(model.set_params(C=strength), features, codes, classes)
        found = head.probabilities(validation)
        score = _score(found, validation_codes)
        if best is None or score > best[0]:
            best, worse = (score, Fitted(head, found, strength)), 0
        else:
            worse += 1
        if clock.passed or worse == 2:
            break
    if best is None:
        raise TimeIsUp
    fitted = best[1]
    if not own or clock.passed:
        return fitted
    everything, all_codes = _stacked(features, validation), np.concatenate([codes, validation_codes])
    final = _learn(LogisticRegression(C=fitted.strength, max_iter=_ITERATIONS), everything, all_codes, classes)
    return Fitted(final, fitted.probabilities, fitted.strength)


def _stacked(first: Any, second: Any) -> Any:
    import scipy.sparse

    return scipy.sparse.vstack([first, second]) if scipy.sparse.issparse(first) else np.concatenate([first, second])


def _learn(model: Any, features: Any, codes: np.ndarray, classes: int) -> Head:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, codes)
    weights, bias = model.coef_.T, model.intercept_
    if classes == 2 and weights.shape[1] == 1:
        # Two classes have one score, that of the second against the first.
        weights, bias = np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
    return Head(np.ascontiguousarray(weights, dtype="float32"), np.asarray(bias, dtype="float64"))


def _score(probabilities: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Accuracy, and for a tie the likelihood."""
    chosen = np.clip(probabilities[np.arange(len(codes)), codes], 1e-12, 1)
    return float((probabilities.argmax(axis=1) == codes).mean()), float(np.log(chosen).mean())
