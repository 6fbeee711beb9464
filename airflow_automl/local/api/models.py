"""Models: create, describe, list, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api.paging import list_resources
from airflow_automl.local.errors import invalid

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.resources import Resource

KIND = "model"


def create(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateModel."""
    if ("PrimaryContainer" in request) == bool(request.get("Containers")):
        raise invalid("PrimaryContainer, Containers: exactly one of the two must be given")
    containers = request.get("Containers") or [request["PrimaryContainer"]]
    for index, container in enumerate(containers):
        if not (container.get("Image") or container.get("ModelPackageName")):
            raise invalid(f"container {index + 1} has neither Image nor ModelPackageName; one of them must be given")
        if container.get("Mode") == "MultiModel":
            raise invalid(f"container {index + 1}: received Mode MultiModel; this service serves SingleModel")
    name = request["ModelName"]
    arn = backend.arn(KIND, name)
    document = {key: value for key, value in request.items() if key not in ("ModelName", "Tags")}
    taken = invalid(f'Cannot create already existing model "{arn}".')
    backend.resources.add(KIND, name, arn, document, taken=taken, tags=request.get("Tags", ()))
    return {"ModelArn": arn}


def existing(backend: Backend, name: str) -> Resource:
    """The model of this name.

    :raises ServiceError: ValidationException as AWS answers it, which its waiters expect.
    """
    model = backend.resources.find(KIND, name)
    if model is None:
        raise invalid(f'Could not find model "{backend.arn(KIND, name)}".')
    return model


def describe(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeModel."""
    model = existing(backend, request["ModelName"])
    return {
        "EnableNetworkIsolation": False,
        **model.document,
        "ModelName": model.name,
        "ModelArn": model.arn,
        "CreationTime": model.created,
    }


def list_models(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListModels."""
    models, token = list_resources(backend, request, KIND)
    summaries = [{"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.created} for model in models]
    return {"Models": summaries, "NextToken": token}


def delete(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteModel; endpoints that serve it go on."""
    backend.resources.remove(KIND, existing(backend, request["ModelName"]).name)
    return {}


OPERATIONS = {"CreateModel": create, "DescribeModel": describe, "ListModels": list_models, "DeleteModel": delete}
