"""Triggers, imported when their name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.triggers.event import SageMakerAutoMLEventTrigger
    from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger

__all__ = ["SageMakerAutoMLEventTrigger", "SageMakerAutoMLJobTrigger"]

__getattr__ = lazy_exports(__name__, {"SageMakerAutoMLEventTrigger": "event", "SageMakerAutoMLJobTrigger": "job"})
