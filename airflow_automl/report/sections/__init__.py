"""What a problem type adds to the report: one module for each, with the two functions of :class:`Section`.

A new one is a module here and its line in :data:`SECTIONS`. The page's style sheet is ``templates/report.css``: the
Content-Security-Policy allows no inline styles. :mod:`airflow_automl.report.plots` has what draws SVG.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, cast

from markupsafe import Markup

__all__ = ["SECTIONS", "Card", "Lister", "Reader", "Section", "section_of"]

_LIMIT = 5_000_000

Reader = Callable[[str], bytes]
Lister = Callable[[str], Iterable[str]]

#: Problem type, as ``report["job"]["problem_type"]`` has it → the name of its module in this package.
SECTIONS: dict[str, str] = {
    "ImageClassification": "classification",
    "TextClassification": "classification",
    "TextGeneration": "generation",
    "TimeSeriesForecasting": "forecast",
}


class Card(NamedTuple):
    """One box on the page.

    :param title: its heading; escaped by the page.
    :param body: HTML or SVG, in which every value is escaped already.
    :param note: a sentence below it; escaped by the page.
    :param wide: take the page's whole width, as tables and long plots do.
    """

    title: str
    body: Markup
    note: str = ""
    wide: bool = False


class Section(Protocol):
    """A module of this package."""

    @staticmethod
    def read(candidate: Mapping[str, Any], list_objects: Lister, read_object: Reader) -> dict[str, Any]:
        """Read the reports of the best candidate in S3.

        Nothing there is taken for granted. What is missing is left out; what raises becomes a note on the page.

        :param candidate: the candidate's document.
        :return: JSON-serializable; kept as ``report["insights"][<module's name>]``.
        """

    @staticmethod
    def cards(found: Mapping[str, Any], report: Mapping[str, Any]) -> Sequence[Card]:
        """Show what :func:`read` found, which may be nothing.

        :param found: what it returned; empty if it failed or was never called.
        :param report: the report's document (:func:`airflow_automl.report.document.build`).
        """


def section_of(problem_type: str | None) -> tuple[str, Section] | None:
    """Return the name and the module of a problem type's section, ``None`` if it adds nothing."""
    name = SECTIONS.get(problem_type or "")
    return (name, cast(Section, importlib.import_module(f"{__name__}.{name}"))) if name else None


def json_objects(
    prefix: str | None, ending: str, list_objects: Lister, read_object: Reader
) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects below a prefix whose addresses end like this; nothing if there is no prefix."""
    for address in sorted(list_objects(prefix)) if prefix else ():
        if address.endswith(ending) and len(raw := read_object(address)) <= _LIMIT:
            with suppress(ValueError):
                content = json.loads(raw)
                if isinstance(content, Mapping):
                    yield content


def finite(value: Any) -> bool:
    """Return whether a value is a number that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: Any) -> dict[str, float]:
    """Return the members of an object that are numbers; an empty dict if it is not an object."""
    found = values.items() if isinstance(values, Mapping) else ()
    return {str(key): float(value) for key, value in found if finite(value)}


def series(value: Any) -> list[float]:
    """Return a list of numbers; empty if it is anything else."""
    return [float(each) for each in value] if isinstance(value, list) and all(map(finite, value)) else []


def table(head: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]], *, text: bool = False) -> Markup:
    """Return a table that scrolls on a narrow screen; every cell is escaped.

    :param head: the columns' titles.
    :param rows: texts, each alone or with a class such as ``better``.
    :param text: the columns hold texts; by default all but the first hold numbers.
    """

    def cells(name: str, row: Sequence[str | tuple[str, str]], scope: Markup) -> Markup:
        made = []
        for at, cell in enumerate(row):
            content, tone = cell if isinstance(cell, tuple) else (cell, "")
            kind = " ".join(filter(None, ("n" if at and not text else "", tone)))
            opened = Markup(' class="{}"').format(kind) if kind else ""
            made.append(Markup("<{0}{1}{2}>{3}</{0}>").format(name, scope, opened, content))
        return Markup("<tr>{}</tr>").format(Markup("").join(made))

    body = Markup("").join(cells("td", row, Markup("")) for row in rows)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Table"><table><thead>{}</thead><tbody>{}</tbody>'
        "</table></div>"
    ).format(cells("th", head, Markup(' scope="col"')), body)
