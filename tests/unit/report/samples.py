"""Answers of the service to report on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

BEGAN = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


def candidate(name: str, value: float | None, position: int, metric: str = "AUC") -> dict[str, Any]:
    """A candidate that was trained for ten seconds, ``position`` times ten seconds after the first."""
    begin = BEGAN + timedelta(seconds=10 + 10 * position)
    result: dict[str, Any] = {
        "CandidateName": name,
        "CandidateStatus": "Failed" if value is None else "Completed",
        "ObjectiveStatus": "Succeeded",
        "CandidateSteps": [],
        "CreationTime": begin - timedelta(seconds=10),
        "EndTime": begin,
        "LastModifiedTime": begin,
    }
    if value is not None:
        result["FinalAutoMLJobObjectiveMetric"] = {"MetricName": metric, "Value": value}
        result["CandidateProperties"] = {
            "CandidateMetrics": [
                {"StandardMetricName": metric, "MetricName": metric, "Value": value, "Set": "Validation"}
            ]
        }
    return result


def describe(**members: Any) -> dict[str, Any]:
    """An answer of DescribeAutoMLJobV2 for a job of two minutes."""
    return {
        "AutoMLJobName": "churn-5a8e",
        "AutoMLJobArn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/churn-5a8e",
        "AutoMLJobInputDataConfig": [{"ChannelType": "training"}],
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "churn"}},
        "OutputDataConfig": {"S3OutputPath": "s3://acme-ml/out/"},
        "RoleArn": "arn:aws:iam::123456789012:role/automl",
        "CreationTime": BEGAN,
        "EndTime": BEGAN + timedelta(minutes=2),
        "LastModifiedTime": BEGAN + timedelta(minutes=2),
        "AutoMLJobStatus": "Completed",
        "AutoMLJobSecondaryStatus": "Completed",
        **members,
    }
