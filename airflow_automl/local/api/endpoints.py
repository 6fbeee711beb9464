"""Endpoints: create, describe, list, update, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import endpoint_configs
from airflow_automl.local.api.paging import list_resources
from airflow_automl.local.errors import invalid
from airflow_automl.local.serving.endpoints import variant_named

if TYPE_CHECKING:
    from airflow_automl.local.service import Service
    from airflow_automl.local.state.resources import Resource

KIND = "endpoint"


def create(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateEndpoint."""
    name = request["EndpointName"]
    arn = service.arn(KIND, name)
    config = endpoint_configs.existing(service, request["EndpointConfigName"])
    document = {"EndpointConfigName": config.name, "Wanted": config.name}
    taken = invalid(f'Cannot create already existing endpoint "{arn}".')
    tags = request.get("Tags", ())
    service.resources.add(KIND, name, arn, document, taken=taken, status="Creating", tags=tags)
    service.deployments.begin(name)
    return {"EndpointArn": arn}


def existing(service: Service, name: str) -> Resource:
    """The endpoint of this name.

    :raises ServiceError: ValidationException as AWS answers it, which its waiters expect.
    """
    endpoint = service.resources.find(KIND, name)
    if endpoint is None:
        raise invalid(f'Could not find endpoint "{service.arn(KIND, name)}".')
    return endpoint


def _settled(service: Service, name: str) -> Resource:
    endpoint = existing(service, name)
    if endpoint.status in ("Creating", "Updating", "Deleting"):
        raise invalid(f'Cannot update in-progress endpoint "{endpoint.arn}": it is {endpoint.status}; wait for it.')
    return endpoint


def describe(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeEndpoint."""
    endpoint = existing(service, request["EndpointName"])
    document = endpoint.document
    answer = {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "EndpointConfigName": document["EndpointConfigName"],
        "EndpointStatus": endpoint.status,
        "FailureReason": document.get("FailureReason"),
        "CreationTime": endpoint.created,
        "LastModifiedTime": endpoint.modified,
        "LastDeploymentConfig": document.get("LastDeploymentConfig"),
        "ProductionVariants": [_variant(variant) for variant in document.get("Variants", ())] or None,
    }
    if endpoint.status == "Updating":
        answer["PendingDeploymentSummary"] = {
            "EndpointConfigName": document["Wanted"],
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


def list_endpoints(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListEndpoints."""
    endpoints, token = list_resources(service.resources.all(KIND), request)
    summaries = [
        {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "CreationTime": endpoint.created,
            "LastModifiedTime": endpoint.modified,
            "EndpointStatus": endpoint.status,
        }
        for endpoint in endpoints
    ]
    return {"Endpoints": summaries, "NextToken": token}


def update(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """UpdateEndpoint; until the new configuration is loaded, and if it can't be, the old one serves."""
    endpoint = _settled(service, request["EndpointName"])
    config = endpoint_configs.existing(service, request["EndpointConfigName"])
    service.resources.update(
        KIND,
        endpoint.name,
        status="Updating",
        Wanted=config.name,
        Retain=request.get("RetainAllVariantProperties", False),
        LastDeploymentConfig=request.get("DeploymentConfig"),
        FailureReason=None,
    )
    service.deployments.begin(endpoint.name)
    return {"EndpointArn": endpoint.arn}


def update_weights(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """UpdateEndpointWeightsAndCapacities."""
    endpoint = _settled(service, request["EndpointName"])
    variants: list[dict[str, Any]] = endpoint.document.get("Variants", [])
    for desired in request["DesiredWeightsAndCapacities"]:
        variant = variant_named(endpoint, desired["VariantName"])
        variant["Weight"] = desired.get("DesiredWeight", variant["Weight"])
        variant["Count"] = desired.get("DesiredInstanceCount", variant["Count"])
    if not any(variant["Weight"] > 0 for variant in variants):
        raise invalid("DesiredWeightsAndCapacities: every weight would be 0; at least one must be above 0")
    service.resources.update(KIND, endpoint.name, Variants=variants)
    return {"EndpointArn": endpoint.arn}


def delete(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteEndpoint."""
    service.deployments.remove(_settled(service, request["EndpointName"]))
    return {}


OPERATIONS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": describe,
    "ListEndpoints": list_endpoints,
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": update_weights,
    "DeleteEndpoint": delete,
}
