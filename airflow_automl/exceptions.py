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
    "AutoMLBudgetExceeded",
    "AutoMLConnectionError",
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


class AutoMLBudgetExceeded(AutoMLTerminalError):
    """The job may cost more than ``max_cost`` leaves of what its DAG may spend; it was not submitted."""


class AutoMLConnectionError(AutoMLTerminalError):
    """Airflow has not handed out the AWS connection, or not in a form that works, for minutes."""


class AutoMLDeploymentFailed(AutoMLTerminalError):
    """The endpoint that was asked for does not serve the candidate."""


class NoBestCandidate(AutoMLTerminalError):
    """The job has no best candidate to pass to other tasks."""


class CandidateRejected(AutoMLTerminalError):
    """A gate with ``on_reject="fail"`` rejected the candidate."""


class InvalidTriggerEvent(AutoMLTerminalError):
    """A trigger's event is missing, or has a status or shape that is not known."""


class AutoMLQuotaExceeded(AutoMLTransientError):
    """The account runs as many AutoML jobs as its quota allows (``ResourceLimitExceeded``)."""


class AutoMLThrottled(AutoMLTransientError):
    """The service asked to slow down."""


def error_code(error: BaseException | None) -> str:
    """Return the service's code of an error, or of the one that caused it, such as ``ResourceInUse``; empty if none."""
    response = getattr(error, "response", None) or getattr(getattr(error, "__cause__", None), "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def restored(kind: str, message: str) -> AutoMLError:
    """Return an error of this package that another process has raised.

    :param kind: the name of its class. That of a newer release, which is not known here, becomes an ``AutoMLError``.
    """
    known = globals().get(kind)
    if not isinstance(known, type) or not issubclass(known, AutoMLError):
        return AutoMLError(message)
    return known("AWS request", [message]) if issubclass(known, AutoMLValidationError) else known(message)


def explained(error: Exception, prefix: str, suffix: str) -> Exception:
    """Return an error of the same type that says more; one that is none of this package's gets a note.

    :param prefix: what to say before its message.
    :param suffix: what to say after it.
    """
    if isinstance(error, AutoMLValidationError):
        return type(error)(f"{prefix}: {error.subject}", [*error.violations, suffix])
    if isinstance(error, AutoMLError):
        return type(error)(f"{prefix}: {error}; {suffix}")
    error.add_note(f"{prefix}; {suffix}")
    return error
