"""What tests need of Airflow that has another place, or is not there, in some of the versions that are supported."""

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
    """Skip a test on Airflows that lack something.

    :param what: what they lack, for the summary.
    """
    return pytest.mark.skipif((major, minor) > AIRFLOW, reason=f"{what}: from Airflow {major}.{minor} on")


def airflow_macros() -> Any:
    """Airflow's macros, with those of plugins."""
    place = "airflow.sdk.plugins_manager" if AIRFLOW >= (3, 2) else "airflow.plugins_manager"
    importlib.import_module(place).integrate_macros_plugins()
    return importlib.import_module("airflow.sdk.execution_time.macros")
