"""The tags by which the versions of an endpoint, models and transform jobs say what they are and who made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_automl.contract import metrics
from airflow_automl.naming import tag_value

TAG_ENDPOINT = "airflow-automl:endpoint"
TAG_JOB = "airflow-automl:job"
TAG_CANDIDATE = "airflow-automl:candidate"
TAG_OBJECTIVE = "airflow-automl:objective"
TAG_METRIC = "airflow-automl:metric:"
TAG_PREVIOUS = "airflow-automl:previous-config"
#: Identifies the task, between two clears, that rolled back to the config.
TAG_ROLLBACK = "airflow-automl:rolled-back-by"
#: ``deploying`` until an endpoint serves the config; a later try may remove only such a config.
TAG_STATE = "airflow-automl:state"


def origin_tags(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that name the run of a task, as :class:`~airflow_automl.naming.TaskGeneration` identifies it."""
    return {f"airflow-automl:{key}": tag_value(value) for key, value in run.items() if value != ""}


def version_tags(candidate: Mapping[str, Any], job: Mapping[str, Any] | None, own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that say which candidate a config serves, and how good it is."""
    tags = {**own, TAG_CANDIDATE: tag_value(candidate["CandidateName"])}
    if job and job.get("name"):
        tags[TAG_JOB] = tag_value(job["name"])
    objective = metrics.objective_name(candidate)
    if objective:
        tags[TAG_OBJECTIVE] = tag_value(objective)
    for name, value in metrics.candidate_metrics(candidate).items():
        tags[f"{TAG_METRIC}{name}"] = repr(float(value))
    return tags


def tag_metrics(tags: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics that :func:`version_tags` wrote, by their standard names."""
    found: dict[str, float] = {}
    for key, value in tags.items():
        if key.startswith(TAG_METRIC):
            try:
                found[key.removeprefix(TAG_METRIC)] = float(value)
            except ValueError:
                continue
    return found
