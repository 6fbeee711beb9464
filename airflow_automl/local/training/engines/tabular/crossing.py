"""Cross-validation of few rows: each validates once, instead of a part that is set apart for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from airflow_automl.local.training.data.dataset import TabularDataset

CROSS_VALIDATION_ROWS = 20_000
"""Up to so many rows, and unless the request sets validation rows apart, each row validates once."""

FOLDS = 5


def may_cross(request: Mapping[str, Any], dataset: TabularDataset, least: int) -> bool:
    """Whether rows are few enough for each to validate once, and the request leaves the choice to us.

    :param request: the job's, V2-shaped.
    :param dataset: its data.
    :param least: rows that every class must have; with fewer it can't be both learned and measured.
    """
    channels = {entry.get("ChannelType") or "training" for entry in request["AutoMLJobInputDataConfig"]}
    fraction = (request.get("DataSplitConfig") or {}).get("ValidationFraction")
    rows = len(dataset.train) + len(dataset.validation)
    if "validation" in channels or fraction or rows > CROSS_VALIDATION_ROWS:
        return False
    if not dataset.classification:
        return True
    counts = pd.concat([dataset.train[dataset.target], dataset.validation[dataset.target]]).value_counts()
    return bool(counts.min() >= least)


def join(dataset: TabularDataset) -> TabularDataset:
    """The dataset with all rows to learn from, and the very same ones to measure on."""
    rows = pd.concat([dataset.train, dataset.validation], ignore_index=True)
    return dataclasses.replace(dataset, train=rows, validation=rows)
