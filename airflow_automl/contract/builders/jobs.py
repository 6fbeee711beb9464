"""Builders of whole requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from airflow_automl.contract.builders.channels import Channel, Data, channels
from airflow_automl.contract.builders.parts import (
    Seconds,
    algorithms_config,
    builder,
    completion_criteria,
    given,
    objective_config,
    output,
    split,
    tags,
)


class JobOptions(TypedDict, total=False):
    """Options of jobs of both versions.

    ``name``, ``output`` and ``role`` must be in a request, but may be left to the operator, which derives the name and
    takes the others from the AWS connection.

    :ivar name: AutoMLJobName: 1 to 32 letters, digits and hyphens, unique in the account whatever its case (R1).
    :ivar output: where results go: an S3 path of at most 512 characters (R27), or what
        :func:`~airflow_automl.contract.builders.output` builds.
    :ivar role: RoleArn: role that reads the input and writes the output (R28).
    :ivar security: encryption and network; see :func:`~airflow_automl.contract.builders.security`.
    :ivar deployment: lets the job deploy its best candidate; see
        :func:`~airflow_automl.contract.builders.deployment` (R33 to R36).
    :ivar split: fraction of the training data to validate with, 0.2 by default (R68); not for time series (R69).
    :ivar tags: key → value, at most 50 (R32).
    """

    name: str
    output: str | Mapping[str, Any]
    role: str
    security: Mapping[str, Any]
    deployment: Mapping[str, Any]
    split: float | str | Mapping[str, Any]
    tags: Mapping[str, str]


class JobV2Options(JobOptions, total=False):
    """Further options of V2 jobs.

    :ivar compute: EMR Serverless for large data; see :func:`~airflow_automl.contract.builders.compute` (R37).
    """

    compute: Mapping[str, Any]


@builder(JobV2Options)
def job_v2(
    inputs: Data,
    problem: Mapping[str, Any],
    *,
    validation: str | Channel | None = None,
    objective: str | None = None,
    content_type: str | None = None,
    compression: Literal["None", "Gzip"] | str | None = None,
    **options: Unpack[JobV2Options],
) -> dict[str, Any]:
    """Build a CreateAutoMLJobV2 request.

    :param inputs: the training data: an S3 prefix, a channel, or a list of channels (R10).
    :param problem: AutoMLProblemTypeConfig, as a problem's builder returns it when it is called without inputs.
    :param validation: the validation data, as a prefix or a channel; a part of the training data by default (R68).
    :param objective: the metric to optimize. Tabular jobs name it together with their problem type, or neither (R39,
        R40); by default MSE (regression), F1 (binary), Accuracy (multiclass, images, text) or
        AverageWeightedQuantileLoss (forecasts) (R42, R43, R45). Text generation has none (R44).
    :param content_type: of channels that name none; see :func:`~airflow_automl.contract.builders.channel` (R24).
    :param compression: of channels that name none (R25).
    :param options: see :class:`JobV2Options`.
    :return: the request, without what was not given.
    """
    return given(
        AutoMLJobName=options.get("name"),
        AutoMLJobInputDataConfig=channels(inputs, validation, content_type=content_type, compression=compression),
        OutputDataConfig=_output(options.get("output")),
        AutoMLProblemTypeConfig=problem,
        RoleArn=options.get("role"),
        Tags=_tags(options.get("tags")),
        SecurityConfig=options.get("security"),
        AutoMLJobObjective=objective_config(objective),
        ModelDeployConfig=options.get("deployment"),
        DataSplitConfig=_split(options.get("split")),
        AutoMLComputeConfig=options.get("compute"),
    )


@builder(JobOptions)
def job_v1(
    train: Data,
    *,
    target: str | None = None,
    validation: str | Channel | None = None,
    problem_type: Literal["BinaryClassification", "MulticlassClassification", "Regression"] | str | None = None,
    objective: str | None = None,
    mode: Literal["AUTO", "ENSEMBLING", "HYPERPARAMETER_TUNING"] | str | None = None,
    algorithms: Sequence[str] | str | None = None,
    feature_specification: str | None = None,
    sample_weight: str | None = None,
    generate_candidate_definitions_only: bool | str | None = None,
    max_candidates: int | str | None = None,
    max_runtime_per_training_job: Seconds | None = None,
    max_runtime: Seconds | None = None,
    content_type: str | None = None,
    compression: Literal["None", "Gzip"] | str | None = None,
    **options: Unpack[JobOptions],
) -> dict[str, Any]:
    """Build a CreateAutoMLJob request (V1, tabular data), with the parameters of :func:`tabular`.

    :param train: the training data: an S3 prefix, a channel, or a list of channels (R10).
    :param target: the column to predict, of channels that name none (R12).
    :param validation: the validation data, as a prefix or a channel; a part of the training data by default (R68).
    :param problem_type: inferred from the target by default; better given together with ``objective`` (R48).
    :param objective: the metric to optimize, one of the problem type's (R40, R41); by default MSE (regression), F1
        (binary) or Accuracy (multiclass) (R45).
    :param mode: ``AUTO`` by default: ENSEMBLING for data below 100 MB, else HYPERPARAMETER_TUNING (R59).
    :param algorithms: those to train; all of the mode's by default (R55, R57). Not with AUTO (R53).
    :param feature_specification: S3 URI of a JSON file that chooses features and their types (R60 to R63).
    :param sample_weight: column with the rows' weights, for ENSEMBLING only (R65 to R67).
    :param generate_candidate_definitions_only: generate candidate definitions, and train nothing (R71).
    :param max_candidates: training jobs to run, 1 to 750 (R50).
    :param max_runtime_per_training_job: limit of each, in seconds or as ``timedelta`` (R51).
    :param max_runtime: limit of the whole job, in seconds or as ``timedelta`` (R52); none by default.
    :param content_type: of channels that name none; ``text/csv;header=present`` by default (R23).
    :param compression: of channels that name none; none by default (R25).
    :param options: see :class:`JobOptions`.
    :return: the request, without what was not given.
    """
    criteria = completion_criteria(
        max_candidates=max_candidates,
        max_runtime_per_training_job=max_runtime_per_training_job,
        max_runtime=max_runtime,
    )
    generation = given(FeatureSpecificationS3Uri=feature_specification, AlgorithmsConfig=algorithms_config(algorithms))
    config = given(
        CompletionCriteria=criteria or None,
        SecurityConfig=options.get("security"),
        CandidateGenerationConfig=generation or None,
        DataSplitConfig=_split(options.get("split")),
        Mode=mode,
    )
    columns = {"target": target, "sample_weight": sample_weight}
    return given(
        AutoMLJobName=options.get("name"),
        InputDataConfig=channels(train, validation, content_type=content_type, compression=compression, **columns),
        OutputDataConfig=_output(options.get("output")),
        ProblemType=problem_type,
        AutoMLJobObjective=objective_config(objective),
        AutoMLJobConfig=config or None,
        RoleArn=options.get("role"),
        GenerateCandidateDefinitionsOnly=generate_candidate_definitions_only,
        Tags=_tags(options.get("tags")),
        ModelDeployConfig=options.get("deployment"),
    )


def _output(value: Any) -> Any:
    return output(value) if value is not None and not isinstance(value, Mapping) else value


def _split(value: Any) -> Any:
    return split(value) if value is not None and not isinstance(value, Mapping) else value


def _tags(value: Any) -> Any:
    return tags(value) if isinstance(value, Mapping) else value
