"""What a trainer knows about its job: plain data, so that it can be sent anywhere."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from airflow_automl.contract.migration import to_v2
from airflow_automl.contract.values import PROBLEM_CONFIGS
from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.jobs import Job
from airflow_automl.local.storage.client import parse_uri

#: Seconds, thirty years: the API has no upper bound for a limit, and clocks can't count to every number.
_FOREVER = 10**9


class Share(NamedTuple):
    """What one trainer may use.

    :param cores: threads that it may keep busy.
    :param memory: bytes, ``None`` for no limit.
    :param gpus: GPUs; only a cluster looks at this.
    """

    cores: int
    memory: int | None
    gpus: float = 0


@dataclass(frozen=True)
class TrainerSettings:
    """What all trainers have in common.

    :param account: the AWS account in all ARNs.
    :param region: the AWS region.
    :param share: what one job may use.
    :param shares: the same for problem types with needs of their own, such as ``TextGenerationJobConfig``, and for a
        task of a ``TransformJob``.
    :param trials: trials of one HYPERPARAMETER_TUNING job that may run at once.
    """

    account: str
    region: str
    share: Share
    shares: Mapping[str, Share] = field(default_factory=dict)
    trials: int = 1

    def share_of(self, job: Job) -> Share:
        """Return what a job may use."""
        family = "TabularJobConfig" if job.api == "V1" else next(iter(job.request["AutoMLProblemTypeConfig"]))
        return self.shares.get(family, self.share)


def read_shares(path: Path, share: Share) -> tuple[Share, dict[str, Share]]:
    """Read what jobs may use from a TOML file: ``cores``, ``memory`` and ``gpus``, and tables of problem types.

    :param path: the file; its part ``[executor]`` is read.
    :param share: what the file does not say.
    :return: for any job, and for jobs of the problem types that have a table, such as
        ``[executor.TextGenerationJobConfig]``.
    :raises StartupError: the file can't be read, or is not valid.
    """
    try:
        document = tomllib.loads(path.read_text())["executor"]
        tables = {name: document.pop(name) for name in (*PROBLEM_CONFIGS, "TransformJob") if name in document}
        share = _share(document, share)
        return share, {name: _share(table, share) for name, table in tables.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartupError(
            f"{path} is not valid for --executor-file: {type(error).__name__}: {error}. It needs a part [executor] "
            "with cores, memory and gpus, and may have one for each problem type, such as "
            "[executor.TextGenerationJobConfig]"
        ) from error


def _share(table: Mapping[str, Any], share: Share) -> Share:
    if unknown := sorted(set(table) - set(Share._fields)):
        raise ValueError(f"unknown {', '.join(unknown)}")
    cores, gpus = table.get("cores", share.cores), table.get("gpus", share.gpus)
    if type(cores) is not int or cores < 1:
        raise ValueError(f"cores = {cores!r}; must be a whole number from 1")
    if type(gpus) not in (int, float) or gpus < 0:
        raise ValueError(f"gpus = {gpus!r}; must be a number from 0")
    memory = read_size(table["memory"]) if "memory" in table else share.memory
    return Share(cores, memory, gpus)


def read_size(text: str) -> int:
    """Return bytes of a size such as ``800M`` or ``8G``.

    :raises ValueError: the text is not a size, or is less than 1M.
    """
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in units else (text, "")
    try:
        value = int(float(number) * units.get(unit, 1))
    except (ValueError, OverflowError):
        raise ValueError(f"received {text!r}; must be a size such as 800M or 8G") from None
    if value < 2**20:
        raise ValueError(f"received {text!r}; must be at least 1M")
    return value


def specification(settings: TrainerSettings, job: Job) -> dict[str, Any]:
    """Return the specification of a job's current attempt.

    :raises JobFailure: the request's output address has no bucket.
    """
    share = settings.share_of(job)
    return {
        "schema_version": 2,
        "name": job.name,
        "arn": job.arn,
        "account": settings.account,
        "region": settings.region,
        "api_version": job.api,
        "request": job.request if job.api == "V2" else to_v2(job.request),
        "threads": share.cores,
        "memory_limit_bytes": share.memory,
        "gpus": share.gpus,
        "trials": settings.trials,
        "max_runtime": max_runtime(job),
        "attempt": job.attempt,
        "created": job.created,
        "output": output_of(job),
    }


def output_of(job: Job) -> str:
    """Return the address under which all objects of a job are; always ``s3://``, though requests may say ``https://``.

    :raises JobFailure: the request's address has no bucket.
    """
    return f"{parse_uri(job.request['OutputDataConfig']['S3OutputPath']).uri.rstrip('/')}/{job.name}/"


def max_runtime(job: Job) -> int | None:
    """Return MaxAutoMLJobRuntimeInSeconds, counted from the start of the trainer (R52); ``None`` without a limit."""
    if job.api == "V1":
        config = job.request.get("AutoMLJobConfig", {})
    else:
        config = next(iter(job.request["AutoMLProblemTypeConfig"].values()))
    limit = config.get("CompletionCriteria", {}).get("MaxAutoMLJobRuntimeInSeconds")
    return None if limit is None else min(limit, _FOREVER)
