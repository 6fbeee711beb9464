"""Operators: one module per verb, imported when its name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_automl._lazy import lazy_exports

if TYPE_CHECKING:
    from airflow_automl.operators.approve import SageMakerAutoMLApproveOperator
    from airflow_automl.operators.candidates import SageMakerAutoMLCandidatesOperator
    from airflow_automl.operators.delete_endpoint import SageMakerAutoMLDeleteEndpointOperator
    from airflow_automl.operators.deploy import SageMakerAutoMLDeployOperator
    from airflow_automl.operators.evaluate import SageMakerAutoMLEvaluateOperator
    from airflow_automl.operators.gate import SageMakerAutoMLGateOperator
    from airflow_automl.operators.job import (
        SageMakerAutoMLJobOperator,
        SageMakerAutoMLJobV1Operator,
        SageMakerAutoMLJobV2Operator,
    )
    from airflow_automl.operators.register import SageMakerAutoMLRegisterOperator
    from airflow_automl.operators.report import SageMakerAutoMLReportOperator
    from airflow_automl.operators.retrain import SageMakerAutoMLRetrainOperator
    from airflow_automl.operators.rollback import SageMakerAutoMLRollbackOperator
    from airflow_automl.operators.stop import SageMakerAutoMLStopOperator
    from airflow_automl.operators.transform import SageMakerAutoMLTransformOperator

__all__ = [
    "SageMakerAutoMLApproveOperator",
    "SageMakerAutoMLCandidatesOperator",
    "SageMakerAutoMLDeleteEndpointOperator",
    "SageMakerAutoMLDeployOperator",
    "SageMakerAutoMLEvaluateOperator",
    "SageMakerAutoMLGateOperator",
    "SageMakerAutoMLJobOperator",
    "SageMakerAutoMLJobV1Operator",
    "SageMakerAutoMLJobV2Operator",
    "SageMakerAutoMLRegisterOperator",
    "SageMakerAutoMLReportOperator",
    "SageMakerAutoMLRetrainOperator",
    "SageMakerAutoMLRollbackOperator",
    "SageMakerAutoMLStopOperator",
    "SageMakerAutoMLTransformOperator",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "SageMakerAutoMLApproveOperator": "approve",
        "SageMakerAutoMLCandidatesOperator": "candidates",
        "SageMakerAutoMLDeleteEndpointOperator": "delete_endpoint",
        "SageMakerAutoMLDeployOperator": "deploy",
        "SageMakerAutoMLEvaluateOperator": "evaluate",
        "SageMakerAutoMLGateOperator": "gate",
        "SageMakerAutoMLJobOperator": "job",
        "SageMakerAutoMLJobV1Operator": "job",
        "SageMakerAutoMLJobV2Operator": "job",
        "SageMakerAutoMLRegisterOperator": "register",
        "SageMakerAutoMLReportOperator": "report",
        "SageMakerAutoMLRetrainOperator": "retrain",
        "SageMakerAutoMLRollbackOperator": "rollback",
        "SageMakerAutoMLStopOperator": "stop",
        "SageMakerAutoMLTransformOperator": "transform",
    },
)
