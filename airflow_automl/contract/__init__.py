"""The API of Amazon SageMaker Autopilot as data: what requests must look like, and what answers mean.

Imports neither Airflow nor an AWS client. Names are loaded when they are first used, so that a DAG file pays only for
what it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

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

#: Exported name → its module; all others are builders.
_HOME = {
    "BestCandidate": "documents",
    "JobDocument": "documents",
    "JobStatus": "states",
    "Outcome": "states",
    "SecondaryStatus": "states",
    "Violation": "violations",
    "check": "checking",
    "coerce": "coercion",
    "is_terminal": "states",
    "outcome": "states",
    "to_v2": "migration",
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


__getattr__ = lazy_exports(__name__, dict.fromkeys(__all__, "builders") | _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
