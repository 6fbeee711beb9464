"""Trainer processes: one per running job, in a session of its own, which outlives a crash of the service."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_automl.contract.migration import to_v2
from airflow_automl.local import processes
from airflow_automl.local.files import write_private
from airflow_automl.local.processes import Process
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import Job
from airflow_automl.local.storage.client import parse_uri

#: Starts the trainer; the job's folder is its argument.
COMMAND = (sys.executable, "-m", "airflow_automl.local.training.main")

#: AWS settings of the service's own environment that must not lead a trainer elsewhere.
_FOREIGN_SETTINGS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE")

#: Seconds, thirty years: the API sets no bound to a job's time, but a clock can't count to just any number.
_FOREVER = 10**9


class Trainer:
    """A trainer that runs, or has run.

    :param process: its process.
    :param child: its handle, if this service started it; ``None`` for one that was adopted.
    """

    def __init__(self, process: Process, child: subprocess.Popen[bytes] | None = None) -> None:
        self.process = process
        self._child = child
        self.ended_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether its main process runs."""
        if self._child is not None:
            return self._child.poll() is None
        return processes.alive(self.process)

    def gone(self) -> bool:
        """Kill whatever is left of its session, and say whether nothing is."""
        processes.kill_session(self.process)
        return not self.running and not processes.members(self.process)

    def how_it_ended(self) -> str:
        """Its exit code or signal in words."""
        code = None if self._child is None else self._child.poll()
        if code is None:
            return "ended"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


class TrainerSettings:
    """What all trainers get.

    :param command: starts a trainer; the job's folder is added.
    :param environment: answers the variables to add to the service's own, such as where S3 is now.
    :param account: the AWS account of all ARNs.
    :param region: the AWS region.
    :param threads: cores for one job.
    :param memory_limit: bytes for one job, ``None`` for no limit.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        account: str,
        region: str,
        threads: int,
        memory_limit: int | None,
    ) -> None:
        self.command = list(command)
        self.environment = environment
        self.account = account
        self.region = region
        self.threads = threads
        self.memory_limit = memory_limit


def command(settings: TrainerSettings, folder: Path) -> list[str]:
    """The command line of a job's trainer, by which it is found again."""
    return [*settings.command, str(folder)]


def start(settings: TrainerSettings, folder: DataFolder, job: Job) -> Trainer:
    """Start the trainer of a job's current attempt.

    :raises Exception: where it can't be started; there is no process then.
    """
    path = folder.job(job.name)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    events = path / "events.jsonl"
    if events.exists():
        # An attempt that was cut off may have left half a line, which must not swallow the first of this one.
        events.replace(path / f"events.{job.attempt - 1}.jsonl")
    write_private(path / "spec.json", specification(settings, job))
    environment = {key: value for key, value in os.environ.items() if key not in _FOREIGN_SETTINGS}
    environment |= {
        "OMP_NUM_THREADS": str(settings.threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
        **settings.environment(),
    }
    with (path / "trainer.log").open("ab") as output:
        output.write(f"--- attempt {job.attempt}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n".encode())
        output.flush()
        child = subprocess.Popen(
            command(settings, path),
            cwd=path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    return Trainer(processes.holder(child.pid), child)


def specification(settings: TrainerSettings, job: Job) -> dict[str, Any]:
    """What a trainer needs to know of its job (``spec.json``)."""
    request = job.request if job.api == "V2" else to_v2(job.request)
    return {
        "schema_version": 1,
        "name": job.name,
        "arn": job.arn,
        "account": settings.account,
        "region": settings.region,
        "api_version": job.api,
        "request": request,
        "threads": settings.threads,
        "memory_limit_bytes": settings.memory_limit,
        "deadline": deadline(job),
        "started": job.started,
        "attempt": job.attempt,
        "output": output_of(job),
    }


def output_of(job: Job) -> str:
    """The address under which all objects of a job lie; always ``s3://``, though requests may say ``https://``.

    :raises JobFailure: where the request's address has no bucket.
    """
    return f"{parse_uri(job.request['OutputDataConfig']['S3OutputPath']).uri.rstrip('/')}/{job.name}/"


def deadline(job: Job) -> float | None:
    """When MaxAutoMLJobRuntimeInSeconds ends the job, in epoch seconds; the time in the queue does not count (R52)."""
    if job.started is None:
        return None
    if job.api == "V1":
        config = job.request.get("AutoMLJobConfig", {})
    else:
        config = next(iter(job.request["AutoMLProblemTypeConfig"].values()))
    limit = config.get("CompletionCriteria", {}).get("MaxAutoMLJobRuntimeInSeconds")
    return None if limit is None else job.started + min(limit, _FOREVER)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - 4096))
            lines = handle.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
