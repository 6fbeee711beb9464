"""What the three algorithms have in common: they learn step by step, and what they learned is data."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from airflow_automl.local.training.engines.tabular.tuning.features import Matrix
from airflow_automl.local.training.engines.tabular.tuning.space import Choice
from airflow_automl.local.training.engines.tabular.tuning.table import Part
from airflow_automl.local.training.engines.tabular.tuning.targets import Target, balanced_weights

_MODULES = {
    "xgboost": "airflow_automl.local.training.engines.tabular.tuning.boosting",
    "linear-learner": "airflow_automl.local.training.engines.tabular.tuning.linear",
    "mlp": "airflow_automl.local.training.engines.tabular.tuning.network",
}

DOCUMENT = "algorithm.json"

Stop = Callable[[], bool]


class Estimator(Protocol):
    """What was learned, and does not change any more."""

    def answer(self, matrix: Matrix) -> np.ndarray:
        """Probabilities of the classes, shape (rows, classes); or scaled values, shape (rows,)."""

    def save(self, folder: Path) -> None:
        """Write it as data."""


class Learner(Protocol):
    """An algorithm in training; training is divided into units (rounds, epochs, iterations)."""

    total: int
    """Units of a whole training."""

    done: int
    """Units that were trained."""

    def advance(self, units: int, stop: Stop) -> None:
        """Train until so many units are done, or until ``stop`` says so."""

    def snapshot(self) -> Estimator:
        """What was learned so far."""


@dataclass(frozen=True)
class Assignment:
    """What a learner is given.

    :param part: the rows.
    :param choice: algorithm and hyperparameters.
    :param target: the scale of the target.
    :param objective: the metric to optimize.
    :param seed: makes training repeatable.
    :param threads: that it may use.
    """

    part: Part
    choice: Choice
    target: Target
    objective: str
    seed: int
    threads: int

    @property
    def values(self) -> np.ndarray:
        """The target, encoded."""
        return self.target.encode(self.part.values)

    @property
    def weights(self) -> np.ndarray | None:
        """The rows' say; ``None`` for an equal one."""
        return balanced_weights(self.part.values, self.target.classes) if self.choice.balanced else None


def start(assignment: Assignment) -> Learner:
    """Begin to train what was chosen."""
    learner: Learner = importlib.import_module(_MODULES[assignment.choice.algorithm]).Learner(assignment)
    return learner


@dataclass(frozen=True)
class TrainedAlgorithm:
    """A trained algorithm that predicts on the target's own scale.

    :param algorithm: its name.
    :param view: the view of the features that it takes.
    :param target: the scale of the target.
    :param estimator: what it learned.
    """

    algorithm: str
    view: str
    target: Target
    estimator: Estimator

    def scores(self, matrix: Matrix) -> np.ndarray:
        """Predictions, shape (rows,), or probabilities of the classes, shape (rows, classes)."""
        return np.asarray(self.target.decode(self.estimator.answer(matrix)), dtype="float64")

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write it as data.

        :param folder: where to.
        :param about: what else to note down, such as the hyperparameters.
        """
        document = {
            "algorithm": self.algorithm,
            "view": self.view,
            "target": self.target.as_json(),
            **about,
        }
        (folder / DOCUMENT).write_text(json.dumps(document, indent=1))
        self.estimator.save(folder)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> TrainedAlgorithm:
        """The algorithm that :meth:`save` wrote.

        :param folder: the files.
        :param threads: that a prediction may use.
        """
        document = json.loads((folder / DOCUMENT).read_text())
        target = Target(**document["target"])
        module = importlib.import_module(_MODULES[document["algorithm"]])
        return cls(document["algorithm"], document["view"], target, module.load(folder, target.classes, threads))
