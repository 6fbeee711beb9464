"""The answers of DescribeAutoMLJob and DescribeAutoMLJobV2 (R92-R101)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_automl.contract.metrics import OBJECTIVES
from airflow_automl.contract.migration import to_v2
from airflow_automl.local.state.jobs import Job, partial_failure_reasons

_TABULAR_TYPES = ("BinaryClassification", "MulticlassClassification", "Regression")

_OBJECTIVES = frozenset(name for names in OBJECTIVES.values() for name in names)

#: Member of AutoMLProblemTypeConfig → AutoMLProblemTypeConfigName.
_CONFIG_NAMES = {
    "ImageClassificationJobConfig": "ImageClassification",
    "TextClassificationJobConfig": "TextClassification",
    "TimeSeriesForecastingJobConfig": "TimeSeriesForecasting",
    "TabularJobConfig": "Tabular",
    "TextGenerationJobConfig": "TextGeneration",
}


def v1(job: Job, best: Mapping[str, Any] | None) -> dict[str, Any]:
    """DescribeAutoMLJob's answer."""
    resolved = job.resolved or {}
    attributes = {
        "AutoMLJobObjective": _objective(resolved),
        "ProblemType": resolved.get("problem_type"),
        "CompletionCriteria": resolved.get("completion_criteria") or None,
    }
    # Members that were not given stay absent, except this flag (R100, R101).
    request = {"GenerateCandidateDefinitionsOnly": False, **job.request}
    return {**request, **_common(job, best), "ResolvedAttributes": _none_if_empty(attributes)}


def v2(job: Job, best: Mapping[str, Any] | None) -> dict[str, Any]:
    """DescribeAutoMLJobV2's answer, also for a job of the first version (R6)."""
    request = job.request if job.api == "V2" else to_v2(job.request, complete=False)
    config = next(iter(request["AutoMLProblemTypeConfig"]))
    resolved = job.resolved or {}
    by_type: dict[str, Any] | None = None
    if resolved.get("problem_type") in _TABULAR_TYPES:
        by_type = {"TabularResolvedAttributes": {"ProblemType": resolved["problem_type"]}}
    elif resolved.get("base_model"):
        by_type = {"TextGenerationResolvedAttributes": {"BaseModelName": resolved["base_model"]}}
    attributes = {
        "AutoMLJobObjective": _objective(resolved),
        "CompletionCriteria": resolved.get("completion_criteria") or None,
        "AutoMLProblemTypeResolvedAttributes": by_type,
    }
    return {
        **request,
        **_common(job, best),
        "AutoMLProblemTypeConfigName": _CONFIG_NAMES.get(config),
        "ResolvedAttributes": _none_if_empty(attributes),
    }


def _common(job: Job, best: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "AutoMLJobName": job.name,
        "AutoMLJobArn": job.arn,
        "CreationTime": job.created,
        "EndTime": job.ended,
        "LastModifiedTime": job.modified,
        "FailureReason": job.failure if job.status == "Failed" else None,
        "PartialFailureReasons": partial_failure_reasons(job.partial),
        "BestCandidate": best,
        "AutoMLJobStatus": job.status,
        "AutoMLJobSecondaryStatus": job.secondary,
        "AutoMLJobArtifacts": job.artifacts,
        "ModelDeployResult": {"EndpointName": job.endpoint} if job.endpoint and job.status == "Completed" else None,
    }


def _objective(resolved: Mapping[str, Any]) -> dict[str, str] | None:
    name = resolved.get("objective")
    # Text generation minimizes a loss that is not an objective of the API (R44).
    return {"MetricName": name} if name and name in _OBJECTIVES else None


def _none_if_empty(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    return {key: value for key, value in attributes.items() if value is not None} or None
