"""linear-learner and mlp: scikit-learn's linear models and networks; the models are arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.tabular.tuning.features import Matrix
from airflow_automl.local.training.engines.tabular.tuning.learners import Assignment, Learner

LINEAR_FILE, NETWORK_FILE = "linear.npz", "network.npz"

BLOCK = 8192
"""Rows between two checks of the clock."""

_EPOCHS = ((2000, 54), (100_000, 27), (None, 18))
"""Epochs of a whole training of a network, for up to so many rows: many rows make many steps in each."""


_UNSEEN = -30.0
"""Intercept of a class that no row has which is learned from."""


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
        """Return probabilities of the classes, or scaled values."""
        return _answer(np.asarray(matrix @ self.weights.T) + self.intercepts, self.classes, self.exclusive)

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        exclusive = np.array(self.exclusive)
        np.savez(folder / LINEAR_FILE, weights=self.weights, intercepts=self.intercepts, exclusive=exclusive)

    @classmethod
    def load(cls, folder: Path, classes: int, threads: int) -> LinearModel:
        """Read what :meth:`save` wrote."""
        with np.load(folder / LINEAR_FILE, allow_pickle=False) as file:
            return cls(file["weights"], file["intercepts"], classes, bool(file["exclusive"]))


@dataclass(frozen=True)
class Network:
    """The weights of a network.

    :param weights: of each layer, shape (inputs, outputs).
    :param intercepts: of each layer.
    :param activation: of the hidden layers: ``relu`` or ``tanh``.
    :param classes: of the target; 0 for regression.
    """

    weights: Sequence[np.ndarray]
    intercepts: Sequence[np.ndarray]
    activation: str
    classes: int

    def answer(self, matrix: Matrix) -> np.ndarray:
        """Return probabilities of the classes, or scaled values."""
        found: Any = matrix
        last = len(self.weights) - 1
        for layer, (weights, intercepts) in enumerate(zip(self.weights, self.intercepts, strict=True)):
            found = np.asarray(found @ weights) + intercepts
            if layer < last:
                found = np.maximum(found, 0) if self.activation == "relu" else np.tanh(found)
        return _answer(found, self.classes)

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        arrays: dict[str, Any] = {"activation": np.array(self.activation)}
        for layer, (weights, intercepts) in enumerate(zip(self.weights, self.intercepts, strict=True)):
            arrays |= {f"weights{layer}": weights, f"intercepts{layer}": intercepts}
        np.savez(folder / NETWORK_FILE, **arrays)

    @classmethod
    def load(cls, folder: Path, classes: int, threads: int) -> Network:
        """Read what :meth:`save` wrote."""
        with np.load(folder / NETWORK_FILE, allow_pickle=False) as file:
            layers = range(sum(name.startswith("weights") for name in file.files))
            weights, intercepts = ([file[f"{name}{layer}"] for layer in layers] for name in ("weights", "intercepts"))
            return cls(weights, intercepts, str(file["activation"]), classes)


def _answer(outputs: np.ndarray, classes: int, exclusive: bool = True) -> np.ndarray:
    """Turn the outputs of the last layer into probabilities, or into values for a regression."""
    outputs = outputs.astype("float64")
    if not classes:
        return np.asarray(outputs[:, 0])
    if classes == 2:
        positive = _sigmoid(outputs[:, 0])
        return np.column_stack([1 - positive, positive])
    found = np.exp(outputs - outputs.max(axis=1, keepdims=True)) if exclusive else _sigmoid(outputs) + 1e-12
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))))


class Blocks:
    """Iterates over all rows again and again, in blocks, in a new order in each pass.

    :param rows: number of rows.
    :param least: minimum size of a block; the last one of a pass is filled up with the pass's first rows.
    :param random: shuffles.
    """

    def __init__(self, rows: int, least: int, random: np.random.RandomState) -> None:
        self.per_pass = -(-rows // BLOCK)
        self._blocks = self._all(rows, min(least, rows), random)

    def __next__(self) -> np.ndarray:
        """Return the positions of the next block's rows."""
        return next(self._blocks)

    @staticmethod
    def _all(rows: int, least: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
        while True:
            order = random.permutation(rows)
            for begin in range(0, rows, BLOCK):
                block = order[begin : begin + BLOCK]
                missing = least - len(block)
                yield np.concatenate([block, order[:missing]]) if missing > 0 else block


class _ScikitLearner(Learner):
    """Trains an estimator of scikit-learn; by default a unit is a block of rows."""

    _model: Any
    _blocks: Blocks

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self._matrix = assignment.part.matrix(assignment.choice.view)
        self._values = assignment.values
        self._weights = assignment.weights
        # One generator for all blocks: with a number, each would be shuffled alike.
        self._random = np.random.RandomState(assignment.seed)

    def step(self, most: int) -> int:
        """Train on the next block."""
        rows = next(self._blocks)
        weights = None if self._weights is None else self._weights[rows]
        extra: dict[str, Any] = {"classes": np.arange(self.classes)} if self.classes else {}
        self._model.partial_fit(self._matrix[rows], self._values[rows], sample_weight=weights, **extra)
        return 1


class LinearLearner(_ScikitLearner):
    """Logistic and ridge regression, exact or by stochastic gradient descent (one block of rows a unit)."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self._family: str = self.options["family"]
        rows = len(assignment.part)
        # Ridge regression is solved in one step.
        self.total = {"ridge": 1, "logistic": 180}.get(self._family, 0)
        if self._family == "sgd":
            self._blocks = Blocks(rows, 1, self._random)
            self.total = int(np.clip(1_000_000 // rows, 9, 90)) * self._blocks.per_pass
        strength: float = self.options["strength"]
        self._model = _linear(self._family, self.classes, strength, rows, assignment.objective, self._random)

    def step(self, most: int) -> int:
        """Train: a block of rows, a few passes of the solver, or everything."""
        if self._family == "sgd":
            return super().step(most)
        if self._family == "ridge":
            self._model.fit(self._matrix, self._values, sample_weight=self._weights)
            return 1
        # A few more passes from where the last ones ended; the solver says if it needed fewer.
        passes = min(20, most)
        self._model.set_params(max_iter=passes)
        self._model.fit(self._matrix, self._values, sample_weight=self._weights)
        return self.total - self.done if int(np.max(self._model.n_iter_)) < passes else passes

    def snapshot(self) -> LinearModel:
        """Return the weights as trained so far."""
        weights = np.atleast_2d(np.array(self._model.coef_, dtype="float64"))
        intercepts = np.atleast_1d(np.array(self._model.intercept_, dtype="float64"))
        if self._family == "logistic" and len(self._model.classes_) < self.classes:
            # The rows do not have all classes; what they lack gets next to no probability.
            if len(weights) == 1:
                weights, intercepts = np.vstack([0 * weights, weights]), np.append(0, intercepts)
            some, seen = (weights, intercepts), self._model.classes_
            weights, intercepts = np.zeros((self.classes, weights.shape[1])), np.full(self.classes, _UNSEEN)
            weights[seen], intercepts[seen] = some
        if not (np.isfinite(weights).all() and np.isfinite(intercepts).all()):
            raise JobFailure("the gradient descent diverged: its weights are not finite")
        return LinearModel(weights, intercepts, self.classes, self._family == "logistic")


def _linear(family: str, classes: int, strength: float, rows: int, objective: str, random: Any) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor

    if family == "ridge":
        # The default tolerance is for data with noise: of a target that is a sum of columns, it leaves a thousandth.
        return Ridge(alpha=strength * rows, tol=1e-7, max_iter=500, random_state=0)
    if family == "logistic":
        return LogisticRegression(C=1 / (strength * rows), warm_start=True, tol=1e-4)
    common = {"alpha": strength, "average": True, "random_state": random}
    if classes:
        return SGDClassifier(loss="log_loss", learning_rate="invscaling", eta0=0.05, power_t=0.25, **common)
    loss = "epsilon_insensitive" if objective == "MAE" else "squared_error"
    return SGDRegressor(loss=loss, epsilon=0.0, eta0=0.005, **common)


class NetworkLearner(_ScikitLearner):
    """Fully connected networks, trained block by block."""

    def __init__(self, assignment: Assignment) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        super().__init__(assignment)
        options, rows = self.options, len(assignment.part)
        if not self.classes:
            self._values = self._values.astype("float32")
        batch = min(options["batch"], rows)
        self._blocks = Blocks(rows, batch, self._random)
        epochs = next(epochs for most, epochs in _EPOCHS if most is None or rows <= most)
        self.total = epochs * self._blocks.per_pass
        self._model = (MLPClassifier if self.classes else MLPRegressor)(
            hidden_layer_sizes=tuple(max(4, options["width"] >> layer) for layer in range(options["layers"])),
            activation=options["activation"],
            alpha=options["alpha"],
            learning_rate_init=options["rate"],
            batch_size=batch,
            random_state=self._random,
        )

    def snapshot(self) -> Network:
        """Return the weights as trained so far."""
        weights = [np.array(layer) for layer in self._model.coefs_]
        if not all(np.isfinite(layer).all() for layer in weights):
            raise JobFailure("the network diverged: its weights are not finite")
        intercepts = [np.array(layer) for layer in self._model.intercepts_]
        return Network(weights, intercepts, self.options["activation"], self.classes)
