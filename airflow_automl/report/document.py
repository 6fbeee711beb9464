"""The report as data: everything that the page shows, and what the JSON beside it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_automl.contract import documents, metrics, states
from airflow_automl.contract.states import Outcome
from airflow_automl.cost import cost
from airflow_automl.report.scores import score
from airflow_automl.times import duration_text, seconds_between

#: Version of the report's document; raised when a key changes its meaning or goes away.
SCHEMA_VERSION = 1

#: Members of a describe answer that are results, not configuration.
_NOT_CONFIGURATION = frozenset(
    {
        *("AutoMLJobArn", "AutoMLJobName", "AutoMLJobStatus", "AutoMLJobSecondaryStatus", "BestCandidate"),
        *("CreationTime", "EndTime", "LastModifiedTime", "FailureReason", "PartialFailureReasons"),
        *("AutoMLJobArtifacts", "ModelDeployResult", "ResolvedAttributes", "ResponseMetadata"),
    }
)


def build(
    describe: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]] | None,
    *,
    tags: Mapping[str, str] | None = None,
    insights: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
    previous: Mapping[str, Any] | None = None,
    timeline: Sequence[Mapping[str, Any]] | None = None,
    prices: Mapping[str, Any] | None = None,
    queues: bool = True,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Gather a job's answers into the report's document.

    :param describe: an answer of DescribeAutoMLJob or DescribeAutoMLJobV2, in any state of the job.
    :param candidates: the answers of ListCandidatesForAutoMLJob; ``None`` if they can't be listed.
    :param tags: the job's tags.
    :param insights: what :func:`airflow_automl.report.insights.read` found beside the best candidate.
    :param run: ``{"dag_id", "run_id", "task_id", "logical_date"}`` of the Airflow run that makes the report.
    :param previous: the ``summary`` of this DAG's previous report.
    :param timeline: the transitions ``{"at", "status", "secondary_status"}`` that a waiting task saw.
    :param prices: what an hour costs (:mod:`airflow_automl.cost`).
    :param queues: whether the job may have waited for a slot, as in the embedded Autopilot; AWS starts jobs at once.
    :param now: when the report is made; a running job is timed until then.
    :return: JSON-serializable; keys ``schema_version``, ``generated``, ``verdict``, ``job``, ``summary``, ``previous``,
        ``leaderboard``, ``started``, ``progress``, ``metric_names``, ``best``, ``insights``, ``timeline``,
        ``problems``, ``configuration``, ``resolved``, ``artifacts``, ``run``.
    """
    moment = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    answer = documents.json_safe(describe)
    job = documents.job(describe, tags=tags)
    best = documents.best_candidate(describe)
    outcome = states.outcome(describe)
    # Without an objective in the request and a best candidate: that of the other candidates.
    named = [best] if best else [each for each in candidates or () if each.get("FinalAutoMLJobObjectiveMetric")]
    objective = job["objective"] or (metrics.objective_name(named[0]) if named else None)
    rows = leaderboard(candidates or (), best, objective)
    # Listing lags behind describing: while the list lacks the best candidate, the number of candidates is unknown.
    counted = candidates is not None and len(rows) == len(candidates)
    started = _started(job, rows, timeline or ()) if queues else job["created"]
    until = job["ended"] or (moment if outcome is Outcome.RUNNING else None)
    runtime = seconds_between(started, until)
    computed = [each for row in rows if (each := seconds_between(row["created"], row["ended"] or until)) is not None]
    training = sum(computed) if computed else None
    return {
        "schema_version": SCHEMA_VERSION,
        "generated": moment,
        "verdict": _verdict(answer, outcome, best, objective, runtime),
        "job": dict(job),
        "summary": {
            "job_name": job["name"],
            "candidate_name": best["CandidateName"] if best else None,
            "objective": objective,
            "direction": metrics.direction(objective) if objective else None,
            "value": metrics.objective_value(best) if best else None,
            "metrics": metrics.candidate_metrics(best) if best else {},
            "outcome": outcome.value,
            "runtime_seconds": runtime,
            "limit_seconds": runtime_limit(answer),
            "candidate_seconds": training,
            "cost": None if candidates is None else cost(prices, job["problem_type"], runtime, training),
            "candidates": len(rows) if counted else None,
            "candidates_completed": sum(row["status"] == "Completed" for row in rows) if counted else None,
            "ended": job["ended"],
        },
        "previous": _comparison(previous, best, objective),
        "leaderboard": rows,
        "started": started,
        "progress": _progress(rows, started, objective),
        "metric_names": metric_names(rows, objective),
        "best": details(best, objective),
        "insights": dict(insights or {}),
        "timeline": [dict(each) for each in timeline or ()],
        "problems": _problems(answer, rows, insights),
        "configuration": {key: value for key, value in answer.items() if key not in _NOT_CONFIGURATION},
        "resolved": answer.get("ResolvedAttributes") or {},
        "artifacts": _artifacts(answer, best),
        "run": dict(run or {}),
    }


def _started(
    job: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], timeline: Sequence[Mapping[str, Any]]
) -> str | None:
    """Return when the job left its queue: at its second status or its first candidate; else when it was created."""
    signs = [row["created"] for row in rows]
    signs += [
        each["at"]
        for each in timeline
        if each["secondary_status"] != states.SecondaryStatus.STARTING and not states.is_terminal(each["status"])
    ]
    waits = {sign: wait for sign in signs if (wait := seconds_between(job["created"], sign)) is not None}
    first = min(waits, key=lambda sign: waits[sign], default=None)
    return str(first) if first is not None and waits[first] else job.get("created")


def runtime_limit(job: Mapping[str, Any]) -> float | None:
    """Return MaxAutoMLJobRuntimeInSeconds of a request or an answer: as asked for, or as the service resolved it."""
    found: list[Any] = [job]
    while found:
        each = found.pop(0)
        if isinstance(each, Mapping):
            if isinstance(limit := each.get("MaxAutoMLJobRuntimeInSeconds"), int | float):
                return float(limit)
            found += each.values()
    return None


def leaderboard(
    candidates: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, objective: str | None
) -> list[dict[str, Any]]:
    """Return a row for each candidate, best first; the best one is added where the list lacks it."""
    listed = [documents.json_safe(candidate) for candidate in candidates]
    if best and all(each.get("CandidateName") != best["CandidateName"] for each in listed):
        # An account may allow only one of the two.
        listed.append(dict(best))
    rows = []
    for candidate in listed:
        measured = metrics.candidate_metrics(candidate)
        value = metrics.objective_value(candidate)
        rows.append(
            {
                "name": candidate.get("CandidateName", "(unnamed)"),
                "status": candidate.get("CandidateStatus", "unknown"),
                "value": measured.get(objective) if value is None and objective else value,
                "metrics": measured,
                "created": candidate.get("CreationTime"),
                "ended": candidate.get("EndTime"),
                "seconds": seconds_between(candidate.get("CreationTime"), candidate.get("EndTime")),
                "failure": candidate.get("FailureReason"),
                "images": [each["image"] for each in containers(candidate) if each["image"]],
                "best": bool(best) and candidate.get("CandidateName") == (best or {}).get("CandidateName"),
            }
        )
    sign = -1 if objective and metrics.direction(objective) == "Maximize" else 1
    rows.sort(key=lambda row: (not row["best"], row["value"] is None, sign * (row["value"] or 0.0), row["name"]))
    for rank, row in enumerate(rows, start=1):
        row["rank"] = rank if row["value"] is not None else None
    return rows


def _progress(rows: Sequence[Mapping[str, Any]], created: str | None, objective: str | None) -> list[dict[str, Any]]:
    finished = []
    for row in rows:
        seconds = seconds_between(created, row["ended"])
        if row["value"] is not None and seconds is not None:
            finished.append({"name": row["name"], "seconds": seconds, "value": row["value"], "best": row["best"]})
    finished.sort(key=lambda each: each["seconds"])
    better = min if objective and metrics.direction(objective) == "Minimize" else max
    running: float | None = None
    for each in finished:
        running = each["value"] if running is None else better(running, each["value"])
        each["running_best"] = running
    return finished


def metric_names(rows: Sequence[Mapping[str, Any]], objective: str | None) -> list[str]:
    """Return the metrics that rows have, the objective first, then those that AWS knows, in its order."""
    seen = {name for row in rows for name in row["metrics"]}
    known = [name for name in metrics.standard_metrics() if name in seen]
    ordered = [*known, *sorted(seen - set(known))]
    return sorted(ordered, key=lambda name: name != objective)


def details(best: Mapping[str, Any] | None, objective: str | None = None) -> dict[str, Any] | None:
    """Return a candidate's metrics by data set, containers and steps."""
    if not best:
        return None
    by_set: dict[str, dict[str, float]] = {}
    for metric in (best.get("CandidateProperties") or {}).get("CandidateMetrics") or ():
        name, value = metrics.standard_name(metric), metric.get("Value")
        if name and isinstance(value, int | float):
            by_set.setdefault(name, {})[metric.get("Set") or "Validation"] = float(value)
    return {
        "name": best["CandidateName"],
        "metrics": dict(sorted(by_set.items(), key=lambda pair: pair[0] != objective)),
        "sets": [each for each in ("Train", "Validation", "Test") if any(each in sets for sets in by_set.values())],
        "containers": containers(best),
        "steps": [
            {"type": step.get("CandidateStepType"), "name": step.get("CandidateStepName")}
            for step in best.get("CandidateSteps") or ()
        ],
    }


def containers(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = candidate.get("InferenceContainers") or [
        container for group in (candidate.get("InferenceContainerDefinitions") or {}).values() for container in group
    ]
    return [{"image": container.get("Image"), "model": container.get("ModelDataUrl")} for container in listed]


def _verdict(
    answer: Mapping[str, Any],
    outcome: Outcome,
    best: Mapping[str, Any] | None,
    objective: str | None,
    runtime: float | None,
) -> dict[str, str]:
    took = f" after {duration_text(runtime)}" if runtime is not None else ""
    scored = ""
    if best and objective and (value := metrics.objective_value(best)) is not None:
        scored = f" with {objective} {score(value, objective)}"
    winner = f"{best['CandidateName']} is the best candidate{scored}" if best else ""
    sentence = {
        Outcome.COMPLETED: f"{winner}.",
        Outcome.COMPLETED_WITH_WARNINGS: f"{winner}, but not everything went well.",
        Outcome.COMPLETED_WITHOUT_CANDIDATE: _why_no_candidate(answer),
        Outcome.FAILED: answer.get("FailureReason") or "The service gives no reason.",
        Outcome.STOPPED: f"It was stopped{took}. {f'Until then, {winner}.' if winner else ''}".strip(),
        Outcome.RUNNING: f"Until now, {winner}." if winner else "No candidate is finished yet.",
    }[outcome]
    end = states.end(answer)
    return {"tone": end.tone, "title": end.title, "sentence": sentence, "outcome": outcome.value}


def _why_no_candidate(answer: Mapping[str, Any]) -> str:
    if states.definitions_only(answer):
        return "It generated candidate definitions only, as requested; the notebooks are listed below."
    if states.runtime_limit_reached(answer):
        return "The job's runtime limit ended it before any candidate was finished."
    return "The service names no best candidate."


def _comparison(
    previous: Mapping[str, Any] | None, best: Mapping[str, Any] | None, objective: str | None
) -> dict[str, Any] | None:
    if not previous or not best or not objective:
        return None
    before, now = (previous.get("metrics") or {}).get(objective), metrics.candidate_metrics(best).get(objective)
    if before is None or now is None:
        return None
    gain = before - now if metrics.direction(objective) == "Minimize" else now - before
    return {
        "job_name": previous.get("job_name"),
        "candidate_name": previous.get("candidate_name"),
        "ended": previous.get("ended"),
        "metric": objective,
        "before": before,
        "now": now,
        "gain": gain,
    }


def _problems(
    answer: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], insights: Mapping[str, Any] | None
) -> list[dict[str, str]]:
    found = []
    if answer.get("FailureReason"):
        found.append({"where": "job", "message": str(answer["FailureReason"])})
    found += [
        {"where": "partial failure", "message": str(reason.get("PartialFailureMessage"))}
        for reason in answer.get("PartialFailureReasons") or ()
    ]
    if states.deployment_failed(answer):
        found.append(
            {
                "where": "deployment",
                "message": "The best candidate was not deployed, although ModelDeployConfig requests it.",
            }
        )
    found += [{"where": f"candidate {row['name']}", "message": str(row["failure"])} for row in rows if row["failure"]]
    found += [{"where": "report", "message": str(note)} for note in (insights or {}).get("notes", ())]
    return found


def _artifacts(answer: Mapping[str, Any], best: Mapping[str, Any] | None) -> list[dict[str, str]]:
    found = []
    output = (answer.get("OutputDataConfig") or {}).get("S3OutputPath")
    if output:
        found.append({"what": "Output of the job", "where": f"{output.rstrip('/')}/{answer.get('AutoMLJobName', '')}/"})
    labels = {
        "CandidateDefinitionNotebookLocation": "Candidate definition notebook",
        "DataExplorationNotebookLocation": "Data exploration notebook",
        "Explainability": "Explainability report",
        "ModelInsights": "Model insights",
        "BacktestResults": "Backtest results",
    }
    properties = (best or {}).get("CandidateProperties") or {}
    for group in (answer.get("AutoMLJobArtifacts") or {}, properties.get("CandidateArtifactLocations") or {}):
        found += [{"what": labels.get(key, key), "where": str(value)} for key, value in group.items() if value]
    for number, container in enumerate(containers(best or {}), start=1):
        if container["model"]:
            found.append({"what": f"Model of the best candidate, container {number}", "where": container["model"]})
    return found
