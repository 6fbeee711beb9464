"""Let a candidate pass only if it is good enough, alone or against the deployed champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_automl.compat import AirflowSkipException, DownstreamTasksSkipped, SkipMixin
from airflow_automl.exceptions import AutoMLValidationError, CandidateRejected
from airflow_automl.operators._base import document
from airflow_automl.operators._candidate_operator import CandidateOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SageMakerAutoMLGateOperator(CandidateOperator, SkipMixin):
    """Go on only if the candidate meets what is required, and beats the champion where there is one.

    Metrics are found by their standard names, whatever their spelling (``auc``, ``validation:f1``, ``AUC``), on the
    validation data. The key ``objective`` stands for the metric that the job optimised.

    Operations: none for thresholds; with ``champion`` DescribeEndpoint, DescribeEndpointConfig and ListTags, or
    ListModelPackages and DescribeModelPackage; with ``champion_data`` also DescribeModel, InvokeEndpoint and
    DescribeAutoMLJobV2, ListBucket and GetObject.

    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate`` (templated). ``None``, of
        a job that has no best candidate, raises NoBestCandidate.
    :param job: the job's document, such as ``train.job`` (templated). Without ``candidate``, its best
        candidate is asked for.
    :param job_name: the name of an AutoML job (V1 or V2) to ask the service about, instead of ``job`` (templated).
    :param require: bounds by metric (templated): ``{"AUC": 0.8}`` is a minimum for a metric that is maximised and a
        maximum for one that is minimised; ``{"AUC": {"min": 0.8, "max": 0.999}}`` says both outright.
    :param champion: what the candidate must beat (templated): the name of an endpoint, whose metrics
        :class:`~airflow_automl.operators.SageMakerAutoMLDeployOperator` wrote into the tags of the config that it
        serves; or ``{"ModelPackageGroupName": "…"}``, the newest approved version in the registry. Where there is none
        yet, the candidate passes.
    :param champion_data: score the champion now, through its endpoint, on these labelled rows (templated), instead of
        taking the metrics that it had when it was trained. Name the validation data of the candidate's job, so that
        both are measured on the same rows: an S3 prefix or object of CSV with a header, the model's columns in their
        order and the target, 200 MB at most. For tabular data and text classification. AUC and LogLoss need an endpoint
        that answers ``probabilities`` and ``labels``.
    :param target: the target's column in ``champion_data``; default: what the job learned, for which ``job`` or
        ``job_name`` must be given (templated).
    :param metric: the metric that is compared with the champion's; default: the candidate's objective.
    :param min_gain: by how much the candidate must be better; ``0`` lets an equal one pass.
    :param on_reject: ``skip`` (the default) skips the tasks directly downstream, except teardowns; ``fail`` raises; the
        id of a task or task group directly downstream, or a list of them, is followed instead of the others
        (templated). In a mapped task group each decision is about the tasks of the same map index.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: the decision: ``{"passed", "reason", "candidate_name", "metrics", "require", "champion"}``; ``champion`` is
        ``{"name", "metric", "value", "candidate_value", "gain"}`` or ``None``.
    :raises CandidateRejected: rejected, with ``on_reject="fail"``.
    :raises AutoMLValidationError: ``on_reject`` names no task directly downstream; a bound is not a number; the
        candidate or the champion does not have the metric.
    :raises NoBestCandidate: there is no candidate.
    """

    template_fields = (
        *CandidateOperator.template_fields,
        *("require", "champion", "champion_data", "target", "metric", "min_gain", "on_reject"),
    )
    ui_color = "#fff2cc"
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        require: dict[str, Any] | None = None,
        champion: str | dict[str, str] | None = None,
        champion_data: str | None = None,
        target: str | None = None,
        metric: str | None = None,
        min_gain: float | str = 0.0,
        on_reject: str | list[str] = "skip",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.require = require
        self.champion = champion
        self.champion_data = champion_data
        self.target = target
        self.metric = metric
        self.min_gain = min_gain
        self.on_reject = on_reject

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, say why in one sentence, and let the run continue, skip, branch or fail."""
        from airflow_automl.operators._metric_bounds import Bound, compare, judge

        if self.on_reject not in ("skip", "fail"):
            self._branch()
        candidate, job = self.resolve()
        bounds = [
            Bound.parse(name, bound, candidate) for name, bound in (document(self.require, "require") or {}).items()
        ]
        verdict = judge(candidate, bounds)
        champion = self._champion(candidate, job)
        comparison = None
        if champion and "uncompared" in champion:
            verdict = verdict.also(f"it is not compared with {champion['name']}: {champion['uncompared']}")
        elif champion:
            verdict, comparison = compare(candidate, champion, verdict, metric=self.metric, min_gain=self.min_gain)
        elif self.champion:
            verdict = verdict.also(f"there is no champion {self._champion_name()} yet")
        decision = {
            "passed": verdict.passed,
            "reason": verdict.sentence(candidate["CandidateName"]),
            "candidate_name": candidate["CandidateName"],
            "metrics": verdict.metrics,
            "require": {bound.name: {"min": bound.minimum, "max": bound.maximum} for bound in bounds},
            "champion": comparison,
        }
        self.log.info("%s", decision["reason"])
        self._act(context, decision)
        return decision

    def _act(self, context: Context, decision: Mapping[str, Any]) -> None:
        ti = context["ti"]
        skipped = self._skipped(decision["passed"])
        if decision["passed"] and not skipped:
            return
        # Skipping and failing leave execute by an exception, which would lose its return value.
        ti.xcom_push(key="return_value", value=dict(decision))
        if not decision["passed"] and self.on_reject == "fail":
            raise CandidateRejected(decision["reason"])
        if not skipped:
            return
        self.log.info("Skipping %s", ", ".join(task.task_id for task in skipped))
        self._let_downstream_ask()
        self.skip(ti, skipped)
        # That was all for a task that is not mapped. For a mapped one, Airflow leaves the tasks after it to the
        # scheduler, which does not find this decision if it was made in a mapped task group (apache/airflow#67265).
        # Task instances that do not exist yet skip themselves when they begin.
        group = self.get_closest_mapped_task_group()
        inside = [
            (task.task_id, ti.map_index)
            for task in skipped
            if group and group.group_id in {each.group_id for each in task.iter_mapped_task_groups()}
        ]
        if inside:
            raise DownstreamTasksSkipped(tasks=inside)  # type: ignore[no-untyped-call]

    def _skipped(self, passed: bool) -> list[Any]:
        """Return the tasks directly downstream that a decision skips; teardowns never are."""
        if self.on_reject == "fail":
            return []
        if self.on_reject == "skip":
            skipped = set() if passed else set(self.downstream_task_ids)
        else:
            branch = self._branch()
            followed = self.downstream_task_ids - branch if passed else branch
            # A task that also comes after a followed one runs, as with Airflow's own branch operators.
            joins = [self.dag.get_task(each).get_flat_relative_ids(upstream=False) for each in followed]
            skipped = self.downstream_task_ids - followed.union(*joins)
        return [task for task in map(self.dag.get_task, sorted(skipped)) if not task.is_teardown]

    def _branch(self) -> set[str]:
        """Return the ids of the tasks that a rejection follows: those named, and the first ones of groups named.

        :raises AutoMLValidationError: a name of no task or group directly downstream.
        """
        groups, branch, problems = self.dag.task_group_dict, set(), []
        for name in [self.on_reject] if isinstance(self.on_reject, str) else self.on_reject:
            group = groups.get(name)
            found = {root.task_id for root in group.roots} if group else {name}
            if not found <= self.downstream_task_ids:
                valid = ", ".join(sorted(self.downstream_task_ids)) or "none"
                problems.append(
                    f"on_reject: {name!r} is neither skip, fail, nor a task or task group directly downstream of "
                    f"{self.task_id}, with its whole id; directly downstream are: {valid}"
                )
            branch |= found
        if problems:
            raise AutoMLValidationError("on_reject", problems)
        return branch

    def get_direct_relative_ids(self, upstream: bool = False) -> set[str]:
        """Return the ids of the tasks directly upstream or downstream.

        Airflow calls this for every task of a DAG that it has parsed, to find cycles; so it is here that a wrong name
        in ``on_reject`` becomes an import error, and that tasks in a mapped group learn to ask for the decision.
        """
        if not upstream:
            if self.on_reject not in ("skip", "fail") and "{{" not in str(self.on_reject):
                self._branch()
            self._let_downstream_ask()
        return super().get_direct_relative_ids(upstream)

    def _let_downstream_ask(self) -> None:
        if self.get_closest_mapped_task_group() is None:
            return
        for task in map(self.dag.get_task, self.downstream_task_ids):
            if isinstance(task, BaseOperator) and not task.is_teardown and not _AsksGate.is_in(task, self.task_id):
                task._pre_execute_hook = _AsksGate(task, self.task_id)

    def _champion_name(self) -> str:
        champion = document_or_name(self.champion)
        return champion if isinstance(champion, str) else str(champion.get("ModelPackageGroupName"))

    def _champion(self, candidate: Mapping[str, Any], job: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the champion's ``{"name", "metrics"}``, or ``None`` where nothing serves or is approved yet."""
        if not self.champion:
            return None
        champion = document_or_name(self.champion)
        if isinstance(champion, str):
            return self._deployed_champion(champion, candidate, job)
        if self.champion_data:
            problem = f"champion_data: only an endpoint can be scored, and champion is {champion!r}"
            raise AutoMLValidationError("champion_data", [problem])
        group = champion.get("ModelPackageGroupName")
        if not group or len(champion) != 1:
            raise AutoMLValidationError(
                "champion",
                [f"champion: is {champion!r}; pass an endpoint's name or {{'ModelPackageGroupName': '…'}}"],
            )
        return self._registered_champion(group)

    def _deployed_champion(
        self, name: str, candidate: Mapping[str, Any], job: Mapping[str, Any] | None
    ) -> dict[str, Any] | None:
        from airflow_automl.operators._endpoint_scoring import UnscorableChampion
        from airflow_automl.operators._version_tags import TAG_CANDIDATE, tag_metrics

        endpoint = self.hook.describe_endpoint(name)
        if endpoint is None or endpoint["EndpointStatus"] in {"Failed", "Deleting", "Creating"}:
            return None
        config = self.hook.describe_endpoint_config(endpoint["EndpointConfigName"]) or {}
        tags: dict[str, str] = {}
        # The config's tags tell of what is served now, also after a rollback; the endpoint's may be set by hand.
        for arn in (endpoint["EndpointArn"], config.get("EndpointConfigArn")):
            tags.update((self.hook.read_tags(arn) if arn else None) or {})
        shown = f"endpoint {name} ({tags.get(TAG_CANDIDATE, 'unknown candidate')})"
        if not self.champion_data:
            return {"name": shown, "metrics": tag_metrics(tags)}
        try:
            values, rows = self._score_champion(name, config, candidate, job)
        except UnscorableChampion as error:
            # A rejection would keep out just the deployment that makes the next comparison possible.
            self.log.warning("The candidate is not compared with %s: %s", shown, error)
            return {"name": shown, "uncompared": "; ".join(map(str, error.violations))}
        self.log.info("%s, scored on %d rows of %s: %s", shown, rows, self.champion_data, values)
        return {"name": f"{shown}, scored now on {rows} rows", "metrics": values, "hint": "these rows don't yield it"}

    def _score_champion(
        self, name: str, config: Mapping[str, Any], candidate: Mapping[str, Any], job: Mapping[str, Any] | None
    ) -> tuple[dict[str, float], int]:
        from airflow_automl.operators._endpoint_scoring import Columns, columns_of, score_champion
        from airflow_automl.operators._metric_bounds import OBJECTIVE, metric_name

        if self.target:
            columns = Columns(self.target)
        elif job:
            columns = columns_of(self.hook.describe_job(str(job["name"])))
        else:
            raise AutoMLValidationError("target", ["target: is not given, and neither is job= or job_name= to ask"])
        metric = metric_name(self.metric or OBJECTIVE, candidate)
        return score_champion(self.hook, name, config, str(self.champion_data), columns, metric)

    def _registered_champion(self, group: str) -> dict[str, Any] | None:
        from airflow_automl.operators._version_tags import tag_metrics

        if self.hook.describe_model_package_group(group) is None:
            return None
        for summary in self.hook.list_model_packages(group, ModelApprovalStatus="Approved"):
            package = self.hook.describe_model_package(summary["ModelPackageArn"]) or {}
            return {
                "name": f"{group} version {package.get('ModelPackageVersion')}",
                "metrics": tag_metrics(package.get("CustomerMetadataProperties") or {}),
            }
        return None


def document_or_name(champion: Any) -> Any:
    """Return a champion given as text that renders a dict as the dict, and a name as it is."""
    if isinstance(champion, str) and champion.lstrip().startswith("{"):
        return document(champion, "champion")
    return champion


class _AsksGate:
    """Runs before a task directly after a gate in a mapped task group, and skips it if the gate decided so.

    :param task: the task; what was to run before it, runs after this.
    :param gate: the gate's task id.
    """

    def __init__(self, task: Any, gate: str) -> None:
        self.task_id, self.gate, self.before = task.task_id, gate, getattr(task, "_pre_execute_hook", None)

    @classmethod
    def is_in(cls, task: Any, gate: str) -> bool:
        """Return whether a task asks a gate already."""
        hook = getattr(task, "_pre_execute_hook", None)
        while isinstance(hook, cls):
            if hook.gate == gate:
                return True
            hook = hook.before
        return False

    def __call__(self, context: Context) -> None:
        ti = context["ti"]
        decision = ti.xcom_pull(task_ids=self.gate, key="skipmixin_key", map_indexes=ti.map_index)
        if self.task_id in (decision or {}).get("skipped", ()):
            raise AirflowSkipException(f"Skipped by the decision of {self.gate}")
        if self.before is not None:
            self.before(context)
