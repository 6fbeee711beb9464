"""Endpoints: create, describe, list, update, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import endpoint_configs
from airflow_automl.local.api.backend import create_named, described, existing
from airflow_automl.local.api.paging import listing
from airflow_automl.local.errors import invalid
from airflow_automl.local.serving.endpoints import variant_named

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.resources import Resource

KIND = "endpoint"


def create(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateEndpoint."""
    name = request["EndpointName"]
    config = existing(backend, endpoint_configs.KIND, request["EndpointConfigName"])
    document = {"EndpointConfigName": config.name, "Wanted": config.name}
    arn = create_named(backend, KIND, name, document, request, status="Creating")
    backend.deployments.begin(name)
    return {"EndpointArn": arn}


def _stable(backend: Backend, name: str) -> Resource:
    endpoint = existing(backend, KIND, name)
    if endpoint.status in ("Creating", "Updating"):
        raise invalid(f'Cannot update in-progress endpoint "{endpoint.arn}": it is {endpoint.status}; wait for it.')
    return endpoint


def describe(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeEndpoint."""
    endpoint = existing(backend, KIND, request["EndpointName"])
    variants = [_variant(variant) for variant in endpoint.document.get("Variants", ())]
    answer = {**described(endpoint, "Endpoint"), "ProductionVariants": variants or None}
    if endpoint.status == "Updating":
        answer["PendingDeploymentSummary"] = {
            "EndpointConfigName": endpoint.document["Wanted"],
            "StartTime": endpoint.modified,
        }
    return answer


def _variant(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "VariantName": variant["VariantName"],
        "DeployedImages": [
            {"SpecifiedImage": container["image"], "ResolvedImage": container["image"]}
            for container in variant["Containers"]
            if container["image"]
        ]
        or None,
        "CurrentWeight": variant["Weight"],
        "DesiredWeight": variant["Weight"],
        "CurrentInstanceCount": variant["Count"],
        "DesiredInstanceCount": variant["Count"],
        "CurrentServerlessConfig": variant["ServerlessConfig"],
        "DesiredServerlessConfig": variant["ServerlessConfig"],
    }


def update(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """UpdateEndpoint; until the new configuration is loaded, and if it can't be, the old one serves."""
    endpoint = _stable(backend, request["EndpointName"])
    config = existing(backend, endpoint_configs.KIND, request["EndpointConfigName"])
    backend.resources.update(
        KIND,
        endpoint.name,
        status="Updating",
        Wanted=config.name,
        Retain=request.get("RetainAllVariantProperties", False),
        LastDeploymentConfig=request.get("DeploymentConfig"),
        FailureReason=None,
    )
    backend.deployments.begin(endpoint.name)
    return {"EndpointArn": endpoint.arn}


def update_weights(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """UpdateEndpointWeightsAndCapacities."""
    endpoint = _stable(backend, request["EndpointName"])
    variants: list[dict[str, Any]] = endpoint.document.get("Variants", [])
    for desired in request["DesiredWeightsAndCapacities"]:
        variant = variant_named(endpoint, desired["VariantName"])
        variant["Weight"] = desired.get("DesiredWeight", variant["Weight"])
        variant["Count"] = desired.get("DesiredInstanceCount", variant["Count"])
    if not any(variant["Weight"] > 0 for variant in variants):
        raise invalid("DesiredWeightsAndCapacities: every weight would be 0; at least one must be above 0")
    backend.resources.update(KIND, endpoint.name, Variants=variants)
    return {"EndpointArn": endpoint.arn}


def delete(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteEndpoint."""
    backend.deployments.remove(_stable(backend, request["EndpointName"]))
    return {}


OPERATIONS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": describe,
    "ListEndpoints": listing(KIND, "Endpoints", "Endpoint"),
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": update_weights,
    "DeleteEndpoint": delete,
}
