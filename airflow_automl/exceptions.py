"""Every error that this package raises.

Two roots tell a retry policy what to do: :class:`AutoMLTerminalError` will fail the same way again,
:class:`AutoMLTransientError` may not. Every exception keeps its arguments in ``args``, so that it survives
pickling between Airflow's processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_automl.contract.violations import Violation

__all__ = [
    "AutoMLAccessDenied",
    "AutoMLDeploymentFailed",
    "AutoMLError",
    "AutoMLJobFailed",
    "AutoMLJobNotFound",
    "AutoMLJobStopped",
    "AutoMLJobTimeout",
    "AutoMLNameTaken",
    "AutoMLQuotaExceeded",
    "AutoMLTerminalError",
    "AutoMLThrottled",
    "AutoMLTransientError",
    "AutoMLValidationError",
    "CandidateRejected",
    "InvalidTriggerEvent",
    "NoBestCandidate",
]


class AutoMLError(Exception):
    """Root of all errors of this package."""


class AutoMLTerminalError(AutoMLError):
    """Trying again without changing anything fails the same way."""


class AutoMLTransientError(AutoMLError):
    """Trying again later may succeed."""


class AutoMLValidationError(AutoMLTerminalError):
    """A request breaks rules of the API; all violations are named at once.

    :param subject: what was checked, such as ``CreateAutoMLJobV2 request``.
    :param violations: what :func:`airflow_automl.contract.check` returned, errors only.
    """

    def __init__(self, subject: str, violations: Sequence[Violation | str]) -> None:
        super().__init__(subject, list(violations))
        self.subject = subject
        self.violations = list(violations)

    def __str__(self) -> str:
        count = len(self.violations)
        lines = "\n".join(f"  - {violation}" for violation in self.violations)
        return f"{self.subject} has {count} {'error' if count == 1 else 'errors'}:\n{lines}"


class AutoMLJobFailed(AutoMLTerminalError):
    """The job ended ``Failed``; the message carries its FailureReason."""


class AutoMLJobStopped(AutoMLTerminalError):
    """The job ended ``Stopped`` although nobody asked this task to accept that."""


class AutoMLJobNotFound(AutoMLTerminalError):
    """No AutoML job has this name in the account and region."""


class AutoMLJobTimeout(AutoMLTerminalError):
    """The deadline of the wait passed before the job ended."""


class AutoMLNameTaken(AutoMLTerminalError):
    """The job name belongs to another job; names can't be reused, because AutoML jobs can't be deleted."""


class AutoMLAccessDenied(AutoMLTerminalError):
    """AWS refused the call; the message is the service's own text, unchanged."""


class AutoMLDeploymentFailed(AutoMLTerminalError):
    """The endpoint that was asked for does not serve the candidate."""


class NoBestCandidate(AutoMLTerminalError):
    """The job has no best candidate to hand on."""


class CandidateRejected(AutoMLTerminalError):
    """A gate found the candidate not good enough, and was told to fail."""


class InvalidTriggerEvent(AutoMLTerminalError):
    """A trigger's event is missing, or has a status or shape that is not known."""


class AutoMLQuotaExceeded(AutoMLTransientError):
    """The account runs as many AutoML jobs as its quota allows (``ResourceLimitExceeded``)."""


class AutoMLThrottled(AutoMLTransientError):
    """The service asked to slow down."""
