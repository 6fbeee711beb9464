"""Time series: forecasts with their bands, how good the backtests were, and how much the intervals covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from airflow_automl.report.plots import Axes, svg
from airflow_automl.report.scores import Scores, number
from airflow_automl.report.sections import Card, Lister, Reader, finite, json_objects, numbers, series, table

_SHOWN = 6
_ITEMS = 20


def read(candidate: Mapping[str, Any], list_objects: Lister, read_object: Reader) -> dict[str, Any]:
    """See :class:`airflow_automl.report.sections.Section`.

    The embedded Autopilot writes a ``summary.json`` into the BacktestResults of a candidate.

    :return: the summary's members, those of them that have the expected shape.
    """
    locations = (candidate.get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    summaries = json_objects(locations.get("BacktestResults"), "summary.json", list_objects, read_object)
    return next(map(_understood, summaries), {})


def cards(found: Mapping[str, Any], report: Mapping[str, Any]) -> Sequence[Card]:
    shown = []
    if found.get("metrics"):
        shown.append(Card("Backtests", _comparison(found), _verdict(found)))
    if found.get("coverage"):
        note = "How often the true value was at most the quantile, and how often it was in the interval."
        shown.append(Card("Coverage, measured", _coverage(found), note))
    if found.get("weights"):
        rows = [(name, number(weight)) for name, weight in sorted(found["weights"].items(), key=lambda pair: -pair[1])]
        shown.append(Card("Algorithms in the best candidate", table(("Algorithm", "Weight"), rows)))
    for example in found.get("examples") or ():
        drawn = _plot(example)
        if drawn is not None:
            shown.append(Card(" / ".join(example["key"]), drawn, _legend(example)))
    if found.get("items"):
        measured = [item["metrics"] for item in found["items"]]
        columns = [
            Scores(name, [values.get(name) for values in measured])
            for name in found["metrics"]
            if any(name in values for values in measured)
        ]
        lines = [
            (" / ".join(item["key"]), *(column.text(item["metrics"].get(column.name)) for column in columns))
            for item in found["items"]
        ]
        note = "The largest items; item-metrics.csv in the backtest results has all that were measured."
        shown.append(
            Card("Backtests by item", table(("Item", *(column.label for column in columns)), lines), note, wide=True)
        )
    return shown


def _understood(content: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that have the expected shape; a file of another version is not an error."""
    result: dict[str, Any] = {}
    for name in ("metrics", "seasonal_naive", "coverage", "weights"):
        values = content.get(name)
        if isinstance(values, Mapping):
            result[name] = numbers(values)
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
            {"key": [str(part) for part in entry["key"]], "metrics": numbers(entry["metrics"])}
            for entry in items[:_ITEMS]
            if isinstance(entry, Mapping)
            and isinstance(entry.get("key"), list)
            and isinstance(entry.get("metrics"), Mapping)
        ]
    return result


def _is_example(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("key"), list):
        return False
    if not (series(entry.get("actual")) and len(_texts(entry.get("timestamps"))) == len(entry["actual"])):
        return False
    bands = [entry.get("forecast"), *(entry.get("backtests") or ())]
    return all(isinstance(band, Mapping) and _is_band(band) for band in bands)


def _is_band(band: Mapping[str, Any]) -> bool:
    count = len(_texts(band.get("timestamps")))
    return count > 0 and all(len(series(values)) == count for name, values in band.items() if name != "timestamps")


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
        scores = Scores(name, (value, bar))
        rows.append((scores.label, (scores.text(value), tone), scores.text(bar)))
    return table(("Metric", "Best candidate", "Seasonal naive"), rows)


def _coverage(found: Mapping[str, Any]) -> Markup:
    rows = [(name, f"{name.removeprefix('p')} %", f"{100 * share:.0f} %") for name, share in found["coverage"].items()]
    rows += [
        (f"{each['lower']} to {each['upper']}", f"{100 * each['nominal']:.0f} %", f"{100 * each['measured']:.0f} %")
        for each in found["intervals"]
    ]
    return table(("Quantile", "Should be", "Was"), rows)


def _edges(band: Mapping[str, Any]) -> tuple[str | None, str | None, str]:
    """The outermost quantiles, and what the line shows: the median if there is one, else the mean."""
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
    up = (low - room if low < 0 or low - room > 0 else 0.0, high + room)
    axes = Axes((0.0, len(places) - 1.0), up, height=234.0)

    def points(stamps: Sequence[str], numbers: Sequence[float]) -> list[tuple[float, float]]:
        return [(places[stamp], value) for stamp, value in zip(stamps, numbers, strict=True)]

    ends = (example["timestamps"][0], bands[-1]["timestamps"][-1])
    parts = axes.frame("", {float(places[each]): each.removesuffix(" 00:00:00").removesuffix(":00") for each in ends})
    for band in bands:
        lower, upper, middle = _edges(band)
        stamps = band["timestamps"]
        if lower and upper:
            outline = points(stamps, band[upper]) + points(stamps, band[lower])[::-1]
            parts.append(axes.line(outline, "band", "polygon"))
        parts.append(axes.line(points(stamps, band[middle])))
    parts.append(axes.line(points(example["timestamps"], example["actual"]), "actual"))
    return svg(axes.height, "Forecast of " + " / ".join(map(str, example["key"])), parts)
