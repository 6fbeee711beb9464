"""Time series: forecasts with their bands, how good the backtests were, and how much the intervals covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_automl.report.plots import WIDTH, number
from airflow_automl.report.sections import Card, Lister, Reader, finite, json_objects

_SHOWN = 6
_ITEMS = 20
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 220.0, 54.0, 8.0, 10.0, 26.0


def read(candidate: Mapping[str, Any], list_objects: Lister, read_object: Reader) -> dict[str, Any]:
    """See :class:`airflow_automl.report.sections.Section`.

    The embedded Autopilot writes a ``summary.json`` into the BacktestResults of a candidate.

    :return: the summary's members, those of them that have the expected shape.
    """
    locations = (candidate.get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    summaries = json_objects(locations.get("BacktestResults"), "summary.json", list_objects, read_object)
    return next(map(_understood, summaries), {})


def cards(found: Mapping[str, Any], report: Mapping[str, Any]) -> Sequence[Card]:
    """See :class:`airflow_automl.report.sections.Section`."""
    shown = []
    if found.get("metrics"):
        shown.append(Card("Backtests", _comparison(found), _verdict(found)))
    if found.get("coverage"):
        note = "How often the true value was not above the quantile, and how often it lay in the interval."
        shown.append(Card("Coverage, measured", _coverage(found), note))
    if found.get("weights"):
        rows = [(name, number(weight)) for name, weight in sorted(found["weights"].items(), key=lambda pair: -pair[1])]
        shown.append(Card("Algorithms in the best candidate", _table(("Algorithm", "Weight"), rows)))
    for example in found.get("examples") or ():
        drawn = _plot(example)
        if drawn is not None:
            shown.append(Card(" / ".join(example["key"]), drawn, _legend(example)))
    if found.get("items"):
        names = [name for name in found["metrics"] if any(name in item["metrics"] for item in found["items"])]
        lines: list[tuple[str, ...]] = [
            (" / ".join(item["key"]), *(number(item["metrics"].get(name)) for name in names)) for item in found["items"]
        ]
        note = "The largest items; item-metrics.csv in the backtest results has all that were measured."
        shown.append(Card("Backtests by item", _table(("Item", *names), lines), note, wide=True))
    return shown


def _understood(content: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that have the expected shape; a file of another version is no reason for an error."""
    result: dict[str, Any] = {}
    for name in ("metrics", "seasonal_naive", "coverage", "weights"):
        values = content.get(name)
        if isinstance(values, Mapping):
            result[name] = {str(key): float(value) for key, value in values.items() if finite(value)}
    for name in ("objective", "frequency"):
        if isinstance(content.get(name), str):
            result[name] = content[name]
    intervals = content.get("intervals")
    result["intervals"] = [
        {key: entry[key] for key in ("lower", "upper", "nominal", "measured")}
        for entry in (intervals if isinstance(intervals, list) else ())
        if isinstance(entry, Mapping)
        and all(isinstance(entry.get(key), str) for key in ("lower", "upper"))
        and all(finite(entry.get(key)) for key in ("nominal", "measured"))
    ]
    examples, items = content.get("examples"), content.get("items")
    if isinstance(examples, list):
        result["examples"] = [entry for entry in examples[:_SHOWN] if _is_example(entry)]
    if isinstance(items, list):
        result["items"] = [
            {
                "key": [str(part) for part in entry["key"]],
                "metrics": {str(key): float(value) for key, value in entry["metrics"].items() if finite(value)},
            }
            for entry in items[:_ITEMS]
            if isinstance(entry, Mapping)
            and isinstance(entry.get("key"), list)
            and isinstance(entry.get("metrics"), Mapping)
        ]
    return result


def _is_example(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("key"), list):
        return False
    if not (_numbers(entry.get("actual")) and len(_texts(entry.get("timestamps"))) == len(entry["actual"])):
        return False
    bands = [entry.get("forecast"), *(entry.get("backtests") or ())]
    return all(isinstance(band, Mapping) and _is_band(band) for band in bands)


def _is_band(band: Mapping[str, Any]) -> bool:
    count = len(_texts(band.get("timestamps")))
    return count > 0 and all(len(_numbers(values)) == count for name, values in band.items() if name != "timestamps")


def _numbers(values: Any) -> list[float]:
    return values if isinstance(values, list) and all(map(finite, values)) else []


def _texts(values: Any) -> list[str]:
    return values if isinstance(values, list) and all(isinstance(value, str) for value in values) else []


def _verdict(found: Mapping[str, Any]) -> str:
    objective = found.get("objective", "")
    mine, bar = found["metrics"].get(objective), (found.get("seasonal_naive") or {}).get(objective)
    if mine is None or bar is None:
        return "Means over the backtest windows; lower is better."
    if mine < bar:
        return f"Better than the seasonal naive forecast in {objective}. Means over the backtest windows."
    return f"Not better than the seasonal naive forecast in {objective}: use that one instead."


def _comparison(found: Mapping[str, Any]) -> Markup:
    bars = found.get("seasonal_naive") or {}
    rows = []
    for name, value in found["metrics"].items():
        bar = bars.get(name)
        tone = "" if bar is None or bar == value else "better" if value < bar else "worse"
        cells = Markup('<td class="n {}">{}</td><td class="n">{}</td>').format(tone, number(value), number(bar))
        rows.append(Markup("<tr><td>{}</td>{}</tr>").format(name, cells))
    head = Markup('<tr><th>Metric</th><th class="n">Best candidate</th><th class="n">Seasonal naive</th></tr>')
    return Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, Markup("").join(rows))


def _coverage(found: Mapping[str, Any]) -> Markup:
    rows = [(name, f"{name.removeprefix('p')} %", f"{100 * share:.0f} %") for name, share in found["coverage"].items()]
    rows += [
        (f"{each['lower']} to {each['upper']}", f"{100 * each['nominal']:.0f} %", f"{100 * each['measured']:.0f} %")
        for each in found["intervals"]
    ]
    return _table(("Quantile", "Should be", "Was"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    first, *others = head
    columns = Markup("<th>{}</th>").format(first) + Markup("").join(
        Markup('<th class="n">{}</th>').format(name) for name in others
    )
    lines = [
        Markup("<tr><td>{}</td>{}</tr>").format(
            row[0], Markup("").join(Markup('<td class="n">{}</td>').format(value) for value in row[1:])
        )
        for row in rows
    ]
    return Markup('<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        columns, Markup("").join(lines)
    )


def _edges(band: Mapping[str, Any]) -> tuple[str | None, str | None, str]:
    """The outermost quantiles, and what the line shows: the median where there is one, else the mean."""
    quantiles = sorted((name for name in band if name[:1] == "p" and name[1:].isdigit()), key=lambda n: int(n[1:]))
    middle = "p50" if "p50" in band else "mean"
    if len(quantiles) < 2:
        return None, None, middle
    return quantiles[0], quantiles[-1], middle


def _legend(example: Mapping[str, Any]) -> str:
    low, high, middle = _edges(example["forecast"])
    shown = f"{middle} of the forecast" + (f", band from {low} to {high}" if low else "")
    return f"Grey: what happened. Blue: {shown}; the last one is the forecast of what comes next."


def _plot(example: Mapping[str, Any]) -> Markup | None:
    bands = [*example.get("backtests", ()), example["forecast"]]
    places: dict[str, int] = {}
    for stamp in [*example["timestamps"], *(stamp for band in bands for stamp in band["timestamps"])]:
        places.setdefault(stamp, len(places))
    values = list(example["actual"]) + [
        value for band in bands for name in _edges(band) if name in band for value in band[name]
    ]
    if len(places) < 2:
        return None
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    low, high = low - room if low < 0 or low - room > 0 else 0.0, high + room

    def x(stamp: str) -> str:
        return f"{_LEFT + places[stamp] / (len(places) - 1) * (WIDTH - _LEFT - _RIGHT):.1f}"

    def y(value: float) -> str:
        return f"{_TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    def line(stamps: Sequence[str], numbers: Sequence[float]) -> str:
        return " ".join(f"{x(stamp)},{y(value)}" for stamp, value in zip(stamps, numbers, strict=True))

    parts = [Markup("<title>{}</title>").format("Forecast of " + " / ".join(map(str, example["key"])))]
    for share in range(4):
        tick = low + (high - low) * share / 3
        parts.append(
            Markup('<line class="grid" x1="{0}" y1="{2}" x2="{1}" y2="{2}"/>').format(_LEFT, WIDTH - _RIGHT, y(tick))
        )
        parts.append(
            Markup('<text class="tick" text-anchor="end" x="{}" y="{}">{}</text>').format(
                _LEFT - 6, f"{float(y(tick)) + 4:.1f}", number(float(f"{tick:.3g}"))
            )
        )
    for band in bands:
        lower, upper, middle = _edges(band)
        stamps = band["timestamps"]
        if lower and upper:
            outline = line(stamps, band[upper]) + " " + line(stamps[::-1], band[lower][::-1])
            parts.append(Markup('<polygon class="band" points="{}"/>').format(outline))
        parts.append(Markup('<polyline class="line" points="{}"/>').format(line(stamps, band[middle])))
    parts.append(
        Markup('<polyline class="actual" points="{}"/>').format(line(example["timestamps"], example["actual"]))
    )
    for anchor, stamp in (("start", example["timestamps"][0]), ("end", bands[-1]["timestamps"][-1])):
        parts.append(
            Markup('<text class="tick" text-anchor="{}" x="{}" y="{}">{}</text>').format(
                anchor, x(stamp), _HEIGHT - 8, stamp.removesuffix(" 00:00:00").removesuffix(":00")
            )
        )
    return Markup('<svg viewBox="0 0 {} {}" role="img" xmlns="http://www.w3.org/2000/svg">{}</svg>').format(
        WIDTH, _HEIGHT, Markup("").join(parts)
    )
