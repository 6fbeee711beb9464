"""Errors that the embedded service answers with, under the names that AWS gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from airflow_automl.exceptions import DOCS, AutoMLTerminalError

_TRACE = re.compile(r"Stack trace|Traceback \(most recent|\n\s*(?:File \"|\[bt\]|at |#\d)")
_RULE = re.compile(r"\[R(\d{1,3})\]")
_SOURCE = re.compile(r"\[\d\d:\d\d:\d\d\]|\S*/\S+\.(?:cc|cpp|cu|h|hpp|py)(?::\d+)?:?|0x[0-9a-f]{6,}")

MAX_REASON = 1024
"""What the API allows for a FailureReason, in characters (R92)."""


class StartupError(AutoMLTerminalError):
    """The service can't start; the message says what to change."""

    guide = "troubleshooting.md#starting-the-embedded-autopilot"


class ServiceError(Exception):
    """An answer other than success.

    :param code: the error's name on the wire, such as ``ValidationException``.
    :param message: what was received, what is valid, what to do next.
    :param status: the HTTP status.
    :param members: further members of the error's shape.
    """

    def __init__(self, code: str, message: str, status: int = 400, members: Mapping[str, object] | None = None) -> None:
        super().__init__(code, message, status)
        self.code = code
        self.message = message
        self.status = status
        self.members = dict(members or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def link(self) -> str:
        """A ``Link`` header: the entries in the documentation of the code and of the rules in the message."""
        rules = dict.fromkeys(_RULE.findall(self.message))
        guides = [f"troubleshooting.md#{self.code.lower()}", *(f"reference/rules.md#r{rule}" for rule in rules)]
        return ", ".join(f'<{DOCS}/{guide}>; rel="help"' for guide in guides[:10])


def invalid(message: str) -> ServiceError:
    """A request that breaks a rule of the API."""
    return ServiceError("ValidationException", message)


def violations(found: Iterable[object]) -> ServiceError:
    """A request that breaks one or more rules: all of them in one message."""
    lines = [str(violation) for violation in found]
    count = f"{len(lines)} validation error{'' if len(lines) == 1 else 's'} detected: "
    return invalid(count + "; ".join(lines))


def malformed(message: str) -> ServiceError:
    """A body that can't be read as the operation's input."""
    return ServiceError("SerializationException", message)


def in_use(message: str) -> ServiceError:
    """A name that is taken (R1)."""
    return ServiceError("ResourceInUse", message)


def not_found(message: str) -> ServiceError:
    """A name that nothing has (R4)."""
    return ServiceError("ResourceNotFound", message)


def limit_exceeded(message: str) -> ServiceError:
    """A quota that is used up (R2)."""
    return ServiceError("ResourceLimitExceeded", message)


def unknown_operation(message: str) -> ServiceError:
    """An operation that neither this service nor the ones behind it offer."""
    return ServiceError("UnknownOperationException", message)


class JobFailure(AutoMLTerminalError):
    """The job can't continue; the message is its FailureReason and names the column or object that is at fault.

    :param reason: one or more sentences for the person who started the job; cut to 1,024 characters.
    """

    guide = "troubleshooting.md#an-embedded-job-that-fails"

    def __init__(self, reason: str) -> None:
        reason = " ".join(reason.split())
        if len(reason) > MAX_REASON:
            reason = reason[: MAX_REASON - 1] + "…"
        super().__init__(reason)

    @property
    def reason(self) -> str:
        """The FailureReason."""
        return str(self.args[0])


def cause(error: BaseException | str) -> str:
    """Why something failed, for a reason: a failure's own words, or what a library said without its stack trace.

    :param error: what was raised, or ``Type: message``.
    """
    if isinstance(error, JobFailure):
        return error.reason
    kind, said = ("", error) if isinstance(error, str) else (type(error).__name__, str(error))
    text = " ".join(_SOURCE.sub("", _TRACE.split(said, maxsplit=1)[0]).split())[:400].rstrip(". ")
    return f"{kind or 'the library'} said '{text}'; the job's log has the details"


def listing(names: Iterable[object], limit: int = 10) -> str:
    """Names for a message: the first few in quotes, and how many more there are.

    :param names: what to list.
    :param limit: how many are shown.
    """
    texts = [str(name) for name in names]
    shown = ", ".join(f"'{text[:60]}'" for text in texts[:limit])
    more = len(texts) - limit
    return f"{shown} and {more} more" if more > 0 else shown
