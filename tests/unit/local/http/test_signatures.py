"""Requests signed by botocore pass; anything else is refused with the error of AWS."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from airflow_automl.local.errors import ServiceError
from airflow_automl.local.http.messages import Request
from airflow_automl.local.http.signatures import Signatures
from airflow_automl.local.storage.client import Credentials

SIGNATURES = Signatures(Credentials("AKID", "secret"))


def signed(secret: str = "secret", key: str = "AKID", path: str = "/", body: bytes = b"{}", **options: Any) -> Request:
    headers = {"host": "127.0.0.1:4566", "x-amz-target": "SageMaker.ListModels", "content-type": "application/json"}
    if "sha256" in options:
        headers["X-Amz-Content-SHA256"] = options["sha256"]
    url = f"http://127.0.0.1:4566{path}"
    request = AWSRequest(method="POST", url=url, data=body, headers=headers)
    age = options.get("age", timedelta())
    with patch("botocore.auth.get_current_datetime", lambda *_, **__: (datetime.now(UTC) - age).replace(tzinfo=None)):
        SigV4Auth(BotoCredentials(key, secret), "sagemaker", "us-east-1").add_auth(request)
    parts = urlsplit(url)
    found = {name.lower(): value for name, value in request.headers.items()}
    return Request("POST", parts.path, parts.path, parts.query, found, body)


@pytest.mark.parametrize("path", ["/", "/endpoints/a%20b/invocations", "/x?b=2&a=1"])
def test_a_signed_request_passes(path: str) -> None:
    SIGNATURES.check(signed(path=path))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (signed(secret="wrong"), "InvalidSignatureException"),
        (signed(key="OTHER"), "UnrecognizedClientException"),
        (signed(age=timedelta(hours=3)), "InvalidSignatureException"),
        (signed(age=timedelta(hours=-3)), "InvalidSignatureException"),
        (signed()._replace(body=b"{} "), "InvalidSignatureException"),
        (signed()._replace(raw_path="/other"), "InvalidSignatureException"),
        (signed()._replace(headers={}), "MissingAuthenticationTokenException"),
        (signed()._replace(headers={"authorization": "Basic x"}), "IncompleteSignatureException"),
    ],
)
def test_anything_else_is_refused(request_: Request, code: str) -> None:
    with pytest.raises(ServiceError) as refused:
        SIGNATURES.check(request_)
    assert (refused.value.code, refused.value.status) == (code, 403)


def test_the_hash_that_a_signature_covers_must_be_that_of_the_body() -> None:
    body = b"{}"
    hashed = signed(body=body, sha256=hashlib.sha256(body).hexdigest())
    SIGNATURES.check(hashed)
    for request in (hashed._replace(body=b'{"another": 1}'), signed(body=body, sha256="UNSIGNED-PAYLOAD")):
        with pytest.raises(ServiceError, match="x-amz-content-sha256"):
            SIGNATURES.check(request)
