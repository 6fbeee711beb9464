"""Builders of the five problems of CreateAutoMLJobV2.

Called with inputs, each returns the whole request; without, the AutoMLProblemTypeConfig for :func:`job_v2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, cast

from airflow_automl.contract.builders.channels import Channel, Data
from airflow_automl.contract.builders.jobs import JobV2Options, job_v2
from airflow_automl.contract.builders.parts import (
    Seconds,
    algorithms_config,
    builder,
    completion_criteria,
    given,
    listed,
)
from airflow_automl.exceptions import AutoMLValidationError

_LIMITS = ("max_candidates", "max_runtime_per_training_job", "max_runtime")


class TrainingOptions(JobV2Options, total=False):
    """Options of all problems; what belongs to the job and not to the problem needs ``train``.

    :ivar validation: the validation data, as a prefix or a channel; a part of the training data by default (R68).
        Autopilot splits series itself, and AWS does not describe its use there (R86).
    :ivar content_type: of channels that name none (R24): ``text/csv;header=present`` by default; for images
        ``image/png``, ``image/jpeg`` or by default ``image/*``.
    :ivar max_candidates: training jobs to run, 1 to 750 for tables; 1, if anything, for other problems (R49, R50).
    :ivar max_runtime_per_training_job: limit of each, in seconds or as ``timedelta`` (R51); none by default, 72 hours
        for text generation.
    :ivar max_runtime: limit of the whole job, in seconds or as ``timedelta`` (R52); none by default.
    """

    validation: str | Channel | None
    content_type: str | None
    max_candidates: int | str | None
    max_runtime_per_training_job: Seconds | None
    max_runtime: Seconds | None


class ProblemOptions(TrainingOptions, total=False):
    """Further options of all problems but text generation.

    :ivar objective: the metric to optimize: one of the table's problem type (R40), by default MSE (regression), F1
        (binary) or Accuracy (multiclass) (R45); RMSE, MASE, MAPE, WAPE or by default AverageWeightedQuantileLoss of
        forecasts (R43); ``Accuracy``, which is the default too, of images and text (R42).
    """

    objective: str | None


@builder(ProblemOptions)
def tabular(
    train: Data | None = None,
    *,
    target: str,
    problem_type: Literal["BinaryClassification", "MulticlassClassification", "Regression"] | str | None = None,
    mode: Literal["AUTO", "ENSEMBLING", "HYPERPARAMETER_TUNING"] | str | None = None,
    algorithms: Sequence[str] | str | None = None,
    feature_specification: str | None = None,
    sample_weight: str | None = None,
    generate_candidate_definitions_only: bool | str | None = None,
    compression: Literal["None", "Gzip"] | str | None = None,
    **options: Unpack[ProblemOptions],
) -> dict[str, Any]:
    """Build a job, or a TabularJobConfig, that learns a column of a table.

    :param train: the training data: an S3 prefix, a channel, or a list of channels (R10, R17, R24).
    :param target: the column to predict.
    :param problem_type: inferred from the target by default; given together with ``objective``, or not at all (R39).
    :param mode: ``AUTO`` by default: ENSEMBLING for data below 100 MB, else HYPERPARAMETER_TUNING (R59). Name one for
        a model that will be deployed: containers and responses of the modes differ.
    :param algorithms: those to train; all of the mode's by default (R55, R57). Not with AUTO (R53).
    :param feature_specification: S3 URI of a JSON file that chooses features and their types (R60 to R63).
    :param sample_weight: column with the rows' weights, for ENSEMBLING only (R65 to R67).
    :param generate_candidate_definitions_only: generate candidate definitions, and train nothing (R71).
    :param compression: of channels that name none; none by default, ``Gzip`` for S3 prefixes (R25).
    :param options: see :class:`ProblemOptions`.
    :return: a CreateAutoMLJobV2 request; without ``train``, an AutoMLProblemTypeConfig.
    :raises AutoMLValidationError: if something that belongs to the job is given without ``train``.
    """
    generation = given(AlgorithmsConfig=algorithms_config(algorithms))
    config = given(
        CandidateGenerationConfig=generation or None,
        FeatureSpecificationS3Uri=feature_specification,
        Mode=mode,
        GenerateCandidateDefinitionsOnly=generate_candidate_definitions_only,
        ProblemType=problem_type,
        TargetAttributeName=target,
        SampleWeightAttributeName=sample_weight,
    )
    return _request_or_config("TabularJobConfig", config, train, options, compression=compression)


@builder(ProblemOptions)
def time_series(
    train: Data | None = None,
    *,
    target: str,
    timestamp: str,
    item_id: str,
    horizon: int | str,
    frequency: str,
    quantiles: Sequence[str] | str | None = None,
    grouping: Sequence[str] | str | None = None,
    filling: Mapping[str, Mapping[str, str]] | None = None,
    aggregation: Mapping[str, str] | None = None,
    holidays: str | Sequence[Mapping[str, str]] | None = None,
    algorithms: Sequence[str] | str | None = None,
    feature_specification: str | None = None,
    **options: Unpack[ProblemOptions],
) -> dict[str, Any]:
    """Build a job, or a TimeSeriesForecastingJobConfig, that forecasts many series.

    :param train: the history of all series: an S3 prefix or a channel (R17, R24).
    :param target: the column to forecast, numeric (R83).
    :param timestamp: the column with the points in time.
    :param item_id: the column that identifies a series.
    :param horizon: time steps to forecast, at most 500 and a quarter of the history (R74).
    :param frequency: the time step: a number and Y, M, W, D, H or min, such as ``1D`` or ``15min`` (R73).
    :param quantiles: 1 to 5 of ``p1`` to ``p99``; p10, p50 and p90 by default (R75).
    :param grouping: 1 to 5 columns that identify a series together with ``item_id`` (R84, R110).
    :param filling: column → method → option: ``middlefill``, ``backfill``, ``futurefill`` with zero, value, median,
        mean, min or max, and ``frontfill`` none for the target; ``value`` requires ``<method>_value`` (R76 to R80).
    :param aggregation: the target's column → sum (default), avg, first, min or max (R81, R82).
    :param holidays: a country's code such as ``US``, whose holidays become features (R85, R111).
    :param algorithms: of cnn-qr, deepar, prophet, arima, npts, ets; all by default (R57, R58).
    :param feature_specification: S3 URI of a JSON file that chooses the additional columns to use; all of them by
        default (R64).
    :param options: see :class:`ProblemOptions`, without ``split`` (R69).
    :return: a CreateAutoMLJobV2 request; without ``train``, an AutoMLProblemTypeConfig.
    :raises AutoMLValidationError: if something that belongs to the job is given without ``train``.
    """
    generation = given(AlgorithmsConfig=algorithms_config(algorithms))
    transformations = given(Filling=filling, Aggregation=aggregation)
    config = given(
        FeatureSpecificationS3Uri=feature_specification,
        ForecastFrequency=frequency,
        ForecastHorizon=horizon,
        ForecastQuantiles=listed(quantiles),
        Transformations=transformations or None,
        TimeSeriesConfig=given(
            TargetAttributeName=target,
            TimestampAttributeName=timestamp,
            ItemIdentifierAttributeName=item_id,
            GroupingAttributeNames=listed(grouping),
        ),
        HolidayConfig=[{"CountryCode": holidays}] if isinstance(holidays, str) else listed(holidays),
        CandidateGenerationConfig=generation or None,
    )
    return _request_or_config("TimeSeriesForecastingJobConfig", config, train, options)


@builder(ProblemOptions)
def text_classification(
    train: Data | None = None, *, content: str, label: str, **options: Unpack[ProblemOptions]
) -> dict[str, Any]:
    """Build a job, or a TextClassificationJobConfig, that labels sentences.

    :param train: a table of sentences and labels: an S3 prefix, a channel, or a list of channels (R10, R17, R24).
    :param content: the column that holds the sentences.
    :param label: the column that holds the labels, another one (R72).
    :param options: see :class:`ProblemOptions`.
    :return: a CreateAutoMLJobV2 request; without ``train``, an AutoMLProblemTypeConfig.
    :raises AutoMLValidationError: if something that belongs to the job is given without ``train``.
    """
    config = {"ContentColumn": content, "TargetLabelColumn": label}
    return _request_or_config("TextClassificationJobConfig", config, train, options)


@builder(ProblemOptions)
def image_classification(train: Data | None = None, **options: Unpack[ProblemOptions]) -> dict[str, Any]:
    """Build a job, or an ImageClassificationJobConfig, that labels images.

    :param train: images in one folder for each label, or a manifest (R17, R22): an S3 prefix, a channel, or a list of
        channels (R10).
    :param options: see :class:`ProblemOptions`.
    :return: a CreateAutoMLJobV2 request; without ``train``, an AutoMLProblemTypeConfig.
    :raises AutoMLValidationError: if something that belongs to the job is given without ``train``.
    """
    return _request_or_config("ImageClassificationJobConfig", {}, train, options)


@builder(TrainingOptions)
def text_generation(
    train: Data | None = None,
    *,
    base_model: str | None = None,
    epoch_count: int | str | None = None,
    batch_size: int | str | None = None,
    learning_rate: float | str | None = None,
    learning_rate_warmup_steps: int | str | None = None,
    accept_eula: bool | str | None = None,
    **options: Unpack[TrainingOptions],
) -> dict[str, Any]:
    """Build a job, or a TextGenerationJobConfig, that fine-tunes a language model on instructions.

    :param train: a table of instructions and answers: an S3 prefix, a channel, or a list of channels (R10, R17, R24).
    :param base_model: the model to fine-tune; Falcon7BInstruct by default (R89).
    :param epoch_count: passes over the data, 1 to 10 (R88).
    :param batch_size: examples of a training step, 1 to 64 (R88).
    :param learning_rate: 0 to 1 (R88).
    :param learning_rate_warmup_steps: steps in which the learning rate rises from 0, 0 to 250 (R88).
    :param accept_eula: true for base models that have an end-user licence agreement (R90).
    :param options: see :class:`TrainingOptions`.
    :return: a CreateAutoMLJobV2 request; without ``train``, an AutoMLProblemTypeConfig.
    :raises AutoMLValidationError: if something that belongs to the job is given without ``train``.
    """
    hyperparameters = given(
        epochCount=epoch_count,
        batchSize=batch_size,
        learningRate=learning_rate,
        learningRateWarmupSteps=learning_rate_warmup_steps,
    )
    config = given(
        BaseModelName=base_model,
        # AWS takes these numbers as strings.
        TextGenerationHyperParameters={
            name: str(value) if isinstance(value, int | float) else value for name, value in hyperparameters.items()
        }
        or None,
        ModelAccessConfig=None if accept_eula is None else {"AcceptEula": accept_eula},
    )
    return _request_or_config("TextGenerationJobConfig", config, train, options)


def _request_or_config(
    member: str, config: Mapping[str, Any], train: Data | None, options: TrainingOptions, **of_data: Any
) -> dict[str, Any]:
    limits = {name: value for name, value in options.items() if name in _LIMITS}
    of_job = given(**{name: value for name, value in options.items() if name not in _LIMITS}, **of_data)
    problem = {member: given(CompletionCriteria=completion_criteria(**cast(Any, limits)) or None, **config)}
    if train is not None:
        return job_v2(train, problem, **of_job)
    if of_job:
        raise AutoMLValidationError(
            f"{member} without training data",
            [f"{name} belongs to the job: name the training data, or give {name} to job_v2" for name in of_job],
        )
    return problem
