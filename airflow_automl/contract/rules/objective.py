"""Rules of the objective and the problem type."""

from __future__ import annotations

from airflow_automl.contract.metrics import OBJECTIVES
from airflow_automl.contract.rules.registry import Finding, Findings, reject, warn
from airflow_automl.contract.rules.request import JobRequest
from airflow_automl.contract.values import TABULAR_PROBLEM_TYPES
from airflow_automl.contract.wording import alternatives, show

_FORECASTING_ONLY = ("MAPE", "MASE", "WAPE", "AverageWeightedQuantileLoss")


@reject("R39")
def objective_and_problem_type_together(job: JobRequest) -> Findings:
    """Tabular jobs of V2 name both, objective and problem type, or neither."""
    if job.api != "V2" or job.problem != "Tabular" or not job.config.present:
        return
    objective, problem_type = job.root.has("AutoMLJobObjective"), job.config.has("ProblemType")
    if problem_type and not objective:
        metrics = OBJECTIVES.get(job.problem_type or "")
        valid = f" with one of {alternatives(metrics)}" if metrics else ""
        yield Finding(
            "AutoMLJobObjective",
            f"is missing although TabularJobConfig.ProblemType is given; add an objective{valid}, or leave out both",
        )
    if objective and not problem_type:
        yield Finding(
            job.config.at("ProblemType"),
            "is missing although AutoMLJobObjective is given; "
            f"add {alternatives(TABULAR_PROBLEM_TYPES)}, or leave out both",
        )


@reject("R40")
def metric_of_tabular_problem(job: JobRequest) -> Findings:
    """The metric is one that the problem type can be judged by."""
    if job.problem_type is not None:
        yield from _metric_among(job, job.problem_type)


@reject("R41")
def no_forecasting_metric_in_v1(job: JobRequest) -> Findings:
    """V1 is tabular: metrics of forecasts never apply."""
    metric = job.objective.text("MetricName")
    if job.api == "V1" and metric in _FORECASTING_ONLY:
        yield Finding(
            job.objective.at("MetricName"),
            f"received {show(metric)}, a forecasting metric; CreateAutoMLJob is for tabular data: choose another "
            "metric, or use CreateAutoMLJobV2 with TimeSeriesForecastingJobConfig",
        )


@reject("R42")
def accuracy_of_classified_media(job: JobRequest) -> Findings:
    """Image and text classification are judged by their accuracy."""
    if job.problem in ("ImageClassification", "TextClassification"):
        yield from _metric_among(job, job.problem)


@reject("R43")
def metric_of_forecasts(job: JobRequest) -> Findings:
    """Forecasts are judged by metrics of their own."""
    if job.problem == "TimeSeriesForecasting":
        yield from _metric_among(job, job.problem)


@warn("R44")
def no_objective_for_text_generation(job: JobRequest) -> Findings:
    """Text generation minimizes its cross-entropy loss, whatever is asked for."""
    if job.problem == "TextGeneration" and job.root.has("AutoMLJobObjective"):
        yield Finding("AutoMLJobObjective", "text generation needs no objective and will ignore this one; leave it out")


@warn("R48")
def objective_and_problem_type_in_v1(job: JobRequest) -> Findings:
    """One of the two alone is not forbidden in V1, but AWS's own SDK refuses it."""
    if job.api != "V1":
        return
    objective, problem_type = job.root.has("AutoMLJobObjective"), job.root.has("ProblemType")
    if objective != problem_type:
        given, missing = ("AutoMLJobObjective", "ProblemType") if objective else ("ProblemType", "AutoMLJobObjective")
        yield Finding(missing, f"is missing although {given} is given; give both, or leave both to Autopilot")


def _metric_among(job: JobRequest, problem_type: str) -> Findings:
    metric = job.objective.text("MetricName")
    valid = OBJECTIVES[problem_type]
    if metric is not None and metric not in valid:
        yield Finding(
            job.objective.at("MetricName"),
            f"received {show(metric)}; the objective of {problem_type} must be {alternatives(valid)}",
        )
