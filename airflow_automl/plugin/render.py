"""Jinja templates → pages. Everything that is put into a page is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment

from airflow_automl.report.page import environment
from airflow_automl.times import moment


@cache
def _environment() -> Environment:
    made = environment("airflow_automl.plugin")
    made.filters |= {"ago": _ago, "iso": _iso}
    return made


def render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def _iso(value: datetime | str | None) -> str:
    known = moment(value)
    return known.isoformat(timespec="seconds") if known else ""


def _ago(value: datetime | str | None) -> str:
    known = moment(value)
    if known is None:
        return "\N{EN DASH}"
    seconds = (datetime.now(UTC) - known).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count:,} {unit}{'s' if count != 1 else ''} ago"
    return "just now"
