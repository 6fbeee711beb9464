"""Batch transform jobs: create, describe, list, stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import models
from airflow_automl.local.api.backend import described, existing
from airflow_automl.local.api.paging import listing
from airflow_automl.local.errors import JobFailure, in_use, invalid
from airflow_automl.local.serving.transform.json_path import PathError
from airflow_automl.local.serving.transform.records import Processing
from airflow_automl.local.state.resources import TRANSFORM_JOB as KIND
from airflow_automl.local.storage.client import parse_uri

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.resources import Resource


def create(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateTransformJob."""
    existing(backend, models.KIND, request["ModelName"])
    split = request["TransformInput"].get("SplitType", "None")
    if split not in ("None", "Line"):
        raise invalid(f"TransformInput.SplitType: received {split}; this service supports None and Line")
    if "S3DataSource" not in request["TransformInput"]["DataSource"]:
        raise invalid("TransformInput.DataSource.S3DataSource: is required and missing")
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    for path, uri in (
        ("TransformInput.DataSource.S3DataSource.S3Uri", source["S3Uri"]),
        ("TransformOutput.S3OutputPath", request["TransformOutput"]["S3OutputPath"]),
    ):
        try:
            parse_uri(uri)
        except JobFailure as error:
            raise invalid(f"{path}: {error.reason}") from None
    try:
        Processing.of(request)
    except PathError as error:
        raise invalid(f"DataProcessing: {error}") from None
    name = request["TransformJobName"]
    arn = backend.arn(KIND, name)
    document = {key: value for key, value in request.items() if key not in ("TransformJobName", "Tags")}
    taken = in_use(f"Job name must be unique within an AWS account and region, and a job with this name exists: {arn}")
    tags = request.get("Tags", ())
    backend.resources.add(KIND, name, arn, document, taken=taken, status="InProgress", tags=tags)
    backend.transforms.begin(name)
    return {"TransformJobArn": arn}


def _existing(backend: Backend, request: Mapping[str, Any]) -> Resource:
    found = backend.resources.find(KIND, request["TransformJobName"])
    if found is None:
        raise invalid(f"Could not find requested job with name: {request['TransformJobName']}")
    return found


def describe(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeTransformJob."""
    return described(_existing(backend, request), "TransformJob")


def stop(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """StopTransformJob."""
    job = _existing(backend, request)
    if job.status == "InProgress":
        backend.transforms.cancel(job)
    elif job.status != "Stopping":
        raise invalid(f"The transform job {job.name!r} is {job.status}; only one that is InProgress can be stopped.")
    return {}


OPERATIONS = {
    "CreateTransformJob": create,
    "DescribeTransformJob": describe,
    "ListTransformJobs": listing(KIND, "TransformJobSummaries", "TransformJob"),
    "StopTransformJob": stop,
}
