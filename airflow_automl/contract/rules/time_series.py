"""Rules of time series forecasting."""

from __future__ import annotations

import re
from collections.abc import Iterator

from airflow_automl.contract.rules.registry import Finding, Findings, reject, warn
from airflow_automl.contract.rules.request import JobRequest, Node
from airflow_automl.contract.values import (
    DEFAULT_QUANTILES,
    FILLING_METHODS,
    MAX_FORECAST_HORIZON,
    TIME_SERIES_ALGORITHMS,
)
from airflow_automl.contract.wording import alternatives, show

_QUANTILE = re.compile(r"p[1-9][0-9]?")
_NUMBER = re.compile(r"-?[0-9]+(?:[eE]-?[0-9]+)?")
_FREQUENCY = re.compile(r"([0-9]*)(Y|M|W|D|H|min)")

#: Unit → its largest multiple, the next larger unit, and how many of the unit make one of that.
_UNITS: dict[str, tuple[int, str, int]] = {
    "min": (59, "H", 60),
    "H": (23, "D", 24),
    "D": (6, "W", 7),
    "W": (4, "", 0),
    "M": (11, "Y", 12),
    "Y": (1, "", 0),
}
_VALID_FREQUENCIES = "1-59 min, 1-23 H, 1-6 D, 1-4 W, 1-11 M or 1Y, such as 1D or 15min"


@reject("R58")
def forecasting_algorithms(job: JobRequest) -> Findings:
    """Forecasts have algorithms of their own."""
    if job.problem != "TimeSeriesForecasting":
        return
    for path, name in job.algorithms:
        if name not in TIME_SERIES_ALGORITHMS:
            yield Finding(
                path, f"received {show(name)}; forecasting algorithms are {alternatives(TIME_SERIES_ALGORITHMS)}"
            )


@reject("R69")
def no_split_of_series(job: JobRequest) -> Findings:
    """Autopilot splits time series itself."""
    if job.problem == "TimeSeriesForecasting" and job.root.has("DataSplitConfig"):
        yield Finding(
            "DataSplitConfig", "received for TimeSeriesForecasting, which splits its data itself; leave it out"
        )


@reject("R73")
def frequency_below_next_unit(job: JobRequest) -> Findings:
    """A frequency is a number and a unit, and does not reach the next unit."""
    received = _frequency(job)
    if received is None:
        return
    parsed = _FREQUENCY.fullmatch(received)
    hint = ""
    if parsed is not None:
        digits, unit = parsed.groups()
        if not digits and unit != "min":
            return
        number = int(digits[:6] or 0)
        highest, next_unit, size = _UNITS[unit]
        if 1 <= number <= highest and not digits.startswith("0"):
            return
        if size and number and number % size == 0:
            hint = f": write {number // size}{next_unit}"
    yield Finding(job.config.at("ForecastFrequency"), f"received {show(received)}; must be {_VALID_FREQUENCIES}{hint}")


@warn("R73")
def frequency_with_number(job: JobRequest) -> Findings:
    """A bare letter is read as one of it."""
    received = _frequency(job)
    if received is not None and len(received) == 1 and received in _UNITS:
        yield Finding(
            job.config.at("ForecastFrequency"),
            f"received {show(received)}, which only the service's pattern allows; write 1{received}",
        )


@reject("R74")
def horizon_within_limit(job: JobRequest) -> Findings:
    """A forecast has at most 500 steps, and a quarter of those in the data."""
    horizon = job.config.integer("ForecastHorizon") if job.problem == "TimeSeriesForecasting" else None
    if horizon is not None and horizon > MAX_FORECAST_HORIZON:
        yield Finding(
            job.config.at("ForecastHorizon"),
            f"received {show(horizon)}; must be at most {MAX_FORECAST_HORIZON} time steps, "
            "and at most a quarter of the time steps in the data",
        )


@reject("R75")
def distinct_quantiles(job: JobRequest) -> Findings:
    """Quantiles are p1 to p99, each once."""
    if job.problem != "TimeSeriesForecasting":
        return
    seen: dict[str, str] = {}
    for path, quantile in job.config.texts("ForecastQuantiles"):
        if not _QUANTILE.fullmatch(quantile):
            default = ", ".join(DEFAULT_QUANTILES)
            yield Finding(path, f"received {show(quantile)}; quantiles are p1 to p99 (default {default})")
        elif quantile in seen:
            yield Finding(path, f"received {show(quantile)} again (first at {seen[quantile]}); give each quantile once")
        seen.setdefault(quantile, path)


@reject("R76")
def nothing_fills_the_front(job: JobRequest) -> Findings:
    """frontfill can only be switched off."""
    for filling in _filling(job):
        received = filling.text("frontfill")
        if received is not None and received not in FILLING_METHODS["frontfill"]:
            yield Finding(filling.at("frontfill"), f"received {show(received)}; frontfill must be none")


@reject("R77")
def frontfill_of_target_only(job: JobRequest) -> Findings:
    """frontfill is for the target column."""
    target = _series(job).text("TargetAttributeName")
    for filling in _filling(job):
        column = _column(filling, job)
        if target is not None and column != target and filling.has("frontfill"):
            yield Finding(
                filling.at("frontfill"),
                f"received for column {show(column)}; frontfill is for the target column {show(target)} only",
            )


@reject("R78")
def filling_options(job: JobRequest) -> Findings:
    """middlefill, backfill and futurefill have six options."""
    for filling in _filling(job):
        for method, options in FILLING_METHODS.items():
            received = filling.text(method)
            if method != "frontfill" and received is not None and received not in options:
                yield Finding(
                    filling.at(method),
                    f"received {show(received)}; {method} must be {alternatives(options)} "
                    f"('value' together with {method}_value fills in a number)",
                )


@warn("R78")
def filling_of_keys(job: JobRequest) -> Findings:
    """Identifiers and timestamps are not measured values that could be filled in."""
    keys = {column for path, column in _columns(job) if not path.endswith(".TargetAttributeName")}
    for filling in _filling(job):
        column = _column(filling, job)
        if column in keys and column != _series(job).text("TargetAttributeName"):
            yield Finding(
                filling.path,
                f"received for {show(column)}, which identifies rows; what filling it means is not documented",
            )


@reject("R79")
def value_to_fill_in(job: JobRequest) -> Findings:
    """Filling with a value takes that value."""
    for filling in _filling(job):
        for method in FILLING_METHODS:
            if method != "frontfill" and filling.get(method) == "value" and not filling.has(f"{method}_value"):
                yield Finding(
                    filling.at(f"{method}_value"),
                    f"is missing although {method} is 'value'; give the value as a string, such as '0'",
                )


@warn("R79")
def number_to_fill_in(job: JobRequest) -> Findings:
    """The target is numeric, and so is what fills its gaps."""
    target = _series(job).text("TargetAttributeName")
    for filling in _filling(job):
        if target is None or _column(filling, job) != target:
            continue
        for method in FILLING_METHODS:
            value = filling.text(f"{method}_value")
            if value is not None and not _NUMBER.fullmatch(value):
                yield Finding(
                    filling.at(f"{method}_value"),
                    f"received {show(value)} for the target column; the job fails unless it is a number",
                )


@reject("R80")
def value_only_for_method_value(job: JobRequest) -> Findings:
    """A value without the method 'value' would be ignored, and frontfill never takes one."""
    for filling in _filling(job):
        for method in FILLING_METHODS:
            if not filling.has(f"{method}_value"):
                continue
            path = filling.at(f"{method}_value")
            if method == "frontfill":
                yield Finding(path, "frontfill takes no value; leave it out")
            elif filling.get(method) != "value":
                received = f"is {show(filling.get(method))}" if filling.has(method) else "is missing"
                yield Finding(
                    path, f"is given although {method} {received}; set {method} to 'value', or leave this out"
                )


@reject("R81")
def aggregation_of_target_only(job: JobRequest) -> Findings:
    """Only the target column is aggregated."""
    target = _series(job).text("TargetAttributeName")
    aggregation = job.config.node("Transformations").node("Aggregation")
    if job.problem != "TimeSeriesForecasting" or target is None:
        return
    for column in aggregation.body:
        if isinstance(column, str) and column != target:
            yield Finding(
                aggregation.at(column),
                f"received for column {show(column)}; only the target column {show(target)} can be aggregated",
            )


@warn("R84")
def distinct_columns(job: JobRequest) -> Findings:
    """Target, timestamp, item identifier and grouping columns differ from each other."""
    seen: dict[str, str] = {}
    for path, column in _columns(job):
        if column in seen:
            yield Finding(path, f"received {show(column)}, which is {seen[column]} already; name another column")
        seen.setdefault(column, path)


@warn("R85")
def country_of_holidays(job: JobRequest) -> Findings:
    """A holiday calendar without a country has no holidays."""
    if job.problem != "TimeSeriesForecasting":
        return
    for holidays in job.config.nodes("HolidayConfig"):
        if holidays.present and not holidays.has("CountryCode"):
            yield Finding(
                holidays.at("CountryCode"),
                "is missing: no holidays are added; give a country such as 'US', or leave out HolidayConfig",
            )


@warn("R86")
def no_validation_channel(job: JobRequest) -> Findings:
    """What a validation channel of time series is used for is not documented."""
    if job.problem == "TimeSeriesForecasting" and job.validation_channel is not None:
        yield Finding(
            job.validation_channel.at("ChannelType"),
            "received 'validation'; Autopilot splits time series itself, and this channel's use is not documented",
        )


def _frequency(job: JobRequest) -> str | None:
    return job.config.text("ForecastFrequency") if job.problem == "TimeSeriesForecasting" else None


def _series(job: JobRequest) -> Node:
    return job.config.node("TimeSeriesConfig" if job.problem == "TimeSeriesForecasting" else "-")


def _columns(job: JobRequest) -> Iterator[tuple[str, str]]:
    series = _series(job)
    for name in ("TargetAttributeName", "TimestampAttributeName", "ItemIdentifierAttributeName"):
        if (column := series.text(name)) is not None:
            yield series.at(name), column
    yield from series.texts("GroupingAttributeNames")


def _filling(job: JobRequest) -> list[Node]:
    if job.problem != "TimeSeriesForecasting":
        return []
    filling = job.config.node("Transformations").node("Filling")
    return [filling.node(column) for column in filling.body if isinstance(column, str)]


def _column(filling: Node, job: JobRequest) -> str:
    return filling.path.removeprefix(f"{job.config.at('Transformations')}.Filling.")
