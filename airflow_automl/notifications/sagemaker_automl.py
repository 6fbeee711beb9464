"""A notifier that passes a summary of the job to any other notifier."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseNotifier

from airflow_automl.exceptions import AutoMLValidationError

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLNotifier(BaseNotifier):
    """Send a job's summary through any of Airflow's notifiers, or through a function.

    The summary is put into the context as ``automl``, where the channel's templates find it::

        on_failure_callback=SageMakerAutoMLNotifier(
            SmtpNotifier(
                to="ml@acme.example",
                from_email="airflow@acme.example",
                subject="{{ automl.title }}",
                html_content="{{ automl.html }}",
            )
        )

    It is made from XComs; a callback makes no calls to AWS.

    :param channel: a notifier, whose templates may use ``automl.title``, ``automl.text``, ``automl.markdown``,
        ``automl.html``, ``automl.facts``, ``automl.job`` and ``automl.candidate``; or a function, called with the
        summary.
    :param task_ids: the task that submitted the job or waited on it; default: the task that this is a callback of. A
        deadline alert has no task: name it there.
    """

    template_fields = ("task_ids",)

    def __init__(
        self, channel: BaseNotifier | Callable[[dict[str, Any]], object], *, task_ids: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not callable(channel):
            raise AutoMLValidationError(
                type(self).__name__,
                [f"channel: is {channel!r}; pass a notifier such as SmtpNotifier(…), or a function"],
            )
        self.channel = channel
        self.task_ids = task_ids

    def notify(self, context: Context) -> None:
        """Summarise the job and send the summary."""
        summary = self._summary(context, context.get("ti"))
        if isinstance(self.channel, BaseNotifier):
            # A notifier renders its templates in place: a copy, so that the next summary is rendered too, and not the
            # text of this one.
            copy(self.channel)({**context, "automl": summary})
        else:
            self.channel(summary)

    async def async_notify(self, context: Context) -> None:
        """Do the same in the triggerer, for deadline alerts: their context has a run, and no task instance."""
        summary = await asyncio.to_thread(self._summary, context, context.get("ti") or _Run(context))
        if isinstance(self.channel, BaseNotifier):
            # Airflow awaits a notifier with the context that it was made with.
            channel = copy(self.channel)
            channel.context = cast("Context", {**context, "automl": summary})
            await channel
        elif inspect.isawaitable(sent := self.channel(summary)):
            await sent

    def _summary(self, context: Context, ti: Any) -> dict[str, Any]:
        from airflow_automl.notifications.summary import summarize
        from airflow_automl.xcom import JOB_KEY, SUMMARY_KEY, pull_best_candidate, pull_job, pull_refusal

        task_ids, map_index = self.task_ids or ti.task_id, getattr(ti, "map_index", None)
        # A task of a mapped group is about the others of its map index; a pull returns a list of all.
        mapped = not self.task_ids or isinstance(ti.xcom_pull(task_ids=task_ids, key=JOB_KEY), list)
        select = {"map_indexes": map_index} if mapped and map_index not in (None, -1) else {}
        candidate = pull_best_candidate(ti, task_ids, **select)
        report = ti.xcom_pull(task_ids=task_ids, key=SUMMARY_KEY, **select)
        return summarize(
            pull_job(ti, task_ids, **select),
            candidate if isinstance(candidate, dict) and "CandidateName" in candidate else None,
            dag_id=ti.dag_id,
            task_id=ti.task_id,
            run_id=ti.run_id,
            error=context.get("exception") or (pull_refusal(ti, task_ids, **select) or {}).get("reason"),
            report=report.get("html") if isinstance(report, dict) else None,
        )


class _Run:
    """What the summary needs of a task instance, made of the run in a deadline's context."""

    task_id = "deadline"

    def __init__(self, context: Mapping[str, Any]) -> None:
        run = context["dag_run"]
        read = run.get if isinstance(run, Mapping) else lambda name: getattr(run, name)
        self.dag_id, self.run_id = (
            str(read("dag_id")),
            str(read("dag_run_id" if isinstance(run, Mapping) else "run_id")),
        )

    def xcom_pull(self, task_ids: str, key: str = "return_value", **_: Any) -> Any:
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_one(key=key, dag_id=self.dag_id, task_id=task_ids, run_id=self.run_id, map_index=-1)
