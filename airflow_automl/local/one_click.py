"""Deployment of a job's best candidate as the job's own last phase (R33-R36)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import endpoint_configs, endpoints, models
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.jobs.supervisor import DeploymentFailed

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.jobs import Job

#: Tag of a job's own resources, by which a restart finds them.
_OWNER = "automl-job"


async def deploy(backend: Backend, job: Job) -> str:
    """Make a model, an endpoint configuration and an endpoint of a job's best candidate.

    What an earlier, interrupted try made is used again.

    :return: the endpoint's name.
    :raises DeploymentFailed: if there is no such endpoint in the end.
    """
    candidate = backend.jobs.candidate(job.name, job.best or "") or {}
    containers = _containers(candidate)
    name = f"{job.name}-best"
    endpoint_name = _endpoint_name(job)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.2xlarge",
    }
    tags = [{"Key": _OWNER, "Value": job.name}]
    model = {"ModelName": name, "Containers": containers, "ExecutionRoleArn": job.request["RoleArn"], "Tags": tags}
    config = {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": tags}
    endpoint = {"EndpointName": endpoint_name, "EndpointConfigName": name, "Tags": tags}
    try:
        _make(backend, job, models.create, model, backend.arn(models.KIND, name))
        _make(backend, job, endpoint_configs.create, config, backend.arn(endpoint_configs.KIND, name))
        _make(backend, job, endpoints.create, endpoint, backend.arn(endpoints.KIND, endpoint_name))
    except ServiceError as error:
        raise DeploymentFailed(f"the best candidate could not be deployed: {error.message}") from error
    await backend.deployments.wait_until_deployed(endpoint_name)
    found = backend.resources.find(endpoints.KIND, endpoint_name)
    if found is None:
        raise DeploymentFailed(f"the endpoint {endpoint_name!r} was deleted while it was being made")
    if found.status != "InService":
        raise DeploymentFailed(
            f"the endpoint {endpoint_name!r} is {found.status}: {found.document.get('FailureReason')}"
        )
    return endpoint_name


async def abandon(backend: Backend, job: Job) -> None:
    """Delete what an unfinished deployment created."""
    name = f"{job.name}-best"
    endpoint = backend.resources.find(endpoints.KIND, _endpoint_name(job))
    if endpoint is not None and _owned(backend, job, endpoint.arn):
        backend.deployments.remove(endpoint)
    for kind in (endpoint_configs.KIND, models.KIND):
        found = backend.resources.find(kind, name)
        if found is not None and _owned(backend, job, found.arn):
            backend.resources.remove(kind, name)


def _make(
    backend: Backend,
    job: Job,
    create: Callable[[Backend, dict[str, Any]], Mapping[str, Any]],
    request: dict[str, Any],
    arn: str,
) -> None:
    if not _owned(backend, job, arn):
        create(backend, request)


def _owned(backend: Backend, job: Job, arn: str) -> bool:
    return {"Key": _OWNER, "Value": job.name} in backend.resources.tags(arn)


def _containers(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    containers = candidate.get("InferenceContainers") or candidate.get("InferenceContainerDefinitions", {}).get("CPU")
    if not containers:
        raise DeploymentFailed(f"the candidate {candidate.get('CandidateName')!r} has no inference containers")
    return list(containers)


def _endpoint_name(job: Job) -> str:
    config = job.request["ModelDeployConfig"]
    if not config.get("AutoGenerateEndpointName"):
        return str(config["EndpointName"])
    return f"{job.name}-{hashlib.sha256(f'{job.arn}{job.created}'.encode()).hexdigest()[:10]}"
