"""The static rules of AutoML requests that the service model does not state: one function each.

A rule enters the list when its module is imported.
"""

from collections.abc import Iterator
from typing import Any

from airflow_automl.contract.model import Api
from airflow_automl.contract.rules import channels, job, objective, tabular, text, time_series  # noqa: F401
from airflow_automl.contract.rules.registry import RULES, Rule
from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.violations import Violation

__all__ = ["RULES", "Rule", "violations"]


def violations(api: Api, request: Any) -> Iterator[Violation]:
    """Hold a request of any form against every rule; what is malformed is the shapes' business and is passed over."""
    view = JobRequest(api, request)
    for rule in RULES:
        for path, message in rule.find(view):
            yield Violation(path, rule.number, message, rule.severity)
