"""What the page of one job shows, made of the service's answers; no call is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import Owner
from airflow_automl.plugin.links import console_links
from airflow_automl.plugin.phases import steps, words
from airflow_automl.report import build, plots

#: Seconds after which the page of a running job asks again.
REFRESH = 5
_ROWS = 100
_COLUMNS = 6
_STRIPS = 6
_PROBLEMS = 20


def job_view(
    describe: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    *,
    source: Source,
    owner: Owner | None,
    tags: Mapping[str, str],
    report: Mapping[str, str],
    on_aws: bool,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Gather what the template needs.

    :param report: where the report lies that a task wrote (:func:`airflow_automl.plugin.metadata.report_of`).
    :param on_aws: whether AWS's console knows the job.
    :param notes: what could not be found out.
    """
    document = build(describe, candidates, tags=tags)
    summary, rows, job = document["summary"], document["leaderboard"], document["job"]
    running = summary["outcome"] == "running"
    names = document["metric_names"][:_COLUMNS]
    measured = [name for name in document["metric_names"] if any(name in row["metrics"] for row in rows)]
    objective = summary["objective"]
    problems = _problems(document)
    return {
        "job": job,
        "source": source,
        "owner": owner,
        "report": report,
        "console": console_links(str(job["arn"] or ""), str(job["name"])) if on_aws else {},
        "document": document,
        "verdict": document["verdict"],
        "summary": summary | _leader(rows, objective, summary),
        "steps": steps(describe),
        "status_line": _status_line(document, rows, objective),
        "running": running,
        "refresh": REFRESH if running else None,
        "rows": rows[:_ROWS],
        "hidden_rows": max(0, len(rows) - _ROWS),
        "metric_names": names,
        "progress": plots.progress(document["progress"], objective) if document["progress"] and objective else None,
        "strips": plots.metric_strips(rows, measured[:_STRIPS]) if len(rows) > 1 and measured else None,
        "gantt": plots.gantt(rows, job["created"], job["ended"], 20),
        "problems": problems[:_PROBLEMS],
        "hidden_problems": max(0, len(problems) - _PROBLEMS),
        "notes": list(notes),
    }


def _problems(document: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Pick what is more than the verdict says; a candidate that was given up for better ones is no problem."""
    given_up = {f"candidate {row['name']}" for row in document["leaderboard"] if row["status"] == "Stopped"}
    said = document["verdict"]["sentence"]
    return [each for each in document["problems"] if each["message"] != said and each["where"] not in given_up]


def _leader(rows: Sequence[Mapping[str, Any]], objective: str | None, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Name the best candidate so far: while a job trains, the service may name none yet."""
    if summary["value"] is not None or not objective:
        return {}
    leader = next((row for row in rows if row["value"] is not None), None)
    return {"candidate_name": leader["name"], "value": leader["value"]} if leader else {}


def _status_line(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], objective: str | None) -> str:
    """Say in one sentence how the job is; screen readers hear it whenever it changes."""
    summary, job = document["summary"], document["job"]
    state = words(job["secondary_status"]) if summary["outcome"] == "running" else document["verdict"]["title"]
    done = summary["candidates_completed"]
    text = f"{state}. {done} of {summary['candidates']} candidates completed" if summary["candidates"] else state
    best = next((row for row in rows if row["value"] is not None), None)
    return f"{text}; best {objective} {plots.number(best['value'])}." if best and objective else f"{text}."
