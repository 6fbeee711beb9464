"""A demo in a folder in which one ran before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from airflow_automl import demo


def _endpoint(name: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
    return {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointStatus": "InService",
        "CreationTime": now,
        "LastModifiedTime": now,
    }


@pytest.mark.parametrize(("names", "deleted"), [([], False), (["churn-of-mine"], False), (["churn-2", "churn"], True)])
def test_the_endpoint_of_the_earlier_demo_is_deleted_and_no_other(names: list[str], deleted: bool) -> None:
    sagemaker = boto3.client("sagemaker", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(sagemaker) as stub:
        stub.add_response("list_endpoints", {"Endpoints": [_endpoint(name) for name in names]})
        if deleted:
            stub.add_response("delete_endpoint", {}, {"EndpointName": "churn"})
            stub.add_client_error("describe_endpoint", "ValidationException", "Could not find endpoint")
        demo._delete_endpoint(sagemaker)
        stub.assert_no_pending_responses()
