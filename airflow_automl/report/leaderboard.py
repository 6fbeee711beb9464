"""The leaderboard as people read it: short names, algorithms, columns with one precision and a unit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_automl.report import plots

#: What names and images of candidates contain → the algorithm. The first that fits counts.
_ALGORITHMS = {
    "weightedensemble": "Weighted ensemble",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "xgboost": "XGBoost",
    "xgb": "XGBoost",
    "randomforest": "Random forest",
    "extratrees": "Extra trees",
    "fastai": "Neural network (fastai)",
    "neuralnet": "Neural network (torch)",
    "nntorch": "Neural network (torch)",
    "kneighbors": "Nearest neighbors",
    "linear": "Linear",
    "mlp": "MLP",
    "deepar": "DeepAR+",
    "cnnqr": "CNN-QR",
    "prophet": "Prophet",
    "npts": "NPTS",
    "arima": "ARIMA",
    "ets": "ETS",
    "ensemble": "Ensemble",
}


def algorithm(label: str, images: Iterable[str] = ()) -> str:
    """Name a candidate's algorithm by its short name or its containers' images; a dash if neither tells."""
    for text in (label, *images):
        parts = re.split(r"[^a-z]+", text.lower())
        for key, name in _ALGORITHMS.items():
            if key in parts or (len(key) > 4 and key in "".join(parts)):
                return name
    return "\N{EN DASH}"


def board(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Lay out the leaderboard.

    :param rows: the report document's ``leaderboard``.
    :param names: the metrics to show, the objective first.
    :return: ``columns`` (``label``, ``lower``), ``rows`` (the given ones with ``label``, ``algorithm``, and for each
        column the texts ``cells`` and the numbers ``sort``), and ``given_up``: the rows that were stopped for better
        ones.
    """
    cut = plots.shared([str(row["name"]) for row in rows]) if len(rows) > 1 else 0
    columns = [_Column(name, [row["metrics"][name] for row in rows if name in row["metrics"]]) for name in names]
    laid = []
    for row in rows:
        label = str(row["name"])[cut:]
        values = [row["metrics"].get(column.name) for column in columns]
        laid.append(
            {
                **row,
                "label": label,
                "algorithm": algorithm(label, row.get("images") or ()),
                "cells": [column.text(value) for column, value in zip(columns, values, strict=True)],
                "sort": values,
            }
        )
    return {
        "columns": columns,
        "rows": [row for row in laid if row["status"] != "Stopped"],
        "given_up": [row for row in laid if row["status"] == "Stopped"],
    }


class _Column:
    """One metric, all of whose values have as many decimals as its largest needs for four digits."""

    def __init__(self, name: str, values: Sequence[float]) -> None:
        self.name = name
        self.label, self._factor = plots.unit(name)
        self.lower = plots.lower(name)
        largest = max((abs(value * self._factor) for value in values), default=0.0)
        self._fixed = not largest or 1e-4 <= largest < 1e7
        self._decimals = min(6, max(0, 3 - math.floor(math.log10(largest)))) if largest and self._fixed else 2

    def text(self, value: float | None) -> str:
        """Return a value with the column's decimals."""
        if value is None or not self._fixed:
            return plots.number(value)
        return f"{value * self._factor:,.{self._decimals}f}"
