"""Wait until any AutoML job has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.triggers.base import StartTriggerArgs

from airflow_automl import settings, xcom
from airflow_automl.compat import AirflowSensorTimeout, AirflowSkipException
from airflow_automl.contract import is_terminal
from airflow_automl.ends import TransitionLog
from airflow_automl.exceptions import (
    AutoMLJobNotFound,
    AutoMLTerminalError,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.operators._base import AutoMLBaseOperator, document, no_job_given
from airflow_automl.operators._job_results import JobResultsMixin
from airflow_automl.times import seconds
from airflow_automl.waiting import retrying_in_worker

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.contract.documents import BestCandidate, Transition

#: Key in the task's state store: the statuses that earlier pokes of a rescheduled sensor observed.
TIMELINE_KEY = "airflow_automl.timeline"


class SageMakerAutoMLJobSensor(JobResultsMixin, AutoMLBaseOperator, BaseSensorOperator):  # type: ignore[misc]
    """Wait on ``AutoMLJobStatus`` of any AutoML job, V1 or V2, in this account and region.

    The sensor does not own the job: it never stops it. Throttling and lost connections don't end the wait.

    Operations: DescribeAutoMLJobV2 or DescribeAutoMLJob, ListTags; ListAutoMLJobs while deferred.

    XComs: ``return_value`` is the best candidate in AWS's own keys, or ``None``; ``job`` is the job's document
    (:class:`~airflow_automl.contract.documents.JobDocument`). The events of assets in ``outlets`` have both in
    ``extra``.

    ``timeout``, ``mode``, ``soft_fail``, ``never_fail`` and ``exponential_backoff`` are those of
    Airflow's sensors; ``soft_fail`` skips the task after a timeout and after a job that did not succeed, in every mode.

    :param job_name: the job's name. Templated.
    :param job: the job's document, such as ``train.job``, instead of ``job_name``. Templated.
    :param api_version: ``V1`` or ``V2`` ask only the operation of that version; by default both are tried.
    :param poke_interval: seconds (or a timedelta) between two polls of the job, in every mode. Default:
        ``[automl] poll_interval`` (30).
    :param timeout: seconds (or a timedelta) to wait at most, in every mode. Default: ``[sensors] default_timeout``.
    :param wait_for_creation: for so many seconds (or a timedelta) from the first poll, wait for a job that does not
        exist yet, in every mode; ``timeout`` ends this wait too. Default: 0, which fails at once.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param start_from_trigger: begin in the triggerer at once, so that no worker is needed until the job has ended.
        The job is then polled by the trigger only; ``job_name`` must be text, and the task can't be mapped. A
        template is fine; where it pulls an XCom it must say ``map_indexes`` (``ti.xcom_pull(task_ids="train",
        key="job", map_indexes=-1)["name"]``): Airflow's triggerer never answers a pull without it.
    :param accept_stopped: succeed if the job was stopped.
    :param accept_no_candidate: succeed if a training job completed without a best candidate; ``True`` by default,
        unlike the operators' default. A job that only generates candidate definitions always succeeds.
    :param accept_failed_deployment: succeed if the job did not deploy its model as ModelDeployConfig requests; ``True``
        by default, unlike the operators' default.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.

    :raises AutoMLJobNotFound: no job has this name in the account and region, after ``wait_for_creation``.
    :raises AutoMLJobFailed: the job failed; the message contains its FailureReason.
    :raises AutoMLJobStopped: the job was stopped, and ``accept_stopped`` is not set.
    :raises NoBestCandidate: the job completed without one, with ``accept_no_candidate=False``.
    :raises AutoMLDeploymentFailed: the job did not deploy, with ``accept_failed_deployment=False``.
    :raises AirflowSensorTimeout: the job had not ended in time.
    """

    template_fields: Sequence[str] = (*AutoMLBaseOperator.template_fields, "job_name", "job_document")
    ui_color = "#e0f0ec"

    def __init__(
        self,
        *,
        job_name: str | None = None,
        job: Any = None,
        api_version: Literal["V1", "V2"] | None = None,
        poke_interval: timedelta | float | None = None,
        wait_for_creation: timedelta | float = 0,
        deferrable: bool | None = None,
        start_from_trigger: bool = False,
        accept_stopped: bool = False,
        accept_no_candidate: bool = True,
        accept_failed_deployment: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poke_interval=settings.poll_interval() if poke_interval is None else poke_interval,
            **kwargs,
        )
        if job_name is None and job is None:
            raise no_job_given(self)
        self.job_name = job_name
        self.job_document = job
        self.api_version = api_version
        self.deferrable = settings.default_deferrable() if deferrable is None else deferrable
        self.wait_for_creation = seconds(wait_for_creation, "wait_for_creation", type(self).__name__) or 0.0
        self._first_poll: float | None = None
        self.accept_stopped = accept_stopped
        self.accept_no_candidate = accept_no_candidate
        self.accept_failed_deployment = accept_failed_deployment
        self._notice: TransitionLog | None = None
        self._earlier: Mapping[str, Any] | None = None
        if start_from_trigger:
            self._start_in_triggerer()

    def _start_in_triggerer(self) -> None:
        if not isinstance(self.job_name, str):
            raise AutoMLValidationError(
                type(self).__name__,
                [
                    "job_name: must be text where start_from_trigger is set; use a template, such as "
                    "\"{{ ti.xcom_pull(task_ids='train', key='job', map_indexes=-1)['name'] }}\""
                ],
            )
        self.deferrable = True
        self.start_from_trigger = True
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="airflow_automl.triggers.job.SageMakerAutoMLJobTrigger",
            next_method="execute_complete",
            trigger_kwargs={**self._trigger_arguments(deadline=None), **self.aws_settings},
            timeout=timedelta(seconds=self.timeout),
        )

    def _trigger_arguments(self, deadline: float | None) -> dict[str, Any]:
        return {
            "job_name": self.job_name or self._name(),
            "api_version": self.api_version,
            "poll_interval": self.poke_interval,
            "deadline": deadline,
            "stop_on_kill": False,
            "timeline": list(self.timeline),
            "wait_for_creation": self.wait_for_creation,
        }

    def execute(self, context: Context) -> Any:
        """Poll once, then wait: in the worker, by rescheduling, or deferred."""
        if not self.deferrable:
            return super().execute(context)
        started = time.time()
        found = self.poke(context)
        if found:
            return found.xcom_value
        from airflow_automl.hooks.errors import CONNECTION_GRACE
        from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger

        aws = retrying_in_worker(self.hook, lambda: self.trigger_settings, CONNECTION_GRACE)
        limits = [timedelta(seconds=self.timeout), *([self.execution_timeout] if self.execution_timeout else [])]
        deadline = started + min(limits).total_seconds()
        self.defer(
            trigger=SageMakerAutoMLJobTrigger(**self._trigger_arguments(deadline), **aws),
            method_name="execute_complete",
        )
        raise AssertionError("unreachable")

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll the job; called by Airflow."""
        name = self._name()
        if self._earlier is None:
            self._earlier = self._known(context)
            self.hook.connection_exists = bool(self._earlier.get("connection_exists"))
        try:
            describe = self.hook.describe_job(name, self.api_version)
        except AutoMLTransientError as error:
            self.log.warning("AutoML job %s can't be described at the moment: %s", name, error)
            return PokeReturnValue(is_done=False)
        except AutoMLTerminalError as error:
            if not isinstance(error, AutoMLJobNotFound) or not self._may_be_created(context):
                self._fail(error)
            self.log.info("AutoML job %s does not exist yet: %s", name, error)
            return PokeReturnValue(is_done=False)
        if self._notice is None:
            self._notice = TransitionLog(self.log, self._earlier.get("timeline", ()))
            self.link_job(describe)
        self._notice(describe)
        self._remember(context, self._notice.timeline)
        if not is_terminal(describe.get("AutoMLJobStatus")):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._end(context, describe))

    def _may_be_created(self, context: Context) -> bool:
        if self._first_poll is None:
            rescheduled: Any = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
            self._first_poll = rescheduled.timestamp() if rescheduled else time.time()
        return time.time() - self._first_poll < self.wait_for_creation

    def _known(self, context: Context) -> Mapping[str, Any]:
        """Return what the pokes before remembered: each is a process of its own if the task is rescheduled."""
        store = context.get("task_state_store") if self.reschedule else None
        known: Any = store.get(TIMELINE_KEY) if store is not None else None
        # The state outlives a clear, after which the job may be another.
        return known if isinstance(known, dict) and known["job_name"] == self._name() else {}

    def _remember(self, context: Context, timeline: list[Transition]) -> None:
        store = context.get("task_state_store")
        if store is not None and self.reschedule and len(timeline) != len(self.timeline):
            known: Any = {
                "job_name": self._name(),
                "timeline": timeline,
                "connection_exists": self.hook.connection_exists,
            }
            store.set(TIMELINE_KEY, known)
        self.timeline = timeline

    def execute_complete(self, context: Context, event: Any = None) -> BestCandidate | None:
        """Conclude after the deferred wait; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.payload import EventStatus, validate_event

        ended = self.read_event(event, validate_event)
        self.timeline = ended.timeline
        if ended.status is EventStatus.TIMEOUT:
            raise AirflowSensorTimeout(f"AutoML job {ended.job_name} had not ended within {self.timeout:g} s")
        if ended.failure is not None:
            self._fail(ended.failure)
        return self._end(context, ended.job or {})

    def _end(self, context: Context, describe: Mapping[str, Any]) -> BestCandidate | None:
        try:
            return self.conclude(context, describe)
        except AutoMLTerminalError as error:
            self._fail(error)

    def _name(self) -> str:
        name = self.job_name or xcom.job_name(document(self.job_document, "job"))
        if name is None:
            raise AutoMLValidationError("job", ["job: is None, because that task has submitted no job"])
        return name

    def _fail(self, error: Exception) -> NoReturn:
        """Raise a failure, or skip under soft_fail: Airflow itself ignores it for errors of other packages."""
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(f"Skipping, because soft_fail or never_fail is set: {error}") from error
        raise error
