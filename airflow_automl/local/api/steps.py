"""The steps of candidates: DescribeTrainingJob and DescribeProcessingJob answer what the trainer did in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.errors import invalid
from airflow_automl.local.state.database import load

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.jobs import Job

_SECONDARY = {"InProgress": "Training", "Stopping": "Stopping"}


def training_job(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeTrainingJob; all of a candidate's training but the last step is done when the candidate begins."""
    name = request["TrainingJobName"]
    job, candidate, step, last = _find(backend, "training-job", name, invalid("Requested resource not found."))
    status = candidate["CandidateStatus"] if last else "Completed"
    begun = candidate["CreationTime"] if last else job.created
    ended = candidate.get("EndTime") if last else candidate["CreationTime"]
    containers: Any = candidate.get("InferenceContainers") or next(
        iter(candidate.get("InferenceContainerDefinitions", {}).values()), [{}]
    )
    model: Mapping[str, Any] = containers[min(1, len(containers) - 1)] if last else containers[0]
    metrics = candidate.get("CandidateProperties", {}).get("CandidateMetrics", ())
    limit = (job.resolved or {}).get("completion_criteria", {}).get("MaxRuntimePerTrainingJobInSeconds")
    return {
        "TrainingJobName": name,
        "TrainingJobArn": step["CandidateStepArn"],
        "AutoMLJobArn": job.arn,
        "TrainingJobStatus": status,
        "SecondaryStatus": _SECONDARY.get(status, status),
        "FailureReason": candidate.get("FailureReason") if last else None,
        "HyperParameters": step.get("HyperParameters"),
        "AlgorithmSpecification": {"TrainingImage": model.get("Image"), "TrainingInputMode": "File"},
        "ModelArtifacts": {"S3ModelArtifacts": model.get("ModelDataUrl", "")},
        "RoleArn": job.request["RoleArn"],
        "InputDataConfig": _channels(job),
        "OutputDataConfig": job.request["OutputDataConfig"],
        "ResourceConfig": {"InstanceCount": 1, "VolumeSizeInGB": 0},
        "StoppingCondition": {"MaxRuntimeInSeconds": limit} if limit else {},
        "CreationTime": begun,
        "TrainingStartTime": begun,
        "TrainingEndTime": ended,
        "LastModifiedTime": ended or candidate["LastModifiedTime"],
        "TrainingTimeInSeconds": int(ended - begun) if ended else None,
        "FinalMetricDataList": [
            {
                "MetricName": f"{metric['Set'].lower()}:{metric.get('StandardMetricName') or metric['MetricName']}",
                "Value": metric["Value"],
                "Timestamp": ended or candidate["LastModifiedTime"],
            }
            for metric in metrics
            if last
        ],
    }


def processing_job(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeProcessingJob: reading and analysing the data, which is done when the first candidate begins."""
    name = request["ProcessingJobName"]
    missing = invalid(f"Could not find requested job with name: {name}")
    job, candidate, step, _ = _find(backend, "processing-job", name, missing)
    inputs = [
        {
            "InputName": channel["ChannelName"],
            "S3Input": {
                **{key: channel["DataSource"]["S3DataSource"][key] for key in ("S3Uri", "S3DataType")},
                "S3InputMode": "File",
            },
        }
        for channel in _channels(job)
    ]
    return {
        "ProcessingJobName": name,
        "ProcessingJobArn": step["CandidateStepArn"],
        "AutoMLJobArn": job.arn,
        "ProcessingJobStatus": "Completed",
        "ProcessingInputs": inputs,
        "RoleArn": job.request["RoleArn"],
        "CreationTime": job.created,
        "ProcessingStartTime": job.created,
        "ProcessingEndTime": candidate["CreationTime"],
        "LastModifiedTime": candidate["CreationTime"],
    }


def _find(
    backend: Backend, kind: str, name: str, missing: Exception
) -> tuple[Job, dict[str, Any], dict[str, Any], bool]:
    # A step's name begins like the job's, up to the first hyphen at least.
    prefix = name.partition("-")[0]
    rows = backend.jobs.database.all(
        "SELECT job, document FROM candidates WHERE job >= ? AND job < ? AND instr(document, ?)"
        " ORDER BY created LIMIT 1",
        (prefix, prefix + "\U0010ffff", f'"CandidateStepName":{json.dumps(name)}'),
    )
    for row in rows:
        candidate = load(row["document"])
        for step in candidate["CandidateSteps"]:
            if step["CandidateStepName"] == name and f":{kind}/" in step["CandidateStepArn"]:
                return backend.jobs.get(row["job"]), candidate, step, step is candidate["CandidateSteps"][-1]
    raise missing


def _channels(job: Job) -> list[dict[str, Any]]:
    given = job.request.get("InputDataConfig") or job.request["AutoMLJobInputDataConfig"]
    return [
        {
            "ChannelName": channel.get("ChannelType", "training"),
            **{key: channel[key] for key in ("DataSource", "ContentType", "CompressionType") if key in channel},
        }
        for channel in given
    ]


OPERATIONS = {"DescribeTrainingJob": training_job, "DescribeProcessingJob": processing_job}
