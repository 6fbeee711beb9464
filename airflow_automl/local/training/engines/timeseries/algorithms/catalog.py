"""Which algorithms there are, and which of them can be used here."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any, NamedTuple

from airflow_automl.local.training.engines.timeseries.algorithms.base import Forecaster

_PACKAGE = "airflow_automl.local.training.engines.timeseries.algorithms"


class _Entry(NamedTuple):
    module: str
    name: str
    needs: str | None = None


#: Name in AutoMLAlgorithms → its class; the quick ones first, so that there is something when time is short.
ALGORITHMS = {
    "npts": _Entry("npts", "Npts"),
    "ets": _Entry("statistical", "Ets"),
    "prophet": _Entry("additive", "Additive"),
    "cnn-qr": _Entry("cnn_qr", "CnnQr", "torch"),
    "deepar": _Entry("deepar", "DeepAr", "torch"),
    "arima": _Entry("statistical", "Arima"),
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
    """The class of an algorithm; importing it may take seconds."""
    entry = ALGORITHMS[name]
    found: Any = getattr(importlib.import_module(f"{_PACKAGE}.{entry.module}"), entry.name)
    kind: type[Forecaster] = found
    return kind
