"""A trained candidate: recent history in, quantile forecasts out, as CSV in Autopilot's format."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from airflow_automl.local.models import payloads
from airflow_automl.local.training.data import types
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.data.frame import Feature, as_moments, as_text
from airflow_automl.local.training.data.types import Kind
from airflow_automl.local.training.engines.timeseries import naive
from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, Forecaster
from airflow_automl.local.training.engines.timeseries.algorithms.catalog import forecaster
from airflow_automl.local.training.engines.timeseries.ensemble import blend
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.grid import grid
from airflow_automl.local.training.engines.timeseries.panel import Panel
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.rows import assemble, require_columns
from airflow_automl.local.training.engines.timeseries.settings import Settings

__all__ = ["MIN_HISTORY", "ForecastModel", "load_model", "tabulate"]

log = logging.getLogger(__name__)

MIN_HISTORY = 4
"""Values that a series needs to be forecast."""


@dataclass(frozen=True)
class ForecastModel:
    """A candidate, ready to forecast.

    :param settings: what the job was asked for.
    :param calendar: the grid.
    :param related: how additional columns become features.
    :param columns: the additional columns.
    :param weights: algorithm → its share in the forecast.
    :param members: algorithm → the trained one.
    :param threads: how many threads a forecast may use.
    """

    settings: Settings
    calendar: Calendar
    related: Related
    columns: tuple[Feature, ...]
    weights: Mapping[str, float]
    members: Mapping[str, Forecaster]
    threads: int = 1

    def respond(self, body: bytes, content_type: str | None, accept: str | None) -> tuple[bytes, str]:
        """See :class:`airflow_automl.local.models.artifacts.Responder`."""
        _require_csv(content_type, accept)
        try:
            answer = self.forecast(_table(body))
        except JobFailure as failure:
            raise payloads.PayloadError(failure.reason) from failure
        return answer.to_csv(index=False, lineterminator="\n").encode(), "text/csv; charset=utf-8"

    def forecast(self, history: pd.DataFrame | pa.Table) -> pd.DataFrame:
        """Forecast the horizon after the last value in some rows.

        :param history: the columns of the training data: recent values of one or more series, and rows with an empty
            target for what is known about the time to forecast.
        :return: a row for each series and step: the key's columns, the timestamp, a column for each quantile, ``mean``.
        :raises JobFailure: the rows can't be read; the message names the column or the series.
        """
        table = history if isinstance(history, pa.Table) else pa.Table.from_pandas(history, preserve_index=False)
        panel = self.read(table)
        return tabulate(panel, self.of(panel))

    def read(self, table: pa.Table) -> Panel:
        """Put the rows of a request on the grid.

        :raises JobFailure: they can't be read, or a series is too short.
        """
        require_columns(table, self.settings, [feature.name for feature in self.columns], "the request")
        related = pd.DataFrame(
            {feature.name: _column(table.column(feature.name), feature) for feature in self.columns},
            index=range(table.num_rows),
        )
        rows, calendar = assemble(table, self.settings, related, self.calendar, log.info)
        series = grid(rows, self.settings)
        counts = {entry.code: int((~entry.filled).sum()) for entry in series}
        short = [code for code in range(len(rows.keys)) if counts.get(code, 0) < MIN_HISTORY]
        if short:
            names = listing(["/".join(rows.keys[code]) for code in short], 5)
            raise JobFailure(
                f"Each series needs at least {MIN_HISTORY} values of '{self.settings.target}' to be forecast; "
                f"too short: {names}."
            )
        return self.related.panel(rows, series, self.settings, calendar)

    def of(self, panel: Panel) -> np.ndarray:
        """The forecast of a panel: shape (series, horizon, 1 + quantiles)."""
        context = Context(self.threads)
        found = {name: naive.tidy(panel, self.members[name].forecast(panel, context))[0] for name in self.weights}
        return blend(found, self.weights)


def tabulate(panel: Panel, forecast: np.ndarray) -> pd.DataFrame:
    """A forecast as a table.

    :param panel: what was forecast.
    :param forecast: shape (series, horizon, 1 + quantiles).
    :return: a row for each series and step.
    """
    settings, horizon = panel.settings, panel.horizon
    columns: dict[str, Any] = {
        name: np.repeat([series.key[place] for series in panel.series], horizon)
        for place, name in enumerate(settings.key)
    }
    steps = np.concatenate([np.arange(series.end, series.end + horizon) for series in panel.series])
    moments = np.datetime_as_string(panel.calendar.stamps(steps))
    columns[settings.timestamp] = np.char.replace(moments, "T", " ")
    flat = forecast.reshape(-1, forecast.shape[-1])
    for place, name in enumerate(settings.names, 1):
        columns[name] = flat[:, place]
    columns["mean"] = flat[:, 0]
    return pd.DataFrame(columns)


def load_model(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> ForecastModel:
    """Open the files of an artefact; there is no code in them.

    :param folder: the files.
    :param metadata: of the artefact.
    :param environment: of the container; nothing in it matters here.
    :param threads: how many threads a forecast may use.
    """
    settings = Settings.read(metadata["settings"])
    weights = {str(name): float(weight) for name, weight in metadata["weights"].items()}
    return ForecastModel(
        settings,
        Calendar.from_json(metadata["calendar"]),
        Related.from_json(metadata["related"]),
        tuple(Feature.from_json(entry) for entry in metadata["columns"]),
        weights,
        {name: forecaster(name).load(folder / name, dict(metadata)) for name in weights},
        threads,
    )


def _require_csv(content_type: str | None, accept: str | None) -> None:
    given = (content_type or payloads.CSV).partition(";")[0].strip().lower()
    if given != payloads.CSV:
        raise payloads.PayloadError(f"The model can't read the content type {content_type}; it reads text/csv.")
    wanted = [part.partition(";")[0].strip().lower() for part in (accept or "").split(",") if part.strip()]
    if wanted and not {payloads.CSV, "text/*", "*/*"} & set(wanted):
        raise payloads.PayloadError(f"The model can't answer {accept}; it answers text/csv.")


def _table(body: bytes) -> pa.Table:
    """Read CSV with a header; all columns are text."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise payloads.PayloadError(f"The body is not UTF-8 text (byte offset {error.start}).") from error
    if not text.strip():
        raise payloads.PayloadError("The body is empty: send CSV with a header and the recent history.")
    try:
        header = [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")))]
    except csv.Error as error:
        raise payloads.PayloadError(f"The body is not CSV: {error}.") from error
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise payloads.PayloadError(f"The header has the column '{twice[0]}' more than once.")
    try:
        return pa.csv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=header, skip_rows=1),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                null_values=types.NULLS,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise payloads.PayloadError(f"The body is not a CSV table with the columns of its header: {error}.") from error


def _column(values: pa.ChunkedArray, feature: Feature) -> pd.Series:
    """An additional column with the kind that it had in training."""
    series = values.to_pandas()
    if feature.kind is Kind.TEXT:
        return as_text(series)
    if feature.kind.is_moment:
        moments = as_moments(series, feature.kind, errors="coerce")
        converted = moments.astype("datetime64[s]").astype("int64").astype("float64").where(moments.notna())
    else:
        converted = pd.to_numeric(series, errors="coerce").astype("float64")
    wrong = series[converted.isna() & series.notna()]
    if len(wrong):
        what = "a date" if feature.kind.is_moment else "a number"
        raise JobFailure(f"The column '{feature.name}' takes {what}, not '{str(wrong.iloc[0])[:60]}'.")
    return converted
