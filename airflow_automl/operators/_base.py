"""What every operator of this package shares: how it reaches AWS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_automl.compat import AirflowException, AirflowSkipException, BaseOperator

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

__all__ = ["AutoMLBaseOperator", "told_to_end"]


class AutoMLBaseOperator(BaseOperator):
    """An operator that talks to SageMaker through one AWS connection.

    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    """

    template_fields: Sequence[str] = ("aws_conn_id", "region_name", "verify")
    template_ext: Sequence[str] = ()
    ui_color = "#cfe8e3"

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def pre_execute(self, context: Any) -> None:
        """Skip this task if a gate in the same mapped task group decided so.

        Airflow looks for the decision of a task in a mapped group at map index -1 (apache/airflow#67265), where there
        is none. The gate skips the tasks after it itself; this is for a task that is cleared later.

        :raises AirflowSkipException: the gate's decision for the same map index names this task.
        """
        super().pre_execute(context)
        ti = context["ti"]
        for upstream in self.upstream_list if ti.map_index >= 0 else ():
            if getattr(upstream, "inherits_from_skipmixin", False):
                decision = ti.xcom_pull(task_ids=upstream.task_id, key="skipmixin_key", map_indexes=ti.map_index)
                if self.task_id in (decision or {}).get("skipped", ()):
                    raise AirflowSkipException(f"Skipped by the decision of {upstream.task_id}")

    @property
    def aws_settings(self) -> dict[str, Any]:
        """How to reach AWS, as the keyword arguments that every trigger of this package takes."""
        return {
            "aws_conn_id": self.aws_conn_id,
            "region_name": self.region_name or None,
            "verify": self.verify,
            "botocore_config": self.botocore_config,
        }

    @cached_property
    def hook(self) -> SageMakerAutoMLHook:
        """The hook, built when it is first needed: its imports are not for DAG parsing."""
        from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

        return SageMakerAutoMLHook(
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name or None,
            verify=self.verify,
            config=self.botocore_config,
        )


def told_to_end(subject: str) -> Exception:
    """Return what a task raises that goes on after its ``on_kill``, which is all that Airflow calls in a worker.

    It is none of this package's errors: a retry policy takes those for final, and the task may be tried again.

    :param subject: what the task is about, such as ``AutoML job churn-1``.
    """
    return AirflowException(f"the worker was told to end this task: {subject} is stopped, if there is one by now")
