"""The interface of the three algorithms, and the scale on which they learn the target."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from airflow_automl.local.training.engines.tabular.tuning.features import Matrix
from airflow_automl.local.training.engines.tabular.tuning.search import LINEAR, MLP, XGBOOST, Choice
from airflow_automl.local.training.engines.tabular.tuning.table import Part

_PACKAGE = "airflow_automl.local.training.engines.tabular.tuning"
_ALGORITHMS = {
    XGBOOST: ("boosting", "BoostedTrees", "BoostingLearner"),
    LINEAR: ("scikit", "LinearModel", "LinearLearner"),
    MLP: ("scikit", "Network", "NetworkLearner"),
}
"""Algorithm → its module, its estimator and its learner."""

DOCUMENT = "algorithm.json"

Stop = Callable[[], bool]


@dataclass(frozen=True)
class Target:
    """The scale on which a target is learned.

    :param classes: number of classes; 0 for regression.
    :param logarithmic: regression: whether the logarithm of 1 + the target is learned.
    :param centre: regression: subtracted after the logarithm.
    :param spread: regression: divisor after that.
    """

    classes: int
    logarithmic: bool = False
    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def fit(cls, values: np.ndarray, classes: int, logarithmic: bool = False) -> Target:
        """Return the scale for class numbers, or for the values of a regression."""
        if classes:
            return cls(classes)
        scaled = np.log1p(values) if logarithmic else values
        spread = float(scaled.std())
        return cls(0, logarithmic, float(scaled.mean()), spread if spread > 0 else 1.0)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return values as an algorithm learns them."""
        if self.classes:
            return values
        return ((np.log1p(values) if self.logarithmic else values) - self.centre) / self.spread

    def decode(self, answers: np.ndarray) -> np.ndarray:
        """Return an algorithm's answers on the target's own scale; probabilities are unchanged."""
        if self.classes:
            return answers
        values = np.asarray(answers, dtype="float64") * self.spread + self.centre
        # A diverged logarithm must not become infinite.
        return np.expm1(np.clip(values, -50.0, 50.0)) if self.logarithmic else values


def may_be_logarithmic(values: np.ndarray) -> bool:
    """Return whether to try the logarithm of a regression's target: no negative values, and a long upper tail."""
    if len(values) == 0 or values.min() < 0:
        return False
    median, high = np.quantile(values, [0.5, 0.99])
    return bool(high > 3 * max(median, 1e-12))


def balanced_weights(codes: np.ndarray, classes: int) -> np.ndarray:
    """Return weights of rows that give every class the same total."""
    counts = np.bincount(codes, minlength=classes).astype("float64")
    seen = counts > 0
    per_class = np.zeros(classes)
    per_class[seen] = len(codes) / (seen.sum() * counts[seen])
    return np.asarray(per_class[codes])


class Estimator(Protocol):
    """A trained model."""

    def answer(self, matrix: Matrix) -> np.ndarray:
        """Return probabilities of the classes, shape (rows, classes); or scaled values, shape (rows,)."""

    def save(self, folder: Path) -> None:
        """Write the model as data without code."""

    @classmethod
    def load(cls, folder: Path, classes: int, threads: int) -> Estimator:
        """Read what :meth:`save` wrote."""


@dataclass(frozen=True)
class Assignment:
    """What a learner is given.

    :param part: the rows.
    :param target: the scale of the target.
    :param seed: makes training repeatable.
    :param threads: threads that training may use.
    """

    part: Part
    choice: Choice
    target: Target
    objective: str
    seed: int
    threads: int

    @property
    def values(self) -> np.ndarray:
        """Return the encoded target."""
        return self.target.encode(self.part.values)

    @property
    def weights(self) -> np.ndarray | None:
        """Return weights of the rows, 1 on average, as penalties suppose; ``None`` for equal ones."""
        if self.choice.balanced:
            return balanced_weights(self.part.values, self.target.classes)
        weights = self.part.weights
        return None if weights is None else weights / weights.mean()


class Learner(ABC):
    """An algorithm in training; training is divided into units (rounds, epochs, iterations)."""

    total: int
    """Units of a whole training."""

    def __init__(self, assignment: Assignment) -> None:
        self.done = 0
        """Units that were trained."""
        self.classes = assignment.target.classes
        self.options = dict(assignment.choice.options)

    def advance(self, units: int, stop: Stop) -> None:
        """Train until so many units are done, or until ``stop`` returns true."""
        while self.done < units and not stop():
            self.done += self.step(units - self.done)

    @abstractmethod
    def step(self, most: int) -> int:
        """Train for some units, at most so many.

        :return: how many count as done.
        """

    @abstractmethod
    def snapshot(self) -> Estimator:
        """Return the model as trained so far."""


def start(assignment: Assignment) -> Learner:
    """Return the learner of the chosen algorithm; nothing is trained yet."""
    module, _, name = _ALGORITHMS[assignment.choice.algorithm]
    learner: Learner = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)(assignment)
    return learner


@dataclass(frozen=True)
class TrainedAlgorithm:
    """A trained algorithm that predicts on the target's own scale.

    :param algorithm: its name.
    :param view: the view of the features that it takes.
    :param target: the scale of the target.
    :param estimator: the model.
    """

    algorithm: str
    view: str
    target: Target
    estimator: Estimator

    def scores(self, matrix: Matrix) -> np.ndarray:
        """Return predictions, shape (rows,), or probabilities of the classes, shape (rows, classes)."""
        return np.asarray(self.target.decode(self.estimator.answer(matrix)), dtype="float64")

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the model as data without code.

        :param about: further entries of :data:`DOCUMENT`, such as the hyperparameters.
        """
        document = {"algorithm": self.algorithm, "view": self.view, "target": asdict(self.target), **about}
        (folder / DOCUMENT).write_text(json.dumps(document, indent=1))
        self.estimator.save(folder)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> TrainedAlgorithm:
        """Read what :meth:`save` wrote; a prediction uses at most so many threads."""
        document = json.loads((folder / DOCUMENT).read_text())
        target = Target(**document["target"])
        module, name, _ = _ALGORITHMS[document["algorithm"]]
        kind: type[Estimator] = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)
        return cls(document["algorithm"], document["view"], target, kind.load(folder, target.classes, threads))


@dataclass(frozen=True)
class Blend:
    """The mean of what several trained algorithms answer.

    :param members: the best one first.
    """

    members: tuple[TrainedAlgorithm, ...]

    @property
    def algorithm(self) -> str:
        """That of the best member."""
        return self.members[0].algorithm

    @property
    def view(self) -> str:
        """The views that the members take, with plus signs between them."""
        return "+".join(sorted({member.view for member in self.members}))

    @property
    def target(self) -> Target:
        """That of the best member."""
        return self.members[0].target

    def scores(self, matrix: Matrix | Mapping[str, Matrix]) -> np.ndarray:
        """Return predictions or probabilities, as a member does; several views come by their names."""
        views = matrix if isinstance(matrix, Mapping) else {self.view: matrix}
        return np.asarray(np.mean([member.scores(views[member.view]) for member in self.members], axis=0))

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write each member into a folder of its own; their own artefacts say more about them."""
        for number, member in enumerate(self.members):
            (folder / str(number)).mkdir()
            member.save(folder / str(number), {})

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Blend:
        """Read what :meth:`save` wrote."""
        return cls(tuple(TrainedAlgorithm.load(each, threads) for each in sorted(folder.glob("[0-9]"))))


Model = TrainedAlgorithm | Blend
