"""Apply what trainers report to the store, once and in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from airflow_automl.contract.shapes import check_shape
from airflow_automl.local.service_model import shapes
from airflow_automl.local.state.jobs import Job, JobStore

log = logging.getLogger(__name__)


class Final(NamedTuple):
    """The event that a trainer ended with: a failure's reason, or the secondary status of a success."""

    failure: str | None
    secondary: str | None


def apply(store: JobStore, job: Job, read: Callable[[int], tuple[list[dict[str, Any]], int]]) -> Final | None:
    """Apply all new events of a job's current attempt, each in one transaction with the position after it.

    :param read: returns the events after a position, and the position after them.
    :return: the event that ended the training, if it is among them.
    """
    final: Final | None = None
    position = job.position
    while True:
        found, after = read(position)
        if after == position:
            return final
        with store.database.transaction():
            for event in found:
                if event.get("attempt") == job.attempt:
                    try:
                        final = _apply_one(store, job, event) or final
                    except (KeyError, TypeError, ValueError, AttributeError) as error:
                        log.warning("job %s: event %.300r can't be used: %r", job.name, event, error)
            store.set_position(job.name, after)
        position = after


@cache
def _shapes() -> dict[str, Any]:
    """The model's shapes, with optional artefact locations (forecasts), and HyperParameters in steps."""
    found = shapes()
    locations, step = found["CandidateArtifactLocations"], found["AutoMLCandidateStep"]
    kept = {**step["members"], "HyperParameters": {"shape": "HyperParameters"}}
    return {
        **found,
        "CandidateArtifactLocations": {**locations, "required": []},
        "AutoMLCandidateStep": {**step, "members": kept},
    }


def _apply_one(store: JobStore, job: Job, event: Mapping[str, Any]) -> Final | None:
    name = job.name
    match event["event"]:
        case "phase":
            store.set_phase(name, event["secondary"])
        case "resolved":
            store.set_resolved(name, {key: event[key] for key in event if key not in ("event", "at", "attempt")})
        case "candidate":
            candidate = event["candidate"]
            if found := check_shape(_shapes(), "AutoMLCandidate", candidate):
                raise ValueError("; ".join(map(str, found)))
            store.put_candidate(name, candidate, event.get("digests") or {}, job.attempt)
        case "artifacts":
            store.set_artifacts(name, event["artifacts"])
        case "partial_failure":
            store.add_partial_failure(name, event["kind"], event["message"])
        # The last event is stored, so that a restart between it and the end of the job does not train again.
        case "failed":
            store.set_failure(name, str(event["reason"]))
            return Final(str(event["reason"]), None)
        case "completed":
            store.set_outcome(name, event["secondary"])
            return Final(None, event["secondary"])
        case other:
            log.warning("job %s: unknown event %r", name, other)
    return None
