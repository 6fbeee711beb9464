"""Endpoints come and go: loads what an endpoint is to serve, then switches it over, in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_automl.local.background import Background, Tasks
from airflow_automl.local.errors import MAX_REASON, ServiceError, invalid
from airflow_automl.local.serving.model_host_client import Container, ModelHost
from airflow_automl.local.serving.model_pool import HostingError
from airflow_automl.local.state.resources import Resource, ResourceStore

if TYPE_CHECKING:
    from airflow_automl.local.state.jobs import JobStore

log = logging.getLogger(__name__)

MODEL, CONFIG, ENDPOINT = "model", "endpoint-config", "endpoint"


class Deployments:
    """Brings endpoints into the state that their status announces.

    :param resources: models, endpoint configs, endpoints.
    :param jobs: knows the digests of artefacts.
    :param host: loads models.
    :param background: retries to write how a deployment ended.
    """

    def __init__(self, resources: ResourceStore, jobs: JobStore, host: ModelHost, background: Background) -> None:
        self._resources = resources
        self._jobs = jobs
        self._host = host
        self._background = background
        self._tasks = Tasks()

    async def start(self) -> None:
        """Resume unfinished deployments; the models of other endpoints are loaded at their first request."""
        for endpoint in self._resources.in_status(ENDPOINT, "Creating", "Updating"):
            self.begin(endpoint.name)

    async def stop(self) -> None:
        """Cancel what is unfinished; the next service starts it over."""
        await self._tasks.stop()

    def begin(self, name: str) -> None:
        """Deploy what an endpoint in Creating or Updating waits for."""
        self._tasks.start(name, self._deploy(name))

    async def wait_until_deployed(self, name: str) -> None:
        """Wait until an endpoint is neither Creating nor Updating."""
        if (task := self._tasks.get(name)) is not None:
            await asyncio.shield(task)

    def remove(self, endpoint: Resource) -> None:
        """Delete an endpoint; its models end when they have answered what waits for them."""
        if (task := self._tasks.get(endpoint.name)) is not None:
            task.cancel()
        self._resources.remove(ENDPOINT, endpoint.name)
        self._release(endpoint.name, endpoint.document.get("Variants", ()), ())

    async def _deploy(self, name: str) -> None:
        endpoint = self._resources.find(ENDPOINT, name)
        if endpoint is None:
            return
        changes = await self._loaded(endpoint)
        before = endpoint.document.get("Variants", ())
        # The disk may be full: without this, the endpoint would stay as it is until the next restart.
        await self._background.until_done(f"endpoint {name}", lambda: self._record(name, changes))
        self._release(name, before, changes.get("Variants", before))

    def _release(self, name: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> None:
        """End the processes of variants that were deleted or serve another model now."""
        serving = {owner_of(name, variant): containers_of(variant) for variant in after}
        for owner in (owner_of(name, variant) for variant in before):
            self._host.release(owner, serving.get(owner))

    async def _loaded(self, endpoint: Resource) -> dict[str, Any]:
        """Load what an endpoint is to serve.

        :return: the changes of its document and status.
        """
        config, before = endpoint.document["Wanted"], endpoint.document.get("Variants", ())
        variants: list[dict[str, Any]] = []
        try:
            variants = self._variants(config, endpoint)
            for variant in variants:
                await self._host.load(owner_of(endpoint.name, variant), containers_of(variant), count_of(variant))
        except HostingError as error:
            reason = str(error)
        except ServiceError as error:
            reason = error.message
        except Exception as error:
            log.exception("deployment failed: endpoint %s", endpoint.name)
            reason = f"the deployment failed: {error!r}"
        else:
            served = {"EndpointConfigName": config, "Variants": variants, "FailureReason": None}
            return {"status": "InService", "Wanted": None, **served}
        log.warning("endpoint %s: %s", endpoint.name, reason)
        # An update that fails is rolled back: the variants that served before still serve, and the others' models end.
        self._release(endpoint.name, variants, before)
        status = "InService" if before else "Failed"
        return {"status": status, "Wanted": None, "FailureReason": reason[:MAX_REASON]}

    def _record(self, name: str, changes: Mapping[str, Any]) -> None:
        if (endpoint := self._resources.find(ENDPOINT, name)) is not None:
            # Bounds may have been registered or removed while the models were loaded.
            _scale_as_before(changes.get("Variants", ()), endpoint)
            self._resources.update(ENDPOINT, name, **changes)
            log.info("endpoint %s is %s", name, changes["status"])

    def _variants(self, config_name: str, endpoint: Resource) -> list[dict[str, Any]]:
        config = self._resources.find(CONFIG, config_name)
        if config is None:
            raise HostingError(f"the endpoint configuration {config_name!r} was deleted")
        retained = _by_name(endpoint) if endpoint.document.get("Retain") else {}
        variants = [self._variant(variant, retained) for variant in config.document["ProductionVariants"]]
        _scale_as_before(variants, endpoint)
        return variants

    def scale(self, resource: str, bounds: tuple[int | None, int | None] | None) -> None:
        """Apply the settings of Application Auto Scaling: a variant has processes as requests come, within its bounds.

        :param resource: ``endpoint/NAME/variant/NAME``.
        :param bounds: MinCapacity and MaxCapacity, ``None`` for one that stays; altogether ``None`` for no autoscaling.
        :raises ServiceError: ValidationException if there is no such variant.
        """
        parts = resource.split("/")
        endpoint = self._resources.find(ENDPOINT, parts[1]) if len(parts) == 4 else None
        if endpoint is None:
            raise invalid(f"ResourceId: received {resource!r}; it must be endpoint/NAME/variant/NAME of an endpoint")
        variant = variant_named(endpoint, parts[3])
        known = variant.pop("Scale", (1, 1))
        if bounds is not None:
            variant["Scale"] = [each or before for each, before in zip(bounds, known, strict=True)]
            variant["Count"] = _within(variant)
        self._resources.update(ENDPOINT, endpoint.name, Variants=endpoint.document["Variants"])

    def _variant(self, variant: Mapping[str, Any], retained: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        model = self._resources.find(MODEL, variant["ModelName"])
        if model is None:
            raise HostingError(f"the model {variant['ModelName']!r} was deleted")
        before = retained.get(variant["VariantName"], {})
        return {
            "VariantName": variant["VariantName"],
            "Weight": before.get("Weight", variant.get("InitialVariantWeight", 1.0)),
            "Count": before.get("Count", variant.get("InitialInstanceCount")),
            "ServerlessConfig": variant.get("ServerlessConfig"),
            "Containers": [container._asdict() for container in self.containers(model)],
        }

    def containers(self, model: Resource) -> list[Container]:
        """A model's containers, each with the digest that was recorded when its artefact was trained.

        :raises HostingError: if an artefact is none of this service's training jobs.
        """
        found: list[Container] = []
        for container in model.document.get("Containers") or [model.document["PrimaryContainer"]]:
            if "ModelPackageName" in container:
                found += [self._container(inner, container) for inner in self._packaged(container["ModelPackageName"])]
            else:
                found.append(self._container(container, {}))
        return found

    def _packaged(self, package: str) -> list[dict[str, Any]]:
        found = self._resources.by_arn(package) or self._resources.find("model-package", package)
        if found is None:
            raise HostingError(f"the model package {package!r} was deleted")
        if found.document.get("ModelApprovalStatus") == "Rejected":
            raise HostingError(f"the model package {package!r} was rejected; only others can be deployed")
        containers = found.document.get("InferenceSpecification", {}).get("Containers")
        if not containers:
            raise HostingError(f"the model package {package!r} has no InferenceSpecification with containers")
        return list(containers)

    def _container(self, container: Mapping[str, Any], outer: Mapping[str, Any]) -> Container:
        uri = container.get("ModelDataUrl")
        if uri is None:
            source = container.get("ModelDataSource", {}).get("S3DataSource", {})
            uri = source.get("S3Uri")
            if uri is None:
                raise HostingError("a container has no ModelDataUrl: this service serves models that its jobs trained")
        sha256 = self._jobs.digest(uri)
        if sha256 is None:
            raise HostingError(
                f"{uri} was not written by a job of this service; a model is code, and only recorded ones are loaded"
            )
        environment = {**container.get("Environment", {}), **outer.get("Environment", {})}
        return Container(container.get("Image", ""), uri, sha256, environment)


def containers_of(variant: Mapping[str, Any]) -> list[Container]:
    """A variant's containers, as they were when it was deployed."""
    return [Container(**container) for container in variant["Containers"]]


def _by_name(endpoint: Resource) -> dict[str, dict[str, Any]]:
    return {variant["VariantName"]: variant for variant in endpoint.document.get("Variants", ())}


def _scale_as_before(variants: Sequence[dict[str, Any]], endpoint: Resource) -> None:
    """Give new variants the autoscaling of those that an endpoint has: it is kept, whatever configuration comes."""
    before = _by_name(endpoint)
    for variant in variants:
        variant.pop("Scale", None)
        if scale := before.get(variant["VariantName"], {}).get("Scale"):
            variant["Scale"] = scale
            variant["Count"] = _within(variant)


def _within(variant: Mapping[str, Any]) -> int | None:
    """A variant's instances within the bounds of its autoscaling."""
    count: int | None = variant["Count"]
    least, most = variant.get("Scale", (count, count))
    return count if count is None else max(least, min(count, most))


def owner_of(endpoint: str, variant: Mapping[str, Any]) -> str:
    """Whose the processes of a variant are."""
    return f"{endpoint}/{variant['VariantName']}"


def count_of(variant: Mapping[str, Any]) -> int:
    """How many processes a variant may have: its instances, those it may scale to, or what may be concurrent."""
    if "Scale" in variant:
        return int(variant["Scale"][1])
    return int(variant.get("Count") or (variant.get("ServerlessConfig") or {}).get("MaxConcurrency", 1))


def variant_named(endpoint: Resource, name: str) -> dict[str, Any]:
    """The variant of this name that an endpoint serves.

    :raises ServiceError: ValidationException if it has none.
    """
    variants: list[dict[str, Any]] = endpoint.document.get("Variants", [])
    for variant in variants:
        if variant["VariantName"] == name:
            return variant
    valid = ", ".join(variant["VariantName"] for variant in variants) or "none"
    raise invalid(f"received the variant {name!r}; the endpoint {endpoint.name!r} has: {valid}")
