"""A demo in a folder in which one ran before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from airflow_automl import demo


def _listed(*statuses: tuple[str, str]) -> dict[str, Any]:
    now = datetime.now(UTC)
    arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/"
    times = {"CreationTime": now, "LastModifiedTime": now}
    return {
        "Endpoints": [
            {"EndpointName": name, "EndpointArn": arn + name, "EndpointStatus": status, **times}
            for name, status in statuses
        ]
    }


@pytest.mark.parametrize(
    "before",
    [[], [("churn", "InService")], [("churn", "Failed")], [("churn", "Creating"), ("churn", "InService")]],
)
def test_the_endpoint_of_the_earlier_demo_is_deleted_and_no_other(
    before: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo.time, "sleep", lambda seconds: None)
    sagemaker = boto3.client("sagemaker", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    other = ("churn-of-mine", "InService")
    with Stubber(sagemaker) as stub:
        for endpoint in before:
            stub.add_response("list_endpoints", _listed(other, endpoint))
            if endpoint[1] != "Creating":
                stub.add_response("delete_endpoint", {}, {"EndpointName": "churn"})
        stub.add_response("list_endpoints", _listed(other))
        demo._delete_endpoint(sagemaker)
        stub.assert_no_pending_responses()
