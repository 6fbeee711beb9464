"""mlp: fully connected networks of scikit-learn; a unit is a block of rows, and the model is its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.tabular.tuning.batches import Blocks
from airflow_automl.local.training.engines.tabular.tuning.features import Matrix
from airflow_automl.local.training.engines.tabular.tuning.learners import Assignment, Stop

MODEL = "network.npz"

_EPOCHS = ((2000, 54), (100_000, 27), (None, 18))
"""Epochs of a whole training, for up to so many rows: many rows take many steps in each."""


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
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Estimator`."""
        found: Any = matrix
        last = len(self.weights) - 1
        for layer, (weights, intercepts) in enumerate(zip(self.weights, self.intercepts, strict=True)):
            found = np.asarray(found @ weights) + intercepts
            if layer < last:
                found = np.maximum(found, 0) if self.activation == "relu" else np.tanh(found)
        found = np.asarray(found, dtype="float64")
        if not self.classes:
            return np.asarray(found[:, 0])
        if self.classes == 2:
            positive = 1 / (1 + np.exp(-np.clip(found[:, 0], -500, 500)))
            return np.column_stack([1 - positive, positive])
        found = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def save(self, folder: Path) -> None:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Estimator`."""
        arrays: dict[str, Any] = {"activation": np.array(self.activation)}
        for layer, (weights, intercepts) in enumerate(zip(self.weights, self.intercepts, strict=True)):
            arrays |= {f"weights{layer}": weights, f"intercepts{layer}": intercepts}
        np.savez(folder / MODEL, **arrays)


class Learner:
    """Trains a network block by block."""

    def __init__(self, assignment: Assignment) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        options = assignment.choice.options
        rows = len(assignment.part)
        self.done = 0
        self._classes = assignment.target.classes
        self._activation: str = options["activation"]
        self._matrix = assignment.part.matrix(assignment.choice.view)
        self._values = assignment.values if self._classes else assignment.values.astype("float32")
        self._weights = assignment.weights
        # One generator for all blocks: with a number, each would be shuffled alike.
        random = np.random.RandomState(assignment.seed)
        batch = min(options["batch"], rows)
        self._blocks = Blocks(rows, batch, random)
        epochs = next(epochs for most, epochs in _EPOCHS if most is None or rows <= most)
        self.total = epochs * self._blocks.per_pass
        self._model = (MLPClassifier if self._classes else MLPRegressor)(
            hidden_layer_sizes=tuple(max(4, options["width"] >> layer) for layer in range(options["layers"])),
            activation=self._activation,
            alpha=options["alpha"],
            learning_rate_init=options["rate"],
            batch_size=batch,
            random_state=random,
        )

    def advance(self, units: int, stop: Stop) -> None:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Learner`."""
        while self.done < units and not stop():
            rows = next(self._blocks)
            weights = None if self._weights is None else self._weights[rows]
            extra: dict[str, Any] = {"classes": np.arange(self._classes)} if self._classes else {}
            self._model.partial_fit(self._matrix[rows], self._values[rows], sample_weight=weights, **extra)
            self.done += 1

    def snapshot(self) -> Network:
        """See :class:`airflow_automl.local.training.engines.tabular.tuning.learners.Learner`."""
        weights = [np.array(layer) for layer in self._model.coefs_]
        if not all(np.isfinite(layer).all() for layer in weights):
            raise FloatingPointError("the network diverged: its weights are not finite")
        intercepts = [np.array(layer) for layer in self._model.intercepts_]
        return Network(weights, intercepts, self._activation, self._classes)


def load(folder: Path, classes: int, threads: int) -> Network:
    """The network that :meth:`Network.save` wrote."""
    with np.load(folder / MODEL, allow_pickle=False) as file:
        layers = sum(name.startswith("weights") for name in file.files)
        weights = [file[f"weights{layer}"] for layer in range(layers)]
        intercepts = [file[f"intercepts{layer}"] for layer in range(layers)]
        return Network(weights, intercepts, str(file["activation"]), classes)
