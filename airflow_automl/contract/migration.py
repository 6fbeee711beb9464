"""From CreateAutoMLJob to CreateAutoMLJobV2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_automl.contract.metrics import DEFAULT_OBJECTIVE, OBJECTIVES
from airflow_automl.contract.values import TABULAR_PROBLEM_TYPES
from airflow_automl.exceptions import AutoMLValidationError

_IN_TABULAR = ("CompletionCriteria", "CandidateGenerationConfig", "Mode")
_COLUMNS = ("TargetAttributeName", "SampleWeightAttributeName")


def to_v2(request: Mapping[str, Any], *, complete: bool = True) -> dict[str, Any]:
    """Turn a CreateAutoMLJob request into the CreateAutoMLJobV2 request for the same job.

    InputDataConfig becomes AutoMLJobInputDataConfig, its columns, ProblemType, GenerateCandidateDefinitionsOnly and
    most of AutoMLJobConfig become members of TabularJobConfig, SecurityConfig and DataSplitConfig move to the top.
    Fields that are not known stay where they are, for :func:`airflow_automl.contract.check` to name.

    :param request: the V1 request; it is not changed.
    :param complete: also name what V1 infers from a problem type or an objective that stands alone (R48), because V2
        requires both or neither (R39): the problem type's default objective (R45), or the only problem type that has
        the objective. ``Accuracy`` and ``BalancedAccuracy`` belong to two problem types, and stay alone. With
        ``False``, nothing is added, as in what DescribeAutoMLJobV2 answers for a V1 job.
    :return: the V2 request.
    :raises AutoMLValidationError: if the request is not an object.
    """
    if not isinstance(request, Mapping):
        raise AutoMLValidationError(
            "CreateAutoMLJob request", [f"must be an object, received {type(request).__name__}"]
        )
    v1 = dict(request)
    v2: dict[str, Any] = {}
    tabular: dict[str, Any] = {}

    if "AutoMLJobName" in v1:
        v2["AutoMLJobName"] = v1.pop("AutoMLJobName")
    if "InputDataConfig" in v1:
        channels = v1.pop("InputDataConfig")
        v2["AutoMLJobInputDataConfig"] = _without_columns(channels)
        tabular |= _columns(channels)
    for name in ("ProblemType", "GenerateCandidateDefinitionsOnly"):
        if name in v1:
            tabular[name] = v1.pop(name)
    config = v1.pop("AutoMLJobConfig", {})
    if isinstance(config, Mapping):
        for name, value in config.items():
            (tabular if name in _IN_TABULAR else v2)[name] = value
        _move_feature_specification(tabular)
    else:
        v2["AutoMLJobConfig"] = config
    v2["AutoMLProblemTypeConfig"] = {"TabularJobConfig": tabular}
    v2 |= v1
    if complete:
        _complete(v2, tabular)
    return v2


def _columns(channels: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    listed = (
        [channel for channel in channels if isinstance(channel, Mapping)] if isinstance(channels, list | tuple) else []
    )
    for channel in sorted(listed, key=lambda channel: channel.get("ChannelType") == "validation"):
        found = {name: channel[name] for name in _COLUMNS if name in channel} | found
    return found


def _without_columns(channels: Any) -> Any:
    if not isinstance(channels, list | tuple):
        return channels
    return [
        {name: value for name, value in channel.items() if name not in _COLUMNS}
        if isinstance(channel, Mapping)
        else channel
        for channel in channels
    ]


def _move_feature_specification(tabular: dict[str, Any]) -> None:
    generation = tabular.get("CandidateGenerationConfig")
    if not isinstance(generation, Mapping) or "FeatureSpecificationS3Uri" not in generation:
        return
    rest = dict(generation)
    tabular["FeatureSpecificationS3Uri"] = rest.pop("FeatureSpecificationS3Uri")
    if rest:
        tabular["CandidateGenerationConfig"] = rest
    else:
        del tabular["CandidateGenerationConfig"]


def _complete(v2: dict[str, Any], tabular: dict[str, Any]) -> None:
    problem_type, objective = tabular.get("ProblemType"), v2.get("AutoMLJobObjective")
    if isinstance(problem_type, str) and problem_type in TABULAR_PROBLEM_TYPES and objective is None:
        v2["AutoMLJobObjective"] = {"MetricName": DEFAULT_OBJECTIVE[problem_type]}
    elif problem_type is None and isinstance(objective, Mapping):
        fitting = [name for name in TABULAR_PROBLEM_TYPES if objective.get("MetricName") in OBJECTIVES[name]]
        if len(fitting) == 1:
            tabular["ProblemType"] = fitting[0]
