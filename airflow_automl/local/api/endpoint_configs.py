"""Endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import models
from airflow_automl.local.api.backend import create_named, described, existing
from airflow_automl.local.api.paging import listing
from airflow_automl.local.errors import invalid

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend

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
        existing(backend, models.KIND, variant["ModelName"])
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
    document = {key: value for key, value in request.items() if key not in ("EndpointConfigName", "Tags")}
    return {"EndpointConfigArn": create_named(backend, KIND, request["EndpointConfigName"], document, request)}


def describe(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeEndpointConfig."""
    config = existing(backend, KIND, request["EndpointConfigName"])
    variants = [{"InitialVariantWeight": 1.0, **variant} for variant in config.document["ProductionVariants"]]
    return {
        "EnableNetworkIsolation": False,
        **described(config, "EndpointConfig"),
        "ProductionVariants": variants,
    }


def delete(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteEndpointConfig; endpoints that were made of it continue."""
    backend.resources.remove(KIND, existing(backend, KIND, request["EndpointConfigName"]).name)
    return {}


OPERATIONS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": describe,
    "ListEndpointConfigs": listing(KIND, "EndpointConfigs", "EndpointConfig"),
    "DeleteEndpointConfig": delete,
}
