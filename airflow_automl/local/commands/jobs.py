"""``airflow-automl jobs``: list the jobs or endpoints of a data folder, whether its service runs or not."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from airflow_automl.contract.metrics import objective_name, objective_value
from airflow_automl.contract.states import QUEUED, End, JobStatus, end
from airflow_automl.local.errors import StartupError
from airflow_automl.local.serving.metrics import read
from airflow_automl.local.state.database import reading
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import Job, JobStore

#: Columns as shown, and by their importance on a narrow terminal.
_COLUMNS: tuple[str, ...] = ("NAME", "STATUS", "SECONDARY", "CREATED", "RUNTIME", "CANDIDATES", "BEST", "METRIC")
_KEPT: tuple[str, ...] = ("NAME", "BEST", "STATUS", "RUNTIME", "CREATED", "SECONDARY", "METRIC", "CANDIDATES")
_ENDPOINTS = {
    "VARIANT": "variant",
    "INVOCATIONS": "invocations",
    "4XX": "errors_4xx",
    "5XX": "errors_5xx",
    "P50 MS": "p50_ms",
    "P99 MS": "p99_ms",
    "BATCHES": "batches",
    "LARGEST": "largest_batch",
}
_ENDPOINTS_KEPT: tuple[str, ...] = ("VARIANT", "INVOCATIONS", "5XX", "P50 MS", "P99 MS", "4XX", "BATCHES", "LARGEST")
_GAP = 2
#: Characters of a name that stay for one more column; a job's name has no more.
_NAME = 32
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_data_dir(parser)
    parser.add_argument(
        "--status", choices=[each.value for each in JobStatus], help="only jobs with this AutoMLJobStatus"
    )
    parser.add_argument(
        "--name", default="", metavar="PART", help="only jobs with this part in their name, in any case"
    )
    parser.add_argument(
        "--since", type=_since, metavar="WHEN", help="only jobs created since, such as 12h, 7d or 2026-11-01T08:00"
    )
    parser.add_argument(
        "--limit", type=_count_of_jobs, default=50, metavar="N", help="number of jobs to list (default: %(default)s)"
    )
    parser.add_argument("--before", metavar="NAME", help="only jobs that were created before this one")
    parser.add_argument("--endpoints", action="store_true", help="list the variants of the endpoints instead")
    parser.add_argument("--json", action="store_true", help="print JSON, with times in UTC")


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
        f"the state in {folder.database} can't be read: {error}. Check its disk and permissions; if it is damaged, "
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


def age(text: str) -> float:
    """Read an age such as ``12h`` or ``7d``, for argparse.

    :return: seconds.
    """
    match = re.fullmatch(r"(\d+)([mhdw])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age. Give a number and m, h, d or w, such as 7d")
    return int(match[1]) * _UNITS[match[2]]


def _count_of_jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: give a whole number, 1 or more")
    return min(int(text), 1 << 32)  # SQLite's numbers have an end


def _since(text: str) -> float:
    """Read an age or a time, local unless it names its zone, as epoch seconds."""
    with contextlib.suppress(argparse.ArgumentTypeError):
        return time.time() - age(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an age nor a time. Give a number and m, h, d or w, such as 7d, or a date such as "
            "2026-11-01 or 2026-11-01T08:00"
        ) from None


def run(args: argparse.Namespace) -> int:
    """Print one line a job, newest first, and how the service is; or one line a variant of an endpoint."""
    with open_store(args.data_dir) as (folder, store):
        if args.endpoints:
            _print_endpoints(folder, args.json)
            return 0
        before = None if args.before is None else existing(store, args.before).created
        jobs, more = store.newest(args.limit, before=before, status=args.status, contains=args.name, since=args.since)
        found = [_document(store, job) for job in jobs]
    if args.json:
        print(json.dumps({"jobs": found, "more": more}, indent=2))
        return 0
    _print(_COLUMNS, _KEPT, [_cells(document) for document in found])
    if more:
        print(f"There are older jobs: add --before {jobs[-1].name}")
    _print_health(folder)
    return 0


def _print_endpoints(folder: DataFolder, as_json: bool) -> None:
    found: list[dict[str, Any]] = [
        {"variant": owner, **totals} for owner, totals in sorted(read(folder.metrics).items())
    ]
    if as_json:
        print(json.dumps({"endpoints": found}, indent=2))
        return
    rows = [{column: _count(each.get(key, 0)) for column, key in _ENDPOINTS.items()} for each in found]
    _print(tuple(_ENDPOINTS), _ENDPOINTS_KEPT, rows)


def _count(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _document(store: JobStore, job: Job) -> dict[str, Any]:
    candidates, completed = store.count_candidates(job.name)
    best = {} if job.best is None else store.candidate(job.name, job.best) or {}
    return {
        "name": job.name,
        "status": job.status,
        "secondary_status": job.secondary,
        "end": _end(job).title,
        "created": _iso(job.created),
        "ended": None if job.ended is None else _iso(job.ended),
        "runtime_seconds": 0.0 if job.started is None else max(0.0, (job.ended or time.time()) - job.started),
        "candidates": candidates,
        "completed_candidates": completed,
        "best_candidate": job.best,
        "metric": objective_name(best),
        "value": objective_value(best),
        "failure_reason": job.failure,
    }


def _end(job: Job) -> End:
    answer = {
        **job.request,
        "AutoMLJobStatus": job.status,
        "AutoMLJobSecondaryStatus": job.secondary,
        "BestCandidate": job.best,
        "PartialFailureReasons": job.partial,
        "ModelDeployResult": {"EndpointName": job.endpoint},
    }
    return QUEUED if job.stage == "queued" and job.started is None else end(answer)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _cells(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        "NAME": document["name"],
        "STATUS": document["end"],
        "SECONDARY": document["secondary_status"],
        "CREATED": datetime.fromisoformat(document["created"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        "RUNTIME": _duration(document["runtime_seconds"]),
        "CANDIDATES": f"{document['completed_candidates']}/{document['candidates']}",
        "BEST": "" if document["value"] is None else f"{document['value']:#.6g}",
        "METRIC": document["metric"] or "",
    }


def _print(columns: Sequence[str], kept: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Print a table; a narrow terminal keeps columns in the order of ``kept``. Only names are cut."""
    widths = {column: max(len(column), *(len(row[column]) for row in rows), 0) for column in columns}
    name = kept[0]
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        chosen, taken = [name], min(widths[name], _NAME)
        for column in kept[1:]:
            if len(chosen) < 3 or taken + _GAP + widths[column] <= width:
                chosen.append(column)
                taken += _GAP + widths[column]
        columns = [column for column in columns if column in chosen]
        others = sum(widths[column] + _GAP for column in columns if column != name)
        widths[name] = max(min(widths[name], width - others), 1)
    for row in [dict(zip(columns, columns, strict=True)), *rows]:
        cells = [row[column] for column in columns]
        if len(cells[0]) > widths[name]:
            cells[0] = f"{cells[0][: widths[name] - 1]}…"
        print((" " * _GAP).join(map(str.ljust, cells, (widths[column] for column in columns))).rstrip())


def _print_health(folder: DataFolder) -> None:
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
    if any(name.startswith("ray") and task["state"] == "failing" for name, task in tasks.items()):
        print("`airflow-automl local --check`, with the options of the service, checks the Ray cluster.")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
