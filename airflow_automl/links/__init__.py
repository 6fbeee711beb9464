"""Links from a task to AWS's console, imported when their name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.links.sagemaker_automl import AutoMLJobConsoleLink, AutoMLJobLogsLink, AutoMLReportLink

__all__ = ["AutoMLJobConsoleLink", "AutoMLJobLogsLink", "AutoMLReportLink"]

__getattr__ = lazy_exports(__name__, dict.fromkeys(__all__, "sagemaker_automl"))
