"""The training data of a forecasting job, with every data rule of the API applied."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from airflow_automl.contract.metrics import DEFAULT_OBJECTIVE, OBJECTIVES
from airflow_automl.contract.values import MAX_FORECAST_HORIZON
from airflow_automl.local.training.data import specification
from airflow_automl.local.training.data.channels import PARQUET, Channels
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.data.frame import Feature, convert, kinds_for_roles, to_frame
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.engines.timeseries.grid import grid
from airflow_automl.local.training.engines.timeseries.panel import Panel
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.rows import assemble, require_columns
from airflow_automl.local.training.engines.timeseries.settings import Settings

__all__ = ["PROBLEM_TYPE", "Dataset", "load"]

log = logging.getLogger(__name__)

PROBLEM_TYPE = "TimeSeriesForecasting"


@dataclass(frozen=True)
class Dataset:
    """What a job trains on.

    :param panel: the series.
    :param related: how additional columns become features.
    :param columns: the additional columns with their kinds.
    :param objective: the metric to minimize.
    :param facts: what was done to the data, for the insights.
    """

    panel: Panel
    related: Related
    columns: tuple[Feature, ...]
    objective: str
    facts: Mapping[str, Any]


def load(store: Store, channels: Channels, request: Mapping[str, Any], folder: Path) -> Dataset:
    """Read the training channel and put its series on the grid.

    :param store: where the objects lie.
    :param channels: what to read; a validation channel is not used (R86).
    :param request: the request, V2-shaped.
    :param folder: for downloads; emptied again.
    :raises JobFailure: the data breaks a rule; the message names the column or object.
    """
    config = request["AutoMLProblemTypeConfig"]["TimeSeriesForecastingJobConfig"]
    settings = Settings.read(config)
    objective = _objective((request.get("AutoMLJobObjective") or {}).get("MetricName"))
    if settings.horizon > MAX_FORECAST_HORIZON:
        raise JobFailure(f"ForecastHorizon is {settings.horizon}; at most {MAX_FORECAST_HORIZON} steps are allowed.")
    if channels.validation is not None:
        log.warning("The validation channel is not used: the last steps of the training data are forecast instead")
    channel = channels.training
    table = channel.read(store, folder)
    require_columns(table, settings, list(settings.fills), f"the data at {channel.uri}")
    others = [name for name in table.column_names if name not in settings.reserved]
    if config.get("FeatureSpecificationS3Uri"):
        uri = str(config["FeatureSpecificationS3Uri"])
        document = store.read_json(uri, "feature specification")
        given = specification.parse(document, uri, table.column_names, settings.reserved, PROBLEM_TYPE)
    else:
        given = specification.FeatureSpecification(tuple(others))
    frame, kinds = to_frame(table.select(list(given.names)), channel.content_type == PARQUET)
    frame = frame if given.names else pd.DataFrame(index=range(table.num_rows))
    columns = kinds_for_roles(given.names, kinds, given.types)
    for feature in columns:
        if feature.role != "auto":
            frame[feature.name] = convert(frame, feature)
    rows, calendar = assemble(table, settings, _as_numbers(frame, columns), None, log.warning)
    read = table.num_rows
    del table, frame
    series = grid(rows, settings)
    if not series:
        raise JobFailure(f"The target '{settings.target}' has no value in any row.")
    without = len(rows.keys) - len(series)
    if without:
        log.warning("%d items have no value in the target '%s' and are left out", without, settings.target)
    _require_history(max(len(entry.target) for entry in series), settings)
    # A column without any value says nothing.
    columns = tuple(feature for feature in columns if rows.related[feature.name].notna().any())
    related = Related.learn(rows, series, columns, settings)
    panel = related.panel(rows, series, settings, calendar)
    return Dataset(panel, related, columns, objective, _facts(panel, related, read, without))


def _as_numbers(frame: Any, columns: tuple[Feature, ...]) -> Any:
    """Moments as seconds, so that they can be averaged and filled in like other numbers."""
    for feature in columns:
        values = frame[feature.name]
        if values.dtype.kind == "M":
            seconds = values.astype("datetime64[s]").astype("int64").astype("float64")
            frame[feature.name] = seconds.where(values.notna())
        elif values.dtype.kind in "iu":
            frame[feature.name] = values.astype("float64")
    return frame


def _objective(given: str | None) -> str:
    if given is None:
        return DEFAULT_OBJECTIVE[PROBLEM_TYPE]
    if given not in OBJECTIVES[PROBLEM_TYPE]:
        raise JobFailure(
            f"The objective {given} does not fit {PROBLEM_TYPE}; valid are {listing(OBJECTIVES[PROBLEM_TYPE])}."
        )
    return given


def _require_history(longest: int, settings: Settings) -> None:
    """The horizon is at most a quarter of the data's time steps (R74)."""
    if longest < 4:
        raise JobFailure(f"The longest series has {longest} steps of {settings.frequency}; at least four are needed.")
    if longest < 4 * settings.horizon:
        raise JobFailure(
            f"ForecastHorizon is {settings.horizon}, and the longest series has {longest} steps of "
            f"{settings.frequency}. The horizon may be at most a quarter of that, {longest // 4}: shorten it, or give "
            "more history."
        )


def _facts(panel: Panel, related: Related, rows: int, without: int) -> dict[str, Any]:
    lengths = [len(series) for series in panel.series]
    steps = sum(lengths)
    filled = sum(int(series.filled.sum()) for series in panel.series)
    stamps = panel.calendar.stamps([min(s.start for s in panel.series), max(s.end for s in panel.series) - 1])
    if filled:
        share = filled / steps
        log.warning("%d of %d steps (%.1f %%) have no row and were filled in", filled, steps, 100 * share)
    return {
        "rows": rows,
        "items": len(panel),
        "items_without_values": without,
        "steps": steps,
        "filled_steps": filled,
        "shortest_series": min(lengths),
        "longest_series": max(lengths),
        "first": str(stamps[0]).replace("T", " "),
        "last": str(stamps[1]).replace("T", " "),
        "features": [
            {"column": column.name, "kind": column.kind, "known_in_the_future": column.known}
            for column in related.columns
        ],
    }
