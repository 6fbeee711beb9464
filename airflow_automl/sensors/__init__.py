"""Sensors, imported when their name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.sensors.sagemaker_automl import SageMakerAutoMLJobSensor

__all__ = ["SageMakerAutoMLJobSensor"]

__getattr__ = lazy_exports(__name__, {"SageMakerAutoMLJobSensor": "sagemaker_automl"})
