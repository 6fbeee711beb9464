"""What there is to say about a job, in few words: as plain text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from airflow_automl.contract import metrics
from airflow_automl.contract.states import words
from airflow_automl.report.scores import Scores
from airflow_automl.times import duration_text, seconds_between


def summarize(
    job: Mapping[str, Any] | None,
    candidate: Mapping[str, Any] | None,
    *,
    dag_id: str,
    task_id: str,
    run_id: str,
    error: object = None,
    report: str | None = None,
) -> dict[str, Any]:
    """Put a job into words.

    :param job: the job's document, ``None`` if it was never submitted.
    :param candidate: its best candidate, if it has one.
    :param error: what the task failed with.
    :param report: the location of its report.
    :return: ``{"title", "text", "markdown", "html", "facts", "job", "candidate"}``; ``facts`` are the lines as pairs.
    """
    end = (job.get("end") or {}).get("title", job["status"]) if job else ""
    title = f"{dag_id}: AutoML job {job['name']}: {end}" if job else f"{dag_id}: no AutoML job was submitted"
    if job and error is not None:
        # The job may still run, or have completed, although its task fails.
        title += f"; task {task_id} failed"
    facts: list[tuple[str, str]] = []
    if error is not None:
        facts.append(("Reason", str(error)))
    if job:
        facts.append(("Status", f"{end} ({job['status']}/{job['secondary_status']})"))
        facts.append(("Problem type", words(job.get("problem_type"))))
    if candidate:
        facts.append(("Best candidate", str(candidate["CandidateName"])))
        objective = metrics.objective_name(candidate)
        values = metrics.candidate_metrics(candidate)
        ordered = sorted(values, key=lambda each: (each != objective, each))
        scores = [Scores(each, [values[each]]) for each in ordered[:6]]
        facts.append(("Metrics", ", ".join(f"{each.label} {each.text(values[each.name])}" for each in scores)))
    if job:
        seconds = seconds_between(job.get("created"), job.get("ended"))
        if seconds is not None:
            facts.append(("Run time", duration_text(seconds)))
        facts += [("Partial failure", message) for message in job.get("partial_failures") or ()]
    if report:
        facts.append(("Report", report))
    facts.append(("Task", f"{dag_id}.{task_id}, run {run_id}"))
    lines = "\n".join(f"{key}: {value}" for key, value in facts)
    # Channels escape Markdown differently: code spans keep values from becoming markup. A line of its own ends one.
    marked = "\n".join(f"- {key}: `{' '.join(value.replace('`', chr(39)).split())}`" for key, value in facts)
    rows = "".join(f"<tr><th align=left>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts)
    return {
        "title": title,
        "text": f"{title}\n{lines}",
        "markdown": f"**{title.replace('*', '')}**\n\n{marked}",
        "html": f"<h3>{escape(title)}</h3><table>{rows}</table>",
        "facts": facts,
        "job": dict(job) if job else None,
        "candidate": dict(candidate) if candidate else None,
    }
