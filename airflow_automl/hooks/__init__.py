"""Hooks: the only modules of the Airflow side that call AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

__all__ = ["SageMakerAutoMLDeploymentHook", "SageMakerAutoMLHook"]

__getattr__ = lazy_exports(
    __name__,
    {"SageMakerAutoMLDeploymentHook": "sagemaker_deployment", "SageMakerAutoMLHook": "sagemaker_automl"},
)
