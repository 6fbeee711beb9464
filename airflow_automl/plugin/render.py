"""Jinja templates → pages. Everything that is put into a page is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment

from airflow_automl.plugin.phases import words
from airflow_automl.report.page import environment


@cache
def _environment() -> Environment:
    made = environment("airflow_automl.plugin")
    made.filters |= {"ago": _ago, "iso": _iso, "moment": _moment, "words": words}
    return made


def render(template: str, **values: Any) -> str:
    """Render one of the package's templates."""
    return _environment().get_template(template).render(**values)


def _time(value: datetime | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if value is None:
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def _iso(value: datetime | str | None) -> str:
    moment = _time(value)
    return moment.isoformat(timespec="seconds") if moment else ""


def _moment(value: datetime | str | None) -> str:
    moment = _time(value)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "\N{EN DASH}"


def _ago(value: datetime | str | None) -> str:
    moment = _time(value)
    if moment is None:
        return "\N{EN DASH}"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count:,} {unit}{'s' if count != 1 else ''} ago"
    return "just now"
