"""A trained candidate: recent history in, quantile forecasts out, as CSV in Autopilot's format."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models import payloads
from airflow_automl.local.models.payloads import PayloadError, Responses
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.data import values as arrow_values
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.data.columns import locate, names_of, require
from airflow_automl.local.training.data.csv_file import without_headers
from airflow_automl.local.training.data.values import Notes, Refused
from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, Forecaster, forecaster
from airflow_automl.local.training.engines.timeseries.backtest import blend
from airflow_automl.local.training.engines.timeseries.calibration import Calibration
from airflow_automl.local.training.engines.timeseries.dataset import RowReader, assemble, read_related
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.panel import Panel, grid
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.settings import Settings

DRAWS = "deepar"
"""The algorithm whose forecast is a sample of paths."""

_SERIES = 500
"""Series of one forecast for more than one request."""


@dataclass(frozen=True)
class ForecastModel:
    """A candidate, ready to forecast.

    :param settings: what the job was asked for.
    :param related: how additional columns become features.
    :param columns: the additional columns, and how they are read.
    :param reader: how the other columns are read.
    :param weights: algorithm → its share in the forecast.
    :param members: algorithm → the trained one.
    :param calibration: how the quantiles of their mean are corrected.
    :param escaped: whether the training data had quotes escaped by backslashes.
    """

    settings: Settings
    calendar: Calendar
    related: Related
    columns: tuple[Codec, ...]
    reader: RowReader
    weights: Mapping[str, float]
    members: Mapping[str, Forecaster]
    calibration: Calibration
    threads: int = 1
    escaped: bool = False

    def respond(self, requests: Sequence[Payload]) -> Responses:
        """See :class:`airflow_automl.local.models.artifacts.Responder`; the series of all requests are one panel."""
        return payloads.answer_together(requests, self._asked, self._answers, self._fit)

    def _asked(self, request: Payload) -> Panel:
        _require_csv(request.content_type, request.accept)
        try:
            return self.read(_table(request.body, request.content_type, self.escaped))
        except JobFailure as error:
            raise PayloadError(error.reason) from error

    def _fit(self, panels: Sequence[Panel]) -> bool:
        # Paths that are drawn depend on the series beside them.
        return DRAWS not in self.weights and sum(map(len, panels)) <= _SERIES

    def _answers(self, panels: Sequence[Panel]) -> Responses:
        forecast = self.of(panels[0].of(series for panel in panels for series in panel.series))
        parts = np.split(forecast, np.cumsum([len(panel) for panel in panels])[:-1])
        tables = [tabulate(panel, part) for panel, part in zip(panels, parts, strict=True)]
        return [
            (table.to_csv(index=False, lineterminator="\n").encode(), "text/csv; charset=utf-8") for table in tables
        ]

    def forecast(self, history: pd.DataFrame | pa.Table) -> pd.DataFrame:
        """Forecast the horizon after the last value in some rows.

        :param history: the columns of the training data: recent values of one or more series, and rows with an empty
            target for what is known about the time to forecast.
        :return: a row for each series and step: the key's columns, the timestamp, a column for each quantile, ``mean``.
        :raises JobFailure: the rows can't be read; the message names the column or the series.
        """
        table = history if isinstance(history, pa.Table) else _of_frame(history)
        panel = self.read(table)
        return tabulate(panel, self.of(panel))

    def read(self, table: pa.Table) -> Panel:
        """Put the rows of a request on the grid.

        :raises JobFailure: they can't be read, or no series has a value; those without one are left out.
        """
        others = [codec.name for codec in self.columns]
        wanted = [*self.settings.reserved, *others]
        try:
            order, missing = locate(table.column_names, wanted)
        except ValueError as error:
            raise JobFailure(str(error)) from error
        if not missing:
            table = pa.table([table.column(place) for place in order], names=wanted)
        require(table.column_names, "the request", dict.fromkeys(others, "column") | self.settings.reserved)
        notes = Notes(level=logging.INFO)
        related = read_related(table, self.columns, notes)
        rows, calendar = assemble(table, self.settings, self.reader, related, self.calendar, notes.append)
        series = grid(rows, self.settings)
        if not series:
            names = listing(["/".join(key) for key in rows.keys], 5)
            raise JobFailure(f"There is no value of '{self.settings.target}' to forecast from in any series: {names}.")
        if without := len(rows.keys) - len(series):
            notes.append(f"{without} items have no value in '{self.settings.target}' and are left out")
        return self.related.panel(rows, series, self.settings, calendar)

    def of(self, panel: Panel) -> np.ndarray:
        """Return the forecast of a panel: shape (series, horizon, 1 + quantiles)."""
        context = Context(self.threads)
        found = {name: metrics.tidy(panel, self.members[name].forecast(panel, context))[0] for name in self.weights}
        return self.calibration.apply(panel, blend(found, self.weights))


def tabulate(panel: Panel, forecast: np.ndarray) -> pd.DataFrame:
    """Return a forecast as a table.

    :param forecast: shape (series, horizon, 1 + quantiles).
    :return: a row for each series and step.
    """
    settings, horizon = panel.settings, panel.horizon
    columns: dict[str, Any] = {
        name: np.repeat([series.key[place] for series in panel.series], horizon)
        for place, name in enumerate(settings.key)
    }
    steps = np.concatenate([np.arange(series.end, series.end + horizon) for series in panel.series])
    columns[settings.timestamp] = panel.calendar.texts(steps)
    flat = forecast.reshape(-1, forecast.shape[-1])
    for place, name in enumerate(settings.names, 1):
        columns[name] = flat[:, place]
    columns["mean"] = flat[:, 0]
    return pd.DataFrame(columns)


def load_model(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> ForecastModel:
    """Open the files of an artefact; there is no code in them."""
    settings = Settings.read(metadata["settings"])
    weights = {str(name): float(weight) for name, weight in metadata["weights"].items()}
    return ForecastModel(
        settings,
        Calendar.from_json(metadata["calendar"]),
        Related.from_json(metadata["related"]),
        tuple(Codec.from_json(entry) for entry in metadata["columns"]),
        RowReader.from_json(metadata["reader"]),
        weights,
        {name: forecaster(name).load(folder / name, dict(metadata)) for name in weights},
        Calibration(tuple(metadata["calibration"])),
        threads,
        bool(metadata["escaped"]),
    )


def _require_csv(content_type: str | None, accept: str | None) -> None:
    given = (content_type or payloads.CSV).partition(";")[0].strip().lower()
    if given != payloads.CSV:
        raise PayloadError(f"The model can't read the content type {content_type}; it reads text/csv.")
    wanted = [part.partition(";")[0].strip().lower() for part in (accept or "").split(",") if part.strip()]
    if wanted and not {payloads.CSV, "text/*", "*/*"} & set(wanted):
        raise PayloadError(f"The model can't answer {accept}; it answers text/csv.")


def _table(body: bytes, content_type: str | None, escaped: bool = False) -> pa.Table:
    table = payloads.csv_table(body, content_type, escaped=escaped)
    cells = [column[0].as_py() for column in table.columns]
    return without_headers(table.slice(1), cells).rename_columns(names_of(cells))


def _of_frame(frame: pd.DataFrame) -> pa.Table:
    try:
        columns = [arrow_values.arrow(frame.iloc[:, place]) for place in range(frame.shape[1])]
    except Refused as error:
        raise JobFailure(
            f"Row {error.row + 1} has a list or an object as a value; each must be a text or a number."
        ) from error
    return pa.table(columns, names=names_of(frame.columns))
