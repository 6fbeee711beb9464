"""What the engine decides from the data: the mode for AUTO (R59), and whether to cross-validate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.channels import Channels
from airflow_automl.local.training.data.dataset import TabularDataset

ENSEMBLING = "ENSEMBLING"
HYPERPARAMETER_TUNING = "HYPERPARAMETER_TUNING"

AUTO_LIMIT = 100_000_000
"""Bytes of data from which AUTO tunes instead of ensembling."""

AUTO_OBJECTS = 1000
"""With more objects than this, AUTO tunes."""

_ONLY_ENSEMBLING = frozenset({"catboost", "extra-trees", "fastai", "lightgbm", "nn-torch", "randomforest"})
_ONLY_TUNING = frozenset({"mlp"})


def resolve(config: Mapping[str, Any], channels: Channels, algorithms: tuple[str, ...] | None) -> str:
    """Return the mode of a tabular job.

    Without a Mode it is as for AUTO, unless the algorithms that the request names belong to one mode only (R56).

    :raises JobFailure: sample weights, and the mode turns out to be HYPERPARAMETER_TUNING (R65).
    """
    mode = config.get("Mode") or "AUTO"
    if mode == "AUTO":
        mode = _by_algorithms(algorithms) or _by_size(config, channels)
    if mode == HYPERPARAMETER_TUNING and config.get("SampleWeightAttributeName"):
        raise JobFailure(
            f"The sample weight column '{config['SampleWeightAttributeName']}' can't be used in HYPERPARAMETER_TUNING, "
            "which this job resolved to: set Mode to ENSEMBLING, or leave the weights out."
        )
    return str(mode)


def _by_algorithms(algorithms: tuple[str, ...] | None) -> str | None:
    if algorithms and _ONLY_ENSEMBLING & set(algorithms):
        return ENSEMBLING
    if algorithms and _ONLY_TUNING & set(algorithms):
        return HYPERPARAMETER_TUNING
    return None


def _by_size(config: Mapping[str, Any], channels: Channels) -> str:
    small = channels.training.size < AUTO_LIMIT and len(channels.training.objects) <= AUTO_OBJECTS
    return ENSEMBLING if small else HYPERPARAMETER_TUNING


CROSS_VALIDATION_ROWS = 20_000
"""Up to so many rows, and unless the request sets validation rows apart, each row validates once."""

FOLDS = 5


def may_cross(request: Mapping[str, Any], dataset: TabularDataset, least: int) -> bool:
    """Return whether rows are few enough for each to validate once, and the request leaves the choice to us.

    :param request: the job's, V2-shaped.
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
    """Return the dataset with all rows to learn from, and the very same ones to measure on."""
    rows = pd.concat([dataset.train, dataset.validation], ignore_index=True)
    return dataclasses.replace(dataset, train=rows, validation=rows)
