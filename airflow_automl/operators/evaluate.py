"""Score a deployed endpoint, or a candidate, on labelled rows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import metrics
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.naming import TaskGeneration
from airflow_automl.operators._base import document, whole_number
from airflow_automl.operators._metric_bounds import evaluated
from airflow_automl.operators.transform import SageMakerAutoMLTransformOperator
from airflow_automl.serving import containers_of, derived_name, with_response_keys
from airflow_automl.times import seconds
from airflow_automl.version_tags import TAG_OBJECTIVE

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.evaluation.data import LabelledData
    from airflow_automl.evaluation.live import Bounds
    from airflow_automl.evaluation.subject import Subject


class SageMakerAutoMLEvaluateOperator(SageMakerAutoMLTransformOperator):
    """Measure an endpoint, or a candidate that is not deployed, on labelled data.

    With ``endpoint_name``, a sample of the data is sent to the endpoint by the worker, for ``max_seconds`` at most.
    With ``candidate`` or ``job``, the sample is written to S3 and scored by a batch transform, for which the task can
    defer.
    The sample is the same every time for the same data and ``seed``, so that two models that are evaluated on the same
    data get the same rows.

    ``data`` is an S3 prefix or object with

    - tables and text classification: CSV with a header, plain or gzipped, or Parquet (which needs pyarrow in Airflow's
      environment): the model's columns in their order, and the target. Rows without a target are not used.
    - image classification: a folder for each label, or an augmented manifest.
    - time series: rows in long form, as the job was trained on. The last ``ForecastHorizon`` steps are forecast from
      the steps before them, and compared with the true values.
    - text generation: the columns ``input`` and ``output``. The generated texts are compared with ``output`` by ROUGE.

    Metrics have the names and definitions of Autopilot's. Their confidence intervals come from a bootstrap over the
    rows (of time series: over the series).

    Operations: DescribeEndpoint, DescribeEndpointConfig, ListTags, DescribeModel, DescribeAutoMLJobV2 (V1 as fallback)
    and InvokeEndpoint; for a candidate those of :class:`~airflow_automl.operators.SageMakerAutoMLTransformOperator`,
    and PutObject; ListBucket and GetObject for the data.

    :param data: the labelled data (templated).
    :param endpoint_name: the endpoint to evaluate (templated). The result is ``None`` if it does not exist yet.
    :param variant: use this variant of the endpoint (templated); default: the one with the largest share of the
        traffic.
    :param candidate: the candidate's document, such as ``train.best_candidate``, to evaluate it without an endpoint
        (templated).
    :param job: the job's document, such as ``train.job``. It names the problem, the columns and the objective; default:
        the job that is named in the tags of what the endpoint serves (templated).
    :param job_name: the name of an AutoML job to use instead of ``job`` (templated).
    :param target: the column with the true values; default: the target of the job (templated).
    :param max_rows: how many rows, images, series or texts are drawn. Default: 5,000 rows, 500 images, 200 series, 50
        texts.
    :param max_seconds: a timedelta, or seconds, after which no more requests are sent to the endpoint. The rows sent so
        far are measured, and the document has ``"complete": false``. ``None``: no limit.
    :param seed: of the sample and the bootstrap.
    :param confidence: of the intervals, between 0 and 1.
    :param resamples: of the bootstrap; ``0`` leaves the intervals out.
    :param output_path: for a candidate, the S3 folder for the sample and the predictions (templated); default:
        ``evaluations/`` below the output path of the job.
    :param deferrable: wait for the transform job in the triggerer. Default: ``[operators] default_deferrable``.
    :param kwargs: for a candidate, the other arguments of
        :class:`~airflow_automl.operators.SageMakerAutoMLTransformOperator`: ``instance_type``, ``transform``,
        ``model``, ``role_arn``, ``tags``, ``poll_interval``, ``timeout``; and ``aws_conn_id``, ``region_name``,
        ``verify``, ``botocore_config``.
    :return: ``None`` if the endpoint does not exist; else a document that has the metrics in the same place as a
        candidate's: ``CandidateName``, ``FinalAutoMLJobObjectiveMetric``, ``CandidateProperties.CandidateMetrics``; and
        ``intervals`` (metric → ``[low, high]``), ``confidence``, ``rows``, ``unit``, ``complete``, ``confusion_matrix``
        (``labels``, ``counts``), ``data``, ``evaluated_at``, ``endpoint_name``, ``endpoint_config``, ``variant``,
        ``deployed_metrics`` (those recorded at deployment).
    :raises AutoMLValidationError: the data or the model's answers can't be read, or the problem type is not known.
    """

    template_fields = (
        *SageMakerAutoMLTransformOperator.template_fields,
        *("data", "endpoint_name", "variant", "target", "max_rows"),
    )
    candidate_is_required = False
    ui_color = "#fce5cd"

    def __init__(
        self,
        *,
        data: str,
        endpoint_name: str | None = None,
        variant: str | None = None,
        target: str | None = None,
        max_rows: int | str | None = None,
        max_seconds: timedelta | float | None = 300.0,
        seed: int = 0,
        confidence: float = 0.95,
        resamples: int = 200,
        output_path: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"input_path": "", "response": "all", **kwargs}, output_path=output_path)
        self.data = data
        self.endpoint_name = endpoint_name
        self.variant = variant
        self.target = target
        self.max_rows = max_rows
        limit = seconds(max_seconds, "max_seconds", type(self).__name__)
        self.max_seconds = math.inf if limit is None else limit
        self.seed = seed
        self.confidence = confidence
        self.resamples = resamples
        given = self._candidate_given or self.job is not None or self.job_name is not None
        problems = [] if endpoint_name is not None or given else ["endpoint_name, candidate, job: none is given"]
        if endpoint_name is not None and self._candidate_given:
            problems.append("endpoint_name: a candidate is given too; evaluate one of them in each task")
        if not self.wait_for_completion:
            problems.append("wait_for_completion: is False, but there is nothing to measure before the end")
        if not 0 < confidence < 1:
            problems.append(f"confidence: is {confidence!r}; expected a number between 0 and 1")
        if problems:
            raise AutoMLValidationError(type(self).__name__, problems)

    def execute(self, context: Context) -> Any:
        """Ask the endpoint, or begin the batch transform."""
        if self.endpoint_name is None:
            self._prepare(context)
            return super().execute(context)
        from airflow_automl.evaluation.live import Live, evaluate_endpoint

        live = Live.read(self.hook, self.endpoint_name)
        if live is None:
            self.log.info("Endpoint %s serves nothing yet, so there is nothing to evaluate", self.endpoint_name)
            return None
        name = self.name_of_job()
        described = self.hook.describe_job(name) if name else live.describe_job(self.hook)
        subject = self._subject(described)
        if subject.objective is None:
            subject = replace(subject, objective=live.tags.get(TAG_OBJECTIVE))
        found = evaluate_endpoint(
            self.hook, live, self._labelled(), subject, self._bounds(), variant=self.variant or None
        )
        return self._said(found)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Measure the predictions, once the transform job has ended."""
        from airflow_automl.evaluation.exams import Question, exam_for
        from airflow_automl.evaluation.live import evaluation
        from airflow_automl.evaluation.subject import Subject

        super().execute_complete(context, event)
        # A clear of another task of the run changes the folder that would be derived now; older releases noted none.
        predictions = event["state"].get("output") or f"{self._folder(context)}predictions/"
        storage, folder = self.storage, predictions.removesuffix("predictions/")
        sample: dict[str, Any] = json.loads(storage.read(f"{folder}sample.json"))
        found = {each.rpartition("/")[2]: each for each in storage.find(predictions)}
        exam = exam_for(Subject(**sample["subject"]), sample["keys"])

        def answer(question: Question) -> bytes:
            name = f"{question.body.decode()}.out"
            if name not in found:
                raise ValueError(f"wrote no {name}")
            return storage.read(found[name])

        questions = [Question(name.encode(), truth) for name, truth in sample["truth"].items()]
        who = f"transform job {event['name']}"
        measured = evaluation(exam, self._labelled(), questions, answer, self._bounds(), who)
        return self._said({"CandidateName": sample["candidate"], **measured})

    def _prepare(self, context: Context) -> None:
        from airflow_automl.evaluation.exams import exam_for
        from airflow_automl.evaluation.live import answered, environment_of

        storage, folder = self.storage, self._folder(context)
        candidate, job = self.resolve()
        subject = self._subject(self.hook.describe_job(str(job["name"])) if job else None)
        environment = environment_of({"Containers": with_response_keys(containers_of(candidate), ["all"])})
        keys = answered(environment)
        exam = exam_for(subject, keys, environment)
        self.input_path, self.output_path = f"{folder}sample/", f"{folder}predictions/"
        self.content_type, self.accept = exam.content_type, exam.accept
        whole = {"TransformInput": {"SplitType": "None"}, "TransformOutput": {"AssembleWith": "None"}}
        self.transform = {**whole, **(self.transform or {})}
        if f"{folder}sample.json" in storage.find(folder):
            return
        truth = {}
        for number, question in enumerate(exam.questions(self._labelled(), self._most or exam.most)):
            name = f"{number:05}"
            storage.write(f"{folder}sample/{name}", question.body)
            truth[name] = question.truth
        about = {"candidate": candidate["CandidateName"], "keys": keys, "subject": asdict(subject), "truth": truth}
        storage.write(f"{folder}sample.json", json.dumps(about).encode())

    def _folder(self, context: Context) -> str:
        job = document(self.job, "job") or {}
        below = (job.get("output") or {}).get("S3OutputPath") or self.hook.defaults.get("output_path")
        given = self.output_path or (f"{below.rstrip('/')}/evaluations/" if below else "")
        if not given:
            raise AutoMLValidationError("output_path", ["output_path: no job and no connection names one; name it"])
        name = derived_name(self.task_id.replace(".", "-"), TaskGeneration.of(context).generation_identity)
        return f"{given.rstrip('/')}/{name}/"

    @property
    def _most(self) -> int | None:
        return whole_number(self.max_rows, "max_rows")

    def _subject(self, describe: Any) -> Subject:
        from airflow_automl.evaluation.subject import Subject, subject_of

        subject = subject_of(describe, self.target or None) if describe else Subject(target=self.target or None)
        if subject.target is None and subject.problem_type not in ("ImageClassification", "TextGeneration"):
            raise AutoMLValidationError(
                "job", ["job: its problem type and target are not known; pass job=train.job, job_name=, or target="]
            )
        return subject

    def _labelled(self) -> LabelledData:
        from airflow_automl.evaluation.data import LabelledData

        return LabelledData(self.storage, self.data, self.seed)

    def _bounds(self) -> Bounds:
        from airflow_automl.evaluation.live import Bounds

        return Bounds(self._most, self.max_seconds, self.seed, self.resamples, self.confidence)

    def _said(self, found: dict[str, Any]) -> dict[str, Any]:
        from airflow_automl.report.scores import Scores

        shown = []
        for name, value in metrics.candidate_metrics(found).items():
            low, high = found["intervals"].get(name, (None, None))
            scores = Scores(name)
            interval = "" if low is None else f" ({scores.exact(low)} to {scores.exact(high)})"
            shown.append(f"{scores.label} {scores.exact(value)}{interval}")
        self.log.info("%s, %s: %s", found["CandidateName"], evaluated(found), ", ".join(shown))
        if not found["complete"]:
            self.log.warning(
                "max_seconds (%g) was reached before the whole sample was sent; raise it, or lower max_rows",
                self.max_seconds,
            )
        return found
