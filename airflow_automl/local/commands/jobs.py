"""``airflow-automl jobs``: list the jobs or endpoints of a data folder, whether its service runs or not."""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from airflow_automl.contract.metrics import objective_name, objective_value
from airflow_automl.local.errors import StartupError
from airflow_automl.local.serving.metrics import read
from airflow_automl.local.state.database import reading
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import Job, JobStore

_ENDPOINTS = {
    "INVOCATIONS": "invocations",
    "4XX": "errors_4xx",
    "5XX": "errors_5xx",
    "P50 MS": "p50_ms",
    "P99 MS": "p99_ms",
    "BATCHES": "batches",
    "LARGEST": "largest_batch",
}
_HEADER: tuple[str, ...] = ("NAME", "STATUS", "SECONDARY", "CREATED", "RUNTIME", "CANDIDATES", "BEST")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_data_dir(parser)
    parser.add_argument("--status", help="only jobs with this AutoMLJobStatus, such as InProgress or Failed")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="how many are shown (default: %(default)s)")
    parser.add_argument("--endpoints", action="store_true", help="show what each endpoint's variants did instead")
    parser.add_argument("--before", metavar="NAME", help="only jobs that were created before this one")


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Declare ``--data-dir``."""
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".automl"), help="the service's data folder (default: %(default)s)"
    )


@contextlib.contextmanager
def open_store(data_dir: Path) -> Iterator[tuple[DataFolder, JobStore]]:
    """Open the jobs of a data folder to read them.

    :raises StartupError: the folder has no state, or its state can't be read.
    """
    folder = DataFolder(data_dir)
    with contextlib.ExitStack() as stack:
        try:
            if not folder.database.is_file():
                raise StartupError(
                    f"{folder.root} is not the data folder of a service: it has no state.db. Name it with --data-dir."
                )
            database = stack.enter_context(reading(folder.database))
        except (sqlite3.Error, OSError) as error:
            raise unreadable(folder, error) from error
        try:
            yield folder, JobStore(database)
        except sqlite3.Error as error:
            raise unreadable(folder, error) from error


def unreadable(folder: DataFolder, error: Exception) -> StartupError:
    """Return the error for a state that can't be read."""
    return StartupError(
        f"the state in {folder.database} can't be read: {error}. See to its disk and permissions; if it is damaged, "
        "restore it from a backup."
    )


def existing(store: JobStore, name: str) -> Job:
    """Return the job of this name.

    :raises StartupError: there is none.
    """
    job = store.find(name)
    if job is None:
        raise StartupError(f"no job is named {name!r}; airflow-automl jobs lists them")
    return job


def run(args: argparse.Namespace) -> int:
    """Print one line a job, newest first, or one line a variant."""
    with open_store(args.data_dir) as (folder, store):
        if args.endpoints:
            found = sorted(read(folder.metrics).items())
            _print([("VARIANT", *_ENDPOINTS), *((owner, *_counts(totals)) for owner, totals in found)])
            return 0
        before = None if args.before is None else existing(store, args.before).created
        jobs, more = store.newest(max(1, args.limit), before, args.status)
        rows = [_HEADER, *(_row(store, job) for job in jobs)]
    _print(rows)
    if more:
        print(f"There are older jobs: add --before {jobs[-1].name}")
    _print_health(DataFolder(args.data_dir))
    return 0


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _counts(totals: Mapping[str, float]) -> Iterator[str]:
    return (f"{totals.get(name, 0):.6g}" for name in _ENDPOINTS.values())


def _print_health(folder: DataFolder) -> None:
    """Print how the background tasks of the folder's service are, if it runs."""
    info = folder.read_info()
    if info is None or not info.running:
        return
    try:
        with urlopen(f"{info.endpoint_url}/health", timeout=5) as answer:  # noqa: S310 - the service's own address
            tasks = json.load(answer)["tasks"]
    except (OSError, ValueError) as error:
        print(f"\nThe service at {info.endpoint_url} does not answer: {error}")
        return
    print("\nBackground tasks of the service:")
    for name, task in sorted(tasks.items()):
        state = "running"
        if task["state"] == "failing":
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(task["since"]))
            state = f"failing since {since}: {task.get('reason', 'see the log of the service')}"
        print(f"  {name}: {state}")


def _row(store: JobStore, job: Job) -> tuple[str, ...]:
    candidates, done = store.count_candidates(job.name)
    best = "" if job.best is None else _score(store.candidate(job.name, job.best) or {})
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.created))
    seconds = 0.0 if job.started is None else (job.ended or time.time()) - job.started
    return job.name, job.status, job.secondary, created, _duration(seconds), f"{done}/{candidates}", best


def _score(candidate: dict[str, object]) -> str:
    value = objective_value(candidate)
    return "" if value is None else f"{objective_name(candidate)} {value:.6g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
