"""Trains one job, in a process of its own: ``python -m airflow_automl.local.training.main JOBDIR``.

Reads ``JOBDIR/spec.json``, works in ``JOBDIR/work`` and reports in ``JOBDIR/events.jsonl``. Whatever goes wrong ends in
a ``failed`` event whose reason names the cause; the traceback goes to the log, which is this process's standard error.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

from airflow_automl.local.errors import JobFailure, cause
from airflow_automl.local.training.engines.base import JobSpec, Run
from airflow_automl.local.training.engines.events import EventLog

log = logging.getLogger("airflow_automl.trainer")


def main(arguments: list[str] | None = None) -> int:
    """Run the trainer.

    :param arguments: the job's folder; by default what the command line says.
    :return: the exit code: 0 completed, 1 failed with a reason, 2 used wrongly.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or not (Path(arguments[0]) / "spec.json").is_file():
        print("usage: python -m airflow_automl.local.training.main JOBDIR (a folder with a spec.json)", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
    return 0 if train(Path(arguments[0])) else 1


def train(folder: Path) -> bool:
    """Train the job in a folder and report how it ended.

    :param folder: holds ``spec.json``.
    :return: whether the job completed.
    """
    path = folder / "spec.json"
    attempt = 1
    try:
        attempt = int(json.loads(path.read_text()).get("attempt", 1))
    except (OSError, ValueError):
        log.exception("%s can't be read", path)
    events = EventLog(folder / "events.jsonl", attempt)
    try:
        spec = JobSpec.read(path)
        _share_cores(spec.threads)
        secondary = _run(spec, events, folder / "work")
    except JobFailure as failure:
        log.critical("The job failed: %s", failure.reason, exc_info=failure.__cause__)
        events.failed(failure.reason)
        return False
    except MemoryError:
        log.exception("Out of memory")
        events.failed("The trainer ran out of memory: use less data, fewer algorithms or a machine with more memory.")
        return False
    except Exception as error:
        log.exception("The job failed")
        events.failed(_unexpected(error))
        return False
    events.completed(secondary)
    log.info("The job completed: %s", secondary)
    return True


def _run(spec: JobSpec, events: EventLog, work: Path) -> str:
    from airflow_automl.local.training.data.store import Store
    from airflow_automl.local.training.engines.registry import engine_for

    # An earlier attempt may have been killed in the middle of anything.
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        events.phase("Starting")
        log.info("Job %s, attempt %d, %d threads", spec.name, spec.attempt, spec.threads)
        return engine_for(spec.family)(Run(spec, events, Store(), work))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _share_cores(threads: int) -> None:
    """Keep every library to the job's share of cores; spinning barriers of a second pool cost more than they give."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        place = f" ({error.filename})" if error.filename else ""
        return f"The trainer could not continue: {os.strerror(error.errno)}{place}."
    return f"The trainer failed: {cause(error)}. Submit the job again, or with fewer columns if it fails again."


if __name__ == "__main__":
    sys.exit(main())
