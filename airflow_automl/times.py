"""Times as people write them in arguments, and read them in the report, the pages and the notifier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_automl.exceptions import AutoMLValidationError


def seconds(value: Any, name: str, owner: str, *, minimum: float = 0.0) -> float | None:
    """Return a time span in seconds.

    :param value: a timedelta, a number of seconds, or ``None``.
    :param name: the argument, for the message.
    :param owner: what takes the argument, for the message.
    :param minimum: the shortest span that makes sense; 0 is a span that has passed at once.
    :raises AutoMLValidationError: it is something else, negative, or not finite.
    """
    if value is None:
        return None
    span = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(span, bool) or not isinstance(span, int | float) or not minimum <= span < float("inf"):
        raise AutoMLValidationError(
            owner,
            [f"{value!r} is not valid for {name}: pass a timedelta, or a number of seconds of at least {minimum:g}"],
        )
    return float(span)


def moment(value: Any) -> datetime | None:
    """Read a time, or its ISO-8601 text; UTC if it names no zone, ``None`` if it is neither."""
    try:
        known = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (known if known.tzinfo else known.replace(tzinfo=UTC)).astimezone(UTC)


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Return the seconds between two ISO-8601 times, ``None`` if one is missing or unreadable."""
    if not start or not end:
        return None
    try:
        first, last = datetime.fromisoformat(start), datetime.fromisoformat(end)
        return max(0.0, (last - first).total_seconds())
    except (ValueError, TypeError):
        return None


def duration_text(seconds: float | None) -> str:
    """Return a duration as people say it: ``48 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds is None:
        return "\N{EN DASH}"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    if minutes:
        return f"{minutes} min {left} s"
    return f"{whole} s"
