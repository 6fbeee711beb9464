"""What is wrong with a request, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

#: The rule of every constraint that the service model states by itself: types, lengths, patterns, enums, unions.
SHAPE = "shape"


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a request breaks the API's contract.

    :param path: the field, such as ``InputDataConfig[0].ContentType``; empty for the request as a whole.
    :param rule: ``shape`` for a constraint of the service model, else the rule's number, such as ``R40``.
    :param message: what was received, what is valid, what to do.
    :param severity: ``error`` if the request would be rejected, ``warning`` if it is accepted but doubtful.
    """

    path: str
    rule: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.path or 'request'}: {self.message} [{self.rule}]"


def errors(violations: list[Violation]) -> list[Violation]:
    """Keep the violations that make the service reject the request."""
    return [violation for violation in violations if violation.severity == "error"]


def warnings(violations: list[Violation]) -> list[Violation]:
    """Keep the violations that are only logged."""
    return [violation for violation in violations if violation.severity == "warning"]
