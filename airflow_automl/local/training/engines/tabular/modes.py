"""AUTO: which mode a job trains in (R59)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.channels import Channels

ENSEMBLING = "ENSEMBLING"
HYPERPARAMETER_TUNING = "HYPERPARAMETER_TUNING"

AUTO_LIMIT = 100_000_000
"""Bytes of data from which AUTO tunes instead of ensembling."""

AUTO_OBJECTS = 1000
"""With more objects than this, AUTO tunes."""

_ONLY_ENSEMBLING = frozenset({"catboost", "extra-trees", "fastai", "lightgbm", "nn-torch", "randomforest"})
_ONLY_TUNING = frozenset({"mlp"})


def resolve(config: Mapping[str, Any], channels: Channels, algorithms: tuple[str, ...] | None) -> str:
    """The mode of a tabular job.

    Without a Mode it is as for AUTO, unless the algorithms that the request names belong to one mode only (R56).

    :param config: the TabularJobConfig.
    :param channels: the job's data.
    :param algorithms: what the request names, ``None`` for nothing.
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
