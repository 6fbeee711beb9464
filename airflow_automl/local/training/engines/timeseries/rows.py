"""Tables → rows of time series: keys, moments, numbers; the same for training data and for requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.training.data import types
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.data.frame import as_text
from airflow_automl.local.training.data.types import Kind
from airflow_automl.local.training.engines.timeseries import timestamps
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.grid import Rows
from airflow_automl.local.training.engines.timeseries.settings import Settings

__all__ = ["assemble", "numbers", "require_columns"]

Array = np.ndarray

_SEPARATOR = "\x1f"


def require_columns(table: pa.Table, settings: Settings, others: Sequence[str], where: str) -> None:
    """Check that all columns are there (R26).

    :param table: the data.
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
    table: pa.Table, settings: Settings, related: pd.DataFrame, calendar: Calendar | None, warn: Callable[[str], None]
) -> tuple[Rows, Calendar]:
    """Make rows of a table.

    :param table: holds the columns of TimeSeriesConfig; from CSV they are text.
    :param settings: what was asked for.
    :param related: the additional columns, in the same rows.
    :param calendar: the grid; ``None`` to lay it over these rows.
    :param warn: is told about rows that are left out.
    :raises JobFailure: a value can't be read; the message names the column.
    """
    moments = timestamps.parse(table.column(settings.timestamp), settings.timestamp, settings.frequency)
    target = numbers(table.column(settings.target), settings.target)
    keys = [_texts(table.column(name)) for name in settings.key]
    there = ~np.isnat(moments)
    for column in keys:
        there &= column.notna().to_numpy()
    if not there.all():
        warn(f"{int((~there).sum())} rows have no timestamp or no item identifier and are left out")
        moments, target = moments[there], target[there]
        keys = [column[there] for column in keys]
        related = related[there]
    if not len(moments):
        raise JobFailure("No row has both a timestamp and an item identifier.")
    codes, names = _codes(keys)
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
    """The target's values, ``NaN`` where one is missing (R83).

    :raises JobFailure: a value is no finite number.
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values, kind = types.infer(column)
        # Codes such as 007 are text in other columns; here only a number can be meant.
        column = values if kind in (Kind.INTEGER, Kind.FLOAT) else column
    series = column.to_pandas()
    found: Array = pd.to_numeric(series, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    wrong = np.flatnonzero((~np.isfinite(found)) & series.notna().to_numpy())
    if len(wrong) or pa.types.is_timestamp(column.type) or pa.types.is_boolean(column.type):
        example = series.iloc[wrong[0]] if len(wrong) else series.iloc[0]
        raise JobFailure(f"The target '{name}' must be numeric; it has the value '{str(example)[:60]}'.")
    return found


def _texts(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return as_text(column.to_pandas())


def _codes(columns: Sequence[pd.Series]) -> tuple[Array, list[tuple[str, ...]]]:
    """A number for each series, in the order in which the series first appear."""
    if len(columns) == 1:
        codes, names = pd.factorize(columns[0])
        return codes, [(str(name),) for name in names]
    joined = columns[0].str.cat(list(columns[1:]), sep=_SEPARATOR)
    codes, names = pd.factorize(joined)
    first = np.unique(codes, return_index=True)[1]
    parts = [column.to_numpy()[first] for column in columns]
    return codes, list(zip(*parts, strict=True))
