"""How a rule enters the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.violations import Severity

__all__ = ["Finding", "Findings", "Rule", "RuleBook"]


class Finding(NamedTuple):
    """Where a request breaks the rule at hand, and what to say about it."""

    path: str
    message: str


Findings = Iterator[Finding]
_Function = Callable[[JobRequest], Findings]


class Rule(NamedTuple):
    """One rule: its number, what breaking it means, and the function that finds where it is broken."""

    number: str
    severity: Severity
    find: _Function


class RuleBook:
    """The rules of one part of the request, in the order in which they are written down."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def reject(self, number: str) -> Callable[[_Function], _Function]:
        """Register a rule whose breach makes the service reject the request."""
        return self._register(number, "error")

    def warn(self, number: str) -> Callable[[_Function], _Function]:
        """Register a rule whose breach is accepted, but seldom meant."""
        return self._register(number, "warning")

    def _register(self, number: str, severity: Severity) -> Callable[[_Function], _Function]:
        def register(function: _Function) -> _Function:
            self.rules.append(Rule(number, severity, function))
            return function

        return register
