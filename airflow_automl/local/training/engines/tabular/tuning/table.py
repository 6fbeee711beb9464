"""The rows of a job in the forms that learners take, each made once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.engines.tabular.tuning.features import TREES, FeatureTransformer, Matrix

MAX_BIN = 256
"""Bins that XGBoost sorts a column's values into."""


class Table:
    """Rows with their target.

    :param transformer: makes the views.
    :param frame: the features.
    :param values: the target: class numbers, or numbers.
    """

    def __init__(self, transformer: FeatureTransformer, frame: pd.DataFrame, values: np.ndarray) -> None:
        self.transformer = transformer
        self.values = values
        self._extract = transformer.extract(frame)
        self._views: dict[str, Matrix] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.values)

    def matrix(self, view: str) -> Matrix:
        """A view of all rows."""
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

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)

    @property
    def values(self) -> np.ndarray:
        """The target of the rows."""
        return self.table.values if self.rows is None else self.table.values[self.rows]

    def matrix(self, view: str) -> Matrix:
        """A view of the rows."""
        matrix = self.table.matrix(view)
        return matrix if self.rows is None else matrix[self.rows]

    def binned(self, threads: int) -> Any:
        """The rows as XGBoost bins them; made once, because all of a search's trials can share it."""
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
