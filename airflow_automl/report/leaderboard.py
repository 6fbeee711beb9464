"""The leaderboard as people read it: short names, algorithms, columns with one precision and a unit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_automl.contract import metrics
from airflow_automl.report.document import leaderboard, metric_names
from airflow_automl.report.plots import shared
from airflow_automl.report.scores import Scores

#: Part of a candidate's name or image → the algorithm. The first match counts.
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
    "blend": "Blend",
}


def algorithm(label: str, images: Iterable[str] = ()) -> str:
    """Name a candidate's algorithm by its short name or its containers' images; a dash if unknown."""
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
        column the texts ``cells`` and the numbers ``sort``), ``given_up``: the rows that were stopped for better
        ones, and ``gone``: their number, in words.
    """
    cut = shared([str(row["name"]) for row in rows]) if len(rows) > 1 else 0
    columns = [Scores(name, [row["metrics"].get(name) for row in rows]) for name in names]
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
    given_up = [row for row in laid if row["status"] == "Stopped"]
    return {
        "columns": columns,
        "rows": [row for row in laid if row["status"] != "Stopped"],
        "given_up": given_up,
        "gone": "1 candidate was stopped early"
        if len(given_up) == 1
        else f"{len(given_up)} candidates were stopped early",
    }


def board_of(candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    objective = next(filter(None, map(metrics.objective_name, candidates)), None)
    rows = leaderboard(candidates, None, objective)
    return board(rows, metric_names(rows, objective))
