"""Requests that CreateEndpointConfig accepts and refuses, called directly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.api import OPERATIONS
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.resources import ResourceStore


@pytest.fixture
def backend(database: Database) -> Any:
    resources = ResourceStore(database)
    resources.add("model", "m", "arn:m", {}, taken=ServiceError("Taken", "taken"))
    return SimpleNamespace(resources=resources, arn=lambda kind, name: f"arn:{kind}/{name}")


def create(backend: Any, memory: int) -> Any:
    variant = {
        "VariantName": "v",
        "ModelName": "m",
        "ServerlessConfig": {"MemorySizeInMB": memory, "MaxConcurrency": 1},
    }
    return OPERATIONS["CreateEndpointConfig"](
        backend, {"EndpointConfigName": f"c{memory}", "ProductionVariants": [variant]}
    )


@pytest.mark.parametrize("memory", [1024, 2048, 3072, 4096, 5120, 6144])
def test_a_serverless_variant_has_memory_in_steps_of_1_gb(backend: Any, memory: int) -> None:
    assert create(backend, memory)["EndpointConfigArn"] == f"arn:endpoint-config/c{memory}"


@pytest.mark.parametrize("memory", [1025, 1536, 5000])
def test_memory_between_the_steps_is_refused(backend: Any, memory: int) -> None:
    with pytest.raises(ServiceError, match=f"MemorySizeInMB: received {memory}.*give 1024, 2048"):
        create(backend, memory)
