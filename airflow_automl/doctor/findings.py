"""What a check found, and how AWS's refusals become findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from airflow_automl.exceptions import error_code

_REFUSALS = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"})


class Status(StrEnum):
    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "could not check"


class Finding(NamedTuple):
    """One line of the doctor's.

    :param check: what was checked, such as ``role``.
    :param status: how it ended.
    :param message: what was found.
    :param advice: what to fix; empty if nothing is wrong.
    """

    check: str
    status: Status
    message: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return {**self._asdict(), "status": self.status.value}


class Findings(list[Finding]):
    """The findings so far.

    :param show: is called with each finding.
    """

    def __init__(self, show: Callable[[Finding], None]) -> None:
        super().__init__()
        self._show = show

    def append(self, finding: Finding) -> None:
        super().append(finding)
        self._show(finding)

    def ok(self, check: str, message: str) -> None:
        """Note that something is as it should be."""
        self.append(Finding(check, Status.OK, message))

    def problem(self, check: str, message: str, advice: str) -> None:
        """Note what to fix."""
        self.append(Finding(check, Status.PROBLEM, message, advice))

    def unknown(self, check: str, message: str, advice: str = "") -> None:
        """Note what the account does not let us see."""
        self.append(Finding(check, Status.UNKNOWN, message, advice))

    @contextmanager
    def allowed(self, check: str, permission: str) -> Iterator[None]:
        """Turn a refusal of what only the doctor needs, or a lost connection, into a finding."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error_code(error)
            if code in _REFUSALS:
                self.unknown(check, f"{permission} is not allowed", f"allow {permission} to let this be checked")
            else:
                self.unknown(check, f"{permission} answered {code}: {error.response['Error'].get('Message', '')}")
        except BotoCoreError as error:
            self.unknown(check, f"{permission}: {error}")
