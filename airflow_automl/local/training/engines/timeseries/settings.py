"""What a forecasting job was asked for, checked as far as that needs no data (R73 to R85)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_automl.contract.values import DEFAULT_AGGREGATION, DEFAULT_QUANTILES, FILLING_METHODS
from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.training.engines.timeseries.frequency import Frequency

FILLS = ("middlefill", "backfill", "futurefill")
_AGGREGATIONS = ("sum", "avg", "first", "min", "max")


@dataclass(frozen=True)
class Fill:
    """How gaps are filled.

    :param method: ``zero``, ``value``, ``median``, ``mean``, ``min`` or ``max``.
    :param value: what ``value`` fills in, as the request has it.
    """

    method: str
    value: str | None = None


@dataclass(frozen=True)
class Settings:
    """A TimeSeriesForecastingJobConfig, read.

    :param target: the column to forecast.
    :param timestamp: the column of times.
    :param item: the column that identifies series, together with ``grouping``.
    :param grouping: further columns of the key (R110).
    :param horizon: steps to forecast.
    :param frequency: of the grid.
    :param quantiles: in percent, ascending.
    :param fills: column → ``middlefill``, ``backfill`` or ``futurefill`` → how.
    :param aggregation: how values of one step become one.
    :param countries: whose holidays are features (R111).
    """

    target: str
    timestamp: str
    item: str
    grouping: tuple[str, ...]
    horizon: int
    frequency: Frequency
    quantiles: tuple[int, ...]
    fills: Mapping[str, Mapping[str, Fill]]
    aggregation: str
    countries: tuple[str, ...]

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Settings:
        """Read the configuration of a job.

        :raises JobFailure: a column has two roles (R84), a country has no calendar (R85), a filling is unknown.
        """
        series = config["TimeSeriesConfig"]
        transformations = config.get("Transformations") or {}
        target = str(series["TargetAttributeName"]).strip()
        quantiles = config.get("ForecastQuantiles") or DEFAULT_QUANTILES
        countries = [entry.get("CountryCode") for entry in config.get("HolidayConfig") or ()]
        found = cls(
            target=target,
            timestamp=str(series["TimestampAttributeName"]).strip(),
            item=str(series["ItemIdentifierAttributeName"]).strip(),
            grouping=tuple(dict.fromkeys(name.strip() for name in series.get("GroupingAttributeNames") or ())),
            horizon=int(config["ForecastHorizon"]),
            frequency=Frequency.parse(str(config["ForecastFrequency"])),
            quantiles=tuple(sorted({int(str(name).removeprefix("p")) for name in quantiles})),
            fills={
                column.strip(): _fills(column, given, column.strip() == target)
                for column, given in (transformations.get("Filling") or {}).items()
            },
            aggregation=_aggregation(transformations.get("Aggregation") or {}, target),
            countries=tuple(dict.fromkeys(_country(code) for code in countries if code)),
        )
        names = [found.target, found.timestamp, found.item, *found.grouping]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise JobFailure(
                f"TimeSeriesConfig names the column '{twice[0]}' twice: target, timestamp, item and grouping "
                "columns must differ from each other."
            )
        taken = [name for name in (*found.key, found.timestamp) if name in (*found.names, "mean")]
        if taken:
            raise JobFailure(f"A forecast has a column '{taken[0]}' of its own: rename that column of the data.")
        return found

    @property
    def key(self) -> tuple[str, ...]:
        """Return the columns that identify series."""
        return (self.item, *self.grouping)

    @property
    def reserved(self) -> dict[str, str]:
        """Columns that are not features → what they are."""
        return {
            self.target: "target",
            self.timestamp: "timestamp column",
            self.item: "item identifier",
        } | dict.fromkeys(self.grouping, "grouping column")

    @property
    def names(self) -> tuple[str, ...]:
        """Return names of the quantiles, ``p10``."""
        return tuple(f"p{percent}" for percent in self.quantiles)

    def as_json(self) -> dict[str, Any]:
        """Return the settings in the shape of the request, which :meth:`read` takes."""
        filling = {
            column: {
                name: text
                for method, fill in fills.items()
                for name, text in ((method, fill.method), (f"{method}_value", fill.value))
                if text is not None
            }
            for column, fills in self.fills.items()
        }
        return {
            "TimeSeriesConfig": {
                "TargetAttributeName": self.target,
                "TimestampAttributeName": self.timestamp,
                "ItemIdentifierAttributeName": self.item,
                "GroupingAttributeNames": list(self.grouping),
            },
            "ForecastHorizon": self.horizon,
            "ForecastFrequency": str(self.frequency),
            "ForecastQuantiles": list(self.names),
            "Transformations": {"Filling": filling, "Aggregation": {self.target: self.aggregation}},
            "HolidayConfig": [{"CountryCode": code} for code in self.countries],
        }


def _fills(column: str, given: Mapping[str, str], target: bool) -> dict[str, Fill]:
    found = {}
    for method in FILLS:
        if method not in given:
            continue
        how, value = given[method], given.get(f"{method}_value")
        if how not in FILLING_METHODS[method]:
            raise JobFailure(
                f"{method} of '{column}' is '{how}'; it must be one of {listing(FILLING_METHODS[method])}."
            )
        if how == "value" and value is None:
            raise JobFailure(f"{method} of '{column}' is 'value': give {method}_value too.")
        if how == "value" and target and not is_number(value):
            raise JobFailure(f"{method}_value of the target '{column}' is '{value}'; it must be a number.")
        found[method] = Fill(how, value if how == "value" else None)
    return found


def is_number(text: str | None) -> bool:
    """Return whether a fill value is a finite number."""
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False


def _aggregation(given: Mapping[str, str], target: str) -> str:
    found = {column.strip(): how for column, how in given.items()}.get(target, DEFAULT_AGGREGATION)
    if found not in _AGGREGATIONS:
        raise JobFailure(f"Aggregation of '{target}' is '{found}'; it must be one of {listing(_AGGREGATIONS)}.")
    return found


def _country(code: str) -> str:
    import holidays

    wanted = {"UK": "GB"}.get(code.upper(), code.upper())
    known = holidays.list_supported_countries(include_aliases=True)
    if wanted not in known:
        raise JobFailure(
            f"HolidayConfig asks for the holidays of '{code}', for which there is no calendar; there are calendars for "
            f"{len(known)} countries: {listing(sorted(code for code in known if len(code) == 2), 60)}."
        )
    return wanted
