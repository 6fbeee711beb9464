"""Jinja templates → pages. Everything that is put into a page is escaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_automl import __version__
from airflow_automl.plugin.phases import words
from airflow_automl.report import plots
from airflow_automl.times import duration_text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("airflow_automl.plugin"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": _ago,
        "duration": duration_text,
        "iso": _iso,
        "json_text": lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
        "moment": _moment,
        "number": plots.number,
        "words": words,
    }
    environment.globals["version"] = __version__
    return environment


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
