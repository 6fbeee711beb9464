"""Endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import models
from airflow_automl.local.api.paging import list_resources
from airflow_automl.local.errors import invalid

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.resources import Resource

KIND = "endpoint-config"


def create(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateEndpointConfig."""
    names = set()
    for index, variant in enumerate(request["ProductionVariants"]):
        path = f"ProductionVariants[{index}]"
        if variant["VariantName"] in names:
            raise invalid(f"{path}.VariantName: received {variant['VariantName']!r} twice; names must differ")
        names.add(variant["VariantName"])
        if "ModelName" not in variant:
            raise invalid(f"{path}.ModelName: is required and missing; give the name of a model")
        models.existing(backend, variant["ModelName"])
        if ("ServerlessConfig" in variant) == ("InstanceType" in variant):
            raise invalid(f"{path}: exactly one of ServerlessConfig and InstanceType must be given")
        memory = variant.get("ServerlessConfig", {}).get("MemorySizeInMB", 1024)
        if memory % 1024:
            raise invalid(
                f"{path}.ServerlessConfig.MemorySizeInMB: received {memory}; it goes in steps of 1 GB: "
                "give 1024, 2048, 3072, 4096, 5120 or 6144"
            )
        if "InstanceType" in variant and "InitialInstanceCount" not in variant:
            raise invalid(f"{path}.InitialInstanceCount: is required with InstanceType and missing; give a number")
    if not any(variant.get("InitialVariantWeight", 1.0) > 0 for variant in request["ProductionVariants"]):
        raise invalid("ProductionVariants: every InitialVariantWeight is 0; at least one must be above 0")
    for unsupported in ("AsyncInferenceConfig", "ShadowProductionVariants", "ExplainerConfig"):
        if unsupported in request:
            raise invalid(f"{unsupported}: this service serves in real time only; leave it out")
    name = request["EndpointConfigName"]
    arn = backend.arn(KIND, name)
    document = {key: value for key, value in request.items() if key not in ("EndpointConfigName", "Tags")}
    taken = invalid(f'Cannot create already existing endpoint configuration "{arn}".')
    backend.resources.add(KIND, name, arn, document, taken=taken, tags=request.get("Tags", ()))
    return {"EndpointConfigArn": arn}


def existing(backend: Backend, name: str) -> Resource:
    """The endpoint configuration of this name.

    :raises ServiceError: ValidationException as AWS answers it.
    """
    config = backend.resources.find(KIND, name)
    if config is None:
        raise invalid(f'Could not find endpoint configuration "{backend.arn(KIND, name)}".')
    return config


def describe(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeEndpointConfig."""
    config = existing(backend, request["EndpointConfigName"])
    variants = [{"InitialVariantWeight": 1.0, **variant} for variant in config.document["ProductionVariants"]]
    return {
        "EnableNetworkIsolation": False,
        **config.document,
        "ProductionVariants": variants,
        "EndpointConfigName": config.name,
        "EndpointConfigArn": config.arn,
        "CreationTime": config.created,
    }


def list_configs(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListEndpointConfigs."""
    configs, token = list_resources(backend, request, KIND)
    summaries = [
        {"EndpointConfigName": config.name, "EndpointConfigArn": config.arn, "CreationTime": config.created}
        for config in configs
    ]
    return {"EndpointConfigs": summaries, "NextToken": token}


def delete(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteEndpointConfig; endpoints that were made of it go on."""
    backend.resources.remove(KIND, existing(backend, request["EndpointConfigName"]).name)
    return {}


OPERATIONS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": describe,
    "ListEndpointConfigs": list_configs,
    "DeleteEndpointConfig": delete,
}
