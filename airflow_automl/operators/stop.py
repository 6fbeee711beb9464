"""Stop an AutoML job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_automl import xcom
from airflow_automl.contract import documents, is_terminal
from airflow_automl.exceptions import AutoMLError, AutoMLTerminalError, explained
from airflow_automl.operators._base import JobReader
from airflow_automl.operators._waiting_operator import WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLStopOperator(JobReader, WaitingOperator):
    """Stop an AutoML job, and wait until it has stopped.

    The task succeeds if the job has already ended, or if no job was submitted (``job`` is ``None``), so that it can be
    a teardown.

    Operations: StopAutoMLJob, DescribeAutoMLJobV2 or DescribeAutoMLJob.

    XComs: ``job`` is the job's document; ``return_value`` is ``None``.

    :param job_name: the job's name. Templated.
    :param job: the job's document, such as ``train.job``, instead of ``job_name``. Templated.
    :param wait_for_completion: wait until the job has ended; until then, it holds a slot of the account's quota.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds: how long to wait at most. By default, there is no limit but
        ``execution_timeout``.
    :param max_wait: deprecated; the name that ``timeout`` had before.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.

    :raises AutoMLJobNotFound: no job has this name in the account and region.
    :raises AutoMLJobTimeout: the job had not ended in time.
    """

    def execute(self, context: Context) -> None:
        """Stop the job."""
        name = self.name_of_job()
        if name is None:
            self.log.info("No job was submitted: there is nothing to stop")
            return
        describe = self.hook.describe_job(name)
        if not is_terminal(describe.get("AutoMLJobStatus")):
            self.log.info("Stopping AutoML job %s", name)
            self.hook.stop_job(name)
            if self.wait_for_completion:
                try:
                    describe = self.wait_for_job(name, self.task_deadline(context), stop_on_kill=False)
                except AutoMLTerminalError as error:
                    raise _explained(error, name) from error
        self._end(context, describe)

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Conclude after the deferred wait; called by Airflow with the trigger's event."""
        from airflow_automl.triggers.payload import validate_event

        ended = self.read_event(event, validate_event)
        if ended.failure is not None:
            raise _explained(ended.failure, ended.job_name)
        self._end(context, ended.job or {})

    def _end(self, context: Context, describe: dict[str, Any]) -> None:
        xcom.push_job(context, documents.job(describe))
        self.log.info("AutoML job %s is %s", describe.get("AutoMLJobName"), describe.get("AutoMLJobStatus"))


def _explained(error: AutoMLError, job_name: str) -> Exception:
    return explained(error, f"AutoML job {job_name} was asked to stop", "the wait for its end failed")
