"""Candidates in the shape of the API (AutoMLCandidate)."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.contract.metrics import direction
from airflow_automl.local.models.artifacts import Threshold
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import JobSpec

_STEPS = {
    "processing-job": "AWS::SageMaker::ProcessingJob",
    "training-job": "AWS::SageMaker::TrainingJob",
    "transform-job": "AWS::SageMaker::TransformJob",
}


def image(name: str, unit: str = "cpu") -> str:
    """Return what a container's Image says here: no registry, since the embedded service runs no containers.

    :param name: what the container does, such as ``autogluon``.
    :param unit: the processing unit that it is meant for, ``cpu`` or ``gpu``.
    """
    return f"airflow-automl/{name}:1-{unit}-py3"


def step(spec: JobSpec, kind: str, name: str) -> dict[str, str]:
    """Return one step of a candidate.

    As on AWS, a child keeps only the first 10 characters of the job's name.

    :param kind: ``processing-job``, ``training-job`` or ``transform-job``.
    :param name: unique among the job's steps.
    """
    digest = hashlib.sha256(f"{spec.arn}/{kind}/{name}".encode()).hexdigest()[:16]
    full = re.sub(r"-+", "-", re.sub(r"[^A-Za-z0-9-]", "-", f"{spec.name[:10]}-{name}"))[:46] + "-" + digest
    return {
        "CandidateStepType": _STEPS[kind],
        "CandidateStepArn": f"arn:aws:sagemaker:{spec.region}:{spec.account}:{kind}/{full.lower()}",
        "CandidateStepName": full,
    }


@dataclass
class Candidate:
    """A candidate; :meth:`document` is what the API answers.

    :param name: CandidateName, unique in the job.
    :param problem_type: of the job.
    :param label: names the candidate within the job.
    :param created: epoch seconds.
    :param parameters: hyperparameters that its last step trains with, for DescribeTrainingJob.
    :param containers: InferenceContainers.
    :param definitions: InferenceContainerDefinitions: processing unit (``CPU``, ``GPU``) → containers (R96).
    """

    name: str
    problem_type: str
    objective: str
    steps: Sequence[Mapping[str, str]]
    label: str = ""
    created: float = field(default_factory=time.time)
    status: str = "InProgress"
    ended: float | None = None
    failure: str | None = None
    threshold: Threshold = 0.5
    validation: dict[str, float] = field(default_factory=dict)
    train: dict[str, float] = field(default_factory=dict)
    containers: Sequence[Mapping[str, Any]] = ()
    definitions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    explainability: str | None = None
    insights: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    backtest: str | None = None

    @staticmethod
    def name_for(spec: JobSpec, label: str) -> str:
        """Return a name for a candidate: at most 64 characters, unique by job and label, the same in every attempt."""
        digest = hashlib.sha256(f"{spec.arn}/{label}".encode()).hexdigest()[:8]
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{spec.name[:10]}-{label}").strip("-")
        return f"{readable[:55]}-{digest}"

    def complete(self) -> None:
        """Mark it completed: its artefacts are in S3."""
        self.status, self.ended = "Completed", time.time()

    def fail(self, reason: str) -> None:
        """Mark it failed: it could not be trained or stored."""
        self.status, self.failure, self.ended = "Failed", reason[:1024], time.time()

    def stop(self, reason: str) -> None:
        """Mark it stopped: pruned, or out of time."""
        self.fail(reason)
        self.status = "Stopped"

    def document(self) -> dict[str, Any]:
        """Return the AutoMLCandidate, timestamps as epoch seconds."""
        document: dict[str, Any] = {
            "CandidateName": self.name,
            "CandidateStatus": self.status,
            "ObjectiveStatus": {"Completed": "Succeeded", "Failed": "Failed", "Stopped": "Failed"}.get(
                self.status, "Pending"
            ),
            "CandidateSteps": [dict(entry) for entry in self.steps],
            "CreationTime": self.created,
            "LastModifiedTime": time.time(),
        }
        if self.parameters:
            # The API takes 100 of them, with values of up to 2,500 characters.
            document["CandidateSteps"][-1]["HyperParameters"] = {
                str(key): (value if isinstance(value, str) else json.dumps(value, default=str))[:2500]
                for key, value in list(self.parameters.items())[:100]
            }
        # Text generation minimizes a loss that is not among the final metrics.
        if self.objective in self.validation and self.objective in metrics.OBJECTIVES:
            document["FinalAutoMLJobObjectiveMetric"] = {
                "Type": direction(self.objective),
                "MetricName": self.objective,
                "Value": self.validation[self.objective],
                "StandardMetricName": self.objective,
            }
        if self.ended is not None:
            document["EndTime"] = self.ended
        if self.failure:
            document["FailureReason"] = self.failure
        if self.containers:
            document["InferenceContainers"] = [dict(entry) for entry in self.containers]
        if self.definitions:
            document["InferenceContainerDefinitions"] = {
                unit: [dict(entry) for entry in entries] for unit, entries in self.definitions.items()
            }
        properties: dict[str, Any] = {}
        if self.validation:
            properties["CandidateMetrics"] = metrics.data(self.validation, "Validation") + metrics.data(
                self.train, "Train"
            )
        if self.explainability or self.backtest:
            # The API requires Explainability in this structure: without that report it is absent (R98), except for
            # forecasts, whose backtest results are always returned.
            locations = {
                "Explainability": self.explainability,
                "ModelInsights": self.insights,
                "BacktestResults": self.backtest,
            }
            properties["CandidateArtifactLocations"] = {key: value for key, value in locations.items() if value}
        if properties:
            document["CandidateProperties"] = properties
        return document
