"""How candidates are measured: cross-validation on few rows, a holdout on more, growing samples on very many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.tabular.crossing import FOLDS
from airflow_automl.local.training.engines.tabular.tuning.table import Part, Table

FIDELITY_BYTES = 100_000_000
"""From this size of the data on, candidates first prove themselves on a ninth and on a third of the rows."""

RESOURCE = 9
"""What Hyperband deals out: ninths of the training, or of the rows."""


@dataclass(frozen=True)
class Fold:
    """Rows to learn from and rows to measure on.

    :param train: to learn from.
    :param validation: to measure on.
    :param positions: where the answers for the validation rows go among all answers.
    """

    train: Part
    validation: Part
    positions: np.ndarray


@dataclass(frozen=True)
class Measuring:
    """The rows of a job, arranged for measuring candidates.

    :param folds: one for a holdout.
    :param truth: the target of all rows that are measured, in the order of the answers.
    :param everything: the rows that the final model learns from.
    :param samples: growing samples to try a candidate on first, each with its share in ninths; empty for none.
    """

    folds: tuple[Fold, ...]
    truth: np.ndarray
    everything: Part
    samples: tuple[tuple[int, Part], ...] = ()

    @property
    def crossed(self) -> bool:
        """Whether this is a cross-validation: then the final model is trained anew, on all rows."""
        return len(self.folds) > 1

    @classmethod
    def holdout(cls, train: Table, validation: Table, classes: int, sampled: bool) -> Measuring:
        """Learn from some rows and measure on others.

        :param train: to learn from.
        :param validation: to measure on.
        :param classes: of the target; 0 for regression.
        :param sampled: whether candidates prove themselves on samples first.
        """
        everything = Part(train)
        fold = Fold(everything, Part(validation), np.arange(len(validation)))
        shares = (1, 3) if sampled else ()
        samples = tuple((share, Part(train, _sample(train.values, classes, share))) for share in shares)
        return cls((fold,), validation.values, everything, samples)

    @classmethod
    def crossing(cls, table: Table, classes: int) -> Measuring:
        """Let every row validate once.

        :param table: the rows.
        :param classes: of the target; 0 for regression.
        """
        parts = folds(table.values, classes)
        entries = [
            Fold(Part(table, np.flatnonzero(parts != number)), Part(table, np.flatnonzero(parts == number)), positions)
            for number in range(FOLDS)
            for positions in [np.flatnonzero(parts == number)]
        ]
        return cls(tuple(entries), table.values, Part(table))


def _sample(values: np.ndarray, classes: int, share: int) -> np.ndarray:
    """Positions of a share (in ninths) of the rows; smaller samples lie in larger ones, and no class is lost."""
    random = np.random.default_rng(SEED)
    groups = [np.flatnonzero(values == code) for code in range(classes)] if classes else [np.arange(len(values))]
    taken = [random.permutation(group)[: -(-len(group) * share // RESOURCE)] for group in groups]
    return np.sort(np.concatenate(taken))


def folds(values: np.ndarray, classes: int) -> np.ndarray:
    """The fold in which each row validates; classes (or the ranks of a number) are spread evenly.

    :param values: the target.
    :param classes: how many classes there are; 0 for regression.
    """
    random = np.random.default_rng(SEED)
    shuffled = random.permutation(len(values))
    # Sorted by the target, neighbours go to different folds.
    order = shuffled[np.argsort(values[shuffled], kind="stable")]
    found = np.empty(len(values), dtype=int)
    if classes:
        found[order] = np.arange(len(values)) % FOLDS
    else:
        blocks = -(-len(values) // FOLDS)
        found[order] = np.concatenate([random.permutation(FOLDS) for _ in range(blocks)])[: len(values)]
    return found
