"""What a model predicts, as its AutoML job says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.contract import documents
from airflow_automl.scoring import NUMBER_METRICS


@dataclass(frozen=True)
class Subject:
    """The problem that a model solves.

    :param problem_type: as :func:`airflow_automl.contract.documents.problem_type` names it; ``None`` if unknown.
    :param target: the column with the truth, if the data is a table.
    :param objective: the metric that the job optimised, by its standard name.
    :param weight: the column with the rows' weights in training, which the model does not see.
    :param content: the one column that the model sees, of texts.
    :param config: the job's problem config, in AWS's keys.
    """

    problem_type: str | None = None
    target: str | None = None
    objective: str | None = None
    weight: str | None = None
    content: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_regression(self) -> bool:
        """Whether the model predicts numbers."""
        return self.problem_type == "Regression" or self.objective in NUMBER_METRICS


def subject_of(describe: Mapping[str, Any], target: str | None = None) -> Subject:
    """Read what a job learned from an answer of DescribeAutoMLJob(V2).

    :param target: another column with the truth.
    """
    problem: Mapping[str, Any] = describe.get("AutoMLProblemTypeConfig") or {}
    config: Mapping[str, Any] = next((each for each in problem.values() if each), {})
    channel: Mapping[str, Any] = next(iter(describe.get("InputDataConfig") or ()), {})
    job = documents.job(describe)
    return Subject(
        job["problem_type"],
        target or job["target"],
        job["objective"],
        config.get("SampleWeightAttributeName") or channel.get("SampleWeightAttributeName"),
        config.get("ContentColumn"),
        config,
    )
