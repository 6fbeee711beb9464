"""What an algorithm is given, and what it must do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

SEED = 7

_LOOK_AFTER = 20

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Context:
    """What an algorithm may use.

    :param threads: how many threads it may keep busy.
    :param clock: when it must be done.
    """

    threads: int = 1
    clock: Clock = field(default_factory=lambda: Clock(None))

    def each(self, work: Callable[[Given], Made], given: Sequence[Given]) -> list[Made]:
        """Do something with each of many, as many at a time as there are threads.

        :raises TimeIsUp: the time was over before the last one, or will be by far.
        """

        began, left, done = time.monotonic(), self.clock.left, 0

        def one(entry: Given) -> Made:
            nonlocal done
            self.clock.check()
            made = work(entry)
            done += 1
            if left is not None and done == _LOOK_AFTER and len(given) > 2 * _LOOK_AFTER:
                # Many more than the time allows for: better to know now than when it is over.
                needed = (time.monotonic() - began) * len(given) / done
                if needed > 1.5 * left:
                    raise TimeIsUp
            return made

        if self.threads == 1 or len(given) < 2:
            return [one(entry) for entry in given]
        with ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(one, entry) for entry in given]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


class Forecaster(Protocol):
    """A trained algorithm."""

    name: ClassVar[str]
    """As AutoMLAlgorithms calls it."""

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        """Learn from series.

        :raises TimeIsUp: there was not enough time.
        """
        ...

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """Forecast the horizon after the end of each series, whether it was learned from or not.

        :return: shape (series, horizon, 1 + quantiles): the mean, then the quantiles in ascending order. Values that
            are not finite mean that the series can't be forecast this way.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write what was learned, as data."""
        ...

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        """Read what :meth:`save` wrote.

        :param folder: where it lies.
        :param document: the artefact's metadata.
        """
        ...


def normal_quantiles(mean: np.ndarray, deviation: np.ndarray, quantiles: Sequence[int]) -> np.ndarray:
    """Mean and quantiles of normal distributions, side by side.

    :param mean: one for each step.
    :param deviation: one for each step.
    :param quantiles: in percent.
    """
    from statistics import NormalDist

    scores = np.array([0.0, *(NormalDist().inv_cdf(percent / 100) for percent in quantiles)])
    return np.asarray(mean)[..., None] + np.asarray(deviation)[..., None] * scores  # type: ignore[no-any-return]


def usable(series: Series) -> bool:
    """Whether there is anything to learn from a series: enough values, and not always the same."""
    return len(series) >= 4 and bool(np.ptp(series.target) > 0)
