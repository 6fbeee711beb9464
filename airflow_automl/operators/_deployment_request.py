"""The requests that put a candidate behind an endpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.naming import tag_value
from airflow_automl.operators._version_tags import TAG_ENDPOINT, origin_tags, version_tags
from airflow_automl.serving import (
    containers_of,
    default_instance_type,
    derived_name,
    encrypts_itself,
    is_accelerated,
    startup_timeouts,
    with_response_keys,
)

_TAG_LIMIT = 50


@dataclass(frozen=True)
class Deployment:
    """The three requests of a deployment; their names say what is in them."""

    model: dict[str, Any]
    config: dict[str, Any]
    variants: tuple[str, ...]

    @property
    def model_name(self) -> str:
        """The name of the model."""
        return str(self.model["ModelName"])

    @property
    def config_name(self) -> str:
        """The name of the endpoint config."""
        return str(self.config["EndpointConfigName"])


def plan_deployment(
    *,
    endpoint_name: str,
    candidate: Mapping[str, Any],
    job: Mapping[str, Any] | None,
    run: Mapping[str, Any],
    role_arn: str | None,
    instance_type: str | None,
    instance_count: int,
    response: Sequence[str],
    serverless: Mapping[str, Any] | None,
    variants: Sequence[Mapping[str, Any]] | None,
    model: Mapping[str, Any],
    endpoint_config: Mapping[str, Any],
    tags: Mapping[str, str],
) -> Deployment:
    """Make the requests of a deployment, and derive their names from what they say and from the run.

    :raises AutoMLValidationError: settings that exclude each other, a missing role, response keys nobody supports.
    :raises NoBestCandidate: the candidate has no containers.
    """
    problem_type = (job or {}).get("problem_type")
    instance = instance_type or default_instance_type(candidate, problem_type)
    containers = with_response_keys(containers_of(candidate, accelerated=is_accelerated(instance)), response)
    role = model.get("ExecutionRoleArn") or role_arn or (job or {}).get("role_arn")
    _refuse_contradictions(containers, serverless, variants, model, endpoint_config, role)

    security = (job or {}).get("security") or {}
    model_body: dict[str, Any] = {"ExecutionRoleArn": role}
    if len(containers) == 1:
        model_body["PrimaryContainer"] = containers[0]
    else:
        model_body["Containers"] = containers
    # Serverless endpoints refuse a VPC, so the job's own is not carried over to them.
    if security.get("VpcConfig") and not serverless:
        model_body["VpcConfig"] = copy.deepcopy(security["VpcConfig"])
    model_body.update(copy.deepcopy(dict(model)))
    model_name = derived_name(endpoint_name, run, model_body)

    filled = _variants(model_name, instance, instance_count, serverless, variants, problem_type)
    config_body: dict[str, Any] = {"ProductionVariants": filled}
    instances = [each.get("InstanceType", "") for each in filled]
    if security.get("VolumeKmsKeyId") and not serverless and not any(encrypts_itself(each) for each in instances):
        config_body["KmsKeyId"] = security["VolumeKmsKeyId"]
    config_body.update(copy.deepcopy(dict(endpoint_config)))
    config_name = derived_name(endpoint_name, run, config_body)

    own = {TAG_ENDPOINT: endpoint_name, **origin_tags(run)}
    described = version_tags(candidate, job, own)
    inherited = {key: tag_value(value) for key, value in {**((job or {}).get("tags") or {}), **tags}.items()}
    # What we write wins over the job's own tags of the same keys: those name the task that trained.
    all_tags = dict(
        list({**described, **{k: v for k, v in inherited.items() if k not in described}}.items())[:_TAG_LIMIT]
    )
    tag_items = [{"Key": key, "Value": value} for key, value in all_tags.items()]
    return Deployment(
        model={"ModelName": model_name, **model_body, "Tags": tag_items},
        config={"EndpointConfigName": config_name, **config_body, "Tags": tag_items},
        variants=tuple(str(each["VariantName"]) for each in filled),
    )


def _variants(
    model_name: str,
    instance_type: str,
    instance_count: int,
    serverless: Mapping[str, Any] | None,
    variants: Sequence[Mapping[str, Any]] | None,
    problem_type: str | None,
) -> list[dict[str, Any]]:
    filled = []
    for given in variants or ({"VariantName": "AllTraffic"},):
        variant = copy.deepcopy(dict(given))
        if variant.setdefault("ModelName", model_name) == model_name:
            variant = {**startup_timeouts(problem_type), **variant}
        if serverless and "InstanceType" not in variant:
            variant.setdefault("ServerlessConfig", dict(serverless))
        if "ServerlessConfig" not in variant and "InstancePools" not in variant:
            variant.setdefault("InstanceType", instance_type)
            variant.setdefault("InitialInstanceCount", instance_count)
        variant.setdefault("InitialVariantWeight", 1.0)
        filled.append(variant)
    return filled


def _refuse_contradictions(
    containers: Sequence[Mapping[str, Any]],
    serverless: Mapping[str, Any] | None,
    variants: Sequence[Mapping[str, Any]] | None,
    model: Mapping[str, Any],
    endpoint_config: Mapping[str, Any],
    role: str | None,
) -> None:
    problems = []
    if not role:
        problems.append(
            "role_arn: no role to run the model with; pass job=train.job or role_arn=, or put role_arn into the "
            "connection's extra under automl"
        )
    if serverless:
        if len(containers) > 1:
            problems.append(
                f"serverless: the candidate is a pipeline of {len(containers)} containers, which serverless endpoints "
                "can't run; use instance_type, or train with mode ENSEMBLING (one container)"
            )
        if variants and len(variants) > 1:
            problems.append(f"serverless: endpoints have one variant, {len(variants)} are given")
        if endpoint_config.get("DataCaptureConfig"):
            problems.append("serverless: endpoints can't capture data; leave DataCaptureConfig away")
        if model.get("VpcConfig") or endpoint_config.get("VpcConfig"):
            problems.append("serverless: endpoints can't run in a VPC; leave VpcConfig away")
    if variants and all(each.get("ModelName") for each in variants):
        problems.append(
            "variants: every variant names a model of its own, so none would serve the candidate; leave ModelName away "
            "in one of them"
        )
    if problems:
        raise AutoMLValidationError("deployment", problems)
