"""The rows of a job in the form that each algorithm takes, split into folds, a holdout or growing samples."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.tabular.modes import FOLDS
from airflow_automl.local.training.engines.tabular.tuning.features import TREES, FeatureTransformer, Matrix

MAX_BIN = 256
"""Bins that XGBoost sorts a column's values into."""


class Table:
    """Rows with their target.

    :param transformer: makes the views.
    :param frame: the features.
    :param values: the target: class numbers, or numbers.
    :param weights: sample weights, or ``None``.
    """

    def __init__(
        self,
        transformer: FeatureTransformer,
        frame: pd.DataFrame,
        values: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> None:
        self.transformer = transformer
        self.values = values
        self.weights = weights
        self._extract = transformer.extract(frame)
        self._views: dict[str, Matrix] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_views": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __len__(self) -> int:
        return len(self.values)

    def matrix(self, view: str) -> Matrix:
        """Return a view of all rows."""
        with self._lock:
            if view not in self._views:
                self._views[view] = self.transformer.view(self._extract, view)
            return self._views[view]


class Part:
    """Some rows of a table.

    :param table: the table.
    :param rows: their positions; ``None`` for all.
    """

    def __init__(self, table: Table, rows: np.ndarray | None = None) -> None:
        self.table = table
        self.rows = rows
        self._binned: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_binned": None}

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)

    @property
    def values(self) -> np.ndarray:
        """Return the target of the rows."""
        return self.table.values if self.rows is None else self.table.values[self.rows]

    @property
    def weights(self) -> np.ndarray | None:
        """Return the sample weights of the rows, if there are any."""
        weights = self.table.weights
        return weights if weights is None or self.rows is None else weights[self.rows]

    def matrix(self, view: str) -> Matrix:
        """Return a view of the rows."""
        matrix = self.table.matrix(view)
        return matrix if self.rows is None else matrix[self.rows]

    def binned(self, threads: int) -> Any:
        """Return the rows as XGBoost bins them; made once, because all of a search's trials can share it."""
        if self._binned is None:
            import xgboost

            self._binned = xgboost.QuantileDMatrix(
                self.matrix(TREES),
                feature_types=self.table.transformer.tree_types,
                enable_categorical=True,
                max_bin=MAX_BIN,
                nthread=threads,
            )
        return self._binned


FIDELITY_BYTES = 100_000_000
"""From this size of the data on, candidates first prove themselves on a ninth and on a third of the rows."""

RESOURCE = 9
"""What Hyperband deals out: ninths of the training, or of the rows."""


@dataclass(frozen=True)
class Fold:
    """Rows to learn from and rows to measure on.

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
        """Return whether this is a cross-validation: then the final model is trained again, on all rows."""
        return len(self.folds) > 1

    @classmethod
    def holdout(cls, train: Table, validation: Table, classes: int, sampled: bool) -> Measuring:
        """Learn from some rows and measure on others.

        :param sampled: whether candidates prove themselves on samples first.
        """
        everything = Part(train)
        fold = Fold(everything, Part(validation), np.arange(len(validation)))
        shares = (1, 3) if sampled else ()
        samples = tuple((share, Part(train, _sample(train.values, classes, share))) for share in shares)
        return cls((fold,), validation.values, everything, samples)

    @classmethod
    def crossing(cls, table: Table, classes: int, measured: int) -> Measuring:
        """Let each of the first ``measured`` rows validate once; the others only learn."""
        truth = table.values[:measured]
        parts = np.append(folds(truth, classes), np.full(len(table) - measured, FOLDS))
        entries = [
            Fold(Part(table, np.flatnonzero(parts != number)), Part(table, positions), positions)
            for number in range(FOLDS)
            for positions in [np.flatnonzero(parts == number)]
        ]
        return cls(tuple(entries), truth, Part(table))


def _sample(values: np.ndarray, classes: int, share: int) -> np.ndarray:
    """Return positions of a share (in ninths) of the rows; smaller ones are part of larger ones; no class is lost."""
    random = np.random.default_rng(SEED)
    groups = [np.flatnonzero(values == code) for code in range(classes)] if classes else [np.arange(len(values))]
    taken = [random.permutation(group)[: -(-len(group) * share // RESOURCE)] for group in groups]
    return np.sort(np.concatenate(taken))


def folds(values: np.ndarray, classes: int) -> np.ndarray:
    """Return the fold in which each row validates; classes (or the ranks of a number) are spread evenly."""
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
