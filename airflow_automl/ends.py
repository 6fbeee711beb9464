"""How a job ended, and what that means for the task that waited on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import Outcome, documents, states
from airflow_automl.exceptions import AutoMLDeploymentFailed, AutoMLJobFailed, AutoMLJobStopped, NoBestCandidate

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_automl.contract.documents import Transition


def judge(
    describe: Mapping[str, Any],
    *,
    accept_stopped: bool = False,
    accept_no_candidate: bool = False,
    accept_failed_deployment: bool = False,
) -> None:
    """Raise the exception for the end of a job; return if it is a success.

    :param describe: the answer of a describe, in a terminal status.
    :param accept_stopped: a job that ended ``Stopped`` is a success.
    :param accept_no_candidate: a job that completed without a best candidate is one although it was to train, as
        happens when its runtime limit comes before its first candidate.
    :param accept_failed_deployment: a job that completed without the endpoint of its ModelDeployConfig is one.
    :raises AutoMLJobFailed: the job failed; the message contains its FailureReason and partial failures.
    :raises AutoMLJobStopped: the job was stopped.
    :raises NoBestCandidate: the job completed without a best candidate.
    :raises AutoMLDeploymentFailed: the job completed, but did not deploy its model.
    """
    name = describe.get("AutoMLJobName")
    outcome = states.outcome(describe)
    if outcome is Outcome.FAILED:
        reason = describe.get("FailureReason") or "the service gave no reason; its logs may"
        raise AutoMLJobFailed(f"AutoML job {name} failed: {reason}{_partial_failures(describe)}")
    if outcome is Outcome.STOPPED:
        if not accept_stopped:
            at_limit = " at its runtime limit" if states.runtime_limit_reached(describe) else ""
            raise AutoMLJobStopped(
                f"AutoML job {name} was stopped{at_limit}; set accept_stopped=True to continue with its candidates"
            )
        return
    if outcome is Outcome.COMPLETED_WITHOUT_CANDIDATE and not states.definitions_only(describe):
        if accept_no_candidate:
            return
        why = (
            "its runtime limit was reached before the first candidate had been trained; raise "
            "MaxAutoMLJobRuntimeInSeconds"
            if states.runtime_limit_reached(describe)
            else f"its secondary status is {describe.get('AutoMLJobSecondaryStatus')}"
        )
        raise NoBestCandidate(
            f"AutoML job {name} completed without a best candidate: {why}, or accept it with accept_no_candidate=True"
            f"{_partial_failures(describe)}"
        )
    if states.deployment_failed(describe) and not accept_failed_deployment:
        raise AutoMLDeploymentFailed(
            f"AutoML job {name} completed, but did not deploy its model as ModelDeployConfig asks; deploy the best "
            f"candidate yourself, or accept it with accept_failed_deployment=True{_partial_failures(describe)}"
        )


def _partial_failures(describe: Mapping[str, Any]) -> str:
    failures = documents.job(describe)["partial_failures"]
    return f" (partial failures: {'; '.join(failures)})" if failures else ""


def watched(timeline: Iterable[Transition], describe: Mapping[str, Any]) -> list[Transition]:
    """Return a timeline with the status of an answer, which is added unless it is the last one there.

    :param timeline: the statuses that the job was seen in, oldest first.
    :param describe: an answer of a describe, or a summary of a list.
    """
    so_far = list(timeline)
    status, secondary = str(describe.get("AutoMLJobStatus")), describe.get("AutoMLJobSecondaryStatus")
    at = _moment(describe)
    if so_far:
        last = so_far[-1]
        if (status, secondary) == (last["status"], last["secondary_status"]):
            return so_far
        at = max(at, last["at"], key=datetime.fromisoformat)
    return [*so_far, {"at": at, "status": status, "secondary_status": secondary}]


def _moment(describe: Mapping[str, Any]) -> str:
    """Return when an answer's status came to be: at the job's end, else at its last change, else now."""
    known = describe.get("EndTime") or describe.get("LastModifiedTime") or datetime.now(UTC)
    if isinstance(known, int | float):
        known = datetime.fromtimestamp(known, UTC)
    return known if isinstance(known, str) else str(documents.json_safe(known))


class TransitionLog:
    """Logs every change of a job's status once, however often it is polled, and remembers when it was.

    :param timeline: what an earlier watch remembered; it continues from there.
    """

    def __init__(self, log: Logger, timeline: Iterable[Transition] = ()) -> None:
        self._log = log
        self._seen: tuple[Any, Any] | None = None
        self.timeline = list(timeline)

    def __call__(self, describe: Mapping[str, Any]) -> None:
        """Log the answer's status if it differs from the last one."""
        status, secondary = describe.get("AutoMLJobStatus"), describe.get("AutoMLJobSecondaryStatus")
        if (status, secondary) == self._seen:
            return
        self._seen = (status, secondary)
        self.timeline = watched(self.timeline, describe)
        self._log.info("AutoML job %s: %s", describe.get("AutoMLJobName"), states.status_text(describe))
        if (status, secondary) not in states.PAIRS:
            self._log.info("This version does not know this pair of statuses; AutoMLJobStatus alone decides")
