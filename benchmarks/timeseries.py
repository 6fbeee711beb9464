"""Forecasts of the embedded Autopilot beside the seasonal naive forecast and libraries' own defaults.

``python benchmarks/timeseries.py --results FILE`` forecasts the last horizon of real collections (see ``_series.py``)
from what lies before it, with every approach, each in a process of its own, and appends a line of JSON to the file as
each is done; what the file has already is not measured again. ``--cuts 3`` does the same with histories that end three
and six horizons earlier. All approaches see the same history; the horizon is used once, at the end.

``--docs docs/benchmarks.md`` writes the tables of that page again from the file, and measures nothing.

For each: weighted quantile loss (p10, p50, p90), MASE, how many true values lay from p10 to p90 (80 % would be right),
wall and CPU time and the process's largest memory. Autopilot's time is that of the whole job, backtests and all
candidates included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _jobs
from _results import FOLDER, Results, apart, script, write_page
from _series import COLLECTIONS

LIBRARY = ("AutoETS", "AutoARIMA", "AutoTheta", "AutoCES", "MSTL")
"""Models of statsforecast, with their defaults."""

QUICK = ("npts", "ets", "prophet")
"""The algorithms of a job that is limited to them: their ensemble needs a quarter of the time."""

APPROACHES = ("autopilot", "autopilot, quick", "seasonal naive", *LIBRARY, "prophet")
SECONDS = 400
"""Of CPU; an approach that needs more has failed."""

KEYS = ("collection", "approach", "cut")


def main() -> int:
    """Run every approach on every collection, or write the tables of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", nargs="*", choices=list(COLLECTIONS), default=list(COLLECTIONS))
    parser.add_argument("--approaches", nargs="*", choices=APPROACHES, default=list(APPROACHES))
    parser.add_argument("--cuts", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FOLDER / "timeseries.jsonl")
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        collection, approach, cut = options.one
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        print(json.dumps(_measure(collection, approach, int(cut))))
        return 0
    results = Results(options.results, KEYS)
    if options.docs:
        write_page(options.docs, __file__, tables(results.rows))
        return 0
    for cut in range(options.cuts):
        for collection in options.collections:
            for approach in options.approaches:
                unit = {"collection": collection, "approach": approach, "cut": cut}
                if results.get(unit) is None:
                    # What waits for a core needs longer than its CPU time.
                    found = apart(script(__file__, "--one", collection, approach, cut), 1, 20 * SECONDS)
                    results.add(unit | found)
    return 0


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return the tables: each collection, and the means over those that every approach was measured on."""
    by_place: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_place.setdefault((row["collection"], row["cut"]), {})[row["approach"]] = row
    measured = tuple(name for name in APPROACHES if any(name in found for found in by_place.values()))
    lines = ["| collection | " + " | ".join(measured) + " |", "|---|" + "---|" * len(measured)]
    order = list(COLLECTIONS)
    for (collection, cut), found in sorted(by_place.items(), key=lambda pair: (order.index(pair[0][0]), pair[0][1])):
        cells = [_cell(found, approach) for approach in measured]
        earlier = f", {cut * APART} horizons earlier" if cut else ""
        lines.append(f"| {COLLECTIONS[collection].what}{earlier} | " + " | ".join(cells) + " |")
    everywhere = tuple(name for name in APPROACHES if all(name in found for found in by_place.values()))
    for approaches in dict.fromkeys((everywhere, measured)):
        whole = [found for found in by_place.values() if set(approaches) <= set(found)]
        lines += ["", f"Over {len(whole)} of the rows above, among these approaches:", ""]
        lines += [
            "| approach | mean rank, WQL | mean rank, MASE | WQL, relative to seasonal naive | worse than naive | "
            "coverage, mean | coverage, mean distance from 80 % | CPU s, mean | peak MB | failed |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_summary(whole, approach, approaches) for approach in approaches]
    return "\n".join(lines) + "\n"


def _cell(found: dict[str, dict[str, Any]], approach: str) -> str:
    row = found.get(approach)
    if row is None:
        return "-"
    if "failed" in row:
        return "failed"
    best = min(each["wql"] for each in found.values() if "wql" in each)
    wql = f"{row['wql']:.4f}"
    mase = "-" if row["mase"] is None else f"{row['mase']:.2f}"
    return f"{f'**{wql}**' if row['wql'] <= best else wql} {mase} {row['covered']:.0%}"


def _summary(places: Sequence[dict[str, dict[str, Any]]], approach: str, among: Sequence[str]) -> str:
    import numpy as np

    def rank(found: dict[str, dict[str, Any]], metric: str) -> int:
        values = {name: np.inf if found[name].get(metric) is None else found[name][metric] for name in among}
        return 1 + sum(value < values[approach] for value in values.values())

    rows = [found[approach] for found in places if "failed" not in found[approach]]
    if not rows:
        return f"| {approach} |" + " - |" * 8 + f" {len(places)} |"
    naive = [found["seasonal naive"]["wql"] for found in places if "failed" not in found[approach]]
    relative = np.log([row["wql"] for row in rows]) - np.log(naive)
    covered = np.array([row["covered"] for row in rows])
    cells = [
        approach,
        *(f"{np.mean([rank(found, metric) for found in places]):.2f}" for metric in ("wql", "mase")),
        f"{np.exp(np.mean(relative)):.3f}",
        str(int((relative > 0).sum())),
        f"{covered.mean():.0%}",
        f"{np.abs(covered - 0.8).mean():.0%}",
        f"{np.mean([row['cpu'] for row in rows]):.0f}",
        f"{max(row['memory'] for row in rows):.0f}",
        str(len(places) - len(rows)),
    ]
    return "| " + " | ".join(cells) + " |"


APART = 3
"""So many horizons lie between the ends of the histories of ``--cuts``."""


def _measure(collection: str, approach: str, cut: int) -> dict[str, Any]:
    import numpy as np

    from airflow_automl.local.training.engines.timeseries import metrics

    _, frequency, horizon, make = COLLECTIONS[collection]
    rows = make()
    if cut:
        moments = np.sort(rows["ts"].unique())
        rows = rows[rows["ts"] < moments[len(moments) - cut * APART * horizon]]
    rows["ts"] = rows["ts"].dt.strftime("%Y-%m-%d %H:%M:%S")
    panel = panel_of(rows, frequency, horizon)
    past = panel.before(horizon, shortest=4)
    truth = panel.truth([series.key for series in past.series], horizon)
    began, worked = time.monotonic(), time.process_time()
    note, cpu = "", None
    if approach == "seasonal naive":
        said = metrics.naive_forecast(past)
    elif approach.startswith("autopilot"):
        said, note, cpu = _autopilot(rows, frequency, horizon, past, QUICK if "quick" in approach else ())
    elif approach == "prophet":
        said = np.array([_prophet(past, series) for series in past.series])
    else:
        said = np.array([_statsforecast(approach, past, series) for series in past.series])
    said = metrics.tidy(past, said)[0]
    window = metrics.Window(truth, metrics.naive_scale(past))
    found = metrics.measure(window, said, (10, 50, 90))
    # Counts are often equal to a quantile: the interval has its ends.
    covered = (said[..., 1] <= truth) & (truth <= said[..., 3])
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    if cpu is None:
        cpu = time.process_time() - worked + usage[1].ru_utime
    return {
        "wql": round(found["AverageWeightedQuantileLoss"], 5),
        "wape": round(found["WAPE"], 5),
        # Undefined where a season is longer than the history.
        "mase": round(found["MASE"], 4) if "MASE" in found else None,
        "covered": round(float(covered.mean()), 4),
        "wall": round(time.monotonic() - began, 1),
        "cpu": round(cpu, 1),
        "memory": round(max(each.ru_maxrss for each in usage) / 1024),
        "note": note,
    }


def _config(frequency: str, horizon: int) -> dict[str, Any]:
    series = {"TargetAttributeName": "y", "TimestampAttributeName": "ts", "ItemIdentifierAttributeName": "item"}
    return {"TimeSeriesConfig": series, "ForecastFrequency": frequency, "ForecastHorizon": horizon}


def panel_of(rows: Any, frequency: str, horizon: int) -> Any:
    import pandas as pd
    import pyarrow as pa

    from airflow_automl.local.training.engines.timeseries.dataset import RowReader, assemble
    from airflow_automl.local.training.engines.timeseries.panel import grid
    from airflow_automl.local.training.engines.timeseries.related import Related
    from airflow_automl.local.training.engines.timeseries.settings import Settings

    settings = Settings.read(_config(frequency, horizon))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    nothing = pd.DataFrame(index=range(len(rows)))
    gridded, calendar = assemble(table, settings, RowReader.learn(table, settings), nothing, None, print)
    series = grid(gridded, settings)
    return Related((), ()).panel(gridded, series, settings, calendar)


def _statsforecast(name: str, past: Any, series: Any) -> Any:
    import numpy as np
    from statsforecast import models

    frequency = past.settings.frequency
    season: Any = frequency.main_season if 2 * frequency.main_season <= len(series) else 1
    if name == "MSTL":
        season = [each for each in frequency.seasons if 2 * each < len(series)] or [season]
    model = getattr(models, name)(season_length=season)
    found = model.forecast(series.target, past.horizon, level=[80])
    return np.column_stack([found["mean"], found["lo-80"], found["mean"], found["hi-80"]])


def _prophet(past: Any, series: Any) -> Any:
    import logging

    import numpy as np
    import pandas as pd
    from prophet import Prophet

    model = Prophet(interval_width=0.8)
    logging.getLogger("cmdstanpy").setLevel(logging.ERROR)
    stamps = past.calendar.stamps(np.arange(series.start, series.end + past.horizon)).astype("datetime64[ns]")
    model.fit(pd.DataFrame({"ds": stamps[: len(series)], "y": series.target}))
    found = model.predict(pd.DataFrame({"ds": stamps[len(series) :]}))
    return found[["yhat", "yhat_lower", "yhat", "yhat_upper"]].to_numpy()


def _autopilot(rows: Any, frequency: str, horizon: int, past: Any, names: Sequence[str]) -> tuple[Any, str, float]:
    """A whole job on the history, and its best candidate's forecast."""
    last = past.calendar.stamps([past.series[0].end])[0]
    history = rows[rows["ts"] < str(last).replace("T", " ")]
    config = _config(frequency, horizon)
    if names:
        config["CandidateGenerationConfig"] = {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(names)}]}
    with tempfile.TemporaryDirectory() as temporary, _jobs.store() as environment:
        os.environ |= environment
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        job, data = Path(temporary) / "bench", history.to_csv(index=False).encode()
        model, winner = _jobs.run(job, data, {"TimeSeriesForecastingJobConfig": config}, 1)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = model.of(past)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    label = winner["CandidateName"].split("-", 1)[1].rsplit("-", 1)[0]
    backtest = winner["FinalAutoMLJobObjectiveMetric"]["Value"]
    return said, f"{label}, {backtest:.4f} in its backtests", cpu


if __name__ == "__main__":
    sys.exit(main())
