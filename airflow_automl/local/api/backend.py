"""What operations, logs, one-click deployment and the wire need of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from airflow_automl.local.errors import invalid

if TYPE_CHECKING:
    from airflow_automl.local.background import Background
    from airflow_automl.local.serving.endpoints import Deployments
    from airflow_automl.local.serving.transform.jobs import Transforms
    from airflow_automl.local.state.folder import DataFolder
    from airflow_automl.local.state.jobs import JobStore
    from airflow_automl.local.state.resources import Resource, ResourceStore

_SPOKEN = {"endpoint-config": "endpoint configuration"}


class Backend(Protocol):
    """State and background work behind the API."""

    folder: DataFolder
    background: Background
    jobs: JobStore
    resources: ResourceStore
    deployments: Deployments
    transforms: Transforms
    region: str
    account: str
    quota: int | None
    """Jobs that may be unfinished at once before ResourceLimitExceeded (R2); ``None`` for no limit."""

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a SageMaker resource (R3)."""
        ...

    def jobs_changed(self) -> None:
        """Notify the supervisor that a job was created or is to be stopped."""
        ...


def existing(backend: Backend, kind: str, name: str) -> Resource:
    """Return the model, endpoint configuration or endpoint of this name.

    :raises ServiceError: ValidationException as AWS answers it, which its waiters expect.
    """
    found = backend.resources.find(kind, name)
    if found is None:
        raise invalid(f'Could not find {_SPOKEN.get(kind, kind)} "{backend.arn(kind, name)}".')
    return found


def described(resource: Resource, noun: str) -> dict[str, Any]:
    """Return what Describe and List answer of a resource; the members that their shapes do not have are left out there.

    :param noun: what the names of its own members begin with.
    """
    return {
        **resource.document,
        f"{noun}Name": resource.name,
        f"{noun}Arn": resource.arn,
        f"{noun}Status": resource.status,
        "CreationTime": resource.created,
        "LastModifiedTime": resource.modified,
    }


def create_named(
    backend: Backend,
    kind: str,
    name: str,
    document: Mapping[str, Any],
    request: Mapping[str, Any],
    *,
    status: str | None = None,
) -> str:
    """Add a model, endpoint configuration or endpoint with the tags of its request, and return its ARN.

    :raises ServiceError: ValidationException as AWS answers it if the name is taken.
    """
    arn = backend.arn(kind, name)
    taken = invalid(f'Cannot create already existing {_SPOKEN.get(kind, kind)} "{arn}".')
    backend.resources.add(kind, name, arn, document, taken=taken, status=status, tags=request.get("Tags", ()))
    return arn
