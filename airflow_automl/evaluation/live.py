"""What an endpoint serves, and how it does on labelled rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import metrics
from airflow_automl.evaluation.data import LabelledData
from airflow_automl.evaluation.exams import Exam, Question, exam_for
from airflow_automl.evaluation.subject import Subject
from airflow_automl.exceptions import AutoMLJobNotFound, AutoMLValidationError
from airflow_automl.scoring import PROBABILITY_METRICS, intervals
from airflow_automl.version_tags import TAG_CANDIDATE, TAG_JOB, tag_metrics

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

RESPONSE_HINT = "deploy it with response=['predicted_label', 'probabilities', 'labels']"
_OUTPUT = "SAGEMAKER_INFERENCE_OUTPUT"
_NEEDED = ("predicted_label", "probabilities", "labels")


class UnscorableChampion(AutoMLValidationError):
    """The endpoint does not answer what the metric is computed from; only another deployment changes that."""


@dataclass(frozen=True)
class Bounds:
    """How much is asked, and how sure the answer is to be.

    :param most: rows, images, series or texts to draw; ``None`` for the problem type's default.
    :param seconds: after which no more requests are sent.
    :param seed: of the sample and of the bootstrap.
    :param resamples: of the bootstrap; ``0`` for no intervals.
    :param confidence: of the intervals.
    """

    most: int | None = None
    seconds: float = 300.0
    seed: int = 0
    resamples: int = 200
    confidence: float = 0.95


@dataclass(frozen=True)
class Live:
    """What an endpoint serves.

    :param name: of the endpoint.
    :param config: the endpoint config, as described; the weights of its variants are those of now.
    :param tags: of endpoint and config.
    """

    name: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]

    @classmethod
    def read(cls, hook: SageMakerAutoMLDeploymentHook, name: str) -> Live | None:
        """Ask for it; ``None`` if the endpoint serves nothing.

        Operations: DescribeEndpoint, DescribeEndpointConfig, ListTags.
        """
        endpoint = hook.describe_endpoint(name)
        if endpoint is None or endpoint["EndpointStatus"] in {"Failed", "Deleting", "Creating"}:
            return None
        config = hook.describe_endpoint_config(endpoint["EndpointConfigName"]) or {}
        # The weights may have been changed since the deployment.
        weights = {each["VariantName"]: each.get("CurrentWeight") for each in endpoint.get("ProductionVariants") or ()}
        for each in config.get("ProductionVariants") or ():
            if (weight := weights.get(each["VariantName"])) is not None:
                each["InitialVariantWeight"] = weight
        tags: dict[str, str] = {}
        # The config's tags describe what is served now, also after a rollback; the endpoint's may be set by hand.
        for arn in (endpoint["EndpointArn"], config.get("EndpointConfigArn")):
            tags.update((hook.read_tags(arn) if arn else None) or {})
        return cls(name, config, tags)

    @property
    def candidate(self) -> str:
        return self.tags.get(TAG_CANDIDATE, "unknown candidate")

    @property
    def metrics(self) -> dict[str, float]:
        """What the candidate had when it was deployed."""
        return tag_metrics(self.tags)

    def describe_job(self, hook: SageMakerAutoMLDeploymentHook) -> dict[str, Any] | None:
        """Describe the job that trained the served model; ``None`` if no tag names it, or it does not exist."""
        try:
            return hook.describe_job(self.tags[TAG_JOB]) if self.tags.get(TAG_JOB) else None
        except AutoMLJobNotFound:
            return None

    def variant(self, name: str | None) -> dict[str, Any]:
        """Return a variant; by default the one with the largest share of the traffic.

        :raises AutoMLValidationError: there is none of this name, or it has inference components instead of a model.
        """
        variants: Sequence[dict[str, Any]] = self.config.get("ProductionVariants") or ()
        named = [each for each in variants if name in (None, each["VariantName"])]
        if not named:
            known = ", ".join(each["VariantName"] for each in variants)
            raise AutoMLValidationError("variant", [f"variant: endpoint {self.name} has no {name!r}; it has: {known}"])
        chosen = max(named, key=lambda each: float(each.get("InitialVariantWeight", 1.0)))
        if "ModelName" not in chosen:
            problem = (
                f"variant {chosen['VariantName']} of endpoint {self.name} serves inference components, not a model"
            )
            raise AutoMLValidationError("variant", [f"variant: {problem}; name an endpoint whose variants name models"])
        return chosen


def environment_of(model: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the environment of a model's last container, which answers."""
    containers = model.get("Containers") or [model.get("PrimaryContainer") or {}]
    environment: Mapping[str, str] = containers[-1].get("Environment") or {}
    return environment


def answered(environment: Mapping[str, str]) -> list[str]:
    """Return what a container with this environment answers, in this order."""
    output = environment.get(_OUTPUT, "")
    return [key.strip() for key in output.split(",") if key.strip()] or ["predicted_label"]


def evaluate_endpoint(
    hook: SageMakerAutoMLDeploymentHook,
    live: Live,
    data: LabelledData,
    subject: Subject,
    bounds: Bounds,
    *,
    variant: str | None = None,
    needed: str | None = None,
) -> dict[str, Any]:
    """Ask the endpoint about a sample of the data, and measure what it answers.

    Operations: DescribeModel, InvokeEndpoint; ListBucket and GetObject for the data.

    :param needed: a metric that the evaluation must have.
    :return: the evaluation, see :func:`evaluation`.
    :raises UnscorableChampion: the endpoint does not answer what ``needed`` is computed from.
    :raises AutoMLValidationError: the data or the answers can't be read.
    """
    chosen = live.variant(variant)
    target = chosen["VariantName"] if len(live.config["ProductionVariants"]) > 1 else None
    model = hook.describe_model(chosen["ModelName"]) or {}
    if target and (arn := model.get("ModelArn")):
        # The config's tags describe the newest candidate, a model's tags the model.
        live = replace(live, tags=hook.read_tags(arn) or live.tags)
    environment = environment_of(model)
    keys = answered(environment)
    exam = exam_for(subject, keys, environment)
    if missing := [key for key in _NEEDED if key not in keys and needed in PROBABILITY_METRICS]:
        problem = f"endpoint {live.name} answers {', '.join(keys)}; {needed} needs {', '.join(missing)} too"
        raise UnscorableChampion(data.argument, [f"{data.argument}: {problem}; {RESPONSE_HINT}"])

    def ask(question: Question) -> bytes:
        return hook.invoke_endpoint(live.name, question.body, exam.content_type, exam.accept, target_variant=target)

    found = evaluation(exam, data, exam.questions(data, bounds.most or exam.most), ask, bounds, f"endpoint {live.name}")
    return {
        "CandidateName": live.candidate,
        **found,
        "endpoint_name": live.name,
        "endpoint_config": live.config.get("EndpointConfigName"),
        "variant": chosen["VariantName"],
        "deployed_metrics": live.metrics,
    }


def evaluation(
    exam: Exam, data: LabelledData, questions: Iterable[Question], ask: Any, bounds: Bounds, who: str
) -> dict[str, Any]:
    """Measure a model's answers.

    :param ask: returns the answer to a question.
    :param who: the model, for messages.
    :return: a document like a candidate's: ``FinalAutoMLJobObjectiveMetric``, ``CandidateProperties`` with
        ``CandidateMetrics`` of the set ``Test``; and ``intervals``, ``confidence``, ``rows``, ``unit``,
        ``confusion_matrix``, ``data``, ``evaluated_at`` and ``complete``.
    """
    deadline, units, complete = monotonic() + bounds.seconds, list[Any](), True
    for question in questions:
        if units and monotonic() > deadline:
            # The order is random: the rows sent so far are a sample, too.
            complete = False
            break
        try:
            units += exam.units(ask(question), question.truth)
        except (ValueError, UnicodeDecodeError) as error:
            raise data.wrong(f"{who} {error}") from error
    if not units:
        raise data.wrong(f"there are no rows with a {exam.subject.target or 'label'} at {data.address}")
    values = exam.measure(units)
    objective = exam.subject.objective if exam.subject.objective in values else exam.fallback
    candidate: dict[str, Any] = {}
    if objective in values:
        candidate["FinalAutoMLJobObjectiveMetric"] = {
            "Type": metrics.direction(str(objective)),
            "MetricName": objective,
            "Value": values[str(objective)],
        }
    listed = [{"StandardMetricName": name, "Value": value, "Set": "Test"} for name, value in values.items()]
    return {
        **candidate,
        "CandidateProperties": {"CandidateMetrics": listed},
        "intervals": intervals(
            units, exam.measure, resamples=bounds.resamples, confidence=bounds.confidence, seed=bounds.seed
        ),
        "confidence": bounds.confidence,
        "rows": len(units),
        "unit": exam.unit,
        "complete": complete,
        "confusion_matrix": exam.confusion(units),
        "data": data.address,
        "evaluated_at": datetime.now(UTC).isoformat(),
    }
