"""InvokeEndpoint: REST-JSON of ``sagemaker-runtime``."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from airflow_automl.local.errors import ServiceError
from airflow_automl.local.models.wire import Answer, Payload
from airflow_automl.local.serving.endpoints import ENDPOINT, containers_of, count_of, owner_of, variant_named
from airflow_automl.local.serving.metrics import Metrics
from airflow_automl.local.serving.model_host_client import ModelHost
from airflow_automl.local.serving.model_pool import BusyError, HostingError
from airflow_automl.local.state.resources import Resource, ResourceStore

_VARIANT = "x-amzn-sagemaker-target-variant"
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_UNSUPPORTED = ("x-amzn-sagemaker-target-model", "x-amzn-sagemaker-target-container-hostname")


class Runtime:
    """Answers invocations.

    :param resources: the endpoints.
    :param host: the models.
    :param metrics: counts.
    """

    def __init__(self, resources: ResourceStore, host: ModelHost, metrics: Metrics) -> None:
        self._resources = resources
        self._host = host
        self._metrics = metrics

    async def invoke(self, name: str, given: Mapping[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        """Ask the model behind an endpoint.

        :param name: EndpointName.
        :param given: the request's headers by lower-case name.
        :param body: the payload.
        :return: headers and body of the answer.
        :raises ServiceError: ValidationError for what is wrong with the request, ModelError for what the model refused.
        """
        endpoint = self._resources.find(ENDPOINT, name)
        # The name's case must match here, although no two endpoints may differ by case alone.
        if endpoint is None or endpoint.name != name:
            raise _invalid(f"Endpoint {name} not found.")
        if not endpoint.document.get("Variants"):
            raise _invalid(f"Endpoint {name} serves nothing: it is {endpoint.status}.")
        for header in _UNSUPPORTED:
            if header in given:
                raise _invalid(f"{header}: the endpoint {name} has one model a variant; leave it out")
        variant = _choose(endpoint, given.get(_VARIANT))
        accept = given.get("x-amzn-sagemaker-accept") or given.get("accept", "*/*")
        payload = Payload(body, given.get("content-type", "application/octet-stream"), accept)
        owner, containers = owner_of(name, variant), containers_of(variant)
        began = time.perf_counter()
        try:
            answer = await self._host.invoke(owner, containers, payload, count=count_of(variant))
        except BusyError as error:
            self._metrics.invoked(owner, 503, None)
            raise ServiceError("ServiceUnavailable", str(error), 503) from error
        except HostingError as error:
            answer = Answer(500, "text/plain", str(error).encode())
        self._metrics.invoked(owner, answer.status, time.perf_counter() - began)
        if answer.status != 200:
            raise _model_error(answer.status, answer.body.decode())
        headers = {"content-type": answer.content_type, "x-amzn-invoked-production-variant": variant["VariantName"]}
        if _ATTRIBUTES in given:
            headers[_ATTRIBUTES] = given[_ATTRIBUTES]
        return headers, answer.body


def _choose(endpoint: Resource, wanted: str | None) -> dict[str, Any]:
    if wanted is not None:
        try:
            return variant_named(endpoint, wanted)
        except ServiceError as error:
            raise _invalid(error.message) from error
    variants = endpoint.document["Variants"]
    if len(variants) == 1:
        return dict(variants[0])
    weights = [variant["Weight"] for variant in variants]
    return dict(random.choices(variants, weights)[0])  # noqa: S311


def _invalid(message: str) -> ServiceError:
    return ServiceError("ValidationError", message)


def _model_error(status: int, reason: str) -> ServiceError:
    message = f"Received client error ({status}) from model with message: {reason}"
    if status >= 500:
        message = f"Received server error ({status}) from model with message: {reason}"
    return ServiceError(
        "ModelError", message, 424, {"OriginalStatusCode": status, "OriginalMessage": reason, "LogStreamArn": ""}
    )
