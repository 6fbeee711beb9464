"""Submit an AutoML job, wait until it has ended, and hand on its best candidate."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_automl import settings
from airflow_automl.contract import JobStatus, documents, is_terminal
from airflow_automl.ends import Acceptance, TransitionLog
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLJobTimeout,
    AutoMLQuotaExceeded,
    AutoMLThrottled,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import AutoMLBaseOperator, told_to_end
from airflow_automl.operators._job_task import JobTask

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.contract.documents import BestCandidate
    from airflow_automl.operators._request import Api
    from airflow_automl.operators._submission import Submission

__all__ = ["SageMakerAutoMLJobOperator", "SageMakerAutoMLJobV1Operator", "SageMakerAutoMLJobV2Operator"]

#: How often to try to stop a job whose time is over, with growing pauses.
_STOPS = 6


class SageMakerAutoMLJobOperator(JobTask, AutoMLBaseOperator):
    """Submit an Amazon SageMaker AutoML job of either API version, and wait until it has ended.

    One run of this task makes one job: a retry after a crash goes on with the job that is there, a retry after a job
    that failed or was stopped, and a clear, submit a new one. The whole request is checked before any call.

    Operations: CreateAutoMLJob or CreateAutoMLJobV2, DescribeAutoMLJob or DescribeAutoMLJobV2, ListTags, StopAutoMLJob;
    ListAutoMLJobs while deferred.

    XComs: ``return_value`` is the best candidate in AWS's own keys, or ``None``; ``job`` is the job's document
    (:class:`~airflow_automl.contract.documents.JobDocument`), pushed at submission and again at every end. Assets in
    ``outlets`` carry both in their event's ``extra``.

    :param config: the request, as :func:`airflow_automl.contract.tabular` and its siblings return it, or a plain dict
        in AWS's keys; or the path of a ``.json`` or ``.yaml`` file that holds it, relative to the DAG's file.
        Templated, also within a file. The API version is told from its keys. ``AutoMLJobName`` is derived if it is
        left out, as it should be: names can't be reused. What it does not say of role, output path, KMS keys, VPC and
        tags comes from the connection's extra ``automl``.
    :param wait_for_completion: wait until the job has ended. Without it, the task ends at submission, and returns a
        best candidate only if it found a job that had completed. It wins over ``deferrable``.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between two looks at the job. Default: ``[automl] poll_interval`` (30).
    :param max_wait: how long to wait for the job at most, from its submission on; then the job is stopped and the
        task fails with :class:`~airflow_automl.exceptions.AutoMLJobTimeout`. ``execution_timeout`` has the same
        effect, and counts from the start of the task. By default, there is no limit: set the job's own.
    :param wait_for_slot: where the account runs as many AutoML jobs as it may (``ResourceLimitExceeded``), wait up to
        so long, deferred, until one has ended. By default the task fails with
        :class:`~airflow_automl.exceptions.AutoMLQuotaExceeded`.
    :param stop_on_kill: stop the job when the task is killed, marked failed or success, cleared, or times out.
    :param accept_stopped: take a job that was stopped for a success.
    :param accept_no_candidate: take a job for a success that completed without a best candidate, although it was to
        train. A job that only generates candidate definitions always is one.
    :param accept_failed_deployment: take a job for a success that did not deploy its model, although its
        ModelDeployConfig asks for it.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.

    :raises AutoMLValidationError: the request breaks rules of the API; all violations are named.
    :raises AutoMLJobFailed: the job failed; the message carries its FailureReason.
    :raises AutoMLJobStopped: the job was stopped, and ``accept_stopped`` is not set.
    :raises NoBestCandidate: the job completed without one, and ``accept_no_candidate`` is not set.
    :raises AutoMLDeploymentFailed: the job did not deploy, and ``accept_failed_deployment`` is not set (R35).
    :raises AutoMLNameTaken: a given ``AutoMLJobName`` belongs to another job (R1).
    :raises AutoMLQuotaExceeded: the account's quota is used up (R2).
    """

    template_fields: Sequence[str] = (*AutoMLBaseOperator.template_fields, "config")
    template_fields_renderers: ClassVar[dict[str, str]] = {"config": "json"}

    #: The API version that a subclass says outright.
    api: ClassVar[Api | None] = None

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | str,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        max_wait: timedelta | None = None,
        wait_for_slot: timedelta | None = None,
        stop_on_kill: bool = True,
        accept_stopped: bool = False,
        accept_no_candidate: bool = False,
        accept_failed_deployment: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.max_wait = max_wait
        self.wait_for_slot = wait_for_slot
        self.stop_on_kill = stop_on_kill
        self.accept_stopped = accept_stopped
        self.accept_no_candidate = accept_no_candidate
        self.accept_failed_deployment = accept_failed_deployment
        self._running: str | None = None
        self._killed = False
        self._try_number = 0

    def execute(self, context: Context) -> BestCandidate | None:
        """Submit the job, or find the one of an earlier try, and wait for it."""
        limits = {
            "since": time.time(),
            "slot_deadline": _from_now(self.wait_for_slot),
            "task_deadline": _from_now(self.execution_timeout),
        }
        return self._run(context, limits, first=True)

    def _run(self, context: Context, limits: dict[str, float | None], *, first: bool) -> BestCandidate | None:
        from airflow_automl.operators._submission import CreateRefused, stop_older_jobs

        self._try_number = context["ti"].try_number
        generation = TaskGeneration.of(context)
        given_name, api, request = self._request(context)
        self._check_settings()
        if first:
            stop_older_jobs(
                self.hook,
                request,
                generation,
                stop=self.stop_on_kill,
                try_number=self._try_number,
                log=self.log,
            )
        try:
            submission = self._submit(context, api, request, generation, given_name)
        except CreateRefused as refused:
            self._running, error = None, refused.error
            if limits["slot_deadline"] is None:
                if isinstance(error, AutoMLThrottled):
                    raise error from None
                raise AutoMLQuotaExceeded(
                    f"{error} (the account runs as many AutoML jobs as its quota allows; set "
                    "wait_for_slot=timedelta(...) to wait for one to end without holding a worker slot, or raise the "
                    "quota)"
                ) from error
            self._defer_for_slot(limits, error)
        return self._follow(context, api, submission, limits["task_deadline"])

    def _request(self, context: Context) -> tuple[bool, Api, dict[str, Any]]:
        from airflow_automl.operators._request import api_of, complete, read_config

        config: Any = self.config
        if isinstance(config, str):
            config = self.render_template(read_config(config, self._folders()), context)
        api = api_of(config, self.api)
        given_name = bool(config.get("AutoMLJobName"))
        request = complete(
            api,
            config,
            defaults=self.hook.defaults,
            max_runtime=settings.max_runtime(),
            log=self.log,
        )
        return given_name, api, request

    def _folders(self) -> list[str | Path]:
        search = self.dag.template_searchpath or []
        return [*([search] if isinstance(search, str) else search), self.dag.folder, Path.cwd()]

    def _check_settings(self) -> None:
        """What goes to the trigger must be plain JSON: find out before there is a job, not after."""
        try:
            json.dumps(self.aws_settings)
        except TypeError as error:
            raise AutoMLValidationError(
                "the operator's AWS settings", [f"botocore_config: must be plain JSON values ({error})"]
            ) from error

    def _submit(
        self, context: Context, api: Api, request: dict[str, Any], generation: TaskGeneration, given_name: bool
    ) -> Submission:
        from airflow_automl.operators._submission import submit

        def remember(name: str) -> None:
            self._running = name
            if self._gives_up:
                raise told_to_end(f"AutoML job {name}")

        submission = submit(
            self.hook,
            api,
            request,
            generation,
            given_name=given_name,
            try_number=context["ti"].try_number,
            will_create=remember,
            log=self.log,
        )
        if given_name:
            remember(submission.name)
        if self._gives_up:
            # The signal came while the create call was on its way, when there was nothing to stop yet.
            self._running = submission.name
            self.on_kill()
            raise told_to_end(f"AutoML job {submission.name}")
        return submission

    @property
    def _gives_up(self) -> bool:
        """Whether the worker was told to end this task, and the job is to end with it."""
        return self._killed and self.stop_on_kill

    def _defer_for_slot(self, limits: dict[str, float | None], error: AutoMLError) -> None:
        from airflow_automl.triggers.slot import SageMakerAutoMLSlotTrigger

        self.log.info("Waiting for one of the account's AutoML jobs to end: %s", error)
        self.defer(
            trigger=SageMakerAutoMLSlotTrigger(limits=limits, **self.aws_settings),
            method_name="execute_with_slot",
        )

    def execute_with_slot(self, context: Context, event: Any = None) -> BestCandidate | None:
        """Submit the job after the wait for a slot; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.slot import validate_slot_event

        slot = validate_slot_event(event)
        if not slot.free:
            raise AutoMLQuotaExceeded(f"no slot for an AutoML job came free within {self.wait_for_slot}")
        return self._run(context, slot.limits, first=False)

    def _follow(
        self, context: Context, api: Api, submission: Submission, task_deadline: float | None
    ) -> BestCandidate | None:
        describe = submission.describe
        self.show_job(context, describe, submission.tags)
        if is_terminal(describe.get("AutoMLJobStatus")):
            return self._end(context, describe, submission.tags)
        if not self.wait_for_completion:
            self._running = None
            return documents.best_candidate(describe)
        limits = [task_deadline, _from_now(self.max_wait)]
        deadline = min((limit for limit in limits if limit is not None), default=None)
        if self.deferrable:
            from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger

            self.defer(
                trigger=SageMakerAutoMLJobTrigger(
                    job_name=submission.name,
                    api_version=api,
                    poll_interval=self.poll_interval or settings.poll_interval(),
                    deadline=deadline,
                    stop_on_kill=self.stop_on_kill,
                    timeline=list(self.timeline),
                    **self.aws_settings,
                ),
                method_name="execute_complete",
            )
        return self._end(context, self._poll(submission, api, deadline), submission.tags)

    def _poll(self, submission: Submission, api: Api, deadline: float | None) -> dict[str, Any]:
        interval = self.poll_interval or settings.poll_interval()
        notice = TransitionLog(self.log, self.timeline)
        describe = submission.describe
        while True:
            notice(describe)
            self.timeline = notice.timeline
            if is_terminal(describe.get("AutoMLJobStatus")):
                return describe
            if deadline is not None and time.time() >= deadline:
                raise AutoMLJobTimeout(self._stop_overdue(submission.name))
            time.sleep(interval if deadline is None else max(0.0, min(interval, deadline - time.time())))
            try:
                describe = self.hook.describe_job(submission.name, api)
            except AutoMLTransientError as error:
                # Only time limits end a wait: the job goes on whether or not it can be looked at.
                self.log.warning("AutoML job %s can't be described just now: %s", submission.name, error)

    def _stop_overdue(self, name: str) -> str:
        """Stop a job whose time is over, trying for a minute if need be; return what to say of it."""
        message = f"AutoML job {name} had not ended within max_wait or execution_timeout; "
        if not self.stop_on_kill:
            return message + "it runs on, because stop_on_kill is False"
        for attempt in range(_STOPS):
            if attempt:
                time.sleep(2**attempt)
            try:
                self.hook.stop_job(name)
            except AutoMLTransientError as error:
                self.log.warning("AutoML job %s can't be stopped just now: %s", name, error)
            except AutoMLError as error:
                return f"{message}it runs on, because it could not be stopped: {error}"
            else:
                self._running = None
                return message + "it was stopped"
        return message + "it runs on, because it could not be stopped"

    def execute_complete(self, context: Context, event: Any = None) -> BestCandidate | None:
        """Conclude after the deferred wait; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.events import EventStatus, validate_event

        ended = validate_event(event)
        self.timeline = ended.timeline
        if ended.job is not None and not is_terminal(ended.job.get("AutoMLJobStatus")):
            self.show_job(context, ended.job, self._tags(ended.job))
        match ended.status:
            case EventStatus.TIMEOUT:
                raise AutoMLJobTimeout(f"{ended.message} (max_wait or execution_timeout)")
            case EventStatus.NOT_FOUND:
                raise AutoMLJobNotFound(ended.message)
            case EventStatus.ACCESS_DENIED:
                raise AutoMLAccessDenied(ended.message)
        return self._end(context, ended.job or {}, None)

    def _end(
        self, context: Context, describe: Mapping[str, Any], tags: Mapping[str, str] | None
    ) -> BestCandidate | None:
        self._running = None
        if self._gives_up and describe.get("AutoMLJobStatus") == JobStatus.STOPPED:
            # This task's own doing is no end to judge.
            raise told_to_end(f"AutoML job {describe.get('AutoMLJobName')}")
        accept = Acceptance(self.accept_stopped, self.accept_no_candidate, self.accept_failed_deployment)
        return self.conclude(context, describe, accept, tags)

    def on_kill(self) -> None:
        """Stop the job when the worker is told to end the task, unless a newer try has adopted it."""
        self._killed = True
        name, self._running = self._running, None
        if name is None or not self.stop_on_kill:
            return
        from airflow_automl.operators._submission import stop_unless_adopted

        try:
            stop_unless_adopted(self.hook, name, self._try_number, self.log)
        except AutoMLError as error:
            self.log.warning("AutoML job %s could not be stopped: %s", name, error)


def _from_now(span: timedelta | None) -> float | None:
    return None if span is None else time.time() + span.total_seconds()


class SageMakerAutoMLJobV1Operator(SageMakerAutoMLJobOperator):
    """Submit an AutoML job by CreateAutoMLJob (V1, tabular); else :class:`SageMakerAutoMLJobOperator`."""

    api = "V1"


class SageMakerAutoMLJobV2Operator(SageMakerAutoMLJobOperator):
    """Submit an AutoML job by CreateAutoMLJobV2; else :class:`SageMakerAutoMLJobOperator`."""

    api = "V2"
