"""BacktestResults: what a candidate would have forecast, how good that was, and how good its intervals are."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.engines.course import Files
from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.backtest import Backtest, average
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series
from airflow_automl.local.training.engines.timeseries.serving import tabulate

EXAMPLES = 6
ITEMS = 20
_HISTORY = 120


Array = np.ndarray


def summary(
    label: str,
    objective: str,
    backtest: Backtest,
    forecasts: Sequence[Array],
    weights: Mapping[str, float],
    replaced: int,
) -> dict[str, Any]:
    """How good a candidate is, as a program and the report read it.

    :param label: of the candidate.
    :param objective: the job's.
    :param backtest: the windows.
    :param forecasts: what the candidate said about each.
    :param weights: algorithm → its share.
    :param replaced: how many of the forecasts are the naive one because the algorithm had none.
    """
    settings = backtest.training.settings
    quantiles = settings.quantiles
    found = backtest.measure(forecasts)
    bar = backtest.measure(backtest.naive)
    covered = metrics.coverage(backtest.windows, forecasts, quantiles)
    losses = [metrics.quantile_losses(w, f, quantiles) for w, f in zip(backtest.windows, forecasts, strict=True)]
    mine, naive = found.get(objective), bar.get(objective)
    return {
        "candidate": label,
        "objective": objective,
        "frequency": str(settings.frequency),
        "horizon": settings.horizon,
        "weights": dict(weights),
        "metrics": found,
        "seasonal_naive": bar,
        "season": settings.frequency.main_season,
        "better_than_seasonal_naive": None if mine is None or naive is None else mine < naive,
        "quantile_losses": average(losses),
        "coverage": covered,
        "intervals": _intervals(quantiles, covered),
        "windows": backtest.by_window(forecasts),
        "forecasts_replaced_by_naive": replaced,
    }


def _intervals(quantiles: Sequence[int], covered: Mapping[str, float]) -> list[dict[str, Any]]:
    """Pairs of quantiles around the middle: how much should lie between them, and how much did."""
    return [
        {
            "lower": f"p{low}",
            "upper": f"p{high}",
            "nominal": (high - low) / 100,
            "measured": covered[f"p{high}"] - covered[f"p{low}"],
        }
        for low, high in zip(quantiles, reversed(quantiles), strict=True)
        if low < 50 < high
    ]


def files(document: Mapping[str, Any], backtest: Backtest, forecasts: Sequence[Array]) -> Files:
    """Return the results of a candidate.

    ``summary.json`` (see :func:`summary`), ``predictions.csv`` with what was said and what happened, and
    ``item-metrics.csv`` with the metrics of each series, the mean over the windows.

    :param document: the summary.
    :param backtest: the windows.
    :param forecasts: what the candidate said about each.
    """
    predictions = pd.concat(
        [_predictions(*parts) for parts in zip(backtest.pasts, backtest.windows, forecasts, strict=True)]
    )
    return {
        "predictions.csv": _csv(predictions),
        "item-metrics.csv": _csv(_items(backtest, forecasts)),
        "summary.json": json.dumps(document, indent=1),
    }


def _predictions(past: Panel, window: metrics.Window, said: Array) -> pd.DataFrame:
    table = tabulate(past, said)
    table.insert(0, "window", table[past.settings.timestamp].iloc[0])
    table.insert(2 + len(past.settings.key), past.settings.target, window.truth.ravel())
    return table


def _items(backtest: Backtest, forecasts: Sequence[Array]) -> pd.DataFrame:
    settings = backtest.training.settings
    return pd.DataFrame(
        [dict(zip(settings.key, key, strict=True)) | found for key, found in _by_item(backtest, forecasts).items()]
    )


def _by_item(backtest: Backtest, forecasts: Sequence[Array]) -> dict[tuple[str, ...], dict[str, float]]:
    """The metrics of each series, the mean over the windows."""
    quantiles = backtest.training.settings.quantiles
    found: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for past, window, said in zip(backtest.pasts, backtest.windows, forecasts, strict=True):
        for series, measured in zip(past.series, metrics.measure_items(window, said, quantiles), strict=True):
            found.setdefault(series.key, []).append(measured)
    return {key: average(measured) for key, measured in found.items()}


def largest(backtest: Backtest, forecasts: Sequence[Array]) -> list[dict[str, Any]]:
    """The metrics of the series with the largest values, for the report."""
    past, window = backtest.pasts[-1], backtest.windows[-1]
    order = np.argsort(-np.abs(window.truth).sum(axis=1), kind="stable")[:ITEMS]
    by_item = _by_item(backtest, forecasts)
    return [
        {"key": list(past.series[place].key), "metrics": by_item[past.series[place].key]} for place in order.tolist()
    ]


def _csv(table: pd.DataFrame) -> str:
    text = io.StringIO()
    table.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def examples(panel: Panel, backtest: Backtest, forecasts: Sequence[Array], ahead: Array, chosen: Panel) -> list[dict]:
    """Some series as the report draws them: the history, what was said about its end, and the next horizon.

    :param panel: all series.
    :param backtest: the windows.
    :param forecasts: what the candidate said about each.
    :param ahead: what it says about the time to come, for the chosen series.
    :param chosen: the series to show.
    """
    places = [{series.key: place for place, series in enumerate(past.series)} for past in backtest.pasts]
    found = []
    for series, future in zip(chosen.series, ahead, strict=True):
        shown = min(len(series), max(_HISTORY, 4 * panel.horizon))
        windows = [
            _band(past, past.series[by_key[series.key]], said[by_key[series.key]])
            for past, said, by_key in zip(backtest.pasts, forecasts, places, strict=True)
            if series.key in by_key
        ]
        found.append(
            {
                "key": list(series.key),
                "timestamps": _stamps(panel, series.end - shown, shown),
                "actual": _rounded(series.target[-shown:]),
                "backtests": windows,
                "forecast": _band(panel, series, future),
            }
        )
    return found


def choose(backtest: Backtest, forecasts: Sequence[Array]) -> list[tuple[str, ...]]:
    """Keys of the series to show: the largest ones, and those that were forecast worst for their size."""
    past, window, said = backtest.pasts[-1], backtest.windows[-1], forecasts[-1]
    sizes = np.abs(window.truth).sum(axis=1)
    errors = np.abs(window.truth - said[..., 0]).sum(axis=1) / np.maximum(sizes, 1e-9)
    largest = np.argsort(-sizes, kind="stable")[: EXAMPLES - 2].tolist()
    worst = [place for place in np.argsort(-errors, kind="stable").tolist() if place not in largest]
    return [past.series[place].key for place in (largest + worst)[:EXAMPLES]]


def _band(panel: Panel, series: Series, said: Array) -> dict[str, Any]:
    names = ["mean", *panel.settings.names]
    return {"timestamps": _stamps(panel, series.end, panel.horizon)} | {
        name: _rounded(said[:, place]) for place, name in enumerate(names)
    }


def _stamps(panel: Panel, first: int, count: int) -> list[str]:
    moments = np.datetime_as_string(panel.calendar.stamps(np.arange(first, first + count)))
    return [str(moment).replace("T", " ") for moment in moments]


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
