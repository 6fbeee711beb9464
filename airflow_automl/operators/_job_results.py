"""What the operators and the sensor share that wait for an AutoML job: what they show of it, push and return."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.definitions.asset import AssetRef
from airflow.sdk.definitions.xcom_arg import XComArg

from airflow_automl import xcom
from airflow_automl.contract import documents, states
from airflow_automl.cost import cost_text, costed_summary
from airflow_automl.ends import judge, watched
from airflow_automl.exceptions import AutoMLError, AutoMLJobFailed
from airflow_automl.links.sagemaker_automl import AutoMLJobConsoleLink, AutoMLJobLogsLink, console_links
from airflow_automl.times import duration_text, seconds_between

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context

    from airflow_automl.contract.documents import BestCandidate, Transition
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator as _Operator
else:
    _Operator = object  # a mixin: operator and sensor bring their own base


class JobResultsMixin(_Operator):
    """A task that waits for one job."""

    hook: SageMakerAutoMLDeploymentHook
    accept_stopped: bool
    accept_no_candidate: bool
    accept_failed_deployment: bool

    operator_extra_links: Collection[BaseOperatorLink] = (AutoMLJobConsoleLink(), AutoMLJobLogsLink())
    console_url: str | None = None
    logs_url: str | None = None
    #: The newest describe answer.
    _describe: Mapping[str, Any] | None = None
    #: The statuses of the job that this try and its trigger observed.
    timeline: Sequence[Transition] = ()

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task, as with any operator; it has ``best_candidate`` and ``job`` too."""
        begun = super().partial(**kwargs)
        expand = type(begun)._expand

        class _JobPartial(type(begun)):  # type: ignore[misc]
            def _expand(self, *args: Any, **kwargs: Any) -> Any:
                mapped: Any = expand(self, *args, **kwargs)
                mapped.best_candidate = xcom.xcom_arg(mapped, xcom.BEST_CANDIDATE_KEY)
                mapped.job = xcom.xcom_arg(mapped, xcom.JOB_KEY)
                # The sensor's template field for its argument `job` has another name, under which Airflow looks for it.
                XComArg.apply_upstream_relationship(mapped, mapped.partial_kwargs.get("job"))
                return mapped

        begun._expand_called = True  # its successor is the one that is to be expanded
        return _JobPartial(operator_class=begun.operator_class, kwargs=begun.kwargs, params=begun.params)

    @property
    def best_candidate(self) -> XComArg:
        """The best candidate's document, for a task that runs later."""
        return xcom.xcom_arg(self, xcom.BEST_CANDIDATE_KEY)  # type: ignore[arg-type]

    @property
    def job(self) -> XComArg:
        """The job's document, for a task that runs later."""
        return xcom.xcom_arg(self, xcom.JOB_KEY)  # type: ignore[arg-type]

    def show_job(self, context: Context, describe: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Push the job's document, and log and link the job's page in AWS's console."""
        self._push(context, describe, tags)
        if self.console_url:
            self.log.info("SageMaker console: %s", self.console_url)
            self.log.info("CloudWatch logs: %s", self.logs_url)
            for link in self.operator_extra_links:
                # Airflow stores links only when a task ends or defers, and this one may wait for hours.
                context["ti"].xcom_push(key=link.xcom_key, value=link.get_link(self, ti_key=context["ti"]))  # type: ignore[arg-type]

    def _push(
        self, context: Context, describe: Mapping[str, Any], tags: Mapping[str, str], *, ended: bool = False
    ) -> documents.JobDocument:
        self._describe = describe
        self.timeline = watched(self.timeline, describe)
        cost = self._cost(describe) if ended else None
        job = documents.job(describe, tags=tags, timeline=self.timeline, cost=cost)
        xcom.push_job(context, job)
        self.link_job(describe)
        return job

    def _cost(self, describe: Mapping[str, Any]) -> Mapping[str, Any] | None:
        name = describe.get("AutoMLJobName")
        try:
            summary = costed_summary(self.hook, describe, self.timeline)
        except AutoMLError as error:
            self.log.warning("The cost of AutoML job %s is unknown: %s", name, error)
            return None
        if summary is None:
            return None
        times = [duration_text(summary[key] or 0) for key in ("runtime_seconds", "candidate_seconds")]
        self.log.info(
            "AutoML job %s cost %s: run time %s, training time of all candidates %s",
            *(name, cost_text(summary["cost"]), *times),
        )
        cost: Mapping[str, Any] | None = summary["cost"]
        return cost

    def link_job(self, describe: Mapping[str, Any]) -> None:
        """Set the links; there are none if the endpoint is not AWS's own."""
        if (arn := describe.get("AutoMLJobArn")) and self.hook.is_aws:
            found = console_links(arn, describe["AutoMLJobName"])
            self.console_url, self.logs_url = found.get("SageMaker console"), found.get("CloudWatch logs")

    def conclude(
        self,
        context: Context,
        describe: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
    ) -> BestCandidate | None:
        """Push and return what a job that has ended yielded, or raise what its end means.

        :param describe: the describe answer, in a terminal status.
        :param tags: the job's tags, if they are known.
        :return: the best candidate's document, or ``None``.
        """
        ended = documents.job(describe)
        ran = seconds_between(ended["created"], ended["ended"])
        after = "" if ran is None else f" after {duration_text(ran)}"
        self.log.info("AutoML job %s ended: %s%s", ended["name"], states.status_text(describe), after)
        job = self._push(context, describe, self.tags_of(describe) if tags is None else tags, ended=True)
        for failure in job["partial_failures"]:
            self.log.warning("Partial failure: %s", failure)
        try:
            judge(
                describe,
                accept_stopped=self.accept_stopped,
                accept_no_candidate=self.accept_no_candidate,
                accept_failed_deployment=self.accept_failed_deployment,
            )
        except AutoMLError as error:
            if self.logs_url:
                self.log.info("CloudWatch logs: %s", self.logs_url)
            if isinstance(error, AutoMLJobFailed):
                from airflow_automl.hooks.sagemaker_logs import job_log_tails, show

                show(self.log, lambda: job_log_tails(self.hook, describe))
            raise
        candidate = documents.best_candidate(describe)
        if candidate:
            metric = candidate.get("FinalAutoMLJobObjectiveMetric", {})
            name = metric.get("StandardMetricName") or metric.get("MetricName")
            self.log.info("Best candidate %s: %s %s", candidate.get("CandidateName"), name, metric.get("Value"))
        for outlet in self.outlets:
            if isinstance(outlet, Asset | AssetRef):
                context["outlet_events"][outlet].extra.update({"best_candidate": candidate, "job": job})  # type: ignore[dict-item]
        return candidate

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Return the inputs and outputs of the job for OpenLineage; its provider calls this, also for a failed task."""
        from airflow_automl.lineage import lineage

        return lineage(self._describe)

    def tags_of(self, describe: Mapping[str, Any]) -> dict[str, str]:
        """Read the job's tags; a job that has ended is not failed because they can't be read."""
        arn = describe.get("AutoMLJobArn")
        return self.hook.known_tags(str(arn)) if arn else {}
