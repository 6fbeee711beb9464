"""AutoML jobs and their candidates in SQLite: every change of a job goes through here.

A job's status only moves forward, and a terminal one never changes: each transition says which rows it may touch, so
that the rule holds whatever calls it, in whatever order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_automl.contract import metrics
from airflow_automl.contract.states import FINAL_PRECEDENCE, SecondaryStatus
from airflow_automl.local.errors import MAX_REASON
from airflow_automl.local.state import lists
from airflow_automl.local.state.database import Database, dump, load, record

_S = SecondaryStatus

#: Order of the phases; a job that starts over shows its furthest phase until it has passed it.
_RANK: Mapping[str, int] = {
    _S.STARTING: 0,
    _S.ANALYZING_DATA: 1,
    _S.PRE_TRAINING: 2,
    _S.FEATURE_ENGINEERING: 2,
    _S.MODEL_TUNING: 3,
    _S.TRAINING_MODELS: 3,
    _S.GENERATING_EXPLAINABILITY_REPORT: 4,
    _S.GENERATING_MODEL_INSIGHTS_REPORT: 5,
    _S.DEPLOYING_MODEL: 6,
}

STAGES = ("queued", "training", "deploying", "ended")

_MAX_PARTIAL = 5


@dataclass(frozen=True)
class Job:
    """A row of ``jobs``; see the schema for its columns."""

    name: str
    arn: str
    api: str
    request: dict[str, Any]
    status: str
    secondary: str
    stage: str
    created: float
    modified: float
    ended: float | None
    started: float | None
    attempt: int
    crashes: int
    handle: dict[str, Any] | None
    position: int
    outcome: str | None
    failure: str | None
    partial: list[dict[str, str]]
    resolved: dict[str, Any] | None
    artifacts: dict[str, str] | None
    best: str | None
    endpoint: str | None

    @property
    def terminal(self) -> bool:
        """Return whether the job has ended."""
        return self.stage == "ended"

    @property
    def stopping(self) -> bool:
        """Return whether StopAutoMLJob was called, and the job has not ended yet."""
        return self.status == "Stopping"


def _job(row: sqlite3.Row) -> Job:
    # Commands may read the database of an earlier release, which has no handles.
    return record(Job, row, ("request", "handle", "partial", "resolved", "artifacts"))


class JobStore:
    """Jobs, candidates and digests.

    :param database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, name: str) -> Job | None:
        """The job of this name, in any case (R1)."""
        row = self.database.first("SELECT * FROM jobs WHERE name = ?", (name,))
        return None if row is None else _job(row)

    def get(self, name: str) -> Job:
        """A job that is known to be there."""
        return _job(self.database.one("SELECT * FROM jobs WHERE name = ?", (name,)))

    def in_stage(self, *stages: str) -> list[Job]:
        """Jobs in these stages, oldest first."""
        marks = ",".join("?" * len(stages))
        rows = self.database.all(f"SELECT * FROM jobs WHERE stage IN ({marks}) ORDER BY created", stages)  # noqa: S608
        return [_job(row) for row in rows]

    def newest(
        self,
        size: int,
        *,
        before: float | None = None,
        status: str | None = None,
        contains: str = "",
        since: float | None = None,
    ) -> tuple[list[Job], bool]:
        """Return the newest jobs, newest first, and whether there are older ones.

        :param size: at most so many.
        :param before: only jobs created before this time, in epoch seconds.
        :param status: only jobs with this AutoMLJobStatus.
        :param contains: only jobs with this part in their name, in any case.
        :param since: only jobs created after this time.
        """
        window = (0.0 if since is None else since, 1e15 if before is None else before)
        equal = {} if status is None else {"status": status}
        query = lists.Query(
            "jobs",
            "created",
            descending=True,
            size=size,
            contains=contains,
            equal=equal,
            between={"created": window},
        )
        rows, more = lists.page(self.database, query)
        return [_job(row) for row in rows], more

    def queued(self, status: str, limit: int = -1) -> list[Job]:
        """Jobs that wait for their turn, oldest first.

        :param status: ``InProgress``, or ``Stopping`` for those that shall not have it any more.
        :param limit: at most so many; -1 for all. A queue may be long, and is read after every request.
        """
        rows = self.database.all(
            "SELECT * FROM jobs WHERE stage = 'queued' AND status = ? ORDER BY created LIMIT ?", (status, limit)
        )
        return [_job(row) for row in rows]

    def active(self) -> int:
        """How many jobs have not ended."""
        stages = ", ".join(f"'{stage}'" for stage in STAGES if stage != "ended")
        return int(self.database.one(f"SELECT count(*) AS n FROM jobs WHERE stage IN ({stages})")["n"])  # noqa: S608

    def candidate(self, job: str, name: str) -> dict[str, Any] | None:
        """One candidate's document."""
        row = self.database.first("SELECT document FROM candidates WHERE job = ? AND name = ?", (job, name))
        return None if row is None else load(row["document"])

    def candidates(self, job: str) -> list[dict[str, Any]]:
        """All candidates' documents, oldest first."""
        rows = self.database.all("SELECT document FROM candidates WHERE job = ? ORDER BY created, name", (job,))
        return [load(row["document"]) for row in rows]

    def count_candidates(self, job: str) -> tuple[int, int]:
        """Return how many candidates a job has, and how many of them are completed."""
        query = "SELECT count(*) AS n, total(status = 'Completed') AS completed FROM candidates WHERE job = ?"
        row = self.database.one(query, (job,))
        return row["n"], int(row["completed"])

    def digest(self, uri: str) -> str | None:
        """The SHA-256 that an artefact had when its trainer wrote it."""
        row = self.database.first("SELECT sha256 FROM digests WHERE uri = ?", (uri,))
        return None if row is None else str(row["sha256"])

    def digests_of(self, job: str) -> list[str]:
        """SHA-256 of all artefacts that a job wrote."""
        return [row["sha256"] for row in self.database.all("SELECT sha256 FROM digests WHERE job = ?", (job,))]

    def add(self, name: str, arn: str, api: str, request: Mapping[str, Any]) -> None:
        """Add a new job, queued."""
        now = self.database.now()
        self.database.execute(
            "INSERT INTO jobs (name, arn, api, request, status, secondary, stage, created, modified)"
            " VALUES (?, ?, ?, ?, 'InProgress', 'Starting', 'queued', ?, ?)",
            (name, arn, api, dump(request), now, now),
        )

    def begin_attempt(self, name: str, started: float) -> int:
        """Count a new attempt to train, before its process is there.

        :return: the attempt's number, from 1.
        """
        self.database.execute(
            "UPDATE jobs SET stage = 'training', attempt = attempt + 1, started = ?, modified = ?, handle = NULL,"
            " position = 0, outcome = NULL, failure = NULL, partial = '[]'"
            " WHERE name = ? AND stage IN ('queued', 'training')",
            (started, started, name),
        )
        return self.get(name).attempt

    def set_handle(self, name: str, handle: Mapping[str, Any]) -> None:
        """Record the trainer by its executor's handle."""
        self.database.execute("UPDATE jobs SET handle = ? WHERE name = ?", (dump(handle), name))

    def requeue(self, name: str, *, crashed: bool) -> None:
        """Let a job whose trainer has died start over."""
        self.database.execute(
            "UPDATE jobs SET stage = 'queued', handle = NULL, crashes = crashes + ?"
            " WHERE name = ? AND stage = 'training'",
            (int(crashed), name),
        )

    def set_position(self, name: str, position: int) -> None:
        """Remember how much of the events has been applied."""
        self.database.execute("UPDATE jobs SET position = ? WHERE name = ?", (position, name))

    def set_phase(self, name: str, secondary: str) -> None:
        """Show a phase, if the job is in progress and not past it."""
        job = self.get(name)
        if job.status == "InProgress" and _RANK.get(secondary, -1) > _RANK.get(job.secondary, -1):
            self._touch(name, "secondary = ?", secondary)

    def set_resolved(self, name: str, resolved: Mapping[str, Any]) -> None:
        """Remember what was inferred: problem type, objective, limits (R47)."""
        self._touch(name, "resolved = ?", dump(resolved))

    def set_artifacts(self, name: str, artifacts: Mapping[str, str]) -> None:
        """Store the addresses of the notebooks."""
        merged = {**(self.get(name).artifacts or {}), **artifacts}
        self._touch(name, "artifacts = ?", dump(merged))

    def set_outcome(self, name: str, secondary: str) -> None:
        """Remember how training ended; the job itself may still have a deployment ahead."""
        self._touch(name, "outcome = ?", secondary)

    def set_failure(self, name: str, reason: str) -> None:
        """Remember why training failed; the job itself fails once its processes have ended."""
        self._touch(name, "failure = ?", reason[:MAX_REASON])

    def set_deploying(self, name: str) -> None:
        """Training is over, the deployment begins."""
        self._touch(name, "stage = ?", "deploying")
        self.set_phase(name, _S.DEPLOYING_MODEL)

    def set_endpoint(self, name: str, endpoint: str) -> None:
        """Remember which endpoint serves the best candidate (R35)."""
        self._touch(name, "endpoint = ?", endpoint)

    def add_partial_failure(self, name: str, kind: str, message: str) -> None:
        """Add a partial failure; the answers show at most five (R93)."""
        partial = self.get(name).partial
        entry = {"kind": kind, "message": message[:MAX_REASON]}
        if entry not in partial:
            # Errors of whole reports decide the final status: they precede failed candidates.
            ordered = sorted([*partial, entry], key=lambda item: item["kind"] == "Candidate")
            self._touch(name, "partial = ?", dump(ordered[:_MAX_PARTIAL]))

    def put_candidate(self, job: str, candidate: dict[str, Any], digests: Mapping[str, str], attempt: int) -> None:
        """Add or replace a candidate, and choose the best one again.

        A candidate that was completed by an earlier attempt stays until it is completed again.
        """
        name = candidate["CandidateName"]
        before = self.candidate(job, name)
        if before is not None and before["CandidateStatus"] == "Completed" != candidate["CandidateStatus"]:
            return
        created = before["CreationTime"] if before else candidate.get("CreationTime") or self.database.now()
        document = {**candidate, "CreationTime": created}
        document.setdefault("LastModifiedTime", created)
        self.database.execute(
            "INSERT OR REPLACE INTO candidates (job, name, status, attempt, created, objective, document)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.get(job).name,
                name,
                document["CandidateStatus"],
                attempt,
                created,
                metrics.objective_value(document),
                dump(document),
            ),
        )
        for uri, sha256 in digests.items():
            self.database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (uri, sha256, job))
        best = self.get(job).best
        if best in (None, name):
            self._choose_best(job)
        elif metrics.best([self.candidate(job, best) or {}, document], *self._ranked_by(job)) is document:
            self._touch(job, "best = ?", name)

    def stop(self, name: str) -> bool:
        """Ask a job to stop (R109).

        :return: whether the job was in progress.
        """
        return self._touch(name, "status = 'Stopping', secondary = ?", "Stopping", "status = 'InProgress'")

    def stopped(self, name: str) -> None:
        """End a job that was asked to stop; call it when its processes have ended."""
        with self.database.transaction():
            if self._end(name, "Stopped", "Stopped", None, "status = 'Stopping'"):
                self._close_candidates(name, "Stopped")

    def failed(self, name: str, reason: str) -> None:
        """End a job with a FailureReason (R92); its partial results stay listed, none is the best."""
        with self.database.transaction():
            if self._end(name, "Failed", "Failed", reason[:MAX_REASON], "status = 'InProgress'"):
                self.database.execute("UPDATE jobs SET best = NULL, partial = '[]' WHERE name = ?", (name,))
                self._close_candidates(name, "Failed")

    def completed(self, name: str, outcome: str) -> None:
        """Complete a job.

        :param outcome: how its training ended; a report or deployment that failed outranks that.
        """
        with self.database.transaction():
            job = self.get(name)
            if outcome not in FINAL_PRECEDENCE:  # definitions only
                final: str = outcome
            else:
                happened = {outcome, *(entry["kind"] for entry in job.partial)}
                final = next(secondary for secondary in FINAL_PRECEDENCE if secondary in happened)
            if self._end(name, "Completed", final, None, "status = 'InProgress'"):
                self._close_candidates(name, "Stopped")

    def drop_earlier_attempts(self, name: str) -> None:
        """Forget candidates of attempts that were cut off, once the last attempt has completed its own."""
        attempt = self.get(name).attempt
        done = self.database.first(
            "SELECT 1 FROM candidates WHERE job = ? AND attempt = ? AND status = 'Completed'", (name, attempt)
        )
        if done:
            self.database.execute("DELETE FROM candidates WHERE job = ? AND attempt < ?", (name, attempt))
            self._choose_best(name)

    def _choose_best(self, name: str) -> None:
        best = metrics.best(self.candidates(name), *self._ranked_by(name))
        self._touch(name, "best = ?", None if best is None else best["CandidateName"])

    def _ranked_by(self, name: str) -> tuple[str | None, str | None]:
        resolved = self.get(name).resolved or {}
        return resolved.get("objective"), resolved.get("tie_break")

    def _close_candidates(self, name: str, status: str) -> None:
        now = self.database.now()
        rows = self.database.all("SELECT * FROM candidates WHERE job = ? AND status = 'InProgress'", (name,))
        for row in rows:
            document = {
                **load(row["document"]),
                "CandidateStatus": status,
                "ObjectiveStatus": "Failed",
                "EndTime": now,
                "LastModifiedTime": now,
            }
            self.database.execute(
                "UPDATE candidates SET status = ?, document = ? WHERE job = ? AND name = ?",
                (status, dump(document), name, row["name"]),
            )

    def _end(self, name: str, status: str, secondary: str, failure: str | None, allowed: str) -> bool:
        now = self.database.now()
        cursor = self.database.execute(
            "UPDATE jobs SET stage = 'ended', status = ?, secondary = ?, failure = ?, ended = ?, modified = ?,"  # noqa: S608
            f" handle = NULL WHERE name = ? AND stage <> 'ended' AND {allowed}",
            (status, secondary, failure, now, now, name),
        )
        return cursor.rowcount == 1

    def _touch(self, name: str, assignment: str, value: Any, allowed: str = "stage <> 'ended'") -> bool:
        cursor = self.database.execute(
            f"UPDATE jobs SET {assignment}, modified = ? WHERE name = ? AND {allowed}",  # noqa: S608
            (value, self.database.now(), name),
        )
        return cursor.rowcount == 1


def partial_failure_reasons(partial: Sequence[Mapping[str, str]]) -> list[dict[str, str]] | None:
    """Return PartialFailureReasons in the API's form; ``None`` if there are none."""
    return [{"PartialFailureMessage": entry["message"]} for entry in partial] or None
