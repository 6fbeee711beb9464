"""linear-learner: logistic and ridge regression, exact or by stochastic gradient descent; the model is two arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.tabular.tuning.batches import Blocks
from airflow_automl.local.training.engines.tabular.tuning.features import Matrix
from airflow_automl.local.training.engines.tabular.tuning.learners import Assignment, Stop

MODEL = "linear.npz"


@dataclass(frozen=True)
class LinearModel:
    """Weights of the columns.

    :param weights: shape (outputs, columns).
    :param intercepts: shape (outputs,).
    :param classes: of the target; 0 for regression.
    :param exclusive: several classes: whether the probabilities come from one joint model (softmax) or from one model
        for each class.
    """

    weights: np.ndarray
    intercepts: np.ndarray
    classes: int
    exclusive: bool

    def answer(self, matrix: Matrix) -> np.ndarray:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Estimator`."""
        found = np.asarray(matrix @ self.weights.T, dtype="float64") + self.intercepts
        if not self.classes:
            return np.asarray(found[:, 0])
        if self.classes == 2:
            positive = 1 / (1 + np.exp(-np.clip(found[:, 0], -500, 500)))
            return np.column_stack([1 - positive, positive])
        if self.exclusive:
            found = np.exp(found - found.max(axis=1, keepdims=True))
        else:
            found = 1 / (1 + np.exp(-np.clip(found, -500, 500))) + 1e-12
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def save(self, folder: Path) -> None:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Estimator`."""
        np.savez(folder / MODEL, weights=self.weights, intercepts=self.intercepts, exclusive=np.array(self.exclusive))


class Learner:
    """Trains a linear model; a unit is a pass over the rows, or over a block of them for gradient descent."""

    def __init__(self, assignment: Assignment) -> None:
        self.done = 0
        self._classes = assignment.target.classes
        self._family: str = assignment.choice.options["family"]
        self._matrix = assignment.part.matrix(assignment.choice.view)
        self._values = assignment.values
        self._weights = assignment.weights
        random = np.random.RandomState(assignment.seed)
        strength: float = assignment.choice.options["strength"]
        rows = len(assignment.part)
        if self._family == "ridge":
            # Solved in one go.
            self.total = 1
        elif self._family == "logistic":
            self.total = 180
        else:
            self._blocks = Blocks(rows, 1, random)
            self.total = int(np.clip(1_000_000 // rows, 9, 90)) * self._blocks.per_pass
        self._model = _model(self._family, self._classes, strength, rows, assignment.objective, random)

    def advance(self, units: int, stop: Stop) -> None:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Learner`."""
        while self.done < units and not stop():
            getattr(self, "_" + self._family)(units)

    def _ridge(self, units: int) -> None:
        self._model.fit(self._matrix, self._values)
        self.done = 1

    def _logistic(self, units: int) -> None:
        # A few more passes from where the last ones ended; the solver says if it needed fewer.
        passes = min(20, units - self.done)
        self._model.set_params(max_iter=passes)
        self._model.fit(self._matrix, self._values, sample_weight=self._weights)
        self.done += passes
        if int(np.max(self._model.n_iter_)) < passes:
            self.done = self.total

    def _sgd(self, units: int) -> None:
        rows = next(self._blocks)
        weights = None if self._weights is None else self._weights[rows]
        extra: dict[str, Any] = {"classes": np.arange(self._classes)} if self._classes else {}
        self._model.partial_fit(self._matrix[rows], self._values[rows], sample_weight=weights, **extra)
        self.done += 1

    def snapshot(self) -> LinearModel:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Learner`."""
        weights = np.atleast_2d(np.array(self._model.coef_, dtype="float64"))
        intercepts = np.atleast_1d(np.array(self._model.intercept_, dtype="float64"))
        if not (np.isfinite(weights).all() and np.isfinite(intercepts).all()):
            raise FloatingPointError("the gradient descent ran away: its weights are not finite")
        return LinearModel(weights, intercepts, self._classes, self._family == "logistic")


def _model(family: str, classes: int, strength: float, rows: int, objective: str, random: Any) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor

    if family == "ridge":
        return Ridge(alpha=strength * rows, random_state=0)
    if family == "logistic":
        return LogisticRegression(C=1 / (strength * rows), warm_start=True, tol=1e-4)
    if classes:
        return SGDClassifier(
            loss="log_loss",
            alpha=strength,
            average=True,
            learning_rate="invscaling",
            eta0=0.05,
            power_t=0.25,
            random_state=random,
        )
    loss = "epsilon_insensitive" if objective == "MAE" else "squared_error"
    return SGDRegressor(loss=loss, epsilon=0.0, alpha=strength, average=True, eta0=0.005, random_state=random)


def load(folder: Path, classes: int, threads: int) -> LinearModel:
    """The model that :meth:`LinearModel.save` wrote."""
    with np.load(folder / MODEL, allow_pickle=False) as file:
        return LinearModel(file["weights"], file["intercepts"], classes, bool(file["exclusive"]))
