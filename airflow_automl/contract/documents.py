"""The documents in XComs: the best candidate and the job, as plain JSON.

Both are made from answers of DescribeAutoMLJob or DescribeAutoMLJobV2, and tolerate members that are missing, unknown
or ``None``: real answers differ from the service model.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypedDict, cast

from airflow_automl.contract import states
from airflow_automl.contract.metrics import objective_value, standard_name

#: Version of the job document; raised when a key changes its meaning or goes away, not when one is added.
SCHEMA_VERSION = 1


# Fields that only one of the API versions has.
_ONLY_V1 = ("AutoMLJobConfig", "GenerateCandidateDefinitionsOnly", "InputDataConfig", "ProblemType")
_ONLY_V2 = (
    "AutoMLComputeConfig",
    "AutoMLJobInputDataConfig",
    "AutoMLProblemTypeConfig",
    "AutoMLProblemTypeConfigName",
    "DataSplitConfig",
    "SecurityConfig",
)

_TIMES = ("CreationTime", "EndTime", "LastModifiedTime")


class ObjectiveMetric(TypedDict, total=False):
    """``FinalAutoMLJobObjectiveMetric``."""

    Type: str
    MetricName: str
    Value: float
    StandardMetricName: str


class CandidateStep(TypedDict, total=False):
    """A training, transform or processing job that made the candidate."""

    CandidateStepType: str
    CandidateStepArn: str
    CandidateStepName: str


class Container(TypedDict, total=False):
    """One container of the candidate's inference pipeline."""

    Image: str
    ModelDataUrl: str
    Environment: dict[str, str]


class Metric(TypedDict, total=False):
    """One measured value, on the data set that ``Set`` names (Train, Validation, Test)."""

    MetricName: str
    StandardMetricName: str
    Value: float
    Set: str


class CandidateProperties(TypedDict, total=False):
    """Reports and metrics of the candidate."""

    CandidateArtifactLocations: dict[str, str]
    CandidateMetrics: list[Metric]


class BestCandidate(TypedDict, total=False):
    """An AutoMLCandidate in AWS's own keys, times as ISO-8601 strings."""

    CandidateName: str
    FinalAutoMLJobObjectiveMetric: ObjectiveMetric
    ObjectiveStatus: str
    CandidateSteps: list[CandidateStep]
    CandidateStatus: str
    InferenceContainers: list[Container]
    InferenceContainerDefinitions: dict[str, list[Container]]
    CreationTime: str
    EndTime: str
    LastModifiedTime: str
    FailureReason: str
    CandidateProperties: CandidateProperties


class Transition(TypedDict):
    """When a job was first seen in a pair of statuses; ``at`` is an ISO-8601 time."""

    at: str
    status: str
    secondary_status: str | None


class JobDocument(TypedDict):
    """A job, in snake_case keys; the values of ``security``, ``output``, ``artifacts`` keep AWS's keys."""

    schema_version: int
    name: str
    arn: str | None
    api_version: Literal["V1", "V2"]
    problem_type: str | None
    status: str | None
    secondary_status: str | None
    end: dict[str, str]
    objective: str | None
    score: float | None
    target: str | None
    data: str | None
    created: str | None
    ended: str | None
    role_arn: str | None
    security: dict[str, Any]
    output: dict[str, Any]
    tags: dict[str, str]
    artifacts: dict[str, str]
    endpoint_name: str | None
    partial_failures: list[str]
    timeline: list[Transition]
    cost: dict[str, Any] | None


def best_candidate(describe: Mapping[str, Any]) -> BestCandidate | None:
    """Take the best candidate out of a describe answer, JSON-safe.

    :param describe: an answer of DescribeAutoMLJob or DescribeAutoMLJobV2.
    :return: the candidate in AWS's own keys, unknown members included, or ``None`` if the answer has none.
    """
    candidate = describe.get("BestCandidate")
    if not isinstance(candidate, Mapping) or not candidate:
        return None
    document = json_safe(candidate)
    document |= {key: _time(candidate, key) for key in _TIMES if key in document}
    return cast(BestCandidate, document)


def job(
    describe: Mapping[str, Any],
    *,
    arn: str | None = None,
    tags: Mapping[str, str] | Iterable[Mapping[str, str]] | None = None,
    timeline: Iterable[Transition] = (),
    cost: Mapping[str, Any] | None = None,
) -> JobDocument:
    """Make the job document of a describe answer.

    :param describe: an answer of DescribeAutoMLJob or DescribeAutoMLJobV2.
    :param arn: the job's ARN, where the answer lacks it.
    :param tags: the job's tags, which describe does not return (R100): a mapping, or AWS's list of Key and Value.
    :param timeline: the observed statuses of the job, oldest first.
    :param cost: ``amount`` and ``currency``, if there are prices.
    :return: exactly the keys of :class:`JobDocument`; what the answer does not say is ``None`` or empty.
    """
    result = _mapping(describe, "ModelDeployResult")
    return {
        "schema_version": SCHEMA_VERSION,
        "name": _text(describe, "AutoMLJobName") or "",
        "arn": _text(describe, "AutoMLJobArn") or arn,
        "api_version": api_version(describe),
        "problem_type": problem_type(describe),
        "status": _text(describe, "AutoMLJobStatus"),
        "secondary_status": _text(describe, "AutoMLJobSecondaryStatus"),
        "end": states.end(describe)._asdict(),
        "objective": _objective(describe),
        "score": objective_value(_mapping(describe, "BestCandidate")),
        "target": _target(describe),
        "data": _data(describe),
        "created": _time(describe, "CreationTime"),
        "ended": _time(describe, "EndTime"),
        "role_arn": _text(describe, "RoleArn"),
        "security": json_safe(
            _mapping(describe, "SecurityConfig") or _mapping(_mapping(describe, "AutoMLJobConfig"), "SecurityConfig")
        ),
        "output": json_safe(_mapping(describe, "OutputDataConfig")),
        "tags": _tags(tags),
        "artifacts": {
            key: value for key, value in _mapping(describe, "AutoMLJobArtifacts").items() if isinstance(value, str)
        },
        "endpoint_name": _text(result, "EndpointName"),
        "partial_failures": [
            message
            for reason in _items(describe, "PartialFailureReasons")
            if isinstance(reason, Mapping) and (message := _text(reason, "PartialFailureMessage"))
        ],
        "timeline": [{**each} for each in timeline],
        "cost": dict(cost) if cost else None,
    }


def api_version(document: Mapping[str, Any]) -> Literal["V1", "V2"]:
    """Return the API version whose form a request or a describe answer has.

    DescribeAutoMLJobV2 answers for V1 jobs too, in V2's form: those read ``V2``.

    :return: the version more of whose own fields are there; ``V2``, which AWS recommends, if neither has more.
    """
    only_v1 = sum(name in document for name in _ONLY_V1)
    only_v2 = sum(name in document for name in _ONLY_V2)
    return "V1" if only_v1 > only_v2 else "V2"


def problem_type(describe: Mapping[str, Any]) -> str | None:
    """Name the problem that the job solves, as exactly as the answer allows.

    :return: ``BinaryClassification``, ``MulticlassClassification``, ``Regression``, or ``Tabular`` while that is not
        resolved; else ``ImageClassification``, ``TextClassification``, ``TimeSeriesForecasting``, ``TextGeneration``,
        or the name of a type that is newer than this package; ``None`` if unknown.
    """
    resolved = _mapping(describe, "ResolvedAttributes")
    if api_version(describe) == "V1":
        return _text(resolved, "ProblemType") or _text(describe, "ProblemType") or "Tabular"
    config = _mapping(describe, "AutoMLProblemTypeConfig")
    member = next((name for name, value in config.items() if value is not None), None)
    if member == "SDK_UNKNOWN_MEMBER":
        member = _text(_mapping(config, member), "name")
    name = _text(describe, "AutoMLProblemTypeConfigName") or (member.removesuffix("JobConfig") if member else None)
    if name != "Tabular":
        return name
    tabular = _mapping(_mapping(resolved, "AutoMLProblemTypeResolvedAttributes"), "TabularResolvedAttributes")
    return _text(tabular, "ProblemType") or _text(_mapping(config, "TabularJobConfig"), "ProblemType") or name


def mode(describe: Mapping[str, Any]) -> str:
    """Return the training mode that a tabular request or job of either version names, else ``AUTO``."""
    tabular = _mapping(_mapping(describe, "AutoMLProblemTypeConfig"), "TabularJobConfig")
    return _text(_mapping(describe, "AutoMLJobConfig"), "Mode") or _text(tabular, "Mode") or "AUTO"


def json_safe(value: Any) -> Any:
    """Turn what botocore answers into what JSON can say.

    Times become ISO-8601 strings, decimals floats, sets and tuples lists, bytes base64, enums their values, numbers
    that JSON lacks (NaN, infinities) ``None``; values of other types become their ``str``.
    The answer's metadata (``ResponseMetadata``) is left out.
    """
    match value:
        case Enum():
            return json_safe(value.value)
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return json_safe(float(value)) if value.is_finite() else None
        case datetime() | date():
            return value.isoformat()
        case Mapping():
            return {str(key): json_safe(item) for key, item in value.items() if key != "ResponseMetadata"}
        case bytes() | bytearray():
            return base64.b64encode(value).decode("ascii")
        case list() | tuple():
            return [json_safe(item) for item in value]
        case set() | frozenset():
            return sorted((json_safe(item) for item in value), key=repr)
    return str(value)


def schema(document: Literal["best_candidate", "job"]) -> dict[str, Any]:
    """Load the JSON Schema of a document, which ships with the package."""
    from importlib import resources  # its import costs more than this module's, and DAG files need no schema

    path = resources.files("airflow_automl.contract") / "schemas" / f"{document}.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def channels(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the data channels of a request or a describe answer, of either version."""
    listed = _items(document, "AutoMLJobInputDataConfig") or _items(document, "InputDataConfig")
    return [each for each in listed if isinstance(each, Mapping)]


def s3_source(channel: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a channel's ``S3DataSource``; empty if it has none."""
    return _mapping(_mapping(channel, "DataSource"), "S3DataSource")


def _objective(describe: Mapping[str, Any]) -> str | None:
    for source in (describe, _mapping(describe, "ResolvedAttributes")):
        if name := standard_name(_mapping(source, "AutoMLJobObjective")):
            return name
    return standard_name(_mapping(_mapping(describe, "BestCandidate"), "FinalAutoMLJobObjectiveMetric")) or None


def _channel(describe: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(channels(describe)), {})


def _data(describe: Mapping[str, Any]) -> str | None:
    return _text(s3_source(_channel(describe)), "S3Uri")


def _target(describe: Mapping[str, Any]) -> str | None:
    config: Mapping[str, Any] = next(
        (each for each in _mapping(describe, "AutoMLProblemTypeConfig").values() if each), {}
    )
    for place in (config, _mapping(config, "TimeSeriesConfig"), _channel(describe)):
        if target := _text(place, "TargetAttributeName") or _text(place, "TargetLabelColumn"):
            return target
    return None


def _tags(tags: Mapping[str, str] | Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    if tags is None:
        return {}
    if isinstance(tags, Mapping):
        return {str(key): str(value) for key, value in tags.items()}
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags if "Key" in tag}


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _items(parent: Mapping[str, Any], key: str) -> list[Any]:
    value = parent.get(key)
    return value if isinstance(value, list) else []


def _text(parent: Mapping[str, Any], key: str) -> str | None:
    value = parent.get(key)
    return str(value) if isinstance(value, str) and value else None


def _time(parent: Mapping[str, Any], key: str) -> str | None:
    value = parent.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Timestamps are epoch seconds on the wire, where no client has read them yet.
        try:
            return datetime.fromtimestamp(value, UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            return None
    return str(json_safe(value)) if isinstance(value, str | datetime) else None
