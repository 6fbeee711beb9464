"""The interface of the forecasting algorithms, and which of them are installed."""

from __future__ import annotations

import importlib
import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

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
                # Far too many for the time: stop now rather than when it is over.
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


class Forecaster(ABC):
    """A trained algorithm."""

    name: ClassVar[str]
    """As AutoMLAlgorithms calls it."""

    @classmethod
    @abstractmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        """Train on series.

        :raises TimeIsUp: there was not enough time.
        """

    @abstractmethod
    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """Forecast the horizon after the end of each series, whether it was trained on or not.

        :return: shape (series, horizon, 1 + quantiles): the mean, then the quantiles in ascending order. Values that
            are not finite mean that the series can't be forecast this way.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what was trained, as data without code."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        """Read what :meth:`save` wrote.

        :param document: the artefact's metadata.
        """


class Untrained(Forecaster):
    """An algorithm that learns nothing beforehand: a forecast is made from the history that it continues."""

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        return cls()

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing to keep."""

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        return cls()


def normal_quantiles(mean: np.ndarray, deviation: np.ndarray, quantiles: Sequence[int]) -> np.ndarray:
    """Return mean and quantiles of normal distributions, side by side.

    :param mean: one for each step.
    :param deviation: one for each step.
    """
    from statistics import NormalDist

    scores = np.array([0.0, *(NormalDist().inv_cdf(percent / 100) for percent in quantiles)])
    return np.asarray(mean)[..., None] + np.asarray(deviation)[..., None] * scores  # type: ignore[no-any-return]


def usable(series: Series) -> bool:
    """Return whether there is anything to learn from a series: enough values, and not always the same."""
    return len(series) >= 4 and bool(np.ptp(series.target) > 0)


_PACKAGE = "airflow_automl.local.training.engines.timeseries.algorithms"


class _Entry(NamedTuple):
    module: str
    name: str
    needs: str | None = None


#: Name in AutoMLAlgorithms → its class; the quick ones first, so that there is a candidate if time is short.
ALGORITHMS = {
    "npts": _Entry("npts", "Npts"),
    "ets": _Entry("statistical", "Ets"),
    "prophet": _Entry("additive", "Additive"),
    "cnn-qr": _Entry("neural", "CnnQr", "torch"),
    "deepar": _Entry("neural", "DeepAr", "torch"),
    "arima": _Entry("statistical", "Arima"),
}

#: Further members of the ensemble, which requests can't name.
BASELINES = {
    "seasonal-naive": _Entry("naive", "SeasonalNaive"),
    "seasonal-mean": _Entry("naive", "SeasonalMean"),
    "intermittent": _Entry("naive", "Intermittent"),
    "decomposition": _Entry("naive", "Decomposition"),
    "theta": _Entry("statistical", "Theta"),
}


def available(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Tell which algorithms can be used.

    :param names: those that are wanted.
    :return: the usable ones in the order in which they are trained, and those that are not → the missing package.
    """
    wanted = set(names)
    missing = {
        name: entry.needs
        for name, entry in ALGORITHMS.items()
        if name in wanted and entry.needs and importlib.util.find_spec(entry.needs) is None
    }
    return [name for name in ALGORITHMS if name in wanted and name not in missing], missing


def forecaster(name: str) -> type[Forecaster]:
    """Return the class of an algorithm; importing it may take seconds."""
    entry = (ALGORITHMS | BASELINES)[name]
    found: Any = getattr(importlib.import_module(f"{_PACKAGE}.{entry.module}"), entry.name)
    kind: type[Forecaster] = found
    return kind
