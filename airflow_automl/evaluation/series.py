"""Forecasts against the values that have come since: each series without its last steps is sent to the model."""

from __future__ import annotations

import csv
import io
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_automl.evaluation.data import LabelledData, draw
from airflow_automl.evaluation.exams import BYTES_PER_CALL, Exam, Question
from airflow_automl.evaluation.subject import Subject

_SECONDS = {"min": 60, "H": 3600, "D": 86_400, "W": 604_800}
#: The cycle of the seasonal naive forecast, in seconds: the day, the week, the year; in months for M.
_CYCLES: Mapping[str, int] = {"min": 86_400, "H": 86_400, "D": 604_800, "W": 52 * 604_800, "M": 12}
_AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "first": lambda values: values[0],
    "min": min,
    "max": max,
}

_Row = tuple[datetime, list[str]]


class SeriesExam(Exam):
    """CSV with a header: whole series, whose last steps have an empty target."""

    content_type = "text/csv;header=present"
    most, unit, fallback = 200, "series", "AverageWeightedQuantileLoss"

    def __init__(self, subject: Subject, keys: Sequence[str]) -> None:
        super().__init__(subject, keys)
        config = subject.config
        series: Mapping[str, Any] = config.get("TimeSeriesConfig") or {}
        transformations: Mapping[str, Any] = config.get("Transformations") or {}
        self.target, self.time = str(series.get("TargetAttributeName")), str(series.get("TimestampAttributeName"))
        self.key = [str(series.get("ItemIdentifierAttributeName")), *(series.get("GroupingAttributeNames") or ())]
        self.horizon = int(config.get("ForecastHorizon") or 1)
        found = re.fullmatch(r"([0-9]*)(min|H|D|W|M|Y)", str(config.get("ForecastFrequency", "1D")))
        self.multiple, self.step = (int(found[1] or 1), found[2]) if found else (1, "D")
        named = (transformations.get("Aggregation") or {}).get(self.target, "sum")
        self.aggregate = _AGGREGATIONS.get(named, math.fsum)
        filling = (transformations.get("Filling") or {}).get(self.target) or {}
        self.fills_zero = {filling.get("middlefill", "zero"), filling.get("backfill", "zero")} == {"zero"}

    def questions(self, data: LabelledData, most: int) -> Iterator[Question]:
        header, series = self._series(data)
        place = header.index(self.target)
        known = [row[0] for rows in series.values() for row in rows if _known(row[1][place])]
        if not known:
            raise data.wrong(f"there are no rows with a {self.target} at {data.address}")
        last = max(known)
        begin = self._back(last)
        buffer, truth = _sheet(header), list[Any]()
        for key in draw(series, most, data.seed):
            rows = sorted(series[key], key=lambda row: row[0])
            past = [row for row in rows if row[0] <= begin]
            future = [(at, float(row[place])) for at, row in rows if begin < at <= last and _known(row[place])]
            values = self._per_step([(at, float(row[place])) for at, row in past if _known(row[place])])
            if not future or len(values) < 4:
                continue
            sheet = csv.writer(buffer, lineterminator="\n")
            sheet.writerows(row for _, row in past)
            for _, row in (row for row in rows if row[0] > begin):
                sheet.writerow(["" if at == place else value for at, value in enumerate(row)])
            truth.append([list(key), [(at.isoformat(), value) for at, value in future], self._scale(values)])
            if buffer.tell() >= BYTES_PER_CALL:
                yield Question(buffer.getvalue().encode(), truth)
                buffer, truth = _sheet(header), []
        if truth:
            yield Question(buffer.getvalue().encode(), truth)

    def _series(self, data: LabelledData) -> tuple[list[str], dict[tuple[str, ...], list[_Row]]]:
        names: list[str] = []
        series: dict[tuple[str, ...], list[_Row]] = {}
        for address, header, row in data.rows():
            if missing := [name for name in (self.target, self.time, *self.key) if name not in header]:
                raise data.wrong(f"{address} has no column {missing[0]!r}; it has: {', '.join(header[:20]) or 'none'}")
            names = names or header
            if header != names:
                raise data.wrong(f"{address} has other columns than the first object, or in another order")
            try:
                at = _moment(row[header.index(self.time)])
                _known(row[header.index(self.target)])
            except ValueError as error:
                raise data.wrong(f"a row of {address} can't be read: {error}") from error
            series.setdefault(tuple(row[header.index(name)] for name in self.key), []).append((at, row))
        if not names:
            raise data.wrong(f"there are no rows at {data.address}")
        return names, series

    def _back(self, moment: datetime) -> datetime:
        steps = self.horizon * self.multiple
        if self.step in _SECONDS:
            return moment - timedelta(seconds=steps * _SECONDS[self.step])
        months = moment.year * 12 + moment.month - 1 - steps * (12 if self.step == "Y" else 1)
        # The last row of a month may be its 31st day.
        return moment.replace(year=months // 12, month=months % 12 + 1, day=min(moment.day, 28))

    def _per_step(self, values: Sequence[tuple[datetime, float]]) -> list[float]:
        if self.step in _SECONDS and self.step != "W":
            size = self.multiple * _SECONDS[self.step]
            steps = [int(at.timestamp()) // size for at, _ in values]
        else:
            steps = [self._number(at) for at, _ in values]
        grouped: dict[int, list[float]] = {}
        for step, (_, value) in zip(steps, values, strict=True):
            grouped.setdefault(step, []).append(value)
        return [self.aggregate(each) for _, each in sorted(grouped.items())]

    def _number(self, at: datetime) -> int:
        if self.step == "W":
            return at.toordinal() // 7 // self.multiple
        return (at.year * 12 + at.month) // (self.multiple * (12 if self.step == "Y" else 1))

    def _scale(self, values: Sequence[float]) -> float | None:
        """Return the mean absolute error of the seasonal naive forecast over the past (MASE's denominator)."""
        cycle, size = _CYCLES.get(self.step, 1), self.multiple * _SECONDS.get(self.step, 1)
        season = cycle // size if cycle % size == 0 else 1
        season = season if season < len(values) else 1
        if len(values) <= season:
            return None
        return math.fsum(abs(a - b) for a, b in zip(values, values[season:], strict=False)) / (len(values) - season)

    def units(self, answer: bytes, truth: Sequence[Any]) -> list[Any]:
        rows = list(csv.DictReader(io.StringIO(answer.decode())))
        columns = list(rows[0]) if rows else []
        if missing := [name for name in (*self.key, self.time, "mean") if name not in columns]:
            raise ValueError(f"answered no column {missing[0]!r}; it has: {', '.join(columns) or 'none'}")
        quantiles = [name for name in columns if re.fullmatch(r"p[0-9]{1,2}", name)]
        forecasts: dict[tuple[str, ...], list[tuple[datetime, dict[str, str]]]] = {}
        for row in rows:
            forecasts.setdefault(tuple(row[name] for name in self.key), []).append((_moment(row[self.time]), row))
        found = []
        for key, future, scale in truth:
            steps = sorted(forecasts.get(tuple(key), ()), key=lambda step: step[0])
            if not steps:
                raise ValueError(f"answered nothing about the series {'/'.join(key)}")
            happened: list[list[float]] = [[] for _ in steps]
            for at, value in future:
                if (place := bisect_right([step[0] for step in steps], _moment(at)) - 1) >= 0:
                    happened[place].append(value)
            found.append(
                {
                    "scale": scale,
                    "steps": [
                        (
                            self.aggregate(values) if values else 0.0,
                            float(row["mean"]),
                            {int(name[1:]): float(row[name]) for name in quantiles},
                        )
                        for values, (_, row) in zip(happened, steps, strict=True)
                        if values or self.fills_zero
                    ],
                }
            )
        return found

    def measure(self, units: Sequence[Any]) -> dict[str, float]:
        steps = [step for unit in units for step in unit["steps"]]
        if not steps:
            return {}
        total = math.fsum(abs(real) for real, _, _ in steps)
        errors = [abs(real - mean) for real, mean, _ in steps]
        found = {"RMSE": math.sqrt(math.fsum(each * each for each in errors) / len(errors))}
        if total:
            found["WAPE"] = math.fsum(errors) / total
            if losses := [
                math.fsum(2 * _pinball(real, at[percent], percent / 100) for real, _, at in steps) / total
                for percent in steps[0][2]
            ]:
                found["AverageWeightedQuantileLoss"] = math.fsum(losses) / len(losses)
        relative = [error / abs(real) for (real, _, _), error in zip(steps, errors, strict=True) if real]
        scaled = [
            abs(real - mean) / unit["scale"] for unit in units if unit["scale"] for real, mean, _ in unit["steps"]
        ]
        for name, values in (("MAPE", relative), ("MASE", scaled)):
            if values:
                found[name] = math.fsum(values) / len(values)
        return found


def _pinball(real: float, quantile: float, share: float) -> float:
    return max(share * (real - quantile), (share - 1) * (real - quantile))


def _known(text: str) -> bool:
    """Return whether there is a value (not empty, blank or NaN); raise ValueError if it is not a number."""
    return bool(text.strip()) and not math.isnan(float(text))


def _sheet(header: Sequence[str]) -> io.StringIO:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(header)
    return buffer


def _moment(text: str) -> datetime:
    text = text.strip()
    if re.fullmatch(r"\d{4}(-\d{2})?", text):
        text = f"{text}-01" if "-" in text else f"{text}-01-01"
    if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), UTC)
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
