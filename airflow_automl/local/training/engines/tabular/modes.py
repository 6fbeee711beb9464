"""What the engine decides from the data: the mode for AUTO (R59), and whether to cross-validate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.contract.wording import counted
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import split
from airflow_automl.local.training.data.channels import Channels
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import DEFAULT_RUNTIME

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
        small = channels.training.size < AUTO_LIMIT and len(channels.training.objects) <= AUTO_OBJECTS
        mode = _by_algorithms(algorithms) or (ENSEMBLING if small else HYPERPARAMETER_TUNING)
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


FOLDS = 5

VALIDATION_ROWS = 4000
"""More rows than these choose no better among candidates, and are worth more as rows to learn from."""

_MOST_MOVED = 40_000
"""If more rows validate, there are so many that learn that these add nothing but a second copy in memory."""


_MOST_RARE = 0.05
"""If more of the rows are of classes with too few to be in each fold, a holdout measures more of them."""


LARGE = 20_000
"""Rows from which training takes long: forests are capped, which would take gigabytes."""

_CROSSING_RATE = 4500
"""Cross-validation trains every model five times. One thread trains enough of them on so many values in a second; with
less time than that, each is trained once, and on a holdout."""


def may_cross(rows: int, features: int, classes: int, seconds: float | None, threads: int, times: float = 1) -> bool:
    """Return whether there is time for a cross-validation.

    Boosting has a tree for each class, the others do not: half of the classes count. Of many rows, values count twice:
    with 300 s, four of five tables were better (accuracy of diamonds' cut .805, on a holdout .796), but of 39,000 rows
    that had hardly enough time for five folds, models were worse (AUC .907, on a holdout .909).

    :param rows: to learn from.
    :param classes: of the target; 0 for regression.
    :param seconds: time for the training; no limit counts as the hour of a job without limits.
    :param times: how many times as long as a cross-validation takes there must be.
    """
    values = rows * features * max(1 + (rows > LARGE), classes / 2)
    return times * values <= _CROSSING_RATE * (DEFAULT_RUNTIME if seconds is None else seconds) * threads


def arrange(request: Mapping[str, Any], dataset: TabularDataset, least: int, crossed: bool) -> TabularDataset:
    """Return the dataset for a cross-validation or for a holdout, unless the request sets validation rows apart.

    In a cross-validation, all rows learn, and all are measured on but those of classes that have too few: these rows
    come last. In a holdout, no more than :data:`VALIDATION_ROWS` are kept from learning.

    :param request: the job's, V2-shaped.
    :param least: rows that a class must have to be measured on in a cross-validation.
    :param crossed: whether to cross-validate, unless too many rows are of classes with too few.
    :raises JobFailure: the validation rows can't be measured with the objective.
    """
    arranged = _divided(request, dataset, least, crossed)
    rows, labels = arranged.validation, arranged.labels
    truth, weights = rows[arranged.target].to_numpy(), arranged.weights(rows)
    values = pd.unique(truth if weights is None else truth[weights > 0])[:2]
    perfect = np.array([[float(value == label) for label in labels] for value in values]) if labels else values
    # What is undefined for perfect answers is undefined for all.
    if arranged.objective not in metrics.scores(arranged.problem_type, values, perfect, labels):
        which = "all" if weights is None else "all that have a weight"
        why = f"{which} have the same target" if len(values) else "none has a weight above zero"
        raise JobFailure(
            f"{arranged.objective} is undefined on the {counted(len(rows), 'validation row')}: {why}. Add rows with "
            "other values, or name another objective metric."
        )
    return arranged


def _divided(request: Mapping[str, Any], dataset: TabularDataset, least: int, crossed: bool) -> TabularDataset:
    channels = {entry.get("ChannelType") or "training" for entry in request["AutoMLJobInputDataConfig"]}
    if "validation" in channels or (request.get("DataSplitConfig") or {}).get("ValidationFraction"):
        return dataset
    measured = dataset.validation
    if crossed:
        rows, rare, notes = pd.concat([dataset.train, measured], ignore_index=True), 0, dataset.notes
        if dataset.classification:
            sizes = rows.groupby(dataset.target, observed=True)[dataset.target].transform("size")
            rare = int((sizes < least).sum())
            rows = pd.concat([rows[sizes >= least], rows[sizes < least]], ignore_index=True)
        validation = rows.iloc[: len(rows) - rare]
        if rare <= _MOST_RARE * len(rows) and validation[dataset.target].nunique() > 1:
            if rare:
                notes += (
                    f"{rare} rows of classes with fewer than {least} rows each are learned from, not measured on.",
                )
            return dataclasses.replace(dataset, train=rows, validation=validation, crossed=True, notes=notes)
    if not VALIDATION_ROWS < len(measured) <= _MOST_MOVED:
        return dataset
    learn, measure = split.holdout(
        measured[dataset.target], VALIDATION_ROWS / len(measured), classes=dataset.classification
    )
    train = pd.concat([dataset.train, measured.iloc[learn]], ignore_index=True)
    return dataclasses.replace(dataset, train=train, validation=measured.iloc[measure].reset_index(drop=True))
