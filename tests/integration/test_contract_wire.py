"""Requests that no SDK would send: each gets AWS's error, as JSON, and the service stays healthy."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from airflow_automl.exceptions import DOCS
from airflow_automl.local.api import OPERATIONS
from airflow_automl.local.service_model import operations
from tests.wire.autopilot import Autopilot
from tests.wire.client import JSON_1_1, Answer, Wire
from tests.wire.samples import valid_request

CREATE = {"X-Amz-Target": "SageMaker.CreateAutoMLJobV2", "Content-Type": JSON_1_1}
LIMIT = 4 * 1024 * 1024


@pytest.fixture(autouse=True)
def still_alive(idle_autopilot: Autopilot, wire: Wire) -> Iterator[None]:
    yield
    assert idle_autopilot.alive
    with Wire(idle_autopilot.url) as fresh:
        assert fresh.call("ListAutoMLJobs", {"MaxResults": 1}).status == 200


def assert_error(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer.body[:500]
    assert answer.json["__type"].endswith(code)
    assert answer.message
    assert answer.headers["content-type"] == JSON_1_1
    assert answer.headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'AutoMLJobName': 'x'}",
        b'{"AutoMLJobName": "x",}',
        b'{"AutoMLJobName": "x"} {}',
        b"nonsense",
        b"\x00",
        b"\xff\xfe{\x00}\x00",
        b'{"AutoMLJobName": "\xff"}',
        b'{"AutoMLJobName": "\\ud800"}',
        b'{"AutoMLJobName": "a\nb"}',
        b'{"AutoMLJobName": NaN}',
        b'{"AutoMLJobName": Infinity}',
        b'{"AutoMLJobName": -Infinity}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_malformed_json_is_a_serialization_error(wire: Wire, body: bytes) -> None:
    assert_error(wire.send(body, CREATE), 400, "SerializationException")


@pytest.mark.parametrize("body", [[], [{}], "text", 1, 1.5, True, None], ids=repr)
def test_a_body_that_is_not_an_object_is_a_serialization_error(wire: Wire, body: Any) -> None:
    assert_error(wire.send(json.dumps(body).encode(), CREATE), 400, "SerializationException")


def test_an_empty_body_is_an_empty_request(wire: Wire) -> None:
    answer = wire.send(b"", CREATE)

    assert_error(answer, 400, "ValidationException")
    for missing in (
        "AutoMLJobName",
        "AutoMLJobInputDataConfig",
        "OutputDataConfig",
        "AutoMLProblemTypeConfig",
        "RoleArn",
    ):
        assert f"{missing}: is required and missing" in answer.message


def test_a_huge_number_does_not_crash_the_service(wire: Wire) -> None:
    request = valid_request(Random(2), "V2", "huge-number", "TabularJobConfig")
    tabular = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    for digits in (30, 400, 5000):
        tabular["CompletionCriteria"] = {"MaxCandidates": 0}
        body = json.dumps(request).replace('"MaxCandidates": 0', f'"MaxCandidates": {"9" * digits}')
        answer = wire.send(body.encode(), CREATE)
        assert answer.status == 400
        assert answer.code in {"ValidationException", "SerializationException"}


def test_runtime_limits_are_at_most_what_the_wire_can_carry(wire: Wire) -> None:
    request = valid_request(Random(2), "V2", "long-runtime", "TabularJobConfig")
    runtime = 10**30
    request["AutoMLProblemTypeConfig"]["TabularJobConfig"]["CompletionCriteria"] = {
        "MaxAutoMLJobRuntimeInSeconds": runtime
    }

    answer = wire.call("CreateAutoMLJobV2", request)

    assert answer.status < 500
    if answer.status == 200:
        described = wire.call("DescribeAutoMLJobV2", {"AutoMLJobName": "long-runtime"})
        assert described.status == 200
        criteria = described.json["AutoMLProblemTypeConfig"]["TabularJobConfig"]["CompletionCriteria"]
        assert criteria == {"MaxAutoMLJobRuntimeInSeconds": runtime}


@pytest.mark.parametrize("operation", ["ListAutoMLJobs", "ListTags", "AddTags", "CreateModel", "DescribeEndpoint"])
def test_unknown_members_are_refused_in_every_operation(wire: Wire, operation: str) -> None:
    answer = wire.call(operation, {"Unheard": 1})

    assert_error(answer, 400, "ValidationException")
    assert "Unheard: unknown field" in answer.message


class TestSize:
    def test_a_body_above_the_limit_is_too_large(self, wire: Wire) -> None:
        body = json.dumps({"AutoMLJobName": "x" * LIMIT}).encode()

        assert_error(wire.send(body, CREATE), 413, "RequestEntityTooLargeException")

    def test_a_body_at_the_limit_is_read(self, wire: Wire) -> None:
        body = b"{}".ljust(LIMIT)

        assert_error(wire.send(body, CREATE), 400, "ValidationException")

    def test_a_chunked_body_above_the_limit_is_too_large(self, idle_autopilot: Autopilot) -> None:
        answer = self._raw(
            idle_autopilot,
            b"Transfer-Encoding: chunked\r\n\r\n",
            *[b"100000\r\n" + b"x" * 0x100000 + b"\r\n"] * 5,
            b"0\r\n\r\n",
        )

        assert answer.startswith(b"HTTP/1.1 413")

    def test_an_announced_length_alone_is_enough(self, idle_autopilot: Autopilot) -> None:
        answer = self._raw(idle_autopilot, b"Content-Length: 99999999999\r\n\r\n", b"{}", half_close=True)

        assert answer == b"" or answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))

    @pytest.mark.parametrize(
        "length",
        [
            b"Content-Length: -1",
            b"Content-Length: \xb2",
            b"Content-Length: ten",
            b"Content-Length: 2\r\nContent-Length: 3",
        ],
    )
    def test_a_length_that_is_none_is_a_bad_request(self, idle_autopilot: Autopilot, length: bytes) -> None:
        answer = self._raw(idle_autopilot, length + b"\r\n\r\n", b"{}")

        assert answer.startswith(b"HTTP/1.1 4")

    @staticmethod
    def _raw(autopilot: Autopilot, headers: bytes, *chunks: bytes, half_close: bool = False) -> bytes:
        """Send bytes that an HTTP client would not send, and read the answer until the other side closes."""
        url = urlsplit(autopilot.url)
        with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
            start = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            start += b"X-Amz-Target: SageMaker.CreateAutoMLJob\r\n"
            answer = b""
            try:
                connection.sendall(start + headers)
                for chunk in chunks:
                    connection.sendall(chunk)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent
            try:
                while received := connection.recv(65536):
                    answer += received
            except ConnectionResetError:
                pass
            return answer


class TestTarget:
    @pytest.mark.parametrize(
        "operation", ["NoSuchOperation", "", "createautomljob", "CreateAutoMLJob.V2", "../x", "%00"]
    )
    def test_unknown_operations_are_named(self, wire: Wire, operation: str) -> None:
        answer = wire.send(b"{}", {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": JSON_1_1})

        assert_error(answer, 400, "UnknownOperationException")

    @pytest.mark.parametrize("target", ["sagemaker.CreateAutoMLJob", "Nobody_20200101.DoIt", "CreateAutoMLJob", "."])
    def test_unknown_targets_are_unknown_operations(self, wire: Wire, target: str) -> None:
        assert_error(
            wire.send(b"{}", {"X-Amz-Target": target, "Content-Type": JSON_1_1}), 400, "UnknownOperationException"
        )

    def test_an_unknown_service_is_an_unknown_operation(self, wire: Wire) -> None:
        signed_for = "Credential=AKIA/20200101/mars-1/olympus/aws4_request, SignedHeaders=host, Signature=00"
        headers = {"X-Amz-Target": "Olympus.Climb", "Authorization": f"AWS4-HMAC-SHA256 {signed_for}"}

        assert_error(wire.send(b"{}", headers), 400, "UnknownOperationException")

    def test_sagemaker_operations_that_are_not_offered_are_refused(self, wire: Wire) -> None:
        others = set(operations()) - set(OPERATIONS)
        assert {"CreateTrainingJob", "Search", "StartPipelineExecution"} < others
        for operation in sorted(others):
            answer = wire.call(operation)

            assert_error(answer, 400, "UnknownOperationException")
            assert f"{operation} is not offered" in answer.body.decode()
            assert "CreateAutoMLJobV2" in answer.body.decode()

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
    def test_no_target_at_all_is_refused(self, wire: Wire, method: str) -> None:
        answer = wire.send(b"", {}, method=method)

        assert 400 <= answer.status < 500, answer.body[:300]

    def test_the_content_type_does_not_matter(self, wire: Wire) -> None:
        for content_type in ("application/json", "text/plain", "application/x-amz-json-1.0", "application/cbor"):
            answer = wire.send(b"{}", {"X-Amz-Target": "SageMaker.ListAutoMLJobs", "Content-Type": content_type})
            assert answer.status == 200
        assert wire.send(b"{}", {"X-Amz-Target": "SageMaker.ListAutoMLJobs"}).status == 200

    def test_header_names_in_any_case_are_read(self, wire: Wire) -> None:
        assert wire.send(b"{}", {"x-AMZ-tArGeT": "SageMaker.ListAutoMLJobs"}).status == 200

    @pytest.mark.parametrize("path", ["/", "//", "/anything", "/?a=b", "/%ff", "/%00"])
    def test_the_target_decides_whatever_the_path_is(self, wire: Wire, path: str) -> None:
        assert wire.send(b"{}", {"X-Amz-Target": "SageMaker.ListAutoMLJobs"}, path=path).status == 200


class TestSignatures:
    """Without configured keys any signature, or none, is accepted."""

    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "nonsense",
            "Bearer abc",
            "AWS4-HMAC-SHA256 Credential=x",
            "AWS4-HMAC-SHA256 Credential=AKIA/20200101/mars-1/sagemaker/aws4_request, SignedHeaders=host, Signature=00",
        ],
    )
    def test_any_authorization_is_accepted(self, wire: Wire, authorization: str) -> None:
        headers = {"X-Amz-Target": "SageMaker.ListAutoMLJobs", "Authorization": authorization}

        assert wire.send(b"{}", headers).status == 200

    def test_boto3_reads_every_kind_of_error(self, idle_autopilot: Autopilot) -> None:
        client = idle_autopilot.client(parameter_validation=False)
        request = valid_request(Random(5), "V2", "boto-errors", "TextGenerationJobConfig")
        client.create_auto_ml_job_v2(**request)

        with pytest.raises(client.exceptions.ResourceInUse):
            client.create_auto_ml_job_v2(**request)
        with pytest.raises(client.exceptions.ResourceNotFound):
            client.describe_auto_ml_job(AutoMLJobName="boto-errors")
        with pytest.raises(ClientError) as error:
            client.create_auto_ml_job_v2(**{**request, "Tags": [{"Key": "a", "Value": "1"}] * 2})
        assert error.value.response["Error"]["Code"] == "ValidationException"
        assert "Tags[1].Key" in error.value.response["Error"]["Message"]
        metadata = error.value.response["ResponseMetadata"]
        assert metadata["RequestId"]
        guides = re.findall(rf'<{DOCS}/([^>]+)>; rel="help"', metadata["HTTPHeaders"]["link"])
        assert guides == ["troubleshooting.md#validationexception", "reference/rules.md#r32"]
