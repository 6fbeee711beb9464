"""Tags of jobs and of everything else that the service keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api.paging import make_token, read_token
from airflow_automl.local.errors import not_found

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend


def add(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """AddTags."""
    arn = _existing(backend, request)
    backend.resources.add_tags(arn, request["Tags"])
    return {"Tags": backend.resources.tags(arn)}


def list_tags(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListTags."""
    arn, size = _existing(backend, request), request.get("MaxResults", 50)
    after = read_token(request["NextToken"], "name")[1] if "NextToken" in request else ""
    tags = backend.resources.tags(arn, after, size + 1)
    token = make_token("", tags[size - 1]["Key"]) if len(tags) > size else None
    return {"Tags": tags[:size], "NextToken": token}


def delete(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteTags."""
    backend.resources.remove_tags(_existing(backend, request), request["TagKeys"])
    return {}


def _existing(backend: Backend, request: Mapping[str, Any]) -> str:
    arn: str = request["ResourceArn"]
    if not backend.resources.exists(arn):
        raise not_found(f"no resource of this service has the ARN {arn!r}")
    return arn


OPERATIONS = {"AddTags": add, "ListTags": list_tags, "DeleteTags": delete}
