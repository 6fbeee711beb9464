"""What every operator of this package shares: how it reaches AWS."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow_automl import settings
from airflow_automl.compat import AirflowException, AirflowSkipException, BaseOperator
from airflow_automl.exceptions import AutoMLJobTimeout, AutoMLValidationError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.contract.documents import Transition
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

_Hook = TypeVar("_Hook", bound="SageMakerAutoMLHook")


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

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        """Render, and put strings back that ``render_template_as_native_obj`` turned into numbers: a name ``2026``.

        Airflow calls this for mapped tasks too, which it does not render through ``render_template_fields``.
        """
        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)
        for name in template_fields:
            value = getattr(parent, name, None)
            if isinstance(value, int | float) and _takes_text(type(self), name):
                setattr(parent, name, str(value))

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

    def resume_with(self, event: Any) -> None:
        """Demand the connection again that was there before a deferral.

        :param event: the validated event of a trigger that got :attr:`trigger_settings`.
        """
        self.hook.connection_exists = bool(event.get("connection_exists"))

    @property
    def trigger_settings(self) -> dict[str, Any]:
        """How to reach AWS with the connection that this task has, for its triggers."""
        _ = self.hook.defaults
        return {**self.aws_settings, "connection_exists": self.hook.connection_exists}

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

        return self._hook_of(SageMakerAutoMLHook)

    def _hook_of(self, kind: type[_Hook]) -> _Hook:
        return kind(self.aws_conn_id, self.region_name or None, self.verify, self.botocore_config)


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


#: Tells an argument that was left out from ``None``.
UNSET: Any = _Unset()


def seconds(value: Any, name: str, owner: str, *, minimum: float = 0.0) -> float | None:
    """Return a time span in seconds.

    :param value: a timedelta, a number of seconds, or ``None``.
    :param name: the argument, for the message.
    :param owner: what takes the argument, for the message.
    :param minimum: the shortest span that makes sense; 0 is a span that has passed at once.
    :raises AutoMLValidationError: it is something else, negative, or not finite.
    """
    if value is None:
        return None
    span = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(span, bool) or not isinstance(span, int | float) or not minimum <= span < float("inf"):
        raise AutoMLValidationError(
            owner,
            [f"{value!r} is not valid for {name}: pass a timedelta, or a number of seconds of at least {minimum:g}"],
        )
    return float(span)


class WaitingArguments(AutoMLBaseOperator):
    """An operator that waits: its arguments, all checked before it does anything.

    :param wait_for_completion: wait at all. Without it, ``deferrable`` has no effect.
    :param deferrable: wait in the triggerer, without a worker slot. Default: ``[operators] default_deferrable``.
    :param poll_interval: a timedelta, or seconds, between two polls. Default: ``[automl] poll_interval`` (30).
    :param timeout: a timedelta, or seconds: how long to wait at most. ``None`` waits on. ``execution_timeout`` ends the
        wait too, and counts from the start of the task.
    :param max_wait: deprecated; the name that ``timeout`` had before.
    :raises AutoMLValidationError: an argument is not valid.
    """

    #: The timeout, in seconds, if none is given.
    default_timeout: ClassVar[float | None] = None
    #: The statuses that a job was seen in, as far as this try and its trigger know.
    timeline: Sequence[Transition] = ()

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float | None = UNSET,
        max_wait: timedelta | float | None = UNSET,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        if max_wait is not UNSET:
            warnings.warn(f"{owner}: max_wait is deprecated; use timeout", DeprecationWarning, stacklevel=2)
            timeout = max_wait if timeout is UNSET else timeout
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval", owner, minimum=0.01)
        self.timeout = self.default_timeout if timeout is UNSET else seconds(timeout, "timeout", owner)
        try:
            json.dumps(self.aws_settings)
        except TypeError as error:
            raise AutoMLValidationError(
                owner,
                [f"{self.botocore_config!r:.80} is not valid for botocore_config: {error}. Pass plain JSON values"],
            ) from error

    @property
    def interval(self) -> float:
        """Seconds between two polls."""
        return self.poll_interval or settings.poll_interval()

    def task_deadline(self, context: Context) -> float | None:
        """Return the epoch seconds at which ``execution_timeout`` ends this task; ``None`` if there is none.

        Airflow itself minds it only in the worker, and starts over after every deferral.
        """
        if self.execution_timeout is None:
            return None
        started = getattr(context["ti"], "start_date", None)
        return (started.timestamp() if started else time.time()) + self.execution_timeout.total_seconds()

    def deadline(self, task_deadline: float | None) -> float | None:
        """Return the epoch seconds at which a wait that begins now ends; ``None`` if there is no limit.

        :param task_deadline: what :meth:`task_deadline` returned when the task began.
        """
        limits = [task_deadline, None if self.timeout is None else time.time() + self.timeout]
        return min((limit for limit in limits if limit is not None), default=None)

    def poll_job(
        self, name: str, deadline: float | None, api: Any = None, describe: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Wait in the worker until the job has ended, and return the last answer.

        :param deadline: epoch seconds; ``None`` waits on.
        :param api: the job's API version, if it is known.
        :param describe: an answer of just now; the first poll then comes an interval later.
        :raises AutoMLJobTimeout: the job had not ended at the deadline.
        """
        from airflow_automl.ends import TransitionLog
        from airflow_automl.waiting import AUTOML_JOB, Target, WorkerCalls, in_worker, wait_until_ended

        notice = TransitionLog(self.log, self.timeline)

        def note(answer: Mapping[str, Any]) -> None:
            notice(answer)
            self.timeline = notice.timeline

        if describe is not None:
            note(describe)
        try:
            answer = in_worker(
                wait_until_ended(
                    WorkerCalls(self.hook),
                    Target(AUTOML_JOB, name, api),
                    interval=self.interval,
                    deadline=deadline,
                    log=self.log,
                    delay=0.0 if describe is None else self.interval,
                    notice=note,
                )
            )
        except TimeoutError:
            raise AutoMLJobTimeout("the job had not ended within timeout or execution_timeout") from None
        return answer or {}


def _takes_text(operator: type, argument: str) -> bool:
    """Return whether an operator's argument is annotated to take text and neither numbers nor booleans."""
    for each in operator.__mro__:
        annotation = getattr(vars(each).get("__init__"), "__annotations__", {}).get(argument)
        if annotation is not None:
            kinds = {kind.strip() for kind in str(annotation).split("|")}
            return "str" in kinds and not kinds & {"int", "float", "bool"}
    return False


def told_to_end(subject: str) -> Exception:
    """Return what a task raises that still runs after its ``on_kill``, which is all that Airflow calls in a worker.

    It is none of this package's errors: a retry policy takes those for final, and the task may be tried again.

    :param subject: what the task is about, such as ``AutoML job churn-1``.
    """
    return AirflowException(f"Task terminated. {subject} was stopped if it existed")
