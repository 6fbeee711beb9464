"""``airflow-automl jobs``: list the jobs of a data folder, whether its service runs or not."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from airflow_automl.contract.metrics import objective_name, objective_value
from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import STAGES, Job, JobStore

_HEADER: tuple[str, ...] = ("NAME", "STATUS", "SECONDARY", "CREATED", "RUNTIME", "CANDIDATES", "BEST")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_data_dir(parser)
    parser.add_argument("--status", help="only jobs with this AutoMLJobStatus, such as InProgress or Failed")


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Declare ``--data-dir``."""
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".automl"), help="the service's data folder (default: %(default)s)"
    )


def open_store(data_dir: Path) -> tuple[DataFolder, JobStore]:
    """The jobs of a data folder, to look at.

    :raises StartupError: where it holds no state.
    """
    folder = DataFolder(data_dir)
    if not folder.database.is_file():
        raise StartupError(
            f"{folder.root} is no data folder of a service (it has no state.db); name it with --data-dir"
        )
    return folder, JobStore(Database(folder.database, read_only=True))


def run(args: argparse.Namespace) -> int:
    """Print one line a job, newest first."""
    _, store = open_store(args.data_dir)
    chosen = [job for job in store.in_stage(*STAGES) if args.status in (None, job.status)]
    rows = [_HEADER, *(_row(store, job) for job in reversed(chosen))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(store: JobStore, job: Job) -> tuple[str, ...]:
    candidates = store.candidates(job.name)
    best = "" if job.best is None else _score(store.candidate(job.name, job.best) or {})
    done = sum(candidate["CandidateStatus"] == "Completed" for candidate in candidates)
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.created))
    seconds = 0.0 if job.started is None else (job.ended or time.time()) - job.started
    return job.name, job.status, job.secondary, created, _duration(seconds), f"{done}/{len(candidates)}", best


def _score(candidate: dict[str, object]) -> str:
    value = objective_value(candidate)
    return "" if value is None else f"{objective_name(candidate)} {value:.6g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
