"""Tables → time series: the rows of training data and of requests, and the data rules of the API."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from airflow_automl.local.training.data import columns as columns_of
from airflow_automl.local.training.data import specification, typed
from airflow_automl.local.training.data.channels import Channels, read
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.data.values import Notes, Refused, Unusable, left_out
from airflow_automl.local.training.engines.timeseries import frequency
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.panel import Panel, Rows, grid
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.settings import Settings

log = logging.getLogger(__name__)

Array = np.ndarray

_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class RowReader:
    """How the columns of TimeSeriesConfig are read, decided by the training data.

    :param form: of the timestamps; see :mod:`airflow_automl.local.training.engines.timeseries.frequency`.
    :param keys: the item identifier and the grouping columns.
    """

    form: str
    keys: tuple[Codec, ...]

    @classmethod
    def learn(cls, table: pa.Table, settings: Settings) -> RowReader:
        """Decide it from all rows.

        :raises JobFailure: a timestamp can't be read, or is ambiguous; or a key is not text.
        """
        form = frequency.decide_form(table.column(settings.timestamp), settings.timestamp)
        keys = []
        for name in settings.key:
            try:
                keys.append(codecs.decide(name, table.column(name), codecs.IDENTIFIER))
            except Unusable as error:
                raise JobFailure(f"The column '{name}' can't be a key of series: {error}. Write it as text.") from error
        return cls(form, tuple(keys))

    def as_json(self) -> dict[str, Any]:
        """Return what was decided, for an artefact."""
        return {"form": self.form, "keys": [key.as_json() for key in self.keys]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RowReader:
        """Return what :meth:`as_json` wrote."""
        return cls(document["form"], tuple(Codec.from_json(key) for key in document["keys"]))


def assemble(
    table: pa.Table,
    settings: Settings,
    reader: RowReader,
    related: pd.DataFrame,
    calendar: Calendar | None,
    warn: Callable[[str], None],
) -> tuple[Rows, Calendar]:
    """Make rows of a table.

    :param table: holds the columns of TimeSeriesConfig; from CSV they are text.
    :param reader: how they are read.
    :param related: the additional columns, in the same rows.
    :param calendar: the grid; ``None`` to lay it over these rows.
    :param warn: gets sentences about rows that are left out.
    :raises JobFailure: a value can't be read; the message names the column.
    """
    column = table.column(settings.timestamp)
    moments = frequency.parse_timestamps(column, settings.timestamp, settings.frequency, reader.form)
    target = numbers(table.column(settings.target), settings.target)
    keys = [pd.Series(key.read(table.column(key.name)).values, dtype=object) for key in reader.keys]
    there = ~np.isnat(moments)
    for key in keys:
        there &= key.notna().to_numpy()
    if not there.all():
        warn(f"{int((~there).sum())} rows have no timestamp or no item identifier and are left out")
        moments, target = moments[there], target[there]
        keys = [key[there] for key in keys]
        related = related[there]
    if not len(moments):
        raise JobFailure("No row has both a timestamp and an item identifier.")
    codes, names = _codes(keys)
    copies = int(pd.DataFrame({"code": codes, "moment": moments, "target": target}).duplicated().sum())
    if copies:
        how = settings.aggregation
        warn(f"{copies} rows repeat the item, timestamp and target of another row; each counts ({how} of a step)")
    calendar = calendar or Calendar.over(settings.frequency, moments)
    # The first value of a step is the earliest, in any order of rows.
    order = np.argsort(moments, kind="stable")
    rows = Rows(
        codes[order],
        names,
        calendar.steps(moments[order]),
        target[order],
        related.iloc[order].reset_index(drop=True),
    )
    return rows, calendar


def numbers(column: pa.ChunkedArray, name: str) -> Array:
    """Return the target's values, ``NaN`` where one is missing (R83).

    :raises JobFailure: a value is not a finite number.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type):
        raise JobFailure(f"The target '{name}' must be numeric; it has the value '{column[0].as_py()}'.")
    # Codes such as 007 are text in other columns; here they are numbers.
    try:
        reading = Codec(name, Kind.NUMBER, "numeric").read(column)
    except Unusable as error:
        raise JobFailure(f"The target '{name}' must be numeric: {error}.") from error
    if len(reading.lost):
        row = int(reading.lost[0])
        raise JobFailure(
            f"The target '{name}' must be numeric; it has the value '{str(column[row].as_py())[:60]}' (row {row + 1}; "
            f"{len(reading.lost)} rows have no number): leave the cell empty if no value is known."
        )
    return reading.values


def _codes(columns: Sequence[pd.Series]) -> tuple[Array, list[tuple[str, ...]]]:
    if len(columns) == 1:
        codes, names = pd.factorize(columns[0])
        return codes, [(str(name),) for name in names]
    joined = columns[0].str.cat(list(columns[1:]), sep=_SEPARATOR)
    codes, names = pd.factorize(joined)
    first = np.unique(codes, return_index=True)[1]
    parts = [column.to_numpy()[first] for column in columns]
    return codes, list(zip(*parts, strict=True))


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
    wanted = dict.fromkeys(settings.fills, "column") | settings.reserved
    columns_of.require(table.column_names, f"the data at {channel.uri}", wanted)
    others = [name for name in table.column_names if name not in settings.reserved]
    if config.get("FeatureSpecificationS3Uri"):
        uri = str(config["FeatureSpecificationS3Uri"])
        document = store.read_json(uri, "feature specification")
        given = specification.parse(document, uri, table.column_names, settings.reserved, PROBLEM_TYPE)
    else:
        given = specification.FeatureSpecification(tuple(others))
    columns = tuple(_decided(table, given, notes))
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
    columns = tuple(feature for feature in columns if rows.related[feature.name].notna().any())
    related = Related.learn(rows, series, columns, settings)
    panel = related.panel(rows, series, settings, calendar)
    facts = _facts(panel, related, count, without, notes)
    return Dataset(panel, related, columns, reader, objective, facts, tuple(notes.failures), escaped)


def _decided(table: pa.Table, given: specification.FeatureSpecification, notes: Notes) -> Iterator[Codec]:
    for name in given.names:
        try:
            yield codecs.decide(name, table.column(name), given.types.get(name, "auto"), notes.append)
        except Unusable as error:
            notes.tell(left_out(name, error), table.num_rows, table.num_rows)


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
    early = sum(bool(series.filled[-1]) for series in panel.series)
    if early:
        notes.append(f"{early} of {len(panel)} series end before the last step of the data; what follows was filled in")
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
