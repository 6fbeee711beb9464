"""Every error that this package raises.

Two base classes decide about retries: another try after an :class:`AutoMLTerminalError` fails the same way,
after an :class:`AutoMLTransientError` it may succeed. Every exception can be pickled between Airflow's processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

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

#: The folder of the documentation. The only place in the package that has its address.
DOCS: Final = "https://github.com/airflow-automl/airflow-automl/blob/main/docs"


class AutoMLError(Exception):
    """Base class of all errors of this package.

    A note links each error to its entry in the documentation. Tracebacks and import errors show it; tasks log it, and
    the command line prints it.
    """

    #: The entry, relative to :data:`DOCS`. A type that is defined elsewhere has the entry of its base.
    guide: ClassVar[str] = "troubleshooting.md#automlerror"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            cls.guide = f"troubleshooting.md#{cls.__name__.lower()}"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.add_note(f"What to do: {DOCS}/{self.guide}")


class AutoMLTerminalError(AutoMLError):
    """Another try without a change fails the same way."""


class AutoMLTransientError(AutoMLError):
    """A later try may succeed."""


class AutoMLValidationError(AutoMLTerminalError):
    """A request or an argument is not valid. The message lists all violations.

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
    """The job ended ``Failed``. The message contains its FailureReason."""


class AutoMLJobStopped(AutoMLTerminalError):
    """The job ended ``Stopped``, and ``accept_stopped`` is not set."""


class AutoMLJobNotFound(AutoMLTerminalError):
    """No AutoML job has this name in the account and region."""


class AutoMLJobTimeout(AutoMLTerminalError):
    """The job had not ended within ``timeout`` or ``execution_timeout``."""


class AutoMLNameTaken(AutoMLTerminalError):
    """The job name belongs to another job; names can't be reused, because AutoML jobs can't be deleted."""


class AutoMLAccessDenied(AutoMLTerminalError):
    """AWS refused the call. The message is the unchanged text of the service."""


class AutoMLBudgetExceeded(AutoMLTerminalError):
    """The job was not submitted: it may cost more than is left of ``max_cost``."""


class AutoMLConnectionError(AutoMLTerminalError):
    """The AWS connection could not be read or used for five minutes."""


class AutoMLDeploymentFailed(AutoMLTerminalError):
    """The endpoint does not serve the candidate."""


class NoBestCandidate(AutoMLTerminalError):
    """The job has no best candidate to pass to other tasks."""


class CandidateRejected(AutoMLTerminalError):
    """A gate with ``on_reject="fail"`` rejected the candidate."""


class InvalidTriggerEvent(AutoMLTerminalError):
    """A trigger's event is missing, or its status or form is unknown."""


class AutoMLQuotaExceeded(AutoMLTransientError):
    """The account runs as many AutoML jobs as its quota allows (``ResourceLimitExceeded``)."""


class AutoMLThrottled(AutoMLTransientError):
    """The service throttled the call."""


def error_code(error: BaseException | None) -> str:
    """Return the service's code of an error, or of the one that caused it, such as ``ResourceInUse``; empty if none."""
    response = getattr(error, "response", None) or getattr(getattr(error, "__cause__", None), "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def described(error: Exception) -> tuple[str, str]:
    """Return an error's type and message, from which :func:`restored` makes it in another process.

    :param error: one that is not of this package becomes an ``AutoMLError``.
    """
    name = type(error).__name__
    return (name, str(error)) if isinstance(error, AutoMLError) else (AutoMLError.__name__, f"{name}: {error}")


def restored(kind: str, message: str) -> AutoMLError:
    """Return an error of this package that another process has raised.

    :param kind: the name of its class; an unknown name, such as one of a newer release, gives an ``AutoMLError``.
    """
    known = globals().get(kind)
    if not isinstance(known, type) or not issubclass(known, AutoMLError):
        return AutoMLError(message)
    return known("AWS request", [message]) if issubclass(known, AutoMLValidationError) else known(message)


def explained(error: Exception, prefix: str, suffix: str) -> Exception:
    """Return an error of the same type with a longer message; an error of another package gets a note.

    :param prefix: what to say before its message.
    :param suffix: what to say after it.
    """
    if isinstance(error, AutoMLValidationError):
        return type(error)(f"{prefix}: {error.subject}", [*error.violations, suffix])
    if isinstance(error, AutoMLError):
        return type(error)(f"{prefix}: {error}; {suffix}")
    error.add_note(f"{prefix}; {suffix}")
    return error
