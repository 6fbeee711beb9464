"""``airflow-automl logs NAME``: what a job's trainer wrote."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import BinaryIO

from airflow_automl.local.commands.jobs import add_data_dir, existing, open_store
from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import Job, JobStore

_INTERVAL = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the job's name")
    parser.add_argument("-f", "--follow", action="store_true", help="continue until the job has ended")
    add_data_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Print the log; with ``-f``, until the job has ended."""
    with open_store(args.data_dir) as (folder, store):
        return _print(folder, store, existing(store, args.name), args.follow)


def _print(folder: DataFolder, store: JobStore, job: Job, follow: bool) -> int:
    path = folder.job(job.name) / "trainer.log"
    while not path.exists():
        if store.get(job.name).terminal or not follow:
            raise StartupError(f"the job {job.name!r} has no log: it is {job.status}/{job.secondary}, or was pruned")
        time.sleep(_INTERVAL)
    with path.open("rb") as handle:
        while True:
            # Read the state before the log, so that its last lines are not missed.
            ended = store.get(job.name).terminal
            _copy(handle)
            if ended or not follow:
                return 0
            time.sleep(_INTERVAL)


def _copy(handle: BinaryIO) -> None:
    shutil.copyfileobj(handle, sys.stdout.buffer)
    sys.stdout.buffer.flush()
