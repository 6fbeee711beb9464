"""Parts of Airflow that tests need, and that some supported versions lack or have in another module."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from airflow_automl.compat import AIRFLOW

__all__ = ["DownstreamTasksSkipped", "TaskInstanceState", "airflow_macros", "since"]

_errors = importlib.import_module("airflow.sdk.exceptions" if AIRFLOW >= (3, 2) else "airflow.exceptions")
DownstreamTasksSkipped: Any = _errors.DownstreamTasksSkipped
TaskInstanceState: Any = importlib.import_module(
    "airflow.sdk" if AIRFLOW >= (3, 1) else "airflow.utils.state"
).TaskInstanceState


def since(major: int, minor: int, what: str) -> pytest.MarkDecorator:
    """Skip a test on Airflow versions that lack a feature.

    :param what: the missing feature, for the summary.
    """
    return pytest.mark.skipif((major, minor) > AIRFLOW, reason=f"{what}: from Airflow {major}.{minor} on")


def airflow_macros() -> Any:
    """Airflow's macros, with those of plugins."""
    place = "airflow.sdk.plugins_manager" if AIRFLOW >= (3, 2) else "airflow.plugins_manager"
    importlib.import_module(place).integrate_macros_plugins()
    return importlib.import_module("airflow.sdk.execution_time.macros")
