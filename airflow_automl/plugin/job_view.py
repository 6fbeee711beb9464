"""What the page of one job shows, made of the service's answers; no call is made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_automl.contract import documents, states
from airflow_automl.contract.states import QUEUED, JobStatus, Outcome, SecondaryStatus, queued, words
from airflow_automl.contract.values import TABULAR_PROBLEM_TYPES
from airflow_automl.links.sagemaker_automl import console_links
from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import Owner
from airflow_automl.report import build, page
from airflow_automl.report.scores import score

#: Seconds between two updates of a running job's page.
REFRESH = 5
_PROBLEMS = 20


def place_in_line(describe: Mapping[str, Any], listed: Iterable[Mapping[str, Any]]) -> int:
    """Return how many jobs of a list start before this one starts, and this one."""
    return 1 + sum(1 for each in listed if queued(each) and each["CreationTime"] < describe["CreationTime"])


def job_view(
    describe: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]] | None,
    *,
    source: Source,
    owner: Owner | None,
    tags: Mapping[str, str],
    written: Mapping[str, Any],
    on_aws: bool,
    prices: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    insights: Mapping[str, Any] | None = None,
    timeline: Sequence[Mapping[str, Any]] = (),
    place: int | None = None,
) -> dict[str, Any]:
    """Gather what the template needs.

    :param candidates: all of them; ``None`` if they can't be listed: then only the best one is known.
    :param written: the summary of the report that a task wrote (:func:`airflow_automl.plugin.metadata.report_of`).
    :param on_aws: whether AWS's console knows the job.
    :param prices: what an hour of the job costs, if anything says.
    :param notes: what could not be found out.
    :param insights: the reports of the best candidate; ``None`` while it is being read.
    :param timeline: the statuses in which the job was seen.
    :param place: the job's place in line if it waits for a slot.
    """
    # A page that first saw the job while it trained does not know when it began.
    whole = timeline if timeline and timeline[0]["secondary_status"] == SecondaryStatus.STARTING else ()
    report = build(describe, candidates, tags=tags, insights=insights, timeline=whole, prices=prices, queues=not on_aws)
    summary, rows, job = report["summary"], report["leaderboard"], report["job"]
    running = summary["outcome"] == "running"
    problems = _problems(report)
    worked = [each["secondary_status"] for each in timeline if each["status"] == JobStatus.IN_PROGRESS]
    reached = worked[-1] if worked else None
    if reached in (None, SecondaryStatus.STARTING) and rows:
        reached = "ModelTuning" if any("ModelTuning" in str(each) for each in worked) else "TrainingModels"
    waits = not on_aws and not rows and queued(describe)
    return page.parts(report) | {
        "job": job,
        "source": source,
        "owner": owner,
        "written": written,
        "console": console_links(str(job["arn"] or ""), str(job["name"])) if on_aws else {},
        "report": report,
        "verdict": report["verdict"] | (QUEUED._asdict() if waits else {}),
        "summary": summary | _leader(rows, summary["objective"], summary),
        "steps": steps(describe, reached),
        "status_line": _status_line(report, rows, summary["objective"]),
        "running": running,
        "queue": {"place": place} if waits else None,
        "refresh": REFRESH if running or insights is None else None,
        "problems": problems[:_PROBLEMS],
        "hidden_problems": max(0, len(problems) - _PROBLEMS),
        "notes": list(notes),
    }


def _problems(document: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Pick what is more than the verdict says; a candidate that was given up for better ones is not a problem."""
    given_up = {f"candidate {row['name']}" for row in document["leaderboard"] if row["status"] == "Stopped"}
    said = document["verdict"]["sentence"]
    return [each for each in document["problems"] if each["message"] != said and each["where"] not in given_up]


def _leader(rows: Sequence[Mapping[str, Any]], objective: str | None, summary: Mapping[str, Any]) -> dict[str, Any]:
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
    return f"{text}; best {objective} {score(best['value'], objective)}." if best and objective else f"{text}."


class Step(NamedTuple):
    """One step; ``state`` is ``done``, ``now``, ``todo``, ``good``, ``warning`` or ``bad``."""

    label: str
    state: str


def steps(describe: Mapping[str, Any], reached: str | None = None) -> list[Step]:
    """List the steps of a job's way, and where it is.

    :param describe: an answer of a describe.
    :param reached: the last observed secondary status in which the job worked. A job that
        was stopped or failed ends there: AWS does not say which steps it took.
    """
    outcome, end = states.outcome(describe), states.end(describe)
    current = str(describe.get("AutoMLJobSecondaryStatus") or "")
    if outcome.terminal or describe.get("AutoMLJobStatus") == states.JobStatus.STOPPING:
        current = reached or ""
    way = [
        str(phase.secondary) for phase in _way(describe, current) if not phase.optional or phase.secondary == current
    ]
    if outcome in (Outcome.COMPLETED, Outcome.COMPLETED_WITH_WARNINGS) or (
        outcome.terminal and states.definitions_only(describe)
    ):
        return [*(Step(words(each), "done") for each in way), Step(end.title, end.tone)]
    at = way.index(current) if current in way else 0
    if outcome.terminal:
        return [*(Step(words(each), "done") for each in way[: at + 1]), Step(end.title, end.tone)]
    if end.title == "Stopping":
        return [*(Step(words(each), "done") for each in way[: at + 1]), Step(end.title, "now"), Step("Stopped", "todo")]
    if current not in way:
        # A status that is newer than this package, or one between two phases.
        return [Step(words(way[0]), "done"), Step(words(current), "now"), Step("Completed", "todo")]
    found = [
        Step(words(each), "done" if index < at else "now" if index == at else "todo") for index, each in enumerate(way)
    ]
    return [*found, Step("Completed", "todo")]


def _way(describe: Mapping[str, Any], current: str) -> tuple[states.Phase, ...]:
    if states.definitions_only(describe):
        return states.phases("DefinitionsOnly")
    problem = documents.problem_type(describe) or "Tabular"
    if problem not in (*TABULAR_PROBLEM_TYPES, "Tabular"):
        return states.phases(problem if problem in states.ORDER else "TextGeneration")
    if current in {SecondaryStatus.FEATURE_ENGINEERING, SecondaryStatus.MODEL_TUNING}:
        return states.phases("HYPERPARAMETER_TUNING")
    if current in {SecondaryStatus.PRE_TRAINING, SecondaryStatus.TRAINING_MODELS}:
        return states.phases("ENSEMBLING")
    mode = documents.mode(describe)
    return states.phases(mode if mode in states.ORDER else "AUTO")
