"""Jinja macros for the fields of a job, such as ``{{ macros.automl.best_metric(ti, "train", "AUC") }}``.

Airflow finds them through the plugin below. Each takes the running task instance (``ti``) and the id of a task whose
XComs it reads, and can be called from Python code as well. ``select`` are further arguments of ``ti.xcom_pull``, such
as ``map_indexes=0`` for a mapped task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_automl import xcom
from airflow_automl.compat import AirflowPlugin
from airflow_automl.exceptions import AutoMLValidationError, NoBestCandidate


def best_candidate(ti: Any, task_id: str, **select: Any) -> Mapping[str, Any]:
    """Return the best candidate's document, in AWS's own keys.

    :raises NoBestCandidate: that task has none.
    """
    candidate = xcom.pull_best_candidate(ti, task_id, **select)
    if not isinstance(candidate, Mapping):
        raise NoBestCandidate(f"task {task_id!r} has no best candidate in its XCom")
    return candidate


def best_candidate_name(ti: Any, task_id: str, **select: Any) -> str:
    """Return the best candidate's name."""
    return str(best_candidate(ti, task_id, **select)["CandidateName"])


def best_metric(ti: Any, task_id: str, metric: str | None = None, **select: Any) -> float:
    """Return one metric of the best candidate, on the validation data.

    :param metric: its name in any spelling; default: the metric that the job optimised.
    :raises AutoMLValidationError: the candidate has no such metric; the message names those that it has.
    """
    from airflow_automl.contract import metrics

    candidate = best_candidate(ti, task_id, **select)
    values = metrics.candidate_metrics(candidate)
    name = metrics.standard_name(metric) if metric else metrics.objective_name(candidate)
    if name not in values:
        raise AutoMLValidationError(
            "metric", [f"metric: the candidate has no {name}; it has: {', '.join(sorted(values)) or 'none'}"]
        )
    return values[name]


def artifact(ti: Any, task_id: str, name: str, **select: Any) -> str:
    """Return the S3 address of one of the best candidate's artefacts.

    :param name: as AWS names it: ``Explainability``, ``ModelInsights``, ``BacktestResults``.
    :raises AutoMLValidationError: the candidate has no such artefact; the message names those that it has.
    """
    candidate = best_candidate(ti, task_id, **select)
    locations = (candidate.get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    if name not in locations:
        raise AutoMLValidationError(
            "name", [f"name: the candidate has no artefact {name!r}; it has: {', '.join(sorted(locations)) or 'none'}"]
        )
    return str(locations[name])


def job(ti: Any, task_id: str, **select: Any) -> Mapping[str, Any]:
    """Return the job's document; empty if that task has submitted no job."""
    return xcom.pull_job(ti, task_id, **select) or {}


def job_name(ti: Any, task_id: str, **select: Any) -> str:
    """Return the job's name; empty if that task has submitted no job."""
    return str(job(ti, task_id, **select).get("name") or "")


def leaderboard(ti: Any, task_id: str, limit: int = 10, **select: Any) -> str:
    """Return candidates as a Markdown table, to show them to a person who approves one.

    :param task_id: a task that returned one candidate or a list of them, such as
        :class:`~airflow_automl.operators.SageMakerAutoMLCandidatesOperator`.
    :param limit: how many rows at most.
    """
    from airflow_automl.contract import metrics
    from airflow_automl.report.scores import Scores

    pulled = ti.xcom_pull(task_ids=task_id, **select)
    candidates: Sequence[Mapping[str, Any]] = [pulled] if isinstance(pulled, Mapping) else list(pulled or ())
    shown = candidates[:limit]
    measured = [metrics.candidate_metrics(candidate) for candidate in shown]
    objective = next(filter(None, map(metrics.objective_name, shown)), None)
    known = [name for name in metrics.standard_metrics() if any(name in values for values in measured)]
    names = sorted(known, key=lambda name: name != objective)
    columns = [Scores(name, [values.get(name) for values in measured]) for name in names]
    rows = [["Candidate", *(column.label for column in columns)], ["---", *("---:" for _ in columns)]]
    for candidate, values in zip(shown, measured, strict=True):
        # A name can't end the cell or the row that it stands in.
        label = " ".join(str(candidate.get("CandidateName", "(unnamed)")).replace("|", "/").split())
        rows.append([f"`{label}`", *(column.text(values.get(column.name)) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


class AutoMLMacrosPlugin(AirflowPlugin):
    """Makes the functions of this module known to Airflow's templates as ``macros.automl``."""

    name = "automl"
    macros = [artifact, best_candidate, best_candidate_name, best_metric, job, job_name, leaderboard]
