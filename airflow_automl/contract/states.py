"""The state machine of AutoML jobs, as data: operators, sensor, trigger, report and service all decide by it.

No document of AWS states which pairs of status and secondary status occur, or in which order: what stands here is
inferred, except where :attr:`Pair.documented` says otherwise. Clients therefore decide on ``AutoMLJobStatus`` alone,
and a secondary status that is not listed here is never an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple


class JobStatus(StrEnum):
    """``AutoMLJobStatus``."""

    IN_PROGRESS = "InProgress"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


class SecondaryStatus(StrEnum):
    """``AutoMLJobSecondaryStatus``; a service may answer values that are not here."""

    STARTING = "Starting"
    PRE_TRAINING = "PreTraining"
    ANALYZING_DATA = "AnalyzingData"
    FEATURE_ENGINEERING = "FeatureEngineering"
    MODEL_TUNING = "ModelTuning"
    TRAINING_MODELS = "TrainingModels"
    GENERATING_EXPLAINABILITY_REPORT = "GeneratingExplainabilityReport"
    GENERATING_MODEL_INSIGHTS_REPORT = "GeneratingModelInsightsReport"
    DEPLOYING_MODEL = "DeployingModel"
    CANDIDATE_DEFINITIONS_GENERATED = "CandidateDefinitionsGenerated"
    MAX_CANDIDATES_REACHED = "MaxCandidatesReached"
    MAX_AUTO_ML_JOB_RUNTIME_REACHED = "MaxAutoMLJobRuntimeReached"
    EXPLAINABILITY_ERROR = "ExplainabilityError"
    MODEL_INSIGHTS_ERROR = "ModelInsightsError"
    MODEL_DEPLOYMENT_ERROR = "ModelDeploymentError"
    STOPPING = "Stopping"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"


class Use(StrEnum):
    """Who meets a pair: the embedded service emits it, or clients have to accept it from AWS."""

    EMIT = "emit"
    TOLERATE = "tolerate"


class Expectation(StrEnum):
    """Whether an answer with this pair has a ``BestCandidate``."""

    ABSENT = "absent"
    MAYBE = "maybe"
    EXPECTED = "expected"


class Pair(NamedTuple):
    """A status and secondary status that occur together."""

    status: JobStatus
    secondary: SecondaryStatus
    use: Use
    best_candidate: Expectation
    documented: bool = False

    @property
    def terminal(self) -> bool:
        """Whether a job in this pair will never change again."""
        return self.status in TERMINAL


class Phase(NamedTuple):
    """One step of a job's way; an optional one is passed over by some jobs of the same kind."""

    secondary: SecondaryStatus
    optional: bool = False


class Outcome(Enum):
    """How a job ended or that it runs, as far as the result of a task depends on it."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_WARNINGS = "completed with warnings"
    COMPLETED_WITHOUT_CANDIDATE = "completed without candidate"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self is not Outcome.RUNNING


class End(NamedTuple):
    """What a job's state is called wherever a person reads it, and its tone.

    :param title: such as ``Completed at the runtime limit``.
    :param tone: ``good``, ``warning``, ``bad`` or ``running``; everywhere the same colour.
    """

    title: str
    tone: str


#: The embedded Autopilot only: the job waits for a free slot.
QUEUED = End("Waiting for its turn", "running")

_S, _J = SecondaryStatus, JobStatus

TERMINAL = frozenset({_J.COMPLETED, _J.FAILED, _J.STOPPED})

_EMIT, _TOLERATE = Use.EMIT, Use.TOLERATE
_ABSENT, _MAYBE, _EXPECTED = Expectation.ABSENT, Expectation.MAYBE, Expectation.EXPECTED

_TABLE = (
    Pair(_J.IN_PROGRESS, _S.STARTING, _EMIT, _ABSENT),
    Pair(_J.IN_PROGRESS, _S.PRE_TRAINING, _EMIT, _ABSENT),
    Pair(_J.IN_PROGRESS, _S.ANALYZING_DATA, _EMIT, _ABSENT),
    Pair(_J.IN_PROGRESS, _S.FEATURE_ENGINEERING, _EMIT, _ABSENT),
    # Absent until a candidate has completed; may appear during or after training.
    Pair(_J.IN_PROGRESS, _S.MODEL_TUNING, _EMIT, _MAYBE),
    Pair(_J.IN_PROGRESS, _S.TRAINING_MODELS, _EMIT, _MAYBE),
    Pair(_J.IN_PROGRESS, _S.GENERATING_EXPLAINABILITY_REPORT, _EMIT, _EXPECTED),
    Pair(_J.IN_PROGRESS, _S.GENERATING_MODEL_INSIGHTS_REPORT, _EMIT, _EXPECTED),
    Pair(_J.IN_PROGRESS, _S.DEPLOYING_MODEL, _EMIT, _EXPECTED),
    # May show between phases while reports are still produced.
    Pair(_J.IN_PROGRESS, _S.CANDIDATE_DEFINITIONS_GENERATED, _TOLERATE, _MAYBE),
    Pair(_J.IN_PROGRESS, _S.MAX_CANDIDATES_REACHED, _TOLERATE, _MAYBE),
    Pair(_J.IN_PROGRESS, _S.MAX_AUTO_ML_JOB_RUNTIME_REACHED, _TOLERATE, _MAYBE),
    Pair(_J.STOPPING, _S.MAX_AUTO_ML_JOB_RUNTIME_REACHED, _TOLERATE, _MAYBE),  # graceful end at the limit
    Pair(_J.STOPPING, _S.STOPPING, _EMIT, _MAYBE),  # after StopAutoMLJob
    # GenerateCandidateDefinitionsOnly; AutoMLJobArtifacts filled.
    Pair(_J.COMPLETED, _S.CANDIDATE_DEFINITIONS_GENERATED, _EMIT, _ABSENT),
    # Tuning ended by MaxCandidates (HYPERPARAMETER_TUNING); Completed/Completed is as valid.
    Pair(_J.COMPLETED, _S.MAX_CANDIDATES_REACHED, _EMIT, _EXPECTED),
    # Best of the candidates whose training had completed (R52); absent when none had.
    Pair(_J.COMPLETED, _S.MAX_AUTO_ML_JOB_RUNTIME_REACHED, _EMIT, _MAYBE, documented=True),
    # PartialFailureReasons set; report missing, or ModelDeployResult omitted (R35).
    Pair(_J.COMPLETED, _S.EXPLAINABILITY_ERROR, _EMIT, _EXPECTED),
    Pair(_J.COMPLETED, _S.MODEL_INSIGHTS_ERROR, _EMIT, _EXPECTED),
    Pair(_J.COMPLETED, _S.MODEL_DEPLOYMENT_ERROR, _EMIT, _EXPECTED),
    Pair(_J.COMPLETED, _S.COMPLETED, _EMIT, _EXPECTED),
    Pair(_J.FAILED, _S.EXPLAINABILITY_ERROR, _TOLERATE, _MAYBE),
    Pair(_J.FAILED, _S.MODEL_INSIGHTS_ERROR, _TOLERATE, _MAYBE),
    Pair(_J.FAILED, _S.MODEL_DEPLOYMENT_ERROR, _TOLERATE, _MAYBE),
    Pair(_J.FAILED, _S.FAILED, _EMIT, _ABSENT),  # FailureReason set
    Pair(_J.STOPPED, _S.MAX_AUTO_ML_JOB_RUNTIME_REACHED, _TOLERATE, _MAYBE),  # stopped at the runtime limit
    Pair(_J.STOPPED, _S.STOPPED, _EMIT, _MAYBE),  # after StopAutoMLJob; only if a candidate had completed
)

#: (status, secondary) → its meaning. No service is known to answer other pairs.
PAIRS: Mapping[tuple[str, str], Pair] = MappingProxyType({(pair.status, pair.secondary): pair for pair in _TABLE})

_REPORTS = (Phase(_S.GENERATING_EXPLAINABILITY_REPORT), Phase(_S.GENERATING_MODEL_INSIGHTS_REPORT))
_DEPLOY = Phase(_S.DEPLOYING_MODEL, optional=True)

#: Kind of job → the secondary statuses it passes through while InProgress. The kinds are the modes of tabular jobs,
#: ``DefinitionsOnly``, and the other problem types. AUTO takes the way of one of the two other modes after its start.
ORDER: Mapping[str, tuple[Phase, ...]] = MappingProxyType(
    {
        "ENSEMBLING": (
            Phase(_S.STARTING),
            Phase(_S.ANALYZING_DATA, optional=True),
            Phase(_S.PRE_TRAINING),
            Phase(_S.TRAINING_MODELS),
            *_REPORTS,
            _DEPLOY,
        ),
        "HYPERPARAMETER_TUNING": (
            Phase(_S.STARTING),
            Phase(_S.ANALYZING_DATA),
            Phase(_S.FEATURE_ENGINEERING),
            Phase(_S.MODEL_TUNING),
            *_REPORTS,
            _DEPLOY,
        ),
        "AUTO": (Phase(_S.STARTING), Phase(_S.ANALYZING_DATA)),
        "DefinitionsOnly": (
            Phase(_S.STARTING),
            Phase(_S.ANALYZING_DATA),
            Phase(_S.FEATURE_ENGINEERING, optional=True),
        ),
        "TimeSeriesForecasting": (
            Phase(_S.STARTING),
            Phase(_S.ANALYZING_DATA, optional=True),
            Phase(_S.PRE_TRAINING),
            Phase(_S.TRAINING_MODELS),
            Phase(_S.GENERATING_EXPLAINABILITY_REPORT),
            Phase(_S.GENERATING_MODEL_INSIGHTS_REPORT, optional=True),
            _DEPLOY,
        ),
        **dict.fromkeys(
            ("ImageClassification", "TextClassification"),
            (
                Phase(_S.STARTING),
                Phase(_S.ANALYZING_DATA, optional=True),
                Phase(_S.PRE_TRAINING, optional=True),
                Phase(_S.TRAINING_MODELS),
                Phase(_S.GENERATING_EXPLAINABILITY_REPORT, optional=True),
                Phase(_S.GENERATING_MODEL_INSIGHTS_REPORT, optional=True),
                _DEPLOY,
            ),
        ),
        "TextGeneration": (
            Phase(_S.STARTING),
            Phase(_S.ANALYZING_DATA, optional=True),
            Phase(_S.PRE_TRAINING, optional=True),
            Phase(_S.TRAINING_MODELS),
            _DEPLOY,
        ),
    }
)

#: If several of these happened in one job, the first in this order is its final secondary status.
FINAL_PRECEDENCE = (
    _S.MODEL_DEPLOYMENT_ERROR,
    _S.EXPLAINABILITY_ERROR,
    _S.MODEL_INSIGHTS_ERROR,
    _S.MAX_AUTO_ML_JOB_RUNTIME_REACHED,
    _S.MAX_CANDIDATES_REACHED,
    _S.COMPLETED,
)

_PARTIAL = frozenset({_S.EXPLAINABILITY_ERROR, _S.MODEL_INSIGHTS_ERROR, _S.MODEL_DEPLOYMENT_ERROR})


def is_terminal(status: str | None) -> bool:
    """Return whether a job with this ``AutoMLJobStatus`` has ended."""
    return status in TERMINAL


def secondary_status(value: str) -> SecondaryStatus | str:
    """Read an ``AutoMLJobSecondaryStatus``; a value that is not known stays the string it is."""
    try:
        return SecondaryStatus(value)
    except ValueError:
        return value


def phases(kind: str, resolved_mode: str | None = None) -> tuple[Phase, ...]:
    """List the phases of a kind of job, in order.

    :param kind: a key of :data:`ORDER`.
    :param resolved_mode: for ``AUTO``: the mode that the size of the data chose.
    """
    start = ORDER[kind]
    if kind != "AUTO" or resolved_mode is None:
        return start
    return start + ORDER[resolved_mode][len(start) :]


def outcome(describe: Mapping[str, Any]) -> Outcome:
    """Return the state of a described job, V1 or V2.

    A job that completed without a best candidate is distinguished further by :func:`definitions_only` and
    :func:`runtime_limit_reached`; a deployment that did not happen by :func:`deployment_failed`.

    :param describe: an answer of DescribeAutoMLJob or DescribeAutoMLJobV2.
    """
    status = describe.get("AutoMLJobStatus")
    if status == JobStatus.FAILED:
        return Outcome.FAILED
    if status == JobStatus.STOPPED:
        return Outcome.STOPPED
    if status != JobStatus.COMPLETED:
        return Outcome.RUNNING
    if not describe.get("BestCandidate"):
        return Outcome.COMPLETED_WITHOUT_CANDIDATE
    if describe.get("AutoMLJobSecondaryStatus") in _PARTIAL or describe.get("PartialFailureReasons"):
        return Outcome.COMPLETED_WITH_WARNINGS
    return Outcome.COMPLETED


def definitions_only(describe: Mapping[str, Any]) -> bool:
    """Return whether the job only generates candidate definitions (R71)."""
    if describe.get("AutoMLJobSecondaryStatus") == SecondaryStatus.CANDIDATE_DEFINITIONS_GENERATED:
        return is_terminal(describe.get("AutoMLJobStatus"))
    if describe.get("GenerateCandidateDefinitionsOnly") is True:
        return True
    problem = describe.get("AutoMLProblemTypeConfig")
    tabular = problem.get("TabularJobConfig") if isinstance(problem, Mapping) else None
    return isinstance(tabular, Mapping) and tabular.get("GenerateCandidateDefinitionsOnly") is True


def runtime_limit_reached(describe: Mapping[str, Any]) -> bool:
    """Return whether MaxAutoMLJobRuntimeInSeconds ended the job (R52)."""
    return describe.get("AutoMLJobSecondaryStatus") == SecondaryStatus.MAX_AUTO_ML_JOB_RUNTIME_REACHED


def deployment_failed(describe: Mapping[str, Any]) -> bool:
    """Return whether a completed job lacks the endpoint that its ModelDeployConfig asked for (R35, R36).

    That is so after a ``ModelDeploymentError``, and when the runtime limit cut the deployment off. A job that only
    generates definitions has nothing to deploy, and is not held to it.
    """
    if describe.get("AutoMLJobStatus") != JobStatus.COMPLETED or definitions_only(describe):
        return False
    if describe.get("AutoMLJobSecondaryStatus") == SecondaryStatus.MODEL_DEPLOYMENT_ERROR:
        return True
    asked, result = describe.get("ModelDeployConfig"), describe.get("ModelDeployResult")
    return bool(asked) and not (isinstance(result, Mapping) and result.get("EndpointName"))


def end(describe: Mapping[str, Any]) -> End:
    """Name a job's end, or that it still runs: the one vocabulary of pages, report, log, terminal and notifications.

    :param describe: an answer of DescribeAutoMLJob or DescribeAutoMLJobV2.
    """
    at_limit, stands = runtime_limit_reached(describe), outcome(describe)
    if deployment_failed(describe):
        return End("Completed, not deployed", "bad")
    if stands is Outcome.RUNNING:
        return End("Stopping" if describe.get("AutoMLJobStatus") == JobStatus.STOPPING else "In progress", "running")
    if stands is Outcome.FAILED:
        return End("Failed", "bad")
    if stands is Outcome.STOPPED:
        return End("Stopped at the runtime limit" if at_limit else "Stopped", "warning")
    if definitions_only(describe):
        return End("Candidate definitions only", "good")
    if stands is Outcome.COMPLETED_WITHOUT_CANDIDATE:
        return End("Runtime limit before any candidate" if at_limit else "Completed without a candidate", "bad")
    if stands is Outcome.COMPLETED_WITH_WARNINGS:
        return End("Completed with warnings", "warning")
    if at_limit:
        return End("Completed at the runtime limit", "good")
    if describe.get("AutoMLJobSecondaryStatus") == SecondaryStatus.MAX_CANDIDATES_REACHED:
        return End("Completed at MaxCandidates", "good")
    return End("Completed", "good")


def queued(answer: Mapping[str, Any]) -> bool:
    """Return whether a job of the embedded Autopilot waits for a free slot: nothing has happened since its creation.

    :param answer: an answer of a describe, or a summary of a list. AWS queues no jobs.
    """
    pair = answer.get("AutoMLJobStatus"), answer.get("AutoMLJobSecondaryStatus")
    unchanged = answer.get("LastModifiedTime") == answer.get("CreationTime")
    return bool(unchanged) and pair == (JobStatus.IN_PROGRESS, SecondaryStatus.STARTING)


def status_text(describe: Mapping[str, Any]) -> str:
    """Return how a job stands with AWS's own statuses, for logs: ``In progress (InProgress/TrainingModels)``."""
    return f"{end(describe).title} ({describe.get('AutoMLJobStatus')}/{describe.get('AutoMLJobSecondaryStatus')})"


def words(name: str | None) -> str:
    """Return a status of AWS's in words: ``GeneratingModelInsightsReport`` → ``Generating model insights report``."""
    text = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|\d+", name or ""))
    said = text[:1] + text[1:].lower()
    return said.replace("auto ml", "AutoML").replace("Pre training", "Pre-training") or "\N{EN DASH}"
