"""How far a job is: the secondary statuses on its way, as steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_automl.contract import documents, states
from airflow_automl.contract.states import Outcome, SecondaryStatus, words

_TABULAR = frozenset({"BinaryClassification", "MulticlassClassification", "Regression", "Tabular"})


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
    if problem not in _TABULAR:
        return states.phases(problem if problem in states.ORDER else "TextGeneration")
    if current in {SecondaryStatus.FEATURE_ENGINEERING, SecondaryStatus.MODEL_TUNING}:
        return states.phases("HYPERPARAMETER_TUNING")
    if current in {SecondaryStatus.PRE_TRAINING, SecondaryStatus.TRAINING_MODELS}:
        return states.phases("ENSEMBLING")
    mode = _mode(describe)
    return states.phases(mode if mode in states.ORDER else "AUTO")


def _mode(describe: Mapping[str, Any]) -> str:
    v1 = describe.get("AutoMLJobConfig")
    v2 = (describe.get("AutoMLProblemTypeConfig") or {}).get("TabularJobConfig")
    for config in (v1, v2):
        if isinstance(config, Mapping) and config.get("Mode"):
            return str(config["Mode"])
    return "AUTO"
