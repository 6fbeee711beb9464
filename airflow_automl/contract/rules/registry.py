"""How a rule enters the list of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.violations import Severity


class Finding(NamedTuple):
    """A place where a request breaks a rule, and the message about it."""

    path: str
    message: str


Findings = Iterator[Finding]
_Function = Callable[[JobRequest], Findings]


class Rule(NamedTuple):
    """One rule: its number, what breaking it means, and the function that finds where it is broken."""

    number: str
    severity: Severity
    find: _Function


RULES: list[Rule] = []


def _register(severity: Severity, number: str) -> Callable[[_Function], _Function]:
    def register(function: _Function) -> _Function:
        RULES.append(Rule(number, severity, function))
        return function

    return register


#: Register a rule whose breach makes the service reject the request.
reject = partial(_register, "error")
#: Register a rule whose breach is accepted, but rarely intended.
warn = partial(_register, "warning")
