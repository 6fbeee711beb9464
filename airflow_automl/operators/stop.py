"""Stop an AutoML job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_automl import settings, xcom
from airflow_automl.contract import documents, is_terminal
from airflow_automl.ends import TransitionLog
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLJobNotFound,
    AutoMLJobTimeout,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.operators._base import AutoMLBaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["SageMakerAutoMLStopOperator"]


class SageMakerAutoMLStopOperator(AutoMLBaseOperator):
    """Stop an AutoML job, and wait until it has stopped.

    A job that has already ended stays as it is, and is a success: the task may run as a teardown. With ``job``, a
    task that submitted nothing (its ``job`` is ``None``) leaves nothing to stop, which is a success too.

    Operations: StopAutoMLJob, DescribeAutoMLJobV2 or DescribeAutoMLJob.

    XComs: ``job`` is the job's document; ``return_value`` is ``None``.

    :param job_name: the job's name. Templated.
    :param job: the job's document, such as ``train.job``, instead of ``job_name``. Templated.
    :param wait_for_completion: wait until the job has ended; until then, it holds a slot of the account's quota.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: seconds between two looks at the job. Default: ``[automl] poll_interval`` (30).
    :param max_wait: how long to wait at most. By default, there is no limit but ``execution_timeout``.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.

    :raises AutoMLJobNotFound: no job has this name in the account and region.
    :raises AutoMLJobTimeout: the job had not ended in time.
    """

    template_fields: Sequence[str] = (*AutoMLBaseOperator.template_fields, "job_name", "job")

    def __init__(
        self,
        *,
        job_name: str | None = None,
        job: Any = None,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        max_wait: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if job_name is None and job is None:
            raise AutoMLValidationError(
                type(self).__name__, ["job_name, job: neither is given; pass job_name=, or job=train.job"]
            )
        self.job_name = job_name
        self.job = job
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.max_wait = max_wait

    def execute(self, context: Context) -> None:
        """Stop the job."""
        name = self._name()
        if name is None:
            self.log.info("No job was submitted: there is nothing to stop")
            return
        describe = self.hook.describe_job(name)
        if not is_terminal(describe.get("AutoMLJobStatus")):
            self.log.info("Stopping AutoML job %s", name)
            self.hook.stop_job(name)
            if self.wait_for_completion:
                describe = self._wait(name)
        self._end(context, describe)

    def _name(self) -> str | None:
        return self.job_name or xcom.job_name(self.job)

    def _wait(self, name: str) -> dict[str, Any]:
        limits = [span for span in (self.max_wait, self.execution_timeout) if span is not None]
        deadline = time.time() + min(limits).total_seconds() if limits else None
        interval = self.poll_interval or settings.poll_interval()
        if self.deferrable:
            from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger

            self.defer(
                trigger=SageMakerAutoMLJobTrigger(
                    job_name=name, poll_interval=interval, deadline=deadline, stop_on_kill=False, **self.aws_settings
                ),
                method_name="execute_complete",
            )
        notice = TransitionLog(self.log)
        while True:
            try:
                describe = self.hook.describe_job(name)
            except AutoMLTransientError as error:
                self.log.warning("AutoML job %s can't be described just now: %s", name, error)
            else:
                notice(describe)
                if is_terminal(describe.get("AutoMLJobStatus")):
                    return describe
            if deadline is not None and time.time() >= deadline:
                raise AutoMLJobTimeout(f"AutoML job {name} was told to stop, and had not ended in time")
            time.sleep(interval if deadline is None else max(0.0, min(interval, deadline - time.time())))

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Conclude after the deferred wait; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.events import EventStatus, validate_event

        ended = validate_event(event)
        match ended.status:
            case EventStatus.TIMEOUT:
                raise AutoMLJobTimeout(f"AutoML job {ended.job_name} was told to stop, and had not ended in time")
            case EventStatus.NOT_FOUND:
                raise AutoMLJobNotFound(ended.message)
            case EventStatus.ACCESS_DENIED:
                raise AutoMLAccessDenied(ended.message)
        self._end(context, ended.job or {})

    def _end(self, context: Context, describe: dict[str, Any]) -> None:
        xcom.push_job(context, documents.job(describe))
        self.log.info("AutoML job %s is %s", describe.get("AutoMLJobName"), describe.get("AutoMLJobStatus"))
