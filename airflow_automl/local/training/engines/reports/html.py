"""Pages that a person reads: one file each, nothing loaded from elsewhere, every value escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:right}"
    "th{background:#f6f8fa}td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
    "figure{margin:1rem 0}figcaption{color:#57606a}"
)
_INK, _MUTED = "#0b6bcb", "#d0d7de"


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page.

    :param title: plain text.
    :param sections: heading (plain text) and content (HTML made by this module).
    """
    body = "".join(f"<h2>{escape(heading)}</h2>{content}" for heading, content in sections)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def explanation(
    name: str, heading: str, contributions: Mapping[str, float], method: str, **document: Any
) -> dict[str, str]:
    """Return the files of an explainability report: ``analysis.json`` in Clarify's layout, and a page.

    :param name: of the candidate.
    :param heading: of the page's chart.
    :param contributions: feature → its contribution, for the chart.
    :param method: how they were measured, in a sentence.
    :param document: the rest of ``analysis.json``.
    """
    parts = [(heading, bars(contributions)), ("Method", f"<p>{escape(method)}</p>")]
    return {
        "analysis.json": json.dumps({"version": "1.0", "method": method, **document}, indent=1),
        "report.html": page(f"Explainability: {name}", parts),
    }


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """A table; floats are shown with four significant digits."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_shown(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def matrix(labels: Sequence[str], rows: Sequence[Sequence[float]]) -> str:
    """A confusion matrix: actual classes down, predicted ones across."""
    return table([[label, *row] for label, row in zip(labels, rows, strict=True)], ["actual \\ predicted", *labels])


def bars(values: Mapping[str, float], limit: int = 30) -> str:
    """Horizontal bars, the longest first."""
    shown = sorted(values.items(), key=lambda item: -abs(item[1]))[:limit]
    largest = max((abs(value) for _, value in shown), default=0) or 1
    parts = []
    for line, (name, value) in enumerate(shown):
        top = line * 24
        parts.append(
            f'<text x="240" y="{top + 16}" text-anchor="end" font-size="13">{escape(name[:34])}</text>'
            f'<rect x="250" y="{top + 4}" width="{abs(value) / largest * 330:.1f}" height="16" fill="{_INK}"/>'
            f'<text x="{256 + abs(value) / largest * 330:.1f}" y="{top + 16}" font-size="12">{_shown(value)}</text>'
        )
    return f'<svg viewBox="0 0 680 {len(shown) * 24 + 4}" width="680" role="img">{"".join(parts)}</svg>'


def plot(
    points: Sequence[tuple[float, float]], across: str, up: str, *, line: bool = True, diagonal: bool = False
) -> str:
    """A curve or a cloud of points.

    :param points: pairs of numbers.
    :param across: name of the horizontal axis.
    :param up: name of the vertical axis.
    :param line: whether the points are joined.
    :param diagonal: whether the line of equal values is drawn too.
    """
    if not points:
        return "<p>No data.</p>"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    if diagonal:
        left = low = min(left, low)
        right = high = max(right, high)
    width, height = (right - left) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return 60 + (x - left) / width * 400, 320 - (y - low) / height * 300

    marks = [f'<rect x="60" y="20" width="400" height="300" fill="none" stroke="{_MUTED}"/>']
    if diagonal:
        (x1, y1), (x2, y2) = place(left, left), place(right, right)
        marks.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_MUTED}"/>')
    placed = [place(x, y) for x, y in points]
    if line:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="2"/>')
    else:
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{_INK}" fill-opacity=".5"/>' for x, y in placed]
    marks += [
        f'<text x="60" y="338" font-size="12">{_shown(left)}</text>',
        f'<text x="460" y="338" font-size="12" text-anchor="end">{_shown(right)}</text>',
        f'<text x="54" y="320" font-size="12" text-anchor="end">{_shown(low)}</text>',
        f'<text x="54" y="30" font-size="12" text-anchor="end">{_shown(high)}</text>',
        f'<text x="260" y="356" font-size="13" text-anchor="middle">{escape(across)}</text>',
        f'<text x="16" y="170" font-size="13" text-anchor="middle" transform="rotate(-90 16 170)">{escape(up)}</text>',
    ]
    return f'<svg viewBox="0 0 480 364" width="480" role="img">{"".join(marks)}</svg>'


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
