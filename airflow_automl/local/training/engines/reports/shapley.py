"""How much each feature contributes to a model's predictions: Shapley values, estimated by sampling.

Works for any model. A row is turned into another one feature by feature, in random order; how the prediction moves
with each step is that feature's contribution. Each order is also walked backwards, which halves the noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.split import SEED

ROWS = 40
MAX_ROUNDS = 12
_ROWS_PER_ROUND = 4000
"""Rounds are made of so many predictions, so that the clock is looked at often enough."""


@dataclass(frozen=True)
class Contributions:
    """Mean absolute contribution of each feature.

    :param values: array of shape (outputs, features): one output for regression and binary problems, else one for each
        class.
    :param expected: mean prediction over the background, for each output.
    :param rows: how many rows were explained.
    :param rounds: how many orders of the features were walked for each row.
    """

    values: np.ndarray
    expected: np.ndarray
    rows: int
    rounds: int


def contributions(frame: pd.DataFrame, predict: Callable[[pd.DataFrame], np.ndarray], seconds: float) -> Contributions:
    """Estimate the contributions on some rows.

    :param frame: rows with the features only; some of them are explained, all are the background.
    :param predict: rows → array of shape (rows, outputs).
    :param seconds: after this no further round is begun; one round is always made.
    """
    until = time.monotonic() + seconds
    random = np.random.default_rng(SEED)
    features = frame.shape[1]
    count = max(4, min(ROWS, len(frame), _ROWS_PER_ROUND // (features + 1)))
    explained = random.choice(len(frame), min(count, len(frame)), replace=False)
    background = frame.iloc[random.choice(len(frame), min(200, len(frame)), replace=False)]
    expected = predict(background).mean(axis=0)
    total = np.zeros((len(explained), features, len(expected)))
    rounds = 0
    order = np.empty(0)
    while rounds < MAX_ROUNDS and (rounds == 0 or time.monotonic() < until):
        if rounds % 2 == 0:
            order = random.permuted(np.tile(np.arange(features), (len(explained), 1)), axis=1)
            other = random.choice(len(frame), len(explained))
        else:
            order = order[:, ::-1]
        total += _walk(frame, explained, other, order, predict)
        rounds += 1
    values = np.abs(total / rounds).mean(axis=0).T
    return Contributions(values, expected, len(explained), rounds)


def _walk(
    frame: pd.DataFrame,
    explained: np.ndarray,
    other: np.ndarray,
    order: np.ndarray,
    predict: Callable[[pd.DataFrame], np.ndarray],
) -> np.ndarray:
    """Contributions of one walk from the other rows to the explained ones: shape (rows, features, outputs)."""
    rows, features = order.shape
    position = np.argsort(order, axis=1)
    steps = np.arange(features + 1)
    columns = {}
    for index, name in enumerate(frame.columns):
        arrived = position[:, index][:, None] < steps[None, :]
        source = np.where(arrived, explained[:, None], other[:, None]).ravel()
        columns[name] = frame[name].take(source).reset_index(drop=True)
    predicted = predict(pd.DataFrame(columns, copy=False)).reshape(rows, features + 1, -1)
    moves = np.diff(predicted, axis=1)
    return np.take_along_axis(moves, position[:, :, None], axis=1)
