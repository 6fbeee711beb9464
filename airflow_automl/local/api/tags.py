"""Tags of jobs and of everything else that the service keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api.paging import page
from airflow_automl.local.errors import not_found

if TYPE_CHECKING:
    from airflow_automl.local.service import Service


def add(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """AddTags."""
    arn = _existing(service, request)
    service.resources.add_tags(arn, request["Tags"])
    return {"Tags": service.resources.tags(arn)}


def list_tags(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListTags."""
    tags, token = page(
        service.resources.tags(_existing(service, request)),
        lambda tag: (None, tag["Key"]),
        descending=False,
        size=request.get("MaxResults", 50),
        token=request.get("NextToken"),
    )
    return {"Tags": tags, "NextToken": token}


def delete(service: Service, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteTags."""
    service.resources.remove_tags(_existing(service, request), request["TagKeys"])
    return {}


def _existing(service: Service, request: Mapping[str, Any]) -> str:
    arn: str = request["ResourceArn"]
    if not service.resources.exists(arn):
        raise not_found(f"nothing that this service keeps has the ARN {arn!r}")
    return arn


OPERATIONS = {"AddTags": add, "ListTags": list_tags, "DeleteTags": delete}
