"""What the tasks after training share: which candidate they are about, and how they wait for what they made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_automl.contract.files import json_or_literal
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLDeploymentFailed,
    AutoMLJobNotFound,
    AutoMLValidationError,
    InvalidTriggerEvent,
    NoBestCandidate,
    restored,
)
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import UNSET, AutoMLBaseOperator, WaitingArguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook


def document(value: Any, name: str) -> Any:
    """Return a parameter that is a document as one, also where a template rendered it to text.

    :raises AutoMLValidationError: text that is neither JSON nor a Python literal.
    """
    if not isinstance(value, str):
        return value
    try:
        return json_or_literal(value)
    except ValueError as error:
        hint = {"job": ", such as train.job", "candidate": ", such as train.best_candidate"}.get(name, "")
        raise AutoMLValidationError(
            name, [f"{value[:80]!r} is not valid for {name}: {error}. Pass the XCom itself{hint}, or JSON"]
        ) from None


def run_identity(context: Context) -> dict[str, Any]:
    """Return what tells this run of this task from all others; the same in every try."""
    return TaskGeneration.of(context).identity


class DownstreamOperator(AutoMLBaseOperator):
    """An operator that calls what comes after training."""

    @cached_property
    def hook(self) -> SageMakerAutoMLDeploymentHook:
        """The hook, built when it is first needed."""
        from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

        return self._hook_of(SageMakerAutoMLDeploymentHook)

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


class WaitingOperator(DownstreamOperator, WaitingArguments):
    """An operator that waits for an endpoint or a transform job, in its slot or deferred.

    Its ``timeout`` is 3 hours by default; what was begun goes on at AWS.
    """

    default_timeout = 3 * 3600.0

    def wait_for(self, context: Context, kind: str, name: str, state: dict[str, Any]) -> Any:
        """Wait until the resource has settled, then continue with ``execute_complete``.

        :param state: JSON-serializable notes for ``execute_complete``; ``deadline`` is kept across several waits.
        """
        from airflow_automl.triggers.resource import SageMakerResourceTrigger

        if "deadline" not in state:
            state["deadline"] = self.deadline(self.task_deadline(context))
        if self.deferrable:
            self.defer(
                trigger=SageMakerResourceTrigger(
                    kind,
                    name,
                    state=state,
                    poll_interval=self.interval,
                    deadline=state["deadline"],
                    **self.trigger_settings,
                ),
                method_name="execute_complete",
            )
        from airflow_automl.triggers import _base
        from airflow_automl.waiting import Target, WorkerCalls, event_at_rest, in_worker

        event = event_at_rest(
            WorkerCalls(self.hook),
            Target(kind, name),
            state,
            interval=self.interval,
            deadline=state["deadline"],
            log=self.log,
            # Reads lag behind writes: what was begun just now may still look as if it had settled.
            delay=min(self.interval, _base.SHORTEST),
        )
        return self.execute_complete(context, in_worker(event))

    def show_logs(self, kind: str, name: str) -> None:
        """Log the end of what a transform job or an endpoint logged."""
        from airflow_automl.hooks.sagemaker_logs import resource_log_tail, show

        show(self.log, lambda: resource_log_tail(self.hook, kind, name))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Continue after the wait; called by Airflow with the trigger's event."""
        raise NotImplementedError

    def settled(self, event: dict[str, Any] | None) -> dict[str, Any]:
        """Return the notes of a wait that ended because the resource has settled.

        :raises InvalidTriggerEvent: an event that is none of ours.
        :raises AutoMLDeploymentFailed: the resource had not settled in time.
        :raises AutoMLError: AWS refused to describe the resource; the error has the type of the refusal.
        """
        if not isinstance(event, dict) or event.get("status") not in {"settled", "timeout", "error"}:
            raise InvalidTriggerEvent(f"expected an event with status settled, timeout or error, received {event!r}")
        if event["status"] != "settled":
            kind = AutoMLDeploymentFailed if event["status"] == "timeout" else AutoMLAccessDenied
            raise restored(
                event.get("error") or kind.__name__,
                f"waiting for {event['kind']} {event['name']} ended with {event['status']}: {event.get('message')}",
            )
        return dict(event.get("state") or {})
