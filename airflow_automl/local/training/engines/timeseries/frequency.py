"""The time grid: timestamps as whole numbers of steps since an anchor, and back (R73)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure

_PATTERN = re.compile(r"(?P<multiple>[0-9]*)(?P<unit>min|H|D|W|M|Y)")
_SECONDS = {"min": 60, "H": 3600, "D": 86_400, "W": 604_800}
_DAY = np.timedelta64(1, "D")

#: Unit → cycles in which people and weather repeat themselves, in seconds, or in months for M and Y.
_CYCLES = {
    "min": (3600, 86_400, 604_800),
    "H": (86_400, 604_800),
    "D": (604_800,),
    "W": (52 * 604_800,),
    "M": (12,),
    "Y": (),
}

Moments = np.ndarray
"""An array of ``datetime64[s]``."""


@dataclass(frozen=True)
class Frequency:
    """ForecastFrequency.

    :param multiple: how many units a step has.
    :param unit: ``min``, ``H``, ``D``, ``W``, ``M`` or ``Y``.
    """

    multiple: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Read ``1D``, ``15min`` or a bare letter.

        :raises JobFailure: it is none of these.
        """
        found = _PATTERN.fullmatch(text)
        if found is None or found["multiple"] == "0":
            raise JobFailure(
                f"ForecastFrequency is '{text}'; it must be a number and Y, M, W, D, H or min, such as 1D."
            )
        return cls(int(found["multiple"] or 1), found["unit"])

    def __str__(self) -> str:
        return f"{self.multiple}{self.unit}"

    @property
    def by_calendar(self) -> bool:
        """Whether a step is made of whole days: then the day that was written down counts, not the instant."""
        return self.unit in ("D", "W", "M", "Y")

    @property
    def seasons(self) -> tuple[int, ...]:
        """Lengths of the cycles that fit into whole steps, in steps, the shortest first."""
        if self.unit == "M":
            size = self.multiple
        else:
            size = self.multiple * _SECONDS.get(self.unit, 0)
        periods = [cycle // size for cycle in _CYCLES[self.unit] if size and cycle % size == 0]
        return tuple(period for period in periods if period > 1)

    def season(self, length: int, longest: int | None = None) -> int:
        """The longest cycle that a series of some length has seen twice; 1 for none.

        :param length: of the series, in steps.
        :param longest: cycles above this are not looked at.
        """
        fitting = [p for p in self.seasons if 2 * p <= length and (longest is None or p <= longest)]
        return max(fitting, default=1)

    @property
    def main_season(self) -> int:
        """The cycle that a naive forecast repeats: the day for minutes and hours, the week for days, else the year."""
        day = 86_400 // (self.multiple * _SECONDS.get(self.unit, 86_400))
        return day if day in self.seasons else min(self.seasons, default=1)


@dataclass(frozen=True)
class Calendar:
    """The grid of a job.

    :param frequency: its step.
    :param anchor: start of step 0.
    """

    frequency: Frequency
    anchor: np.datetime64

    @classmethod
    def over(cls, frequency: Frequency, moments: Moments) -> Calendar:
        """The grid that fits some data.

        Minutes, hours and days are counted from the first day's midnight. Weeks start on the weekday that all
        timestamps share, else on Monday; months and years on their first day.

        :param moments: all timestamps, at least one.
        """
        first = moments.min()
        day = first.astype("datetime64[D]")
        if frequency.unit == "W":
            days = moments.astype("datetime64[D]").astype("int64")
            # Day 0 of the epoch was a Thursday.
            weekdays = np.unique((days + 3) % 7)
            start = int(weekdays[0]) if len(weekdays) == 1 else 0
            day -= _DAY * ((int(day.astype("int64")) + 3 - start) % 7)
        elif frequency.unit == "M":
            day = first.astype("datetime64[M]")
        elif frequency.unit == "Y":
            day = first.astype("datetime64[Y]")
        return cls(frequency, day.astype("datetime64[s]"))

    def steps(self, moments: Moments) -> np.ndarray:
        """The step that each moment lies in."""
        if self.frequency.unit in ("M", "Y"):
            return (_months(moments) - _months(self.anchor)) // self._size  # type: ignore[no-any-return]
        return (moments.astype("datetime64[s]") - self.anchor).astype("int64") // self._size  # type: ignore[no-any-return]

    def stamps(self, steps: np.ndarray | Sequence[int]) -> Moments:
        """The start of each step."""
        steps = np.asarray(steps, dtype="int64")
        if self.frequency.unit in ("M", "Y"):
            months = _months(self.anchor) + steps * self._size
            return months.astype("datetime64[M]").astype("datetime64[s]")  # type: ignore[no-any-return]
        return self.anchor + (steps * self._size).astype("timedelta64[s]")  # type: ignore[no-any-return]

    @property
    def _size(self) -> int:
        """A step in seconds, or in months."""
        unit, multiple = self.frequency.unit, self.frequency.multiple
        return multiple * {"M": 1, "Y": 12}.get(unit, 0) or multiple * _SECONDS[unit]

    def as_json(self) -> dict[str, str]:
        """The grid as an artefact keeps it."""
        return {"frequency": str(self.frequency), "anchor": str(self.anchor)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calendar:
        """The grid that :meth:`as_json` wrote."""
        return cls(Frequency.parse(document["frequency"]), np.datetime64(document["anchor"], "s"))


def _months(moments: Any) -> Any:
    return moments.astype("datetime64[M]").astype("int64")
