"""Readable ways to write requests: each function returns the plain dict that AWS expects.

The builders check and add nothing: what is not given is absent from the request. Every parameter may also be
a template, or a reference to another task's XCom; :func:`airflow_automl.contract.check` validates the rendered request.
"""

from airflow_automl.contract.builders.channels import augmented_manifest, channel, manifest, validation
from airflow_automl.contract.builders.jobs import job_v1, job_v2
from airflow_automl.contract.builders.parts import (
    completion_criteria,
    compute,
    deployment,
    output,
    security,
    split,
    tags,
)
from airflow_automl.contract.builders.problems import (
    image_classification,
    tabular,
    text_classification,
    text_generation,
    time_series,
)

__all__ = [
    "augmented_manifest",
    "channel",
    "completion_criteria",
    "compute",
    "deployment",
    "image_classification",
    "job_v1",
    "job_v2",
    "manifest",
    "output",
    "security",
    "split",
    "tabular",
    "tags",
    "text_classification",
    "text_generation",
    "time_series",
    "validation",
]
