"""Plots as inline SVG, drawn by hand: no library to install, no script, colours from the page's style sheet.

Every plot is narrow enough (480 units) to be read on a phone, and gets its colours by class, so that it follows the
page into dark mode and onto paper. A point or bar has its exact values in a ``<title>``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from airflow_automl.report.scores import Scores, number, score
from airflow_automl.times import duration_text, seconds_between

WIDTH = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 14, 40
#: From this number of points on, they are small and faint, without an outline, below the line.
_MANY = 80


def tag(name: str, content: Markup | str = "", **attributes: Any) -> Markup:
    """Return an SVG element, its content and attributes escaped; ``class_`` is ``class``, lengths are rounded."""
    parts = [
        f'{key.rstrip("_").replace("_", "-")}="{_round(value) if isinstance(value, float) else escape(value)}"'
        for key, value in attributes.items()
    ]
    opened = " ".join([name, *parts])
    return Markup(f"<{opened}>{escape(content)}</{name}>")  # noqa: S704  # every part is escaped above


def _text(x: float, y: float, content: str, kind: str = "label", anchor: str = "start") -> Markup:
    return tag("text", content, x=x, y=y, class_=kind, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _dot(x: float, y: float, title: str, best: bool, *, faint: bool = False) -> Markup:
    size, kind = (6.0, "dot best") if best else (2.5, "point") if faint else (4.0, "dot")
    return tag("circle", tag("title", title), cx=x, cy=y, r=size, class_=kind)


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def svg(height: float, title: str, parts: Iterable[Markup]) -> Markup:
    content = Markup("").join([tag("title", title), *parts])
    return tag("svg", content, viewBox=f"0 0 {WIDTH} {_round(height)}", role="img", xmlns="http://www.w3.org/2000/svg")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    if high <= low:
        return [low]
    raw = (high - low) / count
    magnitude: float = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _labelled(ticks: Sequence[float]) -> dict[float, str]:
    texts = [number(tick) for tick in ticks]
    decimals = max(len(text.partition(".")[2]) for text in texts)
    return {tick: text if "e" in text else f"{tick:,.{decimals}f}" for tick, text in zip(ticks, texts, strict=True)}


def _times(longest: float) -> tuple[str, dict[float, str]]:
    unit, divisor = ("seconds", 1.0) if longest < 300 else ("minutes", 60.0) if longest < 18000 else ("hours", 3600.0)
    return unit, {tick * divisor: label for tick, label in _labelled(_ticks(0.0, longest / divisor)).items()}


def span(values: Sequence[float]) -> tuple[float, float]:
    """Return a range around values, with some room."""
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    return low - room, high + room


class Axes:
    """The scales of a plot, and what is drawn on them.

    :param across: the lowest and the highest value from left to right.
    :param up: those from bottom to top.
    :param height: of the whole drawing.
    :param left: where the plot begins; the numbers stand left of it.
    :param width: of the plot.
    """

    def __init__(
        self,
        across: tuple[float, float],
        up: tuple[float, float],
        height: float = 260.0,
        left: float = _LEFT,
        width: float = WIDTH - _LEFT - _RIGHT,
    ) -> None:
        self.height, self.left, self.width, self.bottom = height, left, width, height - _BOTTOM
        self.across, self.up = across, up

    def x(self, value: float) -> float:
        low, high = self.across
        return self.left + (value - low) / ((high - low) or 1.0) * self.width

    def y(self, value: float) -> float:
        low, high = self.up
        return _TOP + (high - value) / ((high - low) or 1.0) * (self.bottom - _TOP)

    def line(self, points: Iterable[tuple[float, float]], kind: str = "line", shape: str = "polyline") -> Markup:
        """Draw a line through points, or fill what it surrounds as a ``polygon``."""
        text = " ".join(f"{_round(self.x(a))},{_round(self.y(b))}" for a, b in points)
        return tag(shape, points=text, class_=kind)

    def dot(self, a: float, b: float, title: str, best: bool, *, faint: bool = False) -> Markup:
        """Draw a point with its values as tooltip."""
        return _dot(self.x(a), self.y(b), title, best, faint=faint)

    def frame(self, below: str, ticks: Mapping[float, str] | None = None, beside: str = "") -> list[Markup]:
        """Draw the grid and the numbers.

        :param below: what goes from left to right.
        :param ticks: value → label from left to right; round numbers by default.
        :param beside: what goes from bottom to top.
        """
        right = self.left + self.width
        parts = [_line(self.left, self.bottom, right, self.bottom, "axis")]
        for tick, label in _labelled(_ticks(*self.up)).items():
            parts += [
                _line(self.left, self.y(tick), right, self.y(tick), "grid"),
                _text(self.left - 7, self.y(tick) + 4, label, "tick", "end"),
            ]
        for value, label in (_labelled(_ticks(*self.across)) if ticks is None else ticks).items():
            # A long label stays within the plot.
            anchor = "middle" if len(label) < 8 else "start" if value == self.across[0] else "end"
            parts.append(_text(self.x(value), self.bottom + 18, label, "tick", anchor))
        if below:
            parts.append(_text(self.left + self.width / 2, self.height - 5, below, "tick", "middle"))
        if beside:
            turned = f"translate({_round(self.left - 64)} {_round((_TOP + self.bottom) / 2)}) rotate(-90)"
            parts.append(tag("text", beside, transform=turned, class_="tick", text_anchor="middle"))
        return parts


def _square(low: float, high: float) -> Axes:
    return Axes((low, high), (low, high), 354.0, 120.0, 300.0)


def progress(points: Sequence[Mapping[str, Any]], objective: str) -> Markup:
    """Draw each candidate's score over the time since the job began, and the best score until then.

    :param points: the document's ``progress``.
    :param objective: the name of the score.
    """
    longest = max(each["seconds"] for each in points) or 1.0
    unit, ticks = _times(longest)
    axes = Axes((0.0, longest * 1.015), span([each["value"] for each in points]))
    course = [(points[0]["seconds"], points[0]["running_best"])]
    for each in points[1:]:
        course += [(each["seconds"], course[-1][1]), (each["seconds"], each["running_best"])]
    line = axes.line([*course, (axes.across[1], course[-1][1])])
    many = len(points) > _MANY
    dots = []
    for each in sorted(points, key=lambda point: bool(point["best"])):
        title = f"{each['name']}: {objective} {score(each['value'], objective)} after {duration_text(each['seconds'])}"
        dots.append(axes.dot(each["seconds"], each["value"], title, each["best"], faint=many))
    # Hundreds of points would hide the line.
    drawn = [*dots[:-1], line, dots[-1]] if many else [line, *dots]
    frame = axes.frame(f"{unit} since the job began", ticks)
    return svg(axes.height, f"{objective} of the candidates over time", [*frame, *drawn])


def metric_strips(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Markup:
    """Draw one strip for each metric with a dot for each candidate, the best candidate's standing out.

    :param rows: the document's ``leaderboard``.
    :param names: the metrics to show.
    """
    parts, top = [], 0.0
    for name in names:
        values = [(row, row["metrics"][name]) for row in rows if name in row["metrics"]]
        scores = Scores(name, [value for _, value in values])
        low, high = min(value for _, value in values), max(value for _, value in values)
        mine = next((value for row, value in values if row["best"]), None)
        y = top + 32
        hint = Markup("").join([scores.label, tag("tspan", " lower is better" if scores.lower else "", class_="tick")])
        parts.append(tag("text", hint, x=0, y=top + 15, class_="label strong"))
        parts.append(_text(WIDTH, top + 15, scores.text(mine), "label best", "end"))
        parts.append(_line(62, y, WIDTH - 62, y, "axis"))
        parts.append(_text(54, y + 4, scores.text(low), "tick", "end"))
        parts.append(_text(WIDTH - 54, y + 4, scores.text(high), "tick"))
        for row, value in sorted(values, key=lambda pair: bool(pair[0]["best"])):
            share = (value - low) / (high - low) if high > low else 0.5
            title = f"{row['name']}: {scores.label} {scores.text(value)}"
            parts.append(_dot(70 + share * (WIDTH - 140), y, title, row["best"], faint=len(values) > _MANY))
        top += 50
    return svg(top, "Metrics of all candidates", parts)


def features(importance: Mapping[str, float], limit: int = 15) -> Markup:
    """Draw the most important features as bars.

    :param importance: feature → mean contribution; the sign is omitted.
    :param limit: how many to show.
    """
    ranked = sorted(((abs(value), name) for name, value in importance.items()), reverse=True)[:limit]
    longest = ranked[0][0] or 1.0
    parts, top = [], 0.0
    for value, name in ranked:
        shown = Markup("").join([tag("title", name), escape(_cut(name, 46))])
        parts.append(tag("text", shown, x=0, y=top + 13, class_="label"))
        parts.append(_text(WIDTH, top + 13, number(value), "tick", "end"))
        length = max(3.0, value / longest * WIDTH)
        parts.append(tag("rect", x=0, y=top + 19, width=WIDTH, height=7, rx=3, class_="track"))
        parts.append(tag("rect", x=0, y=top + 19, width=length, height=7, rx=3, class_="bar"))
        top += 35
    return svg(top, "Feature importance", parts)


def shared(names: Sequence[str]) -> int:
    """Return the length of the beginning, up to a hyphen, that several names share."""
    first, last = min(names), max(names)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return first.rfind("-", 0, same) + 1


def gantt(rows: Sequence[Mapping[str, Any]], created: str | None, ended: str | None, limit: int = 30) -> Markup | None:
    """Draw when each candidate was trained, from the job's begin to its end; ``None`` if no time is known.

    :param rows: the document's ``leaderboard``; the first ``limit`` with times are shown, in order of their begin.
    """
    timed = [
        (begin, row)
        for row in rows
        if (begin := seconds_between(created, row["created"])) is not None and row["seconds"] is not None
    ][:limit]
    if not timed:
        return None
    timed.sort(key=lambda pair: pair[0])
    total = max([seconds_between(created, ended) or 0.0, *(begin + row["seconds"] for begin, row in timed)]) or 1.0
    left, height = 150, 22 * len(timed)
    # Candidates begin with their job's name, which would be all that is left of them in a narrow column.
    cut = shared([row["name"] for _, row in timed])

    def x(seconds: float) -> float:
        return left + seconds / total * (WIDTH - left)

    unit, ticks = _times(total)
    parts = [_line(x(tick), 0, x(tick), height, "grid") for tick in ticks]
    for index, (begin, row) in enumerate(timed):
        top = 22 * index
        title = f"{row['name']}: {duration_text(row['seconds'])}, {row['status']}"
        parts.append(
            tag(
                "text",
                Markup("").join([tag("title", row["name"]), escape(_cut(row["name"][cut:], 20))]),
                x=left - 8,
                y=top + 15,
                class_="tick",
                text_anchor="end",
            )
        )
        parts.append(
            tag(
                "rect",
                tag("title", title),
                x=x(begin),
                y=top + 5,
                width=max(3.0, row["seconds"] / total * (WIDTH - left)),
                height=13,
                rx=3,
                class_="bar best" if row["best"] else "bar failed" if row["status"] == "Failed" else "bar",
            )
        )
    parts.append(_line(left, height, WIDTH, height, "axis"))
    for tick, label in ticks.items():
        anchor = "start" if tick == 0 else "end" if x(tick) > WIDTH - 20 else "middle"
        parts.append(_text(x(tick), height + 18, label, "tick", anchor))
    parts.append(_text(left + (WIDTH - left) / 2, height + 35, f"{unit} since the job began", "tick", "middle"))
    return svg(height + 41, "When the candidates were trained", parts)


def curve(x: Sequence[float], y: Sequence[float], labels: tuple[str, str, str], *, chance: bool = False) -> Markup:
    """Draw a curve of two rates, each from 0 to 1.

    :param labels: the plot's title, and what the two axes show.
    :param chance: draw the diagonal that guessing would give.
    """
    title, across, up = labels
    axes = _square(0.0, 1.0)
    parts = [axes.line([(0.0, 0.0), (1.0, 1.0)], "chance")] if chance else []
    parts.append(axes.line(zip(x, y, strict=False)))
    return svg(axes.height, title, [*axes.frame(across, beside=up), *parts])


def scatter(actual: Sequence[float], predicted: Sequence[float], limit: int = 500) -> Markup:
    """Draw predictions against the truth; what is on the diagonal is right.

    :param limit: how many points to show at most, evenly taken.
    """
    step = max(1, math.ceil(len(actual) / limit))
    pairs = list(zip(actual, predicted, strict=False))[::step]
    axes = _square(*span([value for pair in pairs for value in pair]))
    parts = [axes.line(zip(axes.across, axes.up, strict=True), "chance")]
    parts += [tag("circle", cx=axes.x(real), cy=axes.y(guess), r=2.5, class_="point") for real, guess in pairs]
    return svg(axes.height, "Predicted and actual", [*axes.frame("actual", beside="predicted"), *parts])


def histogram(counts: Sequence[float], edges: Sequence[float]) -> Markup:
    """Draw how often residuals of each size occur.

    :param counts: rows in each bin.
    :param edges: the bins' edges, one more than there are bins.
    """
    axes = Axes((edges[0], max(edges[-1], edges[0])), (0.0, max(counts) or 1.0))
    bars = [
        tag(
            "rect",
            tag("title", f"{number(left)} to {number(right)}: {number(count)} rows"),
            x=axes.x(left) + 0.5,
            y=axes.y(count),
            width=max(1.0, axes.x(right) - axes.x(left) - 1),
            height=axes.bottom - axes.y(count),
            class_="bar",
        )
        for count, left, right in zip(counts, edges, edges[1:], strict=False)
    ]
    return svg(axes.height, "Residuals", [*axes.frame("actual minus predicted"), *bars])
