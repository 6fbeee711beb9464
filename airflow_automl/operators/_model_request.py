"""The requests that put a candidate behind an endpoint, or let a transform job use it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.naming import tag_list
from airflow_automl.serving import (
    containers_of,
    default_instance_type,
    derived_name,
    encrypts_itself,
    is_accelerated,
    startup_timeouts,
    with_response_keys,
)
from airflow_automl.version_tags import TAG_ENDPOINT, origin_tags, version_tags

_TAG_LIMIT = 50


@dataclass(frozen=True)
class Deployment:
    """The requests of a deployment; their names say what is in them."""

    model: dict[str, Any]
    config: dict[str, Any]

    @property
    def model_name(self) -> str:
        return str(self.model["ModelName"])

    @property
    def config_name(self) -> str:
        return str(self.config["EndpointConfigName"])


@dataclass(frozen=True)
class ServedCandidate:
    """A candidate, and how it is to be served.

    :param job: its job's document; ``{}`` if it is not known.
    :param defaults: what the connection says for everything that the task does not name.
    :param instance_type: as the task names it.
    :param response: what a classifier answers.
    :param role_arn: as the task names it.
    :param model: other members of CreateModel; they replace what comes from the job.
    :param tags: as the task names them.
    """

    candidate: Mapping[str, Any]
    job: Mapping[str, Any]
    defaults: Mapping[str, Any]
    instance_type: str | None
    response: Sequence[str]
    role_arn: str | None
    model: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def instance(self) -> str:
        named = self.instance_type or self.defaults.get("instance_type")
        return named or default_instance_type(self.candidate, self.job.get("problem_type"))

    @property
    def volume_key(self) -> str | None:
        key: str | None = (self.job.get("security") or {}).get("VolumeKmsKeyId")
        return key

    def model_body(self, *, vpc: bool = True) -> dict[str, Any]:
        """Return the request of CreateModel, without name and tags.

        :param vpc: carry the job's VPC over.
        :raises AutoMLValidationError: response keys that are not supported.
        :raises NoBestCandidate: the candidate has no containers.
        """
        found = containers_of(self.candidate, accelerated=is_accelerated(self.instance))
        containers = with_response_keys(found, self.response)
        body: dict[str, Any] = {
            "ExecutionRoleArn": self.role_arn or self.job.get("role_arn") or self.defaults.get("role_arn")
        }
        if len(containers) == 1:
            body["PrimaryContainer"] = containers[0]
        else:
            body["Containers"] = containers
        network = (self.job.get("security") or {}).get("VpcConfig")
        if network and vpc:
            body["VpcConfig"] = copy.deepcopy(network)
        return {**body, **copy.deepcopy(dict(self.model))}

    def tag_list(self, own: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the tags of new resources: this package's first, then the task's, the connection's and the job's.

        :param own: they win over the job's of the same keys, which name the task that trained.
        """
        # AWS sets tags such as aws:cloudformation:stack-id by itself, and refuses them from anyone else.
        jobs = {key: value for key, value in (self.job.get("tags") or {}).items() if not key.startswith("aws:")}
        inherited = {**jobs, **(self.defaults.get("tags") or {}), **self.tags}
        tags = {**own, **{key: value for key, value in inherited.items() if key not in own}}
        return tag_list(dict(list(tags.items())[:_TAG_LIMIT]))


def problems_of_role(body: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the role in the request of a model."""
    if body.get("ExecutionRoleArn"):
        return []
    return [
        "role_arn: no role to run the model with; pass job=train.job or role_arn=, or put role_arn into the "
        "connection's extra under automl"
    ]


def plan_deployment(
    served: ServedCandidate,
    *,
    endpoint_name: str,
    run: Mapping[str, Any],
    instance_count: int,
    serverless: Mapping[str, Any] | None,
    variants: Sequence[Mapping[str, Any]] | None,
    endpoint_config: Mapping[str, Any],
) -> Deployment:
    """Make the requests of a deployment, and derive their names from what they say and from the run.

    :raises AutoMLValidationError: settings that exclude each other, a missing role, response keys that are not
        supported.
    :raises NoBestCandidate: the candidate has no containers.
    """
    # Serverless endpoints refuse a VPC, so the job's own is not used for them.
    body = served.model_body(vpc=not serverless)
    _refuse_contradictions(body, serverless, variants, served.model, endpoint_config)
    model_name = derived_name(endpoint_name, run, body)
    filled = _variants(served, model_name, instance_count, serverless, variants)
    config: dict[str, Any] = {"ProductionVariants": filled}
    own_disks = any(encrypts_itself(each.get("InstanceType", "")) for each in filled)
    if served.volume_key and not serverless and not own_disks:
        config["KmsKeyId"] = served.volume_key
    config.update(copy.deepcopy(dict(endpoint_config)))
    own = version_tags(served.candidate, served.job, {TAG_ENDPOINT: endpoint_name, **origin_tags(run)})
    tags = served.tag_list(own)
    return Deployment(
        model={"ModelName": model_name, **body, "Tags": tags},
        config={"EndpointConfigName": derived_name(endpoint_name, run, config), **config, "Tags": tags},
    )


def _variants(
    served: ServedCandidate,
    model_name: str,
    instance_count: int,
    serverless: Mapping[str, Any] | None,
    variants: Sequence[Mapping[str, Any]] | None,
) -> list[dict[str, Any]]:
    filled = []
    for given in variants or ({"VariantName": "AllTraffic"},):
        variant = copy.deepcopy(dict(given))
        if variant.setdefault("ModelName", model_name) == model_name:
            variant = {**startup_timeouts(served.job.get("problem_type")), **variant}
        if serverless and "InstanceType" not in variant:
            variant.setdefault("ServerlessConfig", dict(serverless))
        if "ServerlessConfig" not in variant and "InstancePools" not in variant:
            variant.setdefault("InstanceType", served.instance)
            variant.setdefault("InitialInstanceCount", instance_count)
        variant.setdefault("InitialVariantWeight", 1.0)
        filled.append(variant)
    return filled


def _refuse_contradictions(
    body: Mapping[str, Any],
    serverless: Mapping[str, Any] | None,
    variants: Sequence[Mapping[str, Any]] | None,
    model: Mapping[str, Any],
    endpoint_config: Mapping[str, Any],
) -> None:
    problems = problems_of_role(body)
    if serverless:
        if "Containers" in body:
            problems.append(
                f"serverless: the candidate is a pipeline of {len(body['Containers'])} containers, which serverless "
                "endpoints can't run; use instance_type, or train with mode ENSEMBLING (one container)"
            )
        if variants and len(variants) > 1:
            problems.append(f"serverless: endpoints have one variant, {len(variants)} are given")
        if endpoint_config.get("DataCaptureConfig"):
            problems.append("serverless: endpoints can't capture data; omit DataCaptureConfig")
        if model.get("VpcConfig") or endpoint_config.get("VpcConfig"):
            problems.append("serverless: endpoints can't run in a VPC; omit VpcConfig")
    if variants and all(each.get("ModelName") for each in variants):
        problems.append(
            "variants: every variant names another model, so none would serve the candidate; omit ModelName "
            "in one of them"
        )
    if problems:
        raise AutoMLValidationError("deployment", problems)
