"""Training and validation rows, the same ones every time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.contract.values import DEFAULT_VALIDATION_FRACTION
from airflow_automl.local.errors import JobFailure

SEED = 20240517
"""Splits and models of a job are the same whenever it is run again."""


def fraction_of(request: Mapping[str, Any]) -> float:
    """Return the share of the rows that validates (R68)."""
    return float((request.get("DataSplitConfig") or {}).get("ValidationFraction") or DEFAULT_VALIDATION_FRACTION)


def holdout(target: pd.Series, fraction: float, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training and of the validation rows.

    Classes keep their share in both parts. A class with one row stays in the training part.

    :param target: the target's values.
    :param fraction: share of the rows that validates, between 0 and 1 (R68).
    :param classes: whether the target holds classes.
    :return: training positions and validation positions, both ascending.
    :raises JobFailure: one of the parts would be empty.
    """
    return _parts(_held(target, fraction, classes), fraction)


def _held(target: pd.Series, fraction: float, classes: bool) -> np.ndarray:
    random = np.random.default_rng(SEED)
    chosen: list[np.ndarray] = []
    if classes:
        for positions in pd.Series(np.arange(len(target))).groupby(target.to_numpy(), sort=True):
            members = random.permutation(positions[1].to_numpy())
            count = round(len(members) * fraction)
            if len(members) > 1:
                count = min(max(count, 1), len(members) - 1)
            else:
                count = 0
            chosen.append(members[:count])
    else:
        members = random.permutation(len(target))
        chosen.append(members[: min(max(round(len(target) * fraction), 1), len(target) - 1)])
    return np.isin(np.arange(len(target)), np.concatenate(chosen))


def holdout_distinct(target: pd.Series, keys: Sequence[Hashable], fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Do as :func:`holdout` does for classes, but keep rows with the same key on one side.

    The first of them stands for all: a class has its share of the distinct rows. If that leaves nothing to validate on,
    they are divided as in :func:`holdout`.

    :param keys: one for each row.
    """
    groups, first = pd.factorize(pd.Series(keys, dtype=object))[0], ~pd.Series(keys, dtype=object).duplicated()
    held = np.isin(groups, groups[first][_held(target[first], fraction, classes=True)])
    # A class that occurs only with the keys of others must not be lost to training.
    lost = np.setdiff1d(target, target[~held])
    held &= ~np.isin(groups, groups[target.isin(lost)])
    return _parts(held, fraction) if held.any() else holdout(target, fraction, classes=True)


def _parts(held: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    if held.all() or not held.any():
        raise JobFailure(
            f"A ValidationFraction of {fraction} of {len(held)} rows leaves nothing to train or validate on."
        )
    return np.flatnonzero(~held), np.flatnonzero(held)
