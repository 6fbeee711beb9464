"""What an engine is given, and what it must do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.engines.events import EventLog

SCHEMA_VERSION = 2

DEFAULT_RUNTIME = 3600
"""Seconds that training may take when the request sets no limit at all."""


@dataclass(frozen=True)
class JobSpec:
    """A job as the service wrote it down for its trainer.

    :param name: AutoMLJobName.
    :param arn: AutoMLJobArn.
    :param account: the account's 12 digits.
    :param region: for ARNs.
    :param request: the request in the shape of CreateAutoMLJobV2, whichever version was called.
    :param threads: how many threads the job may keep busy.
    :param memory_limit: bytes that the job may use; ``None`` for no limit.
    :param max_runtime: seconds after which the service kills the trainer; ``None`` for never.
    :param started: monotonic time at which the trainer started.
    :param attempt: number of this run of the job, from 1.
    :param output: where artefacts go, ``s3://bucket/prefix/job/``.
    :param trials: tuning trials that may run at once.
    :param cluster: whether the trainer runs inside a Ray job, whose cluster may run further trials.
    """

    name: str
    arn: str
    account: str
    region: str
    request: Mapping[str, Any]
    threads: int
    memory_limit: int | None
    max_runtime: float | None
    started: float
    attempt: int
    output: str
    trials: int = 1
    cluster: bool = False

    @classmethod
    def read(cls, path: Path) -> JobSpec:
        """Return the specification in a ``spec.json``.

        :raises JobFailure: it was written by another version of this package.
        """
        document = json.loads(path.read_text())
        if document.get("schema_version") != SCHEMA_VERSION:
            raise JobFailure(
                f"The job was written down in format {document.get('schema_version')}, this trainer reads format "
                f"{SCHEMA_VERSION}: submit the job again."
            )
        fields = {key: document[key] for key in ("name", "arn", "account", "region", "request")}
        return cls(
            **fields,
            threads=max(1, int(document["threads"])),
            memory_limit=document.get("memory_limit_bytes"),
            max_runtime=document.get("max_runtime"),
            started=time.monotonic(),
            attempt=int(document["attempt"]),
            output=document["output"].rstrip("/") + "/",
            trials=document.get("trials", 1),
            cluster=document.get("cluster", False),
        )

    @property
    def family(self) -> str:
        """Return the problem type's configuration, such as ``TabularJobConfig``."""
        return str(next(iter(self.request["AutoMLProblemTypeConfig"])))

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the configuration of the problem type."""
        config: Mapping[str, Any] = self.request["AutoMLProblemTypeConfig"][self.family]
        return config

    @property
    def algorithms(self) -> tuple[str, ...] | None:
        """Return the algorithms that the request names, each once; ``None`` if it names none."""
        entries = (self.config.get("CandidateGenerationConfig") or {}).get("AlgorithmsConfig") or ()
        return tuple(dict.fromkeys(name for entry in entries for name in entry.get("AutoMLAlgorithms") or ())) or None

    @property
    def criteria(self) -> Mapping[str, int]:
        """CompletionCriteria of the request; empty if there are none."""
        criteria: Mapping[str, int] = self.config.get("CompletionCriteria") or {}
        return criteria


@dataclass(frozen=True)
class Run:
    """One run of a job.

    :param events: the events for the service.
    :param store: the objects in S3.
    :param folder: scratch space of this run, empty at its start.
    """

    spec: JobSpec
    events: EventLog
    store: Store
    folder: Path


Engine = Callable[[Run], str]
"""Trains the jobs of one problem family, and reports phases, decisions and candidates through ``run.events``.

It returns the secondary status that the completed job ends with. If the job can't be completed, it raises JobFailure,
whose message is the job's FailureReason.
"""
