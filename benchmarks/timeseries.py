"""Forecasts of the embedded Autopilot beside the seasonal naive forecast and libraries' own defaults.

``python benchmarks/timeseries.py --results FILE`` forecasts the last horizon of real collections (see ``_series.py``)
from what lies before it, with every approach, each in a process of its own, and appends a line of JSON to the file as
each is done; what the file has already is not measured again. ``--cuts 3`` does the same with histories that end three
and six horizons earlier. All approaches see the same history; the horizon is used once, at the end.

``--docs docs/benchmarks.md`` writes the tables of that page again from the file, and measures nothing.

For each: weighted quantile loss (p10, p50, p90), MASE of the median, how many true values lay from p10 to p90 (80 %
would be right), wall and CPU time and the process's largest memory. Autopilot's time is that of the whole job,
backtests and all candidates included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _jobs
from _results import FOLDER, Results, apart, interval, ranks, script, write_page
from _series import COLLECTIONS

LIBRARY = ("AutoETS", "AutoARIMA", "AutoTheta", "AutoCES", "MSTL")
"""Models of statsforecast, with their defaults."""

QUICK = ("npts", "ets", "prophet")
"""The algorithms of a job that is limited to them: their ensemble needs a quarter of the time."""

APPROACHES = ("autopilot", "autopilot, quick", "seasonal naive", *LIBRARY, "prophet", "AutoGluon")
SECONDS = 200
"""Of CPU; an approach that needs more has failed."""

AUTOGLUON_SECONDS = 60
"""Time limit of AutoGluon, which has to be installed by itself: ``pip install autogluon.timeseries``."""

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


Found = dict[str, dict[str, Any]]
"""What was measured at one place, by approach."""


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return the tables of the places at which all of some approaches were measured: each collection, and the means."""
    by_place: dict[tuple[str, int], Found] = {}
    for row in rows:
        by_place.setdefault((row["collection"], row["cut"]), {})[row["approach"]] = row
    lines: list[str] = []
    # What takes long is measured at fewer ends of history.
    groups: dict[tuple[str, ...], dict[tuple[str, int], Found]] = {}
    for least in (2, 1):
        names = tuple(
            name
            for name in APPROACHES
            if sum(name in found for found in by_place.values()) > len(COLLECTIONS) * (least - 1)
        )
        whole = {place: found for place, found in by_place.items() if set(names) <= set(found)}
        if names and whole:
            groups[names] = whole
    for names, whole in groups.items():
        ends = sorted({cut for _, cut in whole})
        lines += [f"{len(whole)} places, with {len(ends)} end{'s' * (len(ends) > 1)} of each history.", ""]
        lines += ["| collection | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for collection in COLLECTIONS:
            if places := [found for (name, _), found in whole.items() if name == collection]:
                cells = [_cell(places, approach, names) for approach in names]
                lines.append(f"| {COLLECTIONS[collection].what} | " + " | ".join(cells) + " |")
        lines += [
            "",
            f"| approach | mean rank, WQL | less that of {names[0]} | mean rank, MASE | less that of {names[0]} | "
            "WQL, relative to seasonal naive | worse than naive | coverage, mean | coverage, mean distance from 80 % | "
            "CPU s, mean | peak MB | failed |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [*(_summary(whole, approach, names) for approach in names), ""]
    return "\n".join(lines)


def _cell(places: Sequence[Found], approach: str, among: Sequence[str]) -> str:
    import numpy as np

    def mean(name: str, metric: str) -> float:
        values = [found[name].get(metric) for found in places]
        return float("nan") if None in values else float(np.mean([value for value in values if value is not None]))

    wql, mase = mean(approach, "wql"), mean(approach, "mase")
    if np.isnan(wql):
        return "failed"
    best = min(loss for name in among if not np.isnan(loss := mean(name, "wql")))
    shown = f"**{wql:.4f}**" if wql <= best else f"{wql:.4f}"
    return f"{shown} {'-' if np.isnan(mase) else f'{mase:.2f}'} {mean(approach, 'covered'):.0%}"


def _ranks(whole: Mapping[tuple[str, int], Found], among: Sequence[str], metric: str) -> dict[str, Any]:
    """Return each approach's mean rank for every collection: the ends of one depend on each other."""
    import numpy as np

    found: dict[str, dict[str, list[float]]] = {name: {} for name in among}
    for (collection, _), place in whole.items():
        losses = {name: place[name].get(metric) for name in among}
        if any(loss is not None for loss in losses.values()):
            for name, rank in ranks({name: np.inf if loss is None else loss for name, loss in losses.items()}).items():
                found[name].setdefault(collection, []).append(rank)
    return {name: np.array([np.mean(each) for each in by_name.values()]) for name, by_name in found.items()}


def _summary(whole: Mapping[tuple[str, int], Found], approach: str, among: Sequence[str]) -> str:
    import numpy as np

    good = {place: found for place, found in whole.items() if "failed" not in found[approach]}
    if not good:
        return f"| {approach} |" + " - |" * 10 + f" {len(whole)} |"
    relative: dict[str, list[float]] = {}
    covered: dict[str, list[float]] = {}
    for (collection, _), found in good.items():
        relative.setdefault(collection, []).append(np.log(found[approach]["wql"] / found["seasonal naive"]["wql"]))
        covered.setdefault(collection, []).append(found[approach]["covered"])
    places = []
    for found in (_ranks(whole, among, metric) for metric in ("wql", "mase")):
        behind = found[approach] - found[among[0]]
        places.append("{:.2f} ± {:.2f}".format(*interval(found[approach])))
        places.append("" if approach == among[0] else "{:.2f} ± {:.2f}".format(*interval(behind)))
    shares = np.array([np.mean(each) for each in covered.values()])
    # The ends of one collection depend on each other: they are one observation.
    log, half = interval([float(np.mean(each)) for each in relative.values()])
    rows = [found[approach] for found in good.values()]
    cells = [
        approach,
        *places,
        f"{np.exp(log):.3f} ({np.exp(log - half):.2f} to {np.exp(log + half):.2f})",
        str(sum(value > 0 for each in relative.values() for value in each)),
        "{:.0%} ± {:.0%}".format(*interval(shares)),
        f"{np.abs(shares - 0.8).mean():.0%}",
        f"{np.mean([row['cpu'] for row in rows]):.0f}",
        f"{max(row['memory'] for row in rows):.0f}",
        str(len(whole) - len(good)),
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
    elif approach == "AutoGluon":
        said, note = _autogluon(past)
    else:
        said = np.array([_statsforecast(approach, past, series) for series in past.series])
    said = metrics.tidy(past, said)[0]
    # The median is the forecast of least absolute error: it is what MASE and WAPE judge, with every approach.
    said[..., 0] = said[..., 2]
    window = metrics.Window.after(past, truth)
    found = metrics.measure(window, said, (10, 50, 90))
    # Counts are often equal to a quantile: the interval has its ends.
    covered = (said[..., 1] <= truth) & (truth <= said[..., 3])
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    if cpu is None:
        cpu = time.process_time() - worked + usage[1].ru_utime
    return {
        "wql": round(found["AverageWeightedQuantileLoss"], 5),
        "wape": round(found["WAPE"], 5),
        # Of a year's histories of weeks, no season has an error.
        "mase": round(found["MASE"], 4) if past.longest > past.settings.frequency.main_season else None,
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


def _autogluon(past: Any) -> tuple[Any, str]:
    """AutoGluon's default models without those that need pretrained weights, and their ensemble."""
    import numpy as np
    import pandas as pd
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor
    from autogluon.timeseries.configs import get_hyperparameter_presets

    names = {"min": "min", "H": "h", "D": "D", "W": "D", "M": "MS", "Y": "YS"}
    frequency = past.settings.frequency
    step = f"{frequency.multiple * (7 if frequency.unit == 'W' else 1)}{names[frequency.unit]}"
    parts = []
    for number, series in enumerate(past.series):
        stamps = past.calendar.stamps(np.arange(series.start, series.end)).astype("datetime64[ns]")
        parts.append(pd.DataFrame({"item_id": number, "timestamp": stamps, "target": series.target}))
    data = TimeSeriesDataFrame.from_data_frame(pd.concat(parts, ignore_index=True))
    models = get_hyperparameter_presets()["default"]
    models = {name: given for name, given in models.items() if not name.startswith(("Chronos", "Toto"))}
    with tempfile.TemporaryDirectory() as folder:
        predictor = TimeSeriesPredictor(
            prediction_length=past.horizon,
            freq=step,
            eval_metric="WQL",
            quantile_levels=[0.1, 0.5, 0.9],
            path=folder,
            verbosity=0,
        )
        predictor.fit(data, hyperparameters=models, time_limit=AUTOGLUON_SECONDS, random_seed=0)
        found = predictor.predict(data, random_seed=0)
        note = str(predictor.model_best)
    columns = ["mean", "0.1", "0.5", "0.9"]
    return np.array([found.loc[number][columns].to_numpy() for number in range(len(past.series))]), note


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
