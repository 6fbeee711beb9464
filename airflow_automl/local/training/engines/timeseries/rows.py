"""Tables → rows of time series: keys, moments, numbers; the same for training data and for requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.data import codec as codecs
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.values import Unusable
from airflow_automl.local.training.engines.timeseries import frequency
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.panel import Rows
from airflow_automl.local.training.engines.timeseries.settings import Settings

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
                raise JobFailure(f"The column '{name}' can't tell series apart: {error}. Write it as text.") from error
        return cls(form, tuple(keys))

    def as_json(self) -> dict[str, Any]:
        """Return what was decided, for an artefact."""
        return {"form": self.form, "keys": [key.as_json() for key in self.keys]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RowReader:
        """Return what :meth:`as_json` wrote."""
        return cls(document["form"], tuple(Codec.from_json(key) for key in document["keys"]))


def require_columns(table: pa.Table, settings: Settings, others: Sequence[str], where: str) -> None:
    """Check that all columns are there (R26).

    :param settings: names the columns of TimeSeriesConfig.
    :param others: further columns that must be there.
    :param where: what the data is, for the message.
    :raises JobFailure: some are not.
    """
    wanted = settings.reserved | {name: "column" for name in others if name not in settings.reserved}
    for name, role in wanted.items():
        if name in table.column_names:
            continue
        alike = [other for other in table.column_names if other.strip().lower() == name.strip().lower()]
        hint = f" Did you mean '{alike[0]}'?" if alike else ""
        what = "column" if role == "column" else f"{role} (column)"
        raise JobFailure(
            f"The {what} '{name}' is not in {where}; its columns are {listing(table.column_names, 20)}.{hint}"
        )


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
    :param warn: is told about rows that are left out.
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
    # The first value of a step is the earliest one, wherever its row stands.
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

    :raises JobFailure: a value is no finite number.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type):
        raise JobFailure(f"The target '{name}' must be numeric; it has the value '{column[0].as_py()}'.")
    # Codes such as 007 are text in other columns; here only a number can be meant.
    try:
        reading = Codec(name, Kind.NUMBER, "numeric").read(column)
    except Unusable as error:
        raise JobFailure(f"The target '{name}' must be numeric: {error}.") from error
    if len(reading.lost):
        row = int(reading.lost[0])
        raise JobFailure(
            f"The target '{name}' must be numeric; it has the value '{str(column[row].as_py())[:60]}' (row {row + 1}; "
            f"{len(reading.lost)} rows have no number): leave the cell empty where no value is known."
        )
    return reading.values


def _codes(columns: Sequence[pd.Series]) -> tuple[Array, list[tuple[str, ...]]]:
    """Return a number for each series, in the order in which the series first appear."""
    if len(columns) == 1:
        codes, names = pd.factorize(columns[0])
        return codes, [(str(name),) for name in names]
    joined = columns[0].str.cat(list(columns[1:]), sep=_SEPARATOR)
    codes, names = pd.factorize(joined)
    first = np.unique(codes, return_index=True)[1]
    parts = [column.to_numpy()[first] for column in columns]
    return codes, list(zip(*parts, strict=True))
