"""Notifications about jobs, over any channel that Airflow has a notifier for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.notifications.sagemaker_automl import SageMakerAutoMLNotifier

__all__ = ["SageMakerAutoMLNotifier"]

__getattr__ = lazy_exports(__name__, {"SageMakerAutoMLNotifier": "sagemaker_automl"})
