"""Validate a request against everything that is known of the API."""

from __future__ import annotations

from typing import Any

from airflow_automl.contract.model import CREATE_OPERATIONS, Api, create_shape, shapes
from airflow_automl.contract.rules import violations
from airflow_automl.contract.shapes import check_shape
from airflow_automl.contract.violations import Violation


def check(api: Api, request: Any) -> list[Violation]:
    """Find everything that is wrong or doubtful in a request, before any call.

    Covers every constraint of the service model (types, required and unknown members, ranges, lengths, whole-string
    patterns, enums, unions) and every rule of AWS's pages that needs neither the data nor the account.

    :param api: ``V1`` for CreateAutoMLJob, ``V2`` for CreateAutoMLJobV2.
    :param request: the request as it would be given to boto3. Whatever it is, this function does not raise.
    :return: all violations, errors first; empty if there are none. A request without errors is one that the
        service should accept; ``rule`` is ``shape`` for the service model's constraints, else the rule's number.
    :raises ValueError: if ``api`` is neither ``V1`` nor ``V2``.
    """
    if api not in CREATE_OPERATIONS:
        raise ValueError(f"received api {api!r}; must be 'V1' (CreateAutoMLJob) or 'V2' (CreateAutoMLJobV2)")
    found = check_shape(shapes(), create_shape(api), request)
    found += violations(api, request)
    # Python's sort is stable: within a severity, the order stays that of the request and of the rules.
    return sorted(found, key=lambda violation: violation.severity != "error")
