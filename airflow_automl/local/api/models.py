"""Models: create, describe, list, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api.backend import create_named, described, existing
from airflow_automl.local.api.paging import listing
from airflow_automl.local.errors import invalid

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend

KIND = "model"
_PIPELINE = re.compile(r"airflow-automl/(?:sklearn-automl|xgboost|linear-learner|mlp):")
"""Images of the containers that candidates of HYPERPARAMETER_TUNING have in a row."""


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
    if len(containers) == 1 and _PIPELINE.match(image := containers[0].get("Image", "")):
        raise invalid(
            f"Containers: received only {image}; this service serves such a container together with the others of its "
            "candidate. Give all of the candidate's InferenceContainers, in their order, as Containers of one model"
        )
    document = {key: value for key, value in request.items() if key not in ("ModelName", "Tags")}
    return {"ModelArn": create_named(backend, KIND, request["ModelName"], document, request)}


def describe(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeModel."""
    return {"EnableNetworkIsolation": False, **described(existing(backend, KIND, request["ModelName"]), "Model")}


def delete(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteModel; endpoints that serve it continue."""
    backend.resources.remove(KIND, existing(backend, KIND, request["ModelName"]).name)
    return {}


OPERATIONS = {
    "CreateModel": create,
    "DescribeModel": describe,
    "ListModels": listing(KIND, "Models", "Model"),
    "DeleteModel": delete,
}
