"""The events that a trainer reports to the service: JSON lines in a file, readable after any crash."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MAX_PARTIAL_FAILURES = 5
"""What PartialFailureReasons can hold (R93)."""


class EventLog:
    """Appends events; safe to use from several threads.

    Every event is one ``write`` to a file opened for appending, so that a killed trainer leaves at most one cut line.

    :param attempt: number of this run of the job; written into every event.
    """

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = str(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._attempt = attempt
        self._lock = threading.Lock()
        self._partial_failures: list[str] = []
        self._ended = False
        self._cut = False

    def phase(self, secondary: str) -> None:
        """Report that the job entered a phase, by its AutoMLJobSecondaryStatus."""
        self._write({"event": "phase", "secondary": secondary})

    def resolved(
        self,
        problem_type: str | None,
        objective: str | None,
        mode: str | None,
        completion_criteria: Mapping[str, int],
        base_model: str | None = None,
        tie_break: str | None = None,
    ) -> None:
        """Report what the request left open (R47).

        :param tie_break: the loss that decides between candidates with the same objective.
        """
        self._write(
            {
                "event": "resolved",
                "problem_type": problem_type,
                "objective": objective,
                "mode": mode,
                "completion_criteria": dict(completion_criteria),
            }
            | ({"base_model": base_model} if base_model else {})
            | ({"tie_break": tie_break} if tie_break else {})
        )

    def candidate(self, candidate: Mapping[str, Any], digests: Mapping[str, str] | None = None) -> None:
        """Report a new or changed candidate.

        :param candidate: the AutoMLCandidate; timestamps are epoch seconds.
        :param digests: artefact address → SHA-256 of its bytes; given once the artefact is in S3.
        """
        self._write({"event": "candidate", "candidate": _finite(candidate), "digests": dict(digests or {})})

    def artifacts(self, artifacts: Mapping[str, str]) -> None:
        """Report the AutoMLJobArtifacts: where the notebooks are in S3."""
        self._write({"event": "artifacts", "artifacts": dict(artifacts)})

    def partial_failure(self, message: str, kind: str) -> None:
        """Report a failure that does not fail the job; equal ones once, and five at most.

        :param message: what failed and why, at most 1,024 characters.
        :param kind: ``Data``, ``Candidate``, ``ExplainabilityError`` or ``ModelInsightsError``.
        """
        message = " ".join(message.split())[:1024]
        if message in self._partial_failures or len(self._partial_failures) >= MAX_PARTIAL_FAILURES:
            return
        self._partial_failures.append(message)
        self._write({"event": "partial_failure", "message": message, "kind": kind})

    def data_failures(self, messages: Iterable[str]) -> None:
        """Report parts of the data that could not be used, each as a partial failure."""
        for message in messages:
            self.partial_failure(message, "Data")

    def failed(self, reason: str) -> None:
        """Report the FailureReason of the job; events after this are ignored."""
        self._write({"event": "failed", "reason": reason[:1024]}, final=True)

    def completed(self, secondary: str) -> None:
        """Report the secondary status that the job completed with; events after this are ignored."""
        self._write({"event": "completed", "secondary": secondary}, final=True)

    def _write(self, event: dict[str, Any], final: bool = False) -> None:
        event |= {"at": time.time(), "attempt": self._attempt}
        line = json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            if self._ended:
                return
            # A line that a full disk cut off must not merge with this one.
            line = b"\n" + line if self._cut else line
            self._cut = True
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
            self._cut = False
            self._ended = final


def _finite(value: Any) -> Any:
    """Remove metrics that are not finite: JSON and the API have no NaN."""
    if isinstance(value, Mapping):
        if "Value" in value and isinstance(value["Value"], float) and not math.isfinite(value["Value"]):
            return None
        items = {key: _finite(entry) for key, entry in value.items()}
        return {key: entry for key, entry in items.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [kept for entry in value if (kept := _finite(entry)) is not None]
    return value
