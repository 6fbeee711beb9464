"""The operations of SageMaker that the service offers, by name; all others are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import endpoint_configs, endpoints, jobs, models, registry, steps, tags, transform_jobs

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend

#: (backend, valid request) → members of the answer.
Operation = Callable[["Backend", dict[str, Any]], Mapping[str, Any]]

OPERATIONS: Mapping[str, Operation] = {
    **jobs.OPERATIONS,
    **models.OPERATIONS,
    **endpoint_configs.OPERATIONS,
    **endpoints.OPERATIONS,
    **transform_jobs.OPERATIONS,
    **registry.OPERATIONS,
    **steps.OPERATIONS,
    **tags.OPERATIONS,
}
