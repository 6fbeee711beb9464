"""Deployment of a job's best candidate as the job's own last phase (R33-R36)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import endpoint_configs, endpoints, models
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.jobs.supervisor import DeploymentFailed

if TYPE_CHECKING:
    from airflow_automl.local.service import Service
    from airflow_automl.local.state.jobs import Job

#: Marks what a job made, so that a restart in the middle finds it again.
_OWNER = "automl-job"


async def deploy(service: Service, job: Job) -> str:
    """Make a model, an endpoint configuration and an endpoint of a job's best candidate.

    What an earlier, interrupted try made is used again.

    :return: the endpoint's name.
    :raises DeploymentFailed: where there is no such endpoint in the end.
    """
    candidate = service.jobs.candidate(job.name, job.best or "") or {}
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
        _make(service, job, models.create, model, service.arn(models.KIND, name))
        _make(service, job, endpoint_configs.create, config, service.arn(endpoint_configs.KIND, name))
        _make(service, job, endpoints.create, endpoint, service.arn(endpoints.KIND, endpoint_name))
    except ServiceError as error:
        raise DeploymentFailed(f"the best candidate could not be deployed: {error.message}") from error
    await service.deployments.settled(endpoint_name)
    found = service.resources.find(endpoints.KIND, endpoint_name)
    if found is None:
        raise DeploymentFailed(f"the endpoint {endpoint_name!r} was deleted while it was being made")
    if found.status != "InService":
        raise DeploymentFailed(
            f"the endpoint {endpoint_name!r} is {found.status}: {found.document.get('FailureReason')}"
        )
    return endpoint_name


async def abandon(service: Service, job: Job) -> None:
    """Take back what an unfinished deployment made."""
    name = f"{job.name}-best"
    endpoint = service.resources.find(endpoints.KIND, _endpoint_name(job))
    if endpoint is not None and _owned(service, job, endpoint.arn):
        service.deployments.remove(endpoint)
    for kind in (endpoint_configs.KIND, models.KIND):
        found = service.resources.find(kind, name)
        if found is not None and _owned(service, job, found.arn):
            service.resources.remove(kind, name)


def _make(
    service: Service,
    job: Job,
    create: Callable[[Service, dict[str, Any]], Mapping[str, Any]],
    request: dict[str, Any],
    arn: str,
) -> None:
    if not _owned(service, job, arn):
        create(service, request)


def _owned(service: Service, job: Job, arn: str) -> bool:
    return {"Key": _OWNER, "Value": job.name} in service.resources.tags(arn)


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
