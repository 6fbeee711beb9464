"""What operations, logs, one-click deployment and the wire need of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from airflow_automl.local.background import Background
    from airflow_automl.local.serving.endpoints import Deployments
    from airflow_automl.local.serving.transform.jobs import Transforms
    from airflow_automl.local.state.folder import DataFolder
    from airflow_automl.local.state.jobs import JobStore
    from airflow_automl.local.state.resources import ResourceStore


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
        """Tell the supervisor that a job was created or is to be stopped."""
        ...
