"""Backtest results, model insights and the explainability report of forecasting candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.engines import reports
from airflow_automl.local.training.engines.course import Clock, Files
from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED
from airflow_automl.local.training.engines.timeseries.backtest import Backtest
from airflow_automl.local.training.engines.timeseries.calibration import Calibration
from airflow_automl.local.training.engines.timeseries.dataset import Dataset
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series
from airflow_automl.local.training.engines.timeseries.serving import tabulate

Array = np.ndarray

EXAMPLES = 6
ITEMS = 20
_HISTORY = 120
_SERIES = 8
_ROUNDS = 4


def verdict(summary: Mapping[str, Any]) -> str:
    """Return one sentence on whether the candidate is worth its trouble."""
    objective = summary["objective"]
    mine, bar = summary["metrics"].get(objective), summary["seasonal_naive"].get(objective)
    if mine is None or bar is None:
        return f"{objective} is not defined for both the candidate and the seasonal naive forecast."
    if mine < bar:
        return f"Better than the seasonal naive forecast: {objective} {mine:.4g} against {bar:.4g}."
    return (
        f"Not better than the seasonal naive forecast: {objective} {mine:.4g} against {bar:.4g}. Use that one instead."
    )


def insights(name: str, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> Files:
    """Make ``statistics.json`` and a page.

    :param summary: of its backtests.
    :param facts: about the data.
    """
    said = verdict(summary)
    document = {
        "version": 0.0,
        "dataset": {"item_count": facts["rows"], **facts},
        "forecast_metrics": {"verdict": said, **summary},
    }
    metrics = [
        [metric, value, summary["seasonal_naive"].get(metric, "")] for metric, value in summary["metrics"].items()
    ]
    covered = [[quantile, int(quantile[1:]) / 100, share] for quantile, share in summary["coverage"].items()]
    page = reports.page(
        f"Model insights: {name}",
        [
            ("Verdict", reports.table([[said]], ["on the backtests"])),
            ("Metrics", reports.table(metrics, ["metric", "candidate", "seasonal naive"])),
            (
                "Quantiles: how often the true value was not above them",
                reports.table(covered, ["quantile", "should be", "was"]),
            ),
            ("Weights", reports.table([list(pair) for pair in summary["weights"].items()], ["algorithm", "weight"])),
            (
                "Data",
                reports.table(
                    [[key, value] for key, value in facts.items() if type(value) is not list], ["what", "value"]
                ),
            ),
            *reports.notes(facts["notes"]),
        ],
    )
    return {"statistics.json": reports.encode(document), "report.html": page}


def explain(dataset: Dataset, name: str, forecast: Callable[[Panel], np.ndarray], seconds: float) -> Files:
    """Explain a candidate.

    :param dataset: what was trained on; it has features.
    :param seconds: no round starts after this; there is always one.
    """
    panel = dataset.panel
    sample = panel.of(sorted(panel.series, key=lambda s: -float(np.abs(s.target).sum()))[:_SERIES])
    values, rounds = _shapley(sample, _groups(dataset), forecast, Clock(seconds))
    method = (
        f"Shapley values by sampling, {rounds} orders of the columns: how far the mean forecast of {len(sample)} "
        "series moves when a column has its true values instead of the series' average."
    )
    return reports.explanation(
        name,
        "Mean absolute contribution to the forecast",
        values,
        method,
        dataset.facts["notes"],
        labels={"label0": panel.settings.target},
        explanations={"kernel_shap": {"label0": {"global_shap_values": values}}},
    )


def _groups(dataset: Dataset) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    place = 0
    for column in dataset.related.columns:
        found[column.name] = list(range(place, place + len(column.features)))
        place += len(column.features)
    for country in dataset.related.countries:
        found[f"holidays:{country}"] = [place]
        place += 1
    return found


def _shapley(
    panel: Panel, groups: dict[str, list[int]], forecast: Callable[[Panel], np.ndarray], clock: Clock
) -> tuple[dict[str, float], int]:
    random = np.random.default_rng(SEED)
    names = list(groups)
    everything, nothing = forecast(panel)[..., 0], forecast(_without(panel, groups, names))[..., 0]
    total = {name: np.zeros_like(everything) for name in names}
    rounds = 0
    while rounds < _ROUNDS and (rounds == 0 or not clock.passed):
        order = [names[place] for place in random.permutation(len(names))]
        before = nothing
        for place, name in enumerate(order):
            hidden = order[place + 1 :]
            after = forecast(_without(panel, groups, hidden))[..., 0] if hidden else everything
            total[name] += after - before
            before = after
        rounds += 1
    return {name: float(np.abs(moved / rounds).mean()) for name, moved in total.items()}, rounds


def _without(panel: Panel, groups: dict[str, list[int]], hidden: list[str]) -> Panel:
    places = [place for name in hidden for place in groups[name]]

    def one(series: Series) -> Series:
        features = series.features.copy()
        features[:, places] = features[: len(series), places].mean(axis=0)
        return replace(series, features=features)

    return panel.of(one(series) for series in panel.series)


@dataclass(frozen=True)
class Results:
    """A candidate with its backtests.

    :param label: of the candidate.
    :param weights: algorithm → its share in the forecast.
    :param calibration: of the quantiles.
    :param forecasts: the candidate's forecast of each window, as it is measured.
    :param replaced: number of forecasts that are the seasonal naive one because the algorithm had none.
    """

    label: str
    objective: str
    backtest: Backtest
    weights: Mapping[str, float]
    calibration: Calibration
    forecasts: Sequence[Array]
    replaced: int

    def summary(self) -> dict[str, Any]:
        """Return the metrics, coverage and weights, for ``summary.json`` and the report."""
        backtest, settings = self.backtest, self.backtest.training.settings
        found, bar = backtest.measure(self.forecasts), backtest.measure(backtest.naive)
        window, said = metrics.Window.all(backtest.windows), np.concatenate(self.forecasts)
        quantiles = {percent: said[..., place] for place, percent in enumerate(settings.quantiles, 1)}
        mine, naive = found.get(self.objective), bar.get(self.objective)
        return {
            "candidate": self.label,
            "objective": self.objective,
            "frequency": str(settings.frequency),
            "horizon": settings.horizon,
            "weights": dict(self.weights),
            "metrics": found,
            "seasonal_naive": bar,
            "season": settings.frequency.main_season,
            "better_than_seasonal_naive": None if mine is None or naive is None else mine < naive,
            "quantile_losses": {
                name: loss
                for name, loss in metrics.quantile_losses(window, said, settings.quantiles).items()
                if np.isfinite(loss)
            },
            "coverage": metrics.coverage(window, said, settings.quantiles),
            # Pairs of quantiles around the middle: the share that should be between them, and the share that was.
            "intervals": [
                {
                    "lower": f"p{low}",
                    "upper": f"p{high}",
                    "nominal": (high - low) / 100,
                    "measured": float(np.mean((quantiles[low] <= window.truth) & (window.truth <= quantiles[high]))),
                }
                for low, high in zip(settings.quantiles, reversed(settings.quantiles), strict=True)
                if low < 50 < high
            ],
            "windows": backtest.by_window(self.forecasts),
            "forecasts_replaced_by_naive": self.replaced,
        }

    def files(self, **more: Any) -> Files:
        """Return the files of BacktestResults.

        ``summary.json`` (see :meth:`summary`), ``predictions.csv`` with forecasts and true values, and
        ``item-metrics.csv`` with the metrics of each series.

        :param more: further entries of the summary.
        """
        tables = []
        for past, window, forecast in self._windows():
            table = tabulate(past, forecast)
            first = table[past.settings.timestamp].iloc[0]
            table.insert(0, _free("window", table), first)
            table.insert(2 + len(past.settings.key), _free(past.settings.target, table), window.truth.ravel())
            tables.append(table)
        names = self.backtest.training.settings.key
        items = [dict(zip(names, key, strict=True)) | found for key, found in self._by_item().items()]
        return {
            "predictions.csv": pd.concat(tables).to_csv(index=False, lineterminator="\n"),
            "item-metrics.csv": pd.DataFrame(items).to_csv(index=False, lineterminator="\n"),
            "summary.json": reports.encode(self.summary() | more),
        }

    def shown(self) -> list[tuple[str, ...]]:
        """Return the keys of the series for the report: the largest ones, and those with the largest relative error."""
        past, window, forecast = self._windows()[-1]
        sizes = np.abs(window.truth).sum(axis=1)
        errors = np.abs(window.truth - forecast[..., 0]).sum(axis=1) / np.maximum(sizes, 1e-9)
        largest = np.argsort(-sizes, kind="stable")[: EXAMPLES - 2].tolist()
        worst = [place for place in np.argsort(-errors, kind="stable").tolist() if place not in largest]
        return [past.series[place].key for place in (largest + worst)[:EXAMPLES]]

    def examples(self, chosen: Panel, ahead: Array) -> list[dict[str, Any]]:
        """Return series as the report draws them: the history, the backtests, and the forecast of the next horizon."""
        found = []
        for series, future in zip(chosen.series, ahead, strict=True):
            shown = min(len(series), max(_HISTORY, 4 * chosen.horizon))
            windows = [
                _band(past, each, values)
                for past, _, forecast in self._windows()
                for each, values in zip(past.series, forecast, strict=True)
                if each.key == series.key
            ]
            found.append(
                {
                    "key": list(series.key),
                    "timestamps": chosen.calendar.texts(np.arange(series.end - shown, series.end)),
                    "actual": _rounded(series.target[-shown:]),
                    "backtests": windows,
                    "forecast": _band(chosen, series, future),
                }
            )
        return found

    def largest(self) -> list[dict[str, Any]]:
        """Return the metrics of the series with the largest values, for the report."""
        past, window, _ = self._windows()[-1]
        order = np.argsort(-np.abs(window.truth).sum(axis=1), kind="stable")[:ITEMS]
        by_item = self._by_item()
        return [{"key": list(key), "metrics": by_item[key]} for key in (past.series[place].key for place in order)]

    def _windows(self) -> list[tuple[Panel, metrics.Window, Array]]:
        return list(zip(self.backtest.pasts, self.backtest.windows, self.forecasts, strict=True))

    def _by_item(self) -> dict[tuple[str, ...], dict[str, float]]:
        window, said = metrics.Window.all(self.backtest.windows), np.concatenate(self.forecasts)
        places: dict[tuple[str, ...], list[int]] = {}
        for place, series in enumerate(series for past in self.backtest.pasts for series in past.series):
            places.setdefault(series.key, []).append(place)
        quantiles = self.backtest.training.settings.quantiles
        return {key: metrics.measure(window.of(rows), said[rows], quantiles) for key, rows in places.items()}


def _free(name: str, table: pd.DataFrame) -> str:
    """Return a name for a further column; the data may have a column ``window``, or a target ``p50``."""
    return name if name not in table.columns else f"backtest:{name}"


def _band(panel: Panel, series: Series, forecast: Array) -> dict[str, Any]:
    stamps = panel.calendar.texts(np.arange(series.end, series.end + panel.horizon))
    names = ["mean", *panel.settings.names]
    return {"timestamps": stamps} | {name: _rounded(forecast[:, place]) for place, name in enumerate(names)}


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
