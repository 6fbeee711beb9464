"""The API of Amazon SageMaker Autopilot as data: what requests must look like, and what answers mean.

Imports neither Airflow nor an AWS client. Names are loaded when they are first used, so that a DAG file pays only for
what it takes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_automl.contract.builders import (
        augmented_manifest,
        channel,
        completion_criteria,
        compute,
        deployment,
        image_classification,
        job_v1,
        job_v2,
        manifest,
        output,
        security,
        split,
        tabular,
        tags,
        text_classification,
        text_generation,
        time_series,
        validation,
    )
    from airflow_automl.contract.checking import check
    from airflow_automl.contract.coercion import coerce
    from airflow_automl.contract.documents import BestCandidate, JobDocument
    from airflow_automl.contract.migration import to_v2
    from airflow_automl.contract.states import JobStatus, Outcome, SecondaryStatus, is_terminal, outcome
    from airflow_automl.contract.violations import Violation

_HOME = {
    "BestCandidate": "documents",
    "JobDocument": "documents",
    "JobStatus": "states",
    "Outcome": "states",
    "SecondaryStatus": "states",
    "Violation": "violations",
    "augmented_manifest": "builders",
    "channel": "builders",
    "check": "checking",
    "coerce": "coercion",
    "completion_criteria": "builders",
    "compute": "builders",
    "deployment": "builders",
    "image_classification": "builders",
    "is_terminal": "states",
    "job_v1": "builders",
    "job_v2": "builders",
    "manifest": "builders",
    "outcome": "states",
    "output": "builders",
    "security": "builders",
    "split": "builders",
    "tabular": "builders",
    "tags": "builders",
    "text_classification": "builders",
    "text_generation": "builders",
    "time_series": "builders",
    "to_v2": "migration",
    "validation": "builders",
}

__all__ = [
    "BestCandidate",
    "JobDocument",
    "JobStatus",
    "Outcome",
    "SecondaryStatus",
    "Violation",
    "augmented_manifest",
    "channel",
    "check",
    "coerce",
    "completion_criteria",
    "compute",
    "deployment",
    "image_classification",
    "is_terminal",
    "job_v1",
    "job_v2",
    "manifest",
    "outcome",
    "output",
    "security",
    "split",
    "tabular",
    "tags",
    "text_classification",
    "text_generation",
    "time_series",
    "to_v2",
    "validation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
