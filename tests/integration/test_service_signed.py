"""A service with credentials accepts only clients that have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.service.running import RunningService, real_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("signed")
    credentials = folder / "credentials"
    credentials.write_text("[default]\naws_access_key_id = TEAM\naws_secret_access_key = sec%ret\n")
    with real_service(folder / "data", "--max-jobs", "0", "--credentials-file", str(credentials)) as running:
        yield running


def client(service: RunningService, name: str = "sagemaker", secret: str = "sec%ret", **config: Any) -> Any:
    return boto3.session.Session().client(
        name,
        endpoint_url=service.info.s3_endpoint_url if name == "s3" else service.url,
        region_name="us-east-1",
        aws_access_key_id="TEAM",
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


def test_the_right_credentials_open_the_api_and_the_store(service: RunningService, tmp_path: Path) -> None:
    assert client(service).list_auto_ml_jobs(NameContains="a")["AutoMLJobSummaries"] == []
    assert client(service, "sts").get_caller_identity()["Account"]
    assert [bucket["Name"] for bucket in client(service, "s3").list_buckets()["Buckets"]] == ["automl"]
    with pytest.raises(ClientError, match="ValidationError"):
        client(service, "sagemaker-runtime").invoke_endpoint(EndpointName="a", Body=b"1,2", ContentType="text/csv")


def test_the_wrong_ones_do_not(service: RunningService) -> None:
    for name, code in (("sagemaker", "InvalidSignatureException"), ("s3", "SignatureDoesNotMatch")):
        wrong = client(service, name, "wrong")
        call = wrong.list_buckets if name == "s3" else wrong.list_auto_ml_jobs
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_no_signature_is_not_enough(service: RunningService) -> None:
    with pytest.raises(ClientError, match="MissingAuthenticationToken"):
        client(service, signature_version=UNSIGNED).list_models()
