"""The API of Amazon SageMaker Autopilot as data: what requests must look like, and what answers mean.

Imports neither Airflow nor an AWS client. Names are loaded when they are first used, so that a DAG file pays only for
what it takes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_automl.contract.checking import check
    from airflow_automl.contract.documents import BestCandidate, JobDocument
    from airflow_automl.contract.states import JobStatus, Outcome, SecondaryStatus, is_terminal, outcome
    from airflow_automl.contract.violations import Violation

_HOME = {
    "BestCandidate": "documents",
    "JobDocument": "documents",
    "JobStatus": "states",
    "Outcome": "states",
    "SecondaryStatus": "states",
    "Violation": "violations",
    "check": "checking",
    "is_terminal": "states",
    "outcome": "states",
}

__all__ = [
    "BestCandidate",
    "JobDocument",
    "JobStatus",
    "Outcome",
    "SecondaryStatus",
    "Violation",
    "check",
    "is_terminal",
    "outcome",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
