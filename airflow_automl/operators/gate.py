"""Let a candidate pass only if it is good enough, alone or against the deployed champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import metrics
from airflow_automl.exceptions import AutoMLValidationError, CandidateRejected
from airflow_automl.operators._base import document, document_or_name
from airflow_automl.operators._branching import BranchingOperator
from airflow_automl.operators._candidate_operator import CandidateOperator
from airflow_automl.operators._metric_bounds import (
    METRIC_KEYS,
    OBJECTIVE,
    compare,
    evaluated,
    judge,
    metric_name,
    read_bounds,
)
from airflow_automl.version_tags import tag_metrics

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.evaluation.live import Live


class SageMakerAutoMLGateOperator(CandidateOperator, BranchingOperator):
    """Run the tasks downstream only if the candidate meets the requirements, and beats the champion if there is one.

    Metrics are found by their standard names, whatever their spelling (``auc``, ``validation:f1``, ``AUC``), on the
    validation data. The key ``objective`` is the metric that the job optimised.

    Operations: none for thresholds; with ``champion`` DescribeEndpoint, DescribeEndpointConfig and ListTags, or
    ListModelPackages and DescribeModelPackage; with ``champion_data`` also DescribeModel, InvokeEndpoint and
    DescribeAutoMLJobV2, ListBucket and GetObject.

    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate`` (templated). ``None``, of
        a job that has no best candidate, raises NoBestCandidate.
    :param job: the job's document, such as ``train.job`` (templated). Without ``candidate``, its best candidate is
        used.
    :param job_name: the name of an AutoML job (V1 or V2) to use instead of ``job`` (templated).
    :param require: bounds by metric (templated): ``{"AUC": 0.8}`` is a minimum for a metric that is maximised and a
        maximum for one that is minimised; ``{"AUC": {"min": 0.8, "max": 0.999}}`` sets both.
    :param champion: what the candidate must beat (templated): the name of an endpoint, whose metrics
        :class:`~airflow_automl.operators.SageMakerAutoMLDeployOperator` wrote into the tags of the config that it
        serves; or ``{"ModelPackageGroupName": "…"}``, the newest approved version in the registry. If there is none
        yet, the candidate passes.
    :param evaluation: the candidate's evaluation by
        :class:`~airflow_automl.operators.SageMakerAutoMLEvaluateOperator` (templated), whose metrics are used instead
            of those of the training.
    :param champion_evaluation: the champion's evaluation (templated), instead of ``champion_data``: pass both if both
        were evaluated on the same rows. With ``None``, the result for a missing endpoint, the endpoint is scored.
    :param champion_data: score the champion now, through its endpoint, on these labelled rows (templated), instead of
        using the metrics of its training. Pass the validation data of the candidate's job, so that both are measured on
        the same rows; in the form of :class:`~airflow_automl.operators.SageMakerAutoMLEvaluateOperator`, with its
        sample size and time limit. AUC and LogLoss need an endpoint that returns ``probabilities`` and ``labels``.
    :param target: the target's column in ``champion_data`` (templated); default: the target of the job that ``job``,
        ``job_name`` or the endpoint's tags name.
    :param metric: the metric that is compared with the champion's; default: the candidate's objective.
    :param min_gain: by how much the candidate must be better; ``0`` lets an equal one pass.
    :param on_reject: ``skip`` (the default) skips the tasks directly downstream, except teardowns; ``fail`` fails this
        task; with the id of a task or task group directly downstream, or a list of them, only these run (templated). In
        a mapped task group, the decision applies to the tasks of the same map index.
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
        *("require", "evaluation", "champion", "champion_evaluation", "champion_data", "target", "metric"),
        *("min_gain", "on_reject"),
    )
    ui_color = "#fff2cc"
    branch_argument = "on_reject"
    branch_words = ("skip", "fail")

    def __init__(
        self,
        *,
        require: dict[str, Any] | None = None,
        champion: str | dict[str, str] | None = None,
        champion_data: str | None = None,
        evaluation: Any = None,
        champion_evaluation: Any = None,
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
        self.evaluation = evaluation
        self.champion_evaluation = champion_evaluation
        self.target = target
        self.metric = metric
        self.min_gain = min_gain
        self.on_reject = on_reject

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, log the reason, and continue, skip, branch or fail."""
        self.check_branch()
        candidate, job = self.resolve()
        if given := document(self.evaluation, "evaluation"):
            candidate = {**candidate, **{key: given[key] for key in METRIC_KEYS if key in given}}
        bounds = read_bounds(document(self.require, "require") or {}, candidate)
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
        if not decision["passed"] and self._followed == "fail":
            # Failing raises, which would lose the return value of execute.
            context["ti"].xcom_push(key="return_value", value=dict(decision))
            raise CandidateRejected(decision["reason"])
        self.follow(context, decision, decision["passed"])
        return decision

    def _champion_name(self) -> str:
        champion = document_or_name(self.champion, "champion")
        return champion if isinstance(champion, str) else str(champion.get("ModelPackageGroupName"))

    def _champion(self, candidate: Mapping[str, Any], job: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if not self.champion:
            return None
        champion = document_or_name(self.champion, "champion")
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
        from airflow_automl.evaluation.live import RESPONSE_HINT, Live, UnscorableChampion

        if given := document(self.champion_evaluation, "champion_evaluation"):
            shown = f"endpoint {name} ({given['CandidateName']}), {evaluated(given)}"
            values, name = metrics.candidate_metrics(given), metric_name(self.metric or OBJECTIVE, candidate)
            if name in values:
                return {"name": shown, "metrics": values}
            return {"name": shown, "uncompared": f"its evaluation has no {name}; {RESPONSE_HINT}"}
        live = Live.read(self.hook, name)
        if live is None:
            return None
        shown = f"endpoint {name} ({live.candidate})"
        if not self.champion_data:
            return {"name": shown, "metrics": live.metrics}
        try:
            found = self._score_champion(live, candidate, job)
        except UnscorableChampion as error:
            # A rejection would prevent the deployment that makes the next comparison possible.
            self.log.warning("The candidate is not compared with %s: %s", shown, error)
            return {"name": shown, "uncompared": "; ".join(map(str, error.violations))}
        values = metrics.candidate_metrics(found)
        self.log.info("%s, scored on %d %s of %s: %s", shown, found["rows"], found["unit"], self.champion_data, values)
        scored = f"{shown}, scored now on {found['rows']} {found['unit']}"
        return {"name": scored, "metrics": values, "hint": "these rows don't yield it"}

    def _score_champion(
        self, live: Live, candidate: Mapping[str, Any], job: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        from airflow_automl.evaluation.data import LabelledData
        from airflow_automl.evaluation.live import Bounds, evaluate_endpoint
        from airflow_automl.evaluation.subject import Subject, subject_of

        metric = metric_name(self.metric or OBJECTIVE, candidate)
        described = self.hook.describe_job(str(job["name"])) if job else live.describe_job(self.hook)
        if described is None and not self.target:
            raise AutoMLValidationError("target", ["target: is not given, and neither is job= or job_name= to ask"])
        subject = subject_of(described, self.target) if described else Subject(target=self.target)
        data = LabelledData(self.storage, str(self.champion_data), argument="champion_data")
        subject = replace(subject, objective=metric)
        return evaluate_endpoint(self.hook, live, data, subject, Bounds(resamples=0), needed=metric)

    def _registered_champion(self, group: str) -> dict[str, Any] | None:
        if self.hook.describe_model_package_group(group) is None:
            return None
        for summary in self.hook.list_model_packages(group, ModelApprovalStatus="Approved"):
            package = self.hook.describe_model_package(summary["ModelPackageArn"]) or {}
            return {
                "name": f"{group} version {package.get('ModelPackageVersion')}",
                "metrics": tag_metrics(package.get("CustomerMetadataProperties") or {}),
            }
        return None
