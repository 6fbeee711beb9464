"""Builders of the parts that jobs of several kinds have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from airflow_automl.contract.wording import closest, unknown

#: A duration: seconds, a ``timedelta`` (rounded up to whole seconds), or a template that renders to seconds.
Seconds = int | timedelta | str

_Given = ParamSpec("_Given")
_Built = TypeVar("_Built")
#: Parameter → a builder that has it, for the advice in errors.
_HOMES: dict[str, str] = {}


def builder(*options: type) -> Callable[[Callable[_Given, _Built]], Callable[_Given, _Built]]:
    """Make a function refuse parameters that it does not know, and name the closest ones.

    Python accepts any name in ``**options``, where a misspelt one would be ignored: a job without its time limit or its
    key.

    :param options: the TypedDict of the function's ``**options``, if it has them.
    """

    def decorate(function: Callable[_Given, _Built]) -> Callable[_Given, _Built]:
        code = function.__code__  # type: ignore[attr-defined]
        valid = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        valid += [name for option in options for name in option.__annotations__]
        name = function.__name__  # type: ignore[attr-defined]
        for parameter in valid:
            _HOMES.setdefault(parameter, name)

        @wraps(function)
        def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Built:
            problems = [_stray(name, each, valid) for each in kwargs if each not in valid]
            if problems:
                raise TypeError("; ".join(problems))
            return function(*args, **kwargs)

        return checked

    return decorate


def _stray(function: str, name: str, valid: list[str]) -> str:
    if not closest(name, valid) and (others := closest(name, _HOMES)):
        return f"{function}(): {name} is unknown; did you mean {others[0]} of {_HOMES[others[0]]}()?"
    return f"{function}(): {name} {unknown(name, valid)}"


def given(**members: Any) -> dict[str, Any]:
    """Keep the members that were given, in the order in which they are written."""
    return {name: value for name, value in members.items() if value is not None}


def to_seconds(duration: Seconds | None) -> int | str | None:
    """Turn a ``timedelta`` into whole seconds, rounded up; other values are returned unchanged."""
    return math.ceil(duration.total_seconds()) if isinstance(duration, timedelta) else duration


@builder()
def completion_criteria(
    *,
    max_candidates: int | str | None = None,
    max_runtime_per_training_job: Seconds | None = None,
    max_runtime: Seconds | None = None,
) -> dict[str, Any]:
    """Build CompletionCriteria: what ends a job.

    :param max_candidates: training jobs to run, 1 to 750; exactly 1 outside tabular data (R49, R50). No limit by
        default; Autopilot then runs 10 (ENSEMBLING) or 100 (HYPERPARAMETER_TUNING) trials.
    :param max_runtime_per_training_job: limit of each training job, in seconds or as ``timedelta``; of the candidate in
        V2 (R51). Text generation's default is 259,200 s (72 hours).
    :param max_runtime: limit of the whole job, in seconds or as ``timedelta``. At the limit, the job completes with the
        best candidate so far, and deploys nothing (R52). No limit by default, which :func:`check` warns about.
    """
    return given(
        MaxCandidates=max_candidates,
        MaxRuntimePerTrainingJobInSeconds=to_seconds(max_runtime_per_training_job),
        MaxAutoMLJobRuntimeInSeconds=to_seconds(max_runtime),
    )


@builder()
def output(s3_path: str, *, kms_key_id: str | None = None) -> dict[str, Any]:
    """Build OutputDataConfig: where the job writes its results.

    :param s3_path: ``s3://bucket/folder/``, at most 512 characters (R27).
    :param kms_key_id: key (id, ARN or alias) that encrypts the artefacts; AWS's own key by default.
    """
    return given(KmsKeyId=kms_key_id, S3OutputPath=s3_path)


@builder()
def security(
    *,
    volume_kms_key_id: str | None = None,
    encrypt_inter_container_traffic: bool | str | None = None,
    security_group_ids: Sequence[str] | str | None = None,
    subnets: Sequence[str] | str | None = None,
) -> dict[str, Any]:
    """Build SecurityConfig: encryption and network of the job's instances.

    :param volume_kms_key_id: key that encrypts the volumes attached to the machines.
    :param encrypt_inter_container_traffic: whether to encrypt traffic between the machines; false by default.
    :param security_group_ids: 1 to 5 security groups of the subnets' VPC (R30, R31); together with ``subnets``.
    :param subnets: 1 to 16 subnets; together with ``security_group_ids``.
    """
    vpc = given(SecurityGroupIds=listed(security_group_ids), Subnets=listed(subnets))
    return given(
        VolumeKmsKeyId=volume_kms_key_id,
        EnableInterContainerTrafficEncryption=encrypt_inter_container_traffic,
        VpcConfig=vpc or None,
    )


@builder()
def deployment(
    endpoint_name: str | None = None, *, auto_generate_endpoint_name: bool | str | None = None
) -> dict[str, Any]:
    """Build ModelDeployConfig: let the job itself deploy its best candidate.

    :param endpoint_name: the endpoint's name, at most 63 letters, digits and hyphens. Without it, a name is generated.
    :param auto_generate_endpoint_name: AWS's default is false, which needs an endpoint name (R34); true forbids one
        (R33). Set to true here if neither parameter is given.
    """
    if endpoint_name is None and auto_generate_endpoint_name is None:
        auto_generate_endpoint_name = True
    return given(AutoGenerateEndpointName=auto_generate_endpoint_name, EndpointName=endpoint_name)


@builder()
def split(validation_fraction: float | str | None = None) -> dict[str, Any]:
    """Build DataSplitConfig: how much of the training data to validate with.

    Not for time series (R69), and without effect with a validation channel (R70).

    :param validation_fraction: more than 0 and less than 1, below 0.5 advised; 0.2 by default (R68).
    """
    return given(ValidationFraction=validation_fraction)


@builder()
def compute(emr_execution_role_arn: str) -> dict[str, Any]:
    """Build AutoMLComputeConfig: prepare large data with EMR Serverless.

    For tabular data beyond 5 GB and time series beyond 30 GB, and for no other problem (R37). AWS's pages disagree on
    whether it works outside SageMaker Canvas: :func:`check` warns.

    :param emr_execution_role_arn: role that may list, connect to and manage EMR Serverless jobs (R38).
    """
    return {"EmrServerlessComputeConfig": {"ExecutionRoleARN": emr_execution_role_arn}}


@builder()
def tags(pairs: Mapping[str, str]) -> list[dict[str, str]]:
    """Build Tags, at most 50.

    :param pairs: key (1 to 128 characters) → value (0 to 256). Each key is used once (R32).
    """
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def objective_config(metric: str | None) -> dict[str, Any] | None:
    """Build AutoMLJobObjective of a metric's name."""
    return None if metric is None else {"MetricName": metric}


def algorithms_config(algorithms: Sequence[str] | str | None) -> list[dict[str, Any]] | None:
    """Build AlgorithmsConfig of names: all of them in its one entry (R54)."""
    return None if algorithms is None else [{"AutoMLAlgorithms": listed(algorithms)}]


def listed(values: Any) -> Any:
    """Turn tuples, sets and other collections into a list; other values are returned unchanged."""
    return list(values) if isinstance(values, list | tuple | set | frozenset) else values
