"""Small valid requests of every kind, and the findings of the check."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from airflow_automl.contract.checking import check

ROLE = "arn:aws:iam::123456789012:role/AutoML"
EXAMPLES = json.loads((Path(__file__).parents[2] / "data" / "contract" / "examples.json").read_text(encoding="utf-8"))

TS = "AutoMLProblemTypeConfig.TimeSeriesForecastingJobConfig"
TAB = "AutoMLProblemTypeConfig.TabularJobConfig"
GEN = "AutoMLProblemTypeConfig.TextGenerationJobConfig"
TXT = "AutoMLProblemTypeConfig.TextClassificationJobConfig"
IMG = "AutoMLProblemTypeConfig.ImageClassificationJobConfig"

_LIMIT = {"MaxAutoMLJobRuntimeInSeconds": 3600}
_CONFIGS: dict[str, dict[str, Any]] = {
    "tabular": {"TabularJobConfig": {"TargetAttributeName": "y", "CompletionCriteria": _LIMIT}},
    "time_series": {
        "TimeSeriesForecastingJobConfig": {
            "CompletionCriteria": _LIMIT,
            "ForecastFrequency": "1D",
            "ForecastHorizon": 7,
            "TimeSeriesConfig": {
                "TargetAttributeName": "demand",
                "TimestampAttributeName": "day",
                "ItemIdentifierAttributeName": "item",
            },
        }
    },
    "text": {
        "TextClassificationJobConfig": {
            "ContentColumn": "review",
            "TargetLabelColumn": "label",
            "CompletionCriteria": _LIMIT,
        }
    },
    "image": {"ImageClassificationJobConfig": {"CompletionCriteria": _LIMIT}},
    "generation": {"TextGenerationJobConfig": {"CompletionCriteria": _LIMIT}},
}
KINDS = tuple(_CONFIGS)


def channel(**members: Any) -> dict[str, Any]:
    """A channel; ``data_type`` and ``uri`` are its source's."""
    source = {"S3DataType": members.pop("data_type", "S3Prefix"), "S3Uri": members.pop("uri", "s3://bucket/train/")}
    return {"DataSource": {"S3DataSource": source}, **members}


def v1(**members: Any) -> dict[str, Any]:
    """A V1 request without any violation, plus the given members."""
    request = {
        "AutoMLJobName": "job",
        "InputDataConfig": [channel(TargetAttributeName="y")],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
        "RoleArn": ROLE,
        "AutoMLJobConfig": {"CompletionCriteria": dict(_LIMIT)},
    }
    config = members.pop("AutoMLJobConfig", {})
    request["AutoMLJobConfig"].update(config)  # type: ignore[attr-defined]
    return copy.deepcopy(request | members)


def v2(kind: str = "tabular", config: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """A V2 request of one kind without any violation, plus members of its problem's config and of itself."""
    problem = copy.deepcopy(_CONFIGS[kind])
    next(iter(problem.values())).update(config or {})
    request = {
        "AutoMLJobName": "job",
        "AutoMLJobInputDataConfig": [channel()],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
        "AutoMLProblemTypeConfig": problem,
        "RoleArn": ROLE,
    }
    return copy.deepcopy(request | members)


def found(api: Any, request: Any, severity: str = "error") -> set[tuple[str, str]]:
    """Rule and path of each violation."""
    return {(entry.rule, entry.path) for entry in check(api, request) if entry.severity == severity}


def warned(api: Any, request: Any) -> set[tuple[str, str]]:
    """Rule and path of each warning, of a request that has no errors."""
    assert found(api, request) == set()
    return found(api, request, "warning")
