"""Train only if the deployed model needs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import metrics
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators._base import document
from airflow_automl.operators._branching import BranchingOperator
from airflow_automl.operators._metric_bounds import (
    OBJECTIVE,
    check_bounds,
    evaluated,
    judge,
    metric_name,
    number,
    read_bounds,
)
from airflow_automl.times import seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.evaluation.live import Live


class SageMakerAutoMLRetrainOperator(BranchingOperator):
    """Run the training downstream only if the deployed model needs to be replaced.

    It runs if nothing is deployed yet, or if one of the given conditions holds. Without a condition, it runs if the
    model is significantly worse than at its deployment.

    Operations: DescribeEndpoint, DescribeEndpointConfig, ListTags and DescribeAutoMLJobV2 (V1 as fallback); ListBucket
    with ``min_new_data``.

    :param endpoint_name: the endpoint whose model may be replaced (templated).
    :param evaluation: what :class:`~airflow_automl.operators.SageMakerAutoMLEvaluateOperator` returned about it
        (templated); ``None`` if only age or data decide.
    :param require: bounds on the evaluation's metrics, as for
        :class:`~airflow_automl.operators.SageMakerAutoMLGateOperator` (templated). A metric outside of its bounds
            requires training.
    :param max_drop: by how much the evaluation may be worse than the metrics that were recorded at deployment
        (templated): a number for the objective, or a dict by metric. A drop counts only if the recorded value is
        outside of the evaluation's confidence interval. ``None`` does not compare; without any condition, the default
        is ``0``.
    :param max_age: a timedelta, or seconds: the age at which a model is replaced, from the creation of the job that
        trained it (of the endpoint config, if that job is not known).
    :param min_new_data: require training if at least this share, from 0 to 1, of the bytes at ``training_data`` is
        newer than the model (templated).
    :param training_data: the S3 prefix that the model is trained on (templated).
    :param on_keep: what to do if the model is kept: ``skip`` (the default) skips the tasks directly downstream, except
        teardowns; with the id of a task or task group directly downstream, or a list of them, only these run
        (templated). In a mapped task group, the decision applies to the tasks of the same map index.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: the decision: ``{"train", "reason", "endpoint_name", "candidate_name", "age_seconds", "new_data_share",
        "comparison"}``; ``comparison`` is metric → ``{"recorded", "value", "interval", "drop"}``.
    :raises AutoMLValidationError: ``on_keep`` names no task directly downstream; a bound is not a number; the
        evaluation does not have a metric that is named; an argument of a condition is missing.
    """

    template_fields = (
        *BranchingOperator.template_fields,
        *("endpoint_name", "evaluation", "require", "max_drop", "min_new_data", "training_data", "on_keep"),
    )
    ui_color = "#fff2cc"
    branch_argument = "on_keep"

    def __init__(
        self,
        *,
        endpoint_name: str,
        evaluation: Any = None,
        require: dict[str, Any] | None = None,
        max_drop: float | dict[str, float] | str | None = None,
        max_age: timedelta | float | None = None,
        min_new_data: float | str | None = None,
        training_data: str | None = None,
        on_keep: str | list[str] = "skip",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint_name = endpoint_name
        self.evaluation = evaluation
        self.require = require
        self.max_drop = max_drop
        self.max_age = seconds(max_age, "max_age", type(self).__name__)
        self.min_new_data = min_new_data
        self.training_data = training_data
        self.on_keep = on_keep
        if min_new_data is not None and training_data is None:
            problem = "min_new_data: is given, but no training_data to look for new objects in"
            raise AutoMLValidationError(type(self).__name__, [problem])

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, log the reason, and run the training or skip it."""
        from airflow_automl.evaluation.live import Live

        self.check_branch()
        check_bounds(document(self.require, "require") or {})
        live = Live.read(self.hook, self.endpoint_name)
        decision: dict[str, Any] = {
            "train": True,
            "reason": f"Training is needed: endpoint {self.endpoint_name} serves no model yet.",
            "endpoint_name": self.endpoint_name,
            "candidate_name": live.candidate if live else None,
            "age_seconds": None,
            "new_data_share": None,
            "comparison": {},
        }
        if live is not None:
            decision |= self._judge(live)
        self.log.info("%s", decision["reason"])
        self.follow(context, decision, decision["train"])
        return decision

    def _judge(self, live: Live) -> dict[str, Any]:
        needed, kept = list[str](), list[str]()
        trained = self._trained_at(live)
        age = (datetime.now(UTC) - trained).total_seconds()
        found: dict[str, Any] = {"age_seconds": round(age), "comparison": {}}
        if self.max_age is not None:
            said = f"the model is {age / 86_400:.3g} days old (at most {self.max_age / 86_400:.3g})"
            (needed if age >= self.max_age else kept).append(said)
        if self.min_new_data not in (None, "", "None"):
            least = number("min_new_data", self.min_new_data)
            if not 0 <= least <= 1:
                problem = f"min_new_data: is {least:g}; expected a share from 0 to 1, such as 0.2 for a fifth"
                raise AutoMLValidationError("min_new_data", [problem])
            share = self._new_share(trained)
            found["new_data_share"] = share
            said = f"{share:.0%} of the data at {self.training_data} are newer than the model (from {least:.0%} on)"
            (needed if share >= least else kept).append(said)
        evaluation = document(self.evaluation, "evaluation")
        if evaluation:
            self._judge_metrics(live, evaluation, needed, kept, found["comparison"])
        elif document(self.require, "require") or self._wants_drop:
            kept.append("there is no evaluation to judge its metrics by")
        found["train"] = bool(needed)
        grounds = ", and ".join(needed or kept) or "no condition is given"
        subject = f"candidate {live.candidate} at endpoint {live.name}"
        found["reason"] = f"Training is needed: {grounds}." if needed else f"The model is kept, {subject}: {grounds}."
        return found

    @property
    def _wants_drop(self) -> bool:
        if self.max_drop not in (None, "", "None"):
            return True
        others = (document(self.require, "require"), self.max_age, self.min_new_data)
        return all(each in (None, "", "None", {}) for each in others)

    def _judge_metrics(
        self,
        live: Live,
        evaluation: Mapping[str, Any],
        needed: list[str],
        kept: list[str],
        comparison: dict[str, Any],
    ) -> None:
        from airflow_automl.report.scores import Scores

        verdict = judge(evaluation, read_bounds(document(self.require, "require") or {}, evaluation))
        needed += verdict.failures
        kept += verdict.grounds
        if not self._wants_drop:
            return
        given = document(self.max_drop, "max_drop")
        given = 0.0 if given is None else given
        for key, most in (given if isinstance(given, Mapping) else {OBJECTIVE: given}).items():
            name = metric_name(key, evaluation)
            recorded, value = live.metrics.get(name), verdict.metrics.get(name)
            if recorded is None or value is None:
                lacking = "the tags of the endpoint's config don't" if recorded is None else "the evaluation does not"
                kept.append(f"{name} is not compared, because {lacking} have it")
                self.log.warning("%s is not compared: %s have it", name, lacking)
                continue
            down = metrics.direction(name) == "Maximize"
            drop = recorded - value if down else value - recorded
            low, high = evaluation.get("intervals", {}).get(name) or (value, value)
            by_chance = low <= recorded <= high
            comparison[name] = {"recorded": recorded, "value": value, "interval": [low, high], "drop": drop}
            scores, most = Scores(name), number("max_drop", most)
            said = (
                f"{scores.label} {scores.exact(value)} ({scores.exact(low)} to {scores.exact(high)}), "
                f"{evaluated(evaluation)}, against {scores.exact(recorded)} at deployment"
            )
            allowed = f"at most {scores.exact(most)}"
            if drop > most and not by_chance:
                needed.append(f"{said} is a drop of {scores.exact(drop)}" + (f" ({allowed})" if most else ""))
            elif drop > most:
                kept.append(f"{said} is not a significant drop")
            else:
                kept.append(f"{said} is not a drop" if drop <= 0 else f"{said} is a drop of {allowed}")

    def _trained_at(self, live: Live) -> datetime:
        created: Any = (live.describe_job(self.hook) or {}).get("CreationTime") or live.config.get("CreationTime")
        if not isinstance(created, datetime):
            raise AutoMLValidationError(
                "endpoint_name", [f"endpoint_name: it is not known when the model of {live.name} was trained"]
            )
        return created.astimezone(UTC)

    def _new_share(self, trained: datetime) -> float:
        sizes = self.storage.written(str(self.training_data))
        total = sum(size for size, _ in sizes.values())
        if not total:
            raise AutoMLValidationError("training_data", [f"training_data: there is nothing at {self.training_data}"])
        return sum(size for size, at in sizes.values() if at > trained) / total
