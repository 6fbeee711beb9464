"""What the tasks after training share: which candidate they are about, and how they wait for what they made."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_automl import settings
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLDeploymentFailed,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLTransientError,
    AutoMLValidationError,
    InvalidTriggerEvent,
    NoBestCandidate,
)
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import AutoMLBaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

__all__ = ["UNSET", "CandidateOperator", "DownstreamOperator", "WaitingOperator", "document", "run_identity"]


class _Unset:
    """Tells an argument that was left away from one whose XCom turned out to be ``None``."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


def document(value: Any, name: str) -> Any:
    """Return a parameter that is a document as one, also where a template rendered it to text.

    :raises AutoMLValidationError: text that is neither JSON nor a Python literal.
    """
    if not isinstance(value, str):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError):
            continue
    raise AutoMLValidationError(
        name,
        [f"{name}: is text that is no document: {value[:80]!r}; pass the XCom itself, such as train.{name}"],
    )


def run_identity(context: Context) -> dict[str, Any]:
    """Return what tells this run of this task from all others; the same in every try."""
    return TaskGeneration.of(context).identity


class DownstreamOperator(AutoMLBaseOperator):
    """An operator that calls what comes after training."""

    @cached_property
    def hook(self) -> SageMakerAutoMLDeploymentHook:
        """The hook, built when it is first needed."""
        from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

        return SageMakerAutoMLDeploymentHook(
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name or None,
            verify=self.verify,
            config=self.botocore_config,
        )

    def check_request(self, operation: str, request: Mapping[str, Any]) -> None:
        """Check a request against botocore's model of the operation before anything is made.

        Instance types are left to the service: new ones appear more often than botocore is updated.

        :raises AutoMLValidationError: all violations at once.
        """
        from airflow_automl.contract.shapes import check_shape
        from airflow_automl.hooks.sagemaker_deployment import service_model

        model = service_model()
        violations = check_shape(model["shapes"], model["operations"][operation]["input"]["shape"], request)
        errors = [each for each in violations if each.severity == "error" and not each.path.endswith("InstanceType")]
        if errors:
            raise AutoMLValidationError(f"{operation} request", errors)


class CandidateOperator(DownstreamOperator):
    """An operator about one candidate: given as XCom, or looked up by its job.

    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate``. ``None`` (a job that
        has no best candidate) raises :class:`~airflow_automl.exceptions.NoBestCandidate`.
    :param job: the job's document, such as ``train.job``; role, KMS, VPC and tags are taken from it. Without
        ``candidate``, its best candidate is asked for.
    :param job_name: the name of an AutoML job (V1 or V2) to ask the service about, instead of ``job``.
    """

    template_fields = (*AutoMLBaseOperator.template_fields, "candidate", "job", "job_name")

    def __init__(
        self,
        *,
        candidate: Any = UNSET,
        job: Any = None,
        job_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.candidate = None if candidate is UNSET else candidate
        self.job = job
        self.job_name = job_name
        self._candidate_given = candidate is not UNSET
        if not self._candidate_given and job is None and job_name is None:
            raise AutoMLValidationError(
                type(self).__name__,
                ["candidate, job, job_name: none is given; pass candidate=train.best_candidate, or job_name="],
            )

    def resolve(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the candidate and its job's document (``None`` if only a candidate was given).

        Operations: none for XComs; DescribeAutoMLJobV2 (V1 as fallback) where the service must be asked.

        :raises NoBestCandidate: the job has none.
        :raises AutoMLJobNotFound: there is no such job.
        """
        job = document(self.job, "job")
        if self.job_name and job is None:
            job = self.describe_job_document(self.job_name)
        if self._candidate_given:
            candidate = document(self.candidate, "candidate")
        else:
            name = self.job_name or (job or {}).get("name")
            if not name:
                raise AutoMLJobNotFound(f"job has no name to ask the service for: {str(job)[:200]}")
            candidate = self.hook.best_candidate(name)
        if not candidate and self._candidate_given and job:
            # Its XCom is missing too if the task before has do_xcom_push=False; only the service knows.
            with suppress(AutoMLJobNotFound):
                candidate = self.hook.best_candidate(str(job["name"]))
        if not candidate:
            if job:
                why = f"job {job['name']} ({job.get('status')}/{job.get('secondary_status')}) has no best candidate"
            else:
                why = (
                    "candidate is None: the job has no best candidate, or the task before pushed none because it has "
                    "do_xcom_push=False (pass job=train.job or job_name= then)"
                )
            raise NoBestCandidate(f"{why}, so there is nothing for {self.task_id} to work with")
        if not isinstance(candidate, dict) or not candidate.get("CandidateName"):
            raise AutoMLValidationError(
                "candidate",
                [f"candidate: is not a candidate's document with a CandidateName: {str(candidate)[:80]!r}"],
            )
        return candidate, job

    def describe_job_document(self, name: str) -> dict[str, Any]:
        """Ask the service about a job and return its document, tags included."""
        from airflow_automl.contract import documents

        answer = self.hook.describe_job(name)
        arn = answer["AutoMLJobArn"]
        return dict(documents.job(answer, arn=arn, tags=self.hook.read_tags(arn) or {}))


class WaitingOperator(DownstreamOperator):
    """An operator that waits for an endpoint or a transform job, in its slot or deferred.

    :param wait_for_completion: wait at all.
    :param deferrable: wait in the triggerer, without a worker slot; default ``[operators] default_deferrable``.
    :param poll_interval: seconds between two looks; default ``[automl] poll_interval`` (30).
    :param timeout: how long to wait at most, 3 hours by default; what was begun goes on at AWS. ``None`` waits on.
        ``execution_timeout`` ends the wait too, and counts from the start of the task.
    """

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        timeout: timedelta | None = timedelta(hours=3),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout

    @property
    def _interval(self) -> float:
        return self.poll_interval or settings.poll_interval()

    def wait_for(self, context: Context, kind: str, name: str, state: dict[str, Any]) -> Any:
        """Wait until the resource has come to rest, then go on with ``execute_complete``.

        :param state: JSON-serializable notes for ``execute_complete``; ``deadline`` is kept across several waits.
        """
        from airflow_automl.triggers.resource import SageMakerResourceTrigger

        if "deadline" not in state:
            state["deadline"] = self._deadline(context)
        if self.deferrable:
            self.defer(
                trigger=SageMakerResourceTrigger(
                    kind,
                    name,
                    state=state,
                    poll_interval=self._interval,
                    deadline=state["deadline"],
                    **self.aws_settings,
                ),
                method_name="execute_complete",
            )
        return self.execute_complete(context, self._poll(kind, name, state))

    def _deadline(self, context: Context) -> float | None:
        limits = []
        if self.timeout is not None:
            limits.append(time.time() + self.timeout.total_seconds())
        if self.execution_timeout is not None:
            # Airflow itself minds it only in the worker, and begins anew after every deferral.
            limits.append((context["ti"].start_date + self.execution_timeout).timestamp())
        return min(limits, default=None)

    def _poll(self, kind: str, name: str, state: dict[str, Any]) -> dict[str, Any]:
        from airflow_automl.hooks.sagemaker_deployment import RESOURCES
        from airflow_automl.triggers import settling

        resource = RESOURCES[kind]
        event = {"status": "settled", "kind": kind, "name": name, "resource_status": None, "state": state}
        # Reads lag behind writes: what was begun just now may still look as if it were at rest.
        time.sleep(min(self._interval, settling.SHORTEST))
        while True:
            try:
                answer = self.hook.describe_resource(kind, name)
            except AutoMLTransientError as error:
                # Only time limits end a wait: what was begun goes on whether or not it can be looked at.
                self.log.warning("%s %s can't be described just now: %s", kind, name, error)
            except AutoMLError as error:
                return {**event, "status": "error", "message": str(error)}
            else:
                status = answer.get(resource.status_key) if answer else None
                if status != event["resource_status"]:
                    self.log.info("%s %s: %s", kind, name, status)
                    event["resource_status"] = status
                if answer is None or status in resource.settled:
                    return event
            if state["deadline"] is not None and time.time() + self._interval > state["deadline"]:
                message = f"{kind} {name} was still {event['resource_status']} at the deadline"
                return {**event, "status": "timeout", "message": message}
            time.sleep(self._interval)

    def show_logs(self, kind: str, name: str) -> None:
        """Log the end of what a transform job or an endpoint logged."""
        from airflow_automl.hooks.sagemaker_logs import resource_log_tail, show

        show(self.log, lambda: resource_log_tail(self.hook, kind, name))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Go on after the wait; called by Airflow with the trigger's event."""
        raise NotImplementedError

    def settled(self, event: dict[str, Any] | None) -> dict[str, Any]:
        """Return the notes of a wait that ended because the resource has come to rest.

        :raises InvalidTriggerEvent: an event that is none of ours.
        :raises AutoMLAccessDenied: AWS refused to describe the resource.
        :raises AutoMLDeploymentFailed: the resource was not at rest in time.
        """
        if not isinstance(event, dict) or event.get("status") not in {"settled", "timeout", "error"}:
            raise InvalidTriggerEvent(f"expected an event with status settled, timeout or error, received {event!r}")
        if event["status"] != "settled":
            kind = AutoMLAccessDenied if event["status"] == "error" else AutoMLDeploymentFailed
            raise kind(
                f"waiting for {event['kind']} {event['name']} ended with {event['status']}: {event.get('message')}"
            )
        return dict(event.get("state") or {})
