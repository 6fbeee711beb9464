"""``airflow-automl logs NAME``: what a job's trainer wrote."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import BinaryIO

from airflow_automl.local.commands.jobs import add_data_dir, open_store
from airflow_automl.local.errors import StartupError

_INTERVAL = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the job's name")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    add_data_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Print the log; with ``-f``, until the job has ended."""
    folder, store = open_store(args.data_dir)
    job = store.find(args.name)
    if job is None:
        raise StartupError(f"no job is named {args.name!r}; airflow-automl jobs lists them")
    path = folder.job(job.name) / "trainer.log"
    while not path.exists():
        if store.get(job.name).terminal or not args.follow:
            raise StartupError(f"the job {job.name!r} has no log: it is {job.status}/{job.secondary}, or was pruned")
        time.sleep(_INTERVAL)
    with path.open("rb") as handle:
        while True:
            # Asked before the log is read, so that its last lines are not missed.
            ended = store.get(job.name).terminal
            _copy(handle)
            if ended or not args.follow:
                return 0
            time.sleep(_INTERVAL)


def _copy(handle: BinaryIO) -> None:
    shutil.copyfileobj(handle, sys.stdout.buffer)
    sys.stdout.buffer.flush()
