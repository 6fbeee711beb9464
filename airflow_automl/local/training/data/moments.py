"""Dates and times as text: one pattern for all spellings, and the order of day, month and year of a column."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable
from itertools import islice

ORDERS = ("mdy", "dmy", "ymd")
_TWO_SOURCES = "mdy."
"""American dates with slashes among European ones with dots."""

_PATTERN = re.compile(
    r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})"
    r"(?:(?:T|\s+)(\d{1,2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,9}))?)?)?\s*([AaPp][Mm])?)?"
    r"\s*(Z|UTC|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(T\d{4}.*)", re.ASCII)
_MONTH_ONLY = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:(?:mon|tue(?:s)?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?\s+)?"
_NAMED = tuple(
    re.compile(rf"{_WEEKDAY}{form},?(?P<time>\D.*)?", re.IGNORECASE | re.ASCII)
    for form in (
        rf"{_DAY}[-/\s]*{_MONTH}[-/\s,]*(?P<year>\d{{4}}|\d\d)",
        rf"{_MONTH}[-\s]+(?:{_DAY},?[-\s]+)?(?P<year>(?:19|20)\d\d)",
        rf"(?P<year>\d{{4}})[-/\s]{_MONTH}[-/\s]{_DAY}",
    )
)
_CERTAIN = re.compile(r"[/A-Za-z]|(1[6-9]|2[0-2])\d\d", re.ASCII)
"""What numbers of versions and parts mostly lack: slashes, letters, or a year that ``datetime64[ns]`` holds."""
_PIVOT = 69
"""Years of two digits from here on are of the last century, as in POSIX."""


def read(text: str, order: str, *, local: bool = False) -> dt.datetime | None:
    """Read a date or a date with a time.

    :param text: without blanks around it.
    :param order: as :func:`order_of` or :func:`usual_order` returns it; a date that begins with four digits is ``ymd``
        whatever this says.
    :param local: keep the clock time that is written and ignore its zone; by default a time with a zone becomes UTC.
    :return: the moment without a zone; ``None`` if the text is not a moment.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        return None
    first, separator, second, third, hour, minute, second_, fraction, half, zone = found.groups()
    if len(first) == 4:
        order = "ymd"
    elif order == _TWO_SOURCES:
        order = "dmy" if separator == "." else "mdy"
    parts = dict(zip(order, (first, second, third), strict=True))
    year = parts["y"]
    if len(year) not in (2, 4) or len(parts["d"]) > 2 or len(parts["m"]) > 2:
        return None
    if len(year) == 2 and separator != "/" and len(parts["d"] + parts["m"]) < 4:
        # A version such as 1.10.12 is not a date.
        return None
    full = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= _PIVOT else 2000)
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half[0] in "Pp" else 0)
    try:
        moment = dt.datetime(
            full,
            int(parts["m"]),
            int(parts["d"]),
            hours,
            int(minute or 0),
            int(second_ or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
        )
        return moment if local or not zone or zone in ("Z", "UTC") else moment - _offset(zone)
    except (ValueError, OverflowError):
        return None


def parse(text: str, order: str) -> dt.datetime | None:
    """Read what :func:`read` reads, a date with the name of its month, ``2024-01`` or ``20240131T101010``.

    :param text: without blanks around it.
    :param order: as for :func:`read`.
    """
    if (found := read(text, order)) is not None:
        return found
    if compact := _COMPACT.fullmatch(text):
        return read("{}-{}-{}{}".format(*compact.groups()), "ymd")
    if _MONTH_ONLY.fullmatch(text):
        return read(f"{text}-01", "ymd")
    return named(text)


def named(text: str, *, local: bool = False) -> dt.datetime | None:
    """Read a date with the name of its month, which has but one order.

    :param text: without blanks around it.
    :param local: as for :func:`read`.
    """
    found = next(filter(None, (form.fullmatch(text) for form in _NAMED)), None)
    if found is None:
        return None
    month = _MONTHS.index(found["month"][:3].lower()) + 1
    return read(f"{found['day'] or '1':0>2}-{month:02}-{found['year']}{found['time'] or ''}", "dmy", local=local)


def _offset(zone: str) -> dt.timedelta:
    digits = zone[1:].replace(":", "").ljust(4, "0")
    east = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -east if zone[0] == "-" else east


def _preferred(texts: Collection[str]) -> tuple[str, ...]:
    """The orders in which dates are tried: with slashes the American one first, else the European one."""
    dates = [text for text in texts if not text[:4].isdigit() and _PATTERN.fullmatch(text)]
    if not dates:
        return ("ymd",)
    return ORDERS if any("/" in text for text in dates) else ("dmy", "mdy", "ymd")


def order_of(texts: Collection[str]) -> str | None:
    """The order of day, month and year with which every text can be read.

    :param texts: the distinct values of a column.
    :return: the order; ``None`` if no order fits all of them.
    """
    for order in _preferred(texts):
        if all(read(text, order) is not None for text in texts):
            return order
    return None


def usual_order(texts: Collection[str], odd: float) -> tuple[str, bool] | None:
    """The order of day, month and year with which most texts can be read, if these are all or nearly all.

    :param texts: the distinct values of a column.
    :param odd: the part of them that need not be dates, if nothing else can be meant by the others.
    :return: the order, and whether some texts can't be read with it; ``None`` if the texts are not dates.
    """
    months = [text for text in texts if _MONTH_ONLY.fullmatch(text)]
    if len(months) > 1 and all(int(text[5:]) == (int(text[2:4]) + 1) % 100 for text in months):
        # 2001-02 and 2002-03 are seasons.
        return None
    most, unread = int(odd * len(texts)), dict[str, int]()
    # Of most columns of texts, a few values say that they are not dates.
    if _count((not _PATTERN.fullmatch(text) and parse(text, "ymd") is None for text in texts), most) > most:
        return None
    for order in (*_preferred(texts), _TWO_SOURCES):
        unread[order] = _count((parse(text, order) is None for text in texts), most)
        if not unread[order]:
            return order, False
    order = min(unread, key=unread.__getitem__)
    uncertain = _count((not _CERTAIN.search(text) for text in texts), most)
    return (order, True) if max(unread[order], uncertain) <= most else None


def _count(found: Iterable[bool], most: int) -> int:
    """How many are true, counted until they are more than some."""
    return sum(islice(filter(None, found), most + 1))


def most_readable(texts: Collection[str]) -> str:
    """The order with which most texts can be read."""
    return max(_preferred(texts), key=lambda order: sum(read(text, order) is not None for text in texts))


def ambiguous(texts: Collection[str]) -> bool:
    """Whether the texts are dates both with the day and with the month first, and not the same ones."""
    return all(read(text, "mdy") is not None and read(text, "dmy") is not None for text in texts) and any(
        read(text, "mdy") != read(text, "dmy") for text in texts
    )


def as_written(moment: dt.datetime) -> str:
    """The one spelling of a moment that serves as a name: ISO 8601, without a time at midnight."""
    if moment.time() == dt.time():
        return moment.date().isoformat()
    return moment.isoformat(" ")
