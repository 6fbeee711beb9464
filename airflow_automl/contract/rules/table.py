"""The table of all rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_automl.contract.model import Api
from airflow_automl.contract.rules import channels, job, objective, tabular, text, time_series
from airflow_automl.contract.rules.registry import Rule
from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.violations import Violation

__all__ = ["RULES", "Rule", "violations"]

RULES: tuple[Rule, ...] = (
    *channels.BOOK.rules,
    *job.BOOK.rules,
    *objective.BOOK.rules,
    *tabular.BOOK.rules,
    *time_series.BOOK.rules,
    *text.BOOK.rules,
)


def violations(api: Api, request: Any) -> Iterator[Violation]:
    """Hold a request of any form against every rule; what is malformed is the shapes' business and is passed over."""
    view = JobRequest(api, request)
    for rule in RULES:
        for path, message in rule.find(view):
            yield Violation(path, rule.number, message, rule.severity)
