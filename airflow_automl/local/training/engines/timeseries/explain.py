"""How much each additional column, and the holidays, move a candidate's forecasts: Shapley values by sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from airflow_automl.local.training.engines.course import Clock, Files
from airflow_automl.local.training.engines.reports import html
from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED
from airflow_automl.local.training.engines.timeseries.dataset import Dataset
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

_SERIES = 8
_ROUNDS = 4


def explain(dataset: Dataset, name: str, forecast: Callable[[Panel], np.ndarray], seconds: float) -> Files:
    """Explain a candidate.

    :param dataset: what was trained on; it has features.
    :param name: the candidate's.
    :param forecast: panel → forecast.
    :param seconds: no further round is begun after this; one round is always made.
    """
    panel = dataset.panel
    sample = panel.of(sorted(panel.series, key=lambda s: -float(np.abs(s.target).sum()))[:_SERIES])
    values, rounds = _shapley(sample, _groups(dataset), forecast, Clock(seconds))
    method = (
        f"Shapley values by sampling, {rounds} orders of the columns: how far the mean forecast of {len(sample)} "
        "series moves when a column has its true values instead of the series' average."
    )
    return html.explanation(
        name,
        "Mean absolute contribution to the forecast",
        values,
        method,
        labels={"label0": panel.settings.target},
        explanations={"kernel_shap": {"label0": {"global_shap_values": values}}},
    )


def _groups(dataset: Dataset) -> dict[str, list[int]]:
    """Column → places of its features."""
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
    """The same series, with some columns at their average."""
    places = [place for name in hidden for place in groups[name]]

    def one(series: Series) -> Series:
        features = series.features.copy()
        features[:, places] = features[: len(series), places].mean(axis=0)
        return replace(series, features=features)

    return panel.of(one(series) for series in panel.series)
