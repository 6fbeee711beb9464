"""The training data of a forecasting job, with every data rule of the API applied."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_automl.contract.metrics import DEFAULT_OBJECTIVE, OBJECTIVES
from airflow_automl.contract.values import MAX_FORECAST_HORIZON
from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data import codec as codecs
from airflow_automl.local.training.data import specification, typed
from airflow_automl.local.training.data.channels import Channels, read
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.data.values import Notes, Refused, Unusable
from airflow_automl.local.training.engines.timeseries.panel import Panel, grid
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.rows import RowReader, assemble, require_columns
from airflow_automl.local.training.engines.timeseries.settings import Settings

log = logging.getLogger(__name__)

PROBLEM_TYPE = "TimeSeriesForecasting"


@dataclass(frozen=True)
class Dataset:
    """What a job trains on.

    :param related: how additional columns become features.
    :param columns: the additional columns, and how they are read.
    :param reader: how the other columns are read.
    :param objective: the metric to minimize.
    :param facts: what was done to the data, for the insights.
    :param failures: what of it belongs into PartialFailureReasons.
    :param escaped: whether the CSV has quotes escaped by backslashes.
    """

    panel: Panel
    related: Related
    columns: tuple[Codec, ...]
    reader: RowReader
    objective: str
    facts: Mapping[str, Any]
    failures: tuple[str, ...] = ()
    escaped: bool = False


def load(store: Store, channels: Channels, request: Mapping[str, Any], folder: Path) -> Dataset:
    """Read the training channel and put its series on the grid.

    :param channels: what to read; a validation channel is not used (R86).
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
    notes = Notes(channels.notes)
    [table] = read(store, [channel], folder, notes, strings=True)
    escaped = typed.escaped(table)
    require_columns(table, settings, list(settings.fills), f"the data at {channel.uri}")
    others = [name for name in table.column_names if name not in settings.reserved]
    if config.get("FeatureSpecificationS3Uri"):
        uri = str(config["FeatureSpecificationS3Uri"])
        document = store.read_json(uri, "feature specification")
        given = specification.parse(document, uri, table.column_names, settings.reserved, PROBLEM_TYPE)
    else:
        given = specification.FeatureSpecification(tuple(others))
    columns = tuple(_decided(table, name, given.types.get(name, "auto"), notes) for name in given.names)
    frame = read_related(table, columns, notes)
    reader = RowReader.learn(table, settings)
    rows, calendar = assemble(table, settings, reader, frame, None, notes.append)
    count = table.num_rows
    del table, frame
    series = grid(rows, settings)
    if not series:
        raise JobFailure(f"The target '{settings.target}' has no value in any row.")
    without = len(rows.keys) - len(series)
    if without:
        notes.append(f"{without} items have no value in the target '{settings.target}' and are left out")
    _require_history(max(len(entry.target) for entry in series), settings)
    # A column without any value says nothing.
    columns = tuple(feature for feature in columns if rows.related[feature.name].notna().any())
    related = Related.learn(rows, series, columns, settings)
    panel = related.panel(rows, series, settings, calendar)
    facts = _facts(panel, related, count, without, notes)
    return Dataset(panel, related, columns, reader, objective, facts, tuple(notes.failures), escaped)


def _decided(table: pa.Table, name: str, role: str, notes: Notes) -> Codec:
    try:
        return codecs.decide(name, table.column(name), role, notes.append)
    except Unusable as error:
        raise JobFailure(
            f"The column '{name}' can't be used: {error}. Leave it out with a feature specification."
        ) from error


def read_related(table: pa.Table, columns: Sequence[Codec], notes: Notes) -> pd.DataFrame:
    """Read the additional columns of a channel or of a request.

    Moments become seconds, so that they can be averaged and filled in like other numbers.

    :param table: holds the columns.
    :param notes: gets what can't be read and counts as missing.
    :raises JobFailure: a value can't be read, and training had no such value.
    """
    found: dict[str, Any] = {}
    for codec in columns:
        try:
            reading = codec.read(table.column(codec.name))
        except (Refused, Unusable) as error:
            row = f" (row {error.row + 1})" if isinstance(error, Refused) else ""
            raise JobFailure(f"The column '{codec.name}' can't be read{row}: {error}.") from error
        notes.unread(codec.name, codec.kind, table.column(codec.name), reading.lost)
        values = reading.values
        if codec.moment:
            seconds = values.astype("datetime64[s]").astype("int64").astype("float64")
            values = np.where(np.isnat(values), np.nan, seconds)
        found[codec.name] = values
    return pd.DataFrame(found, index=range(table.num_rows))


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


def _facts(panel: Panel, related: Related, rows: int, without: int, notes: Notes) -> dict[str, Any]:
    lengths = [len(series) for series in panel.series]
    steps = sum(lengths)
    filled = sum(int(series.filled.sum()) for series in panel.series)
    stamps = panel.calendar.texts([min(s.start for s in panel.series), max(s.end for s in panel.series) - 1])
    if filled:
        share = filled / steps
        notes.append(f"{filled} of {steps} steps ({share:.1%}) have no row and were filled in")
    return {
        "rows": rows,
        "items": len(panel),
        "items_without_values": without,
        "steps": steps,
        "filled_steps": filled,
        "shortest_series": min(lengths),
        "longest_series": max(lengths),
        "first": stamps[0],
        "last": stamps[1],
        "features": [
            {"column": column.name, "kind": column.kind, "known_in_the_future": column.known}
            for column in related.columns
        ],
        "notes": list(notes),
    }
