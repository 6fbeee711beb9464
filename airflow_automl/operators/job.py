"""Submit an AutoML job, wait until it has ended, and return its best candidate."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_automl import cost, settings, xcom
from airflow_automl.compat import AirflowRuntimeError
from airflow_automl.contract import JobStatus, documents, is_terminal
from airflow_automl.contract.model import Api
from airflow_automl.exceptions import (
    AutoMLError,
    AutoMLNameTaken,
    AutoMLQuotaExceeded,
    AutoMLTransientError,
    explained,
    restored,
)
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import document, is_template, task_terminated
from airflow_automl.operators._job_creation import CreateRefused, JobCreation, Submission
from airflow_automl.operators._job_request import api_of, complete, read_config
from airflow_automl.operators._job_results import JobResultsMixin
from airflow_automl.operators._waiting_operator import WaitingOperator
from airflow_automl.times import seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.contract.documents import BestCandidate
    from airflow_automl.waiting import StopResult

_RUNS_ON = "it continues, because stop_on_kill is False"


@contextmanager
def _noting_refusal(context: Context) -> Iterator[None]:
    try:
        yield
    except AutoMLError as refusal:
        xcom.push_refusal(context, refusal)
        raise


class SageMakerAutoMLJobOperator(JobResultsMixin, WaitingOperator):
    """Submit an Amazon SageMaker AutoML job of either API version, and wait until it has ended.

    One run of this task makes one job. A retry after a crash continues with its job. A clear, or a retry after a job
    that failed or was stopped, submits a new one. The whole request is checked before any call.

    Operations: CreateAutoMLJob or CreateAutoMLJobV2, DescribeAutoMLJob or DescribeAutoMLJobV2, ListTags, StopAutoMLJob;
    ListAutoMLJobs while deferred.

    XComs: ``return_value`` is the best candidate in AWS's own keys, or ``None``; ``job`` is the job's document
    (:class:`~airflow_automl.contract.documents.JobDocument`), pushed at the submission and again at the end. The events
    of assets in ``outlets`` have both in ``extra``.

    :param config: the request, as :func:`airflow_automl.contract.tabular` and its siblings return it, or a plain dict
        in AWS's keys; or the path of a ``.json`` or ``.yaml`` file that holds it, relative to the DAG's file.
        Templated, also within a file. The API version is inferred from its keys. Omit ``AutoMLJobName``, which is then
        derived, because names can't be reused. Role, output path, KMS keys, VPC and tags that it omits come from the
        connection's extra ``automl``.
    :param wait_for_completion: wait until the job has ended. Without it, the task ends at submission, and returns a
        best candidate only if it found a job that had completed. It takes precedence over ``deferrable``.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds: how long to wait for the job at most, from its submission on; then the job
        is stopped and the task fails with :class:`~airflow_automl.exceptions.AutoMLJobTimeout`. ``execution_timeout``
        has the same effect, and counts from the start of the task. By default, there is no limit: set the job's own.
    :param max_wait: deprecated; the name that ``timeout`` had before.
    :param wait_for_slot: if the account's quota of AutoML jobs is used up (``ResourceLimitExceeded``), wait, deferred,
        until one has ended, at most this long (a timedelta, or seconds). By default the task fails with
        :class:`~airflow_automl.exceptions.AutoMLQuotaExceeded`.
    :param max_cost: what this DAG may spend on AutoML jobs: ``{"run": 20, "month": 200}``, either or both, in the
        currency of the prices (:mod:`airflow_automl.cost`); a month is a calendar month in UTC. Checked before the job
        is submitted, against the cost of all jobs of the DAG so far and the cost of this one at its runtime limit,
        without which it is refused. Templated.
    :param stop_on_kill: stop the job when the task is killed, marked failed or success, cleared, or times out, and when
        the wait ends with an error.
    :param accept_stopped: succeed if the job was stopped.
    :param accept_no_candidate: succeed if a training job completed without a best candidate. A job that only generates
        candidate definitions always succeeds.
    :param accept_failed_deployment: succeed if the job did not deploy its model as ModelDeployConfig requests.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.

    :raises AutoMLValidationError: the request breaks rules of the API; all violations are named.
    :raises AutoMLBudgetExceeded: the job may cost more than is left of ``max_cost``.
    :raises AutoMLJobFailed: the job failed; the message contains its FailureReason.
    :raises AutoMLJobStopped: the job was stopped, and ``accept_stopped`` is not set.
    :raises NoBestCandidate: the job completed without one, and ``accept_no_candidate`` is not set.
    :raises AutoMLDeploymentFailed: the job did not deploy, and ``accept_failed_deployment`` is not set (R35).
    :raises AutoMLNameTaken: a given ``AutoMLJobName`` belongs to another job (R1).
    :raises AutoMLQuotaExceeded: the account's quota is used up (R2).
    """

    template_fields: Sequence[str] = (*WaitingOperator.template_fields, "config", "max_cost")
    template_fields_renderers: ClassVar[dict[str, str]] = {"config": "json"}

    #: The API version that a subclass requires.
    api: ClassVar[Api | None] = None

    def __init__(
        self,
        *,
        config: Mapping[str, Any] | str,
        wait_for_slot: timedelta | float | None = None,
        max_cost: Mapping[str, Any] | None = None,
        stop_on_kill: bool = True,
        accept_stopped: bool = False,
        accept_no_candidate: bool = False,
        accept_failed_deployment: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.wait_for_slot = seconds(wait_for_slot, "wait_for_slot", type(self).__name__)
        self.max_cost = max_cost
        cost.read_budget(max_cost, rendered=False)
        self.stop_on_kill = stop_on_kill
        self.accept_stopped = accept_stopped
        self.accept_no_candidate = accept_no_candidate
        self.accept_failed_deployment = accept_failed_deployment
        #: Whether the DAG author named the file of ``config``, so that it is a template.
        self._names_template = True

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Any,
        jinja_env: Any,
        seen_oids: set[int],
    ) -> None:
        """Render the fields. A file that a template, an XCom or a mapped value names is data, and is not rendered."""
        if parent is self:
            given = self.config
            in_dag_file = isinstance(given, str) and id(given) not in seen_oids
            self._names_template = in_dag_file and not is_template(given)
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def execute(self, context: Context) -> BestCandidate | None:
        """Submit the job, or find the one of an earlier try, and wait for it."""
        limits = {
            "since": time.time(),
            "slot_deadline": None if self.wait_for_slot is None else time.time() + self.wait_for_slot,
            "task_deadline": self.task_deadline(context),
        }
        return self._run(context, limits, first=True)

    def _run(self, context: Context, limits: dict[str, float | None], *, first: bool) -> BestCandidate | None:
        self._try_number = context["ti"].try_number
        generation = TaskGeneration.of(context)
        with _noting_refusal(context):
            api, request = self._request(context)
        creation = JobCreation(self.hook, api, request, generation, self._try_number, self.log)
        if first:
            creation.stop_older_jobs(stop=self.stop_on_kill)
        with _noting_refusal(context):
            budget = cost.read_budget(document(self.max_cost, "max_cost"))
            # Adopting the job of an earlier try costs nothing.
            if budget and not creation.would_adopt():
                cost.demand_budget(self.hook, budget, request, generation, context["dag_run"].start_date, self.log)
        with self._stopping(context):
            try:
                job = self._submit(creation)
            except AutoMLNameTaken as refusal:
                xcom.push_refusal(context, refusal)
                raise
            except CreateRefused as refused:
                self._running, error = None, refused.error
                xcom.push_refusal(context, error)
                if isinstance(error, AutoMLQuotaExceeded) and limits["slot_deadline"] is None:
                    raise AutoMLQuotaExceeded(
                        f"{error} (the account runs as many AutoML jobs as its quota allows; set "
                        "wait_for_slot=timedelta(...) to wait for one to end without holding a worker slot, or raise "
                        "the quota)"
                    ) from error
                if not isinstance(error, AutoMLTransientError) or limits["slot_deadline"] is None:
                    raise error from None
                self._defer_for_slot(limits, error)
            self.show_job(context, job.describe, job.tags)
            if is_terminal(job.describe.get("AutoMLJobStatus")):
                return self._end(context, job.describe, job.tags)
            if not self.wait_for_completion:
                self._running = None
                return documents.best_candidate(job.describe)
            ended = self.wait_for_job(
                job.name, limits["task_deadline"], stop_on_kill=self.stop_on_kill, api=api, describe=job.describe
            )
            return self._end(context, ended, job.tags)

    def _request(self, context: Context) -> tuple[Api, dict[str, Any]]:
        config: Any = self.config
        if isinstance(config, str):
            is_template = self._names_template and not config.lstrip().startswith("{")
            config = read_config(config, self._folders())
            # A rendered value, or a file named at run time, may contain a user's braces.
            config = self.render_template(config, context) if is_template else config
        api = api_of(config, self.api)
        # A setting that is not valid is an error before the job costs anything.
        _ = self.hook.prices, self.interval, settings.max_calls_per_second()
        limit = settings.max_runtime()
        return api, complete(api, config, defaults=self.hook.defaults, max_runtime=limit, log=self.log)

    def _folders(self) -> list[str | Path]:
        search = self.dag.template_searchpath or []
        return [*([search] if isinstance(search, str) else search), self.dag.folder, Path.cwd()]

    def _submit(self, creation: JobCreation) -> Submission:
        def created(name: str) -> None:
            self._running = name

        def will_create(name: str) -> None:
            self._running = name
            if self._gives_up:
                raise task_terminated(f"AutoML job {name}")

        submission = creation.submit(will_create=will_create, created=created)
        self._running = submission.name
        if self._gives_up:
            # The signal came during the create call, before there was a job to stop.
            self.on_kill()
            raise task_terminated(f"AutoML job {submission.name}")
        return submission

    @property
    def _gives_up(self) -> bool:
        """Return whether Airflow ended this task, and the job ends with it."""
        return self._killed and self.stop_on_kill

    def _defer_for_slot(self, limits: dict[str, float | None], error: AutoMLError) -> None:
        from airflow_automl.triggers.slot import SageMakerAutoMLSlotTrigger

        self.log.info("Waiting for one of the account's AutoML jobs to end: %s", error)
        self.defer(
            trigger=SageMakerAutoMLSlotTrigger(limits=limits, **self.trigger_settings),
            method_name="execute_with_slot",
        )

    def execute_with_slot(self, context: Context, event: Any = None) -> BestCandidate | None:
        """Submit the job after the wait for a slot; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.slot import validate_slot_event

        free, limits = self.read_event(event, validate_slot_event)
        if not free:
            raise AutoMLQuotaExceeded("no slot for an AutoML job was free within wait_for_slot or execution_timeout")
        return self._run(context, limits, first=False)

    @contextmanager
    def _stopping(self, context: Context) -> Iterator[None]:
        """Stop the job if the task fails although the job has not ended, and name it in the error."""
        try:
            yield
        except Exception as error:
            name, ti = self._running, context["ti"]
            # An AirflowRuntimeError says that Airflow's API server did not take an XCom, and nothing about the job.
            passing = isinstance(error, AutoMLTransientError | AirflowRuntimeError)
            adopted_later = passing and ti.try_number <= ti.max_tries
            if name is None or self._killed or adopted_later or isinstance(error, AutoMLNameTaken):
                raise
            self._running = None
            said = self.stop(name).said if self.stop_on_kill else _RUNS_ON
            reworded = explained(error, f"AutoML job {name}", self._with_link(said))
            if reworded is error:  # An error that is its own cause has an endless traceback in Airflow 3.0.
                raise
            raise reworded from error

    def _with_link(self, said: str) -> str:
        return f"{said} (SageMaker console: {self.console_url})" if self.console_url else said

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a deferral; called by Airflow, also if the trigger failed.

        The trigger fails in a triggerer without this package. The job is stopped then, unless another try adopts it.
        """
        ti = context["ti"]
        if next_method == "__fail__" and ti.try_number > ti.max_tries:
            self._try_number = ti.try_number
            if job := xcom.pull_job(ti, ti.task_id, map_indexes=ti.map_index):
                said = self.described(self.stop(job["name"])) if self.stop_on_kill else _RUNS_ON
                self.log.error("AutoML job %s, whose trigger failed: %s", job["name"], said)
        return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: Any = None) -> BestCandidate | None:
        """Conclude after the deferred wait; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.payload import EventStatus, validate_event

        self._try_number = context["ti"].try_number
        ended = self.read_event(event, validate_event)
        self.timeline = ended.timeline
        if ended.failure is None:
            return self._end(context, ended.job or {}, None)
        said = ended.message
        if not ended.runs_on or ended.status is EventStatus.NOT_FOUND:
            pass
        elif not self.stop_on_kill:
            said += f"; {_RUNS_ON}"
        else:
            # The triggerer may lack this worker's connection or permissions.
            said += f"; in the worker: {self.stop(ended.job_name).said}"
        if ended.job is not None:
            self.show_job(context, ended.job, self.tags_of(ended.job))
        raise restored(type(ended.failure).__name__, self._with_link(said))

    def _end(
        self, context: Context, describe: Mapping[str, Any], tags: Mapping[str, str] | None
    ) -> BestCandidate | None:
        self._running = None
        if self._gives_up and describe.get("AutoMLJobStatus") == JobStatus.STOPPED:
            # This task stopped it: its status says nothing about the job.
            raise task_terminated(f"AutoML job {describe.get('AutoMLJobName')}")
        return self.conclude(context, describe, tags)

    def described(self, result: StopResult) -> str:
        """Describe an attempt to stop, for the log, with a link to the job."""
        self.link_job(result.answer or {})
        return self._with_link(result.said)


class SageMakerAutoMLJobV1Operator(SageMakerAutoMLJobOperator):
    """Submit an AutoML job by CreateAutoMLJob (V1, tabular). See :class:`SageMakerAutoMLJobOperator`."""

    api = "V1"


class SageMakerAutoMLJobV2Operator(SageMakerAutoMLJobOperator):
    """Submit an AutoML job by CreateAutoMLJobV2. See :class:`SageMakerAutoMLJobOperator`."""

    api = "V2"
