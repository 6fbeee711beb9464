"""Requests for other AWS services: a few are answered by moto, which is loaded when the first one comes.

moto accepts nearly every call of AWS and ignores it: a training job on an image that does not exist completes.
So only the operations in :data:`SERVICES` reach it, whose effect is that something is kept; none of SageMaker's does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from xml.sax.saxutils import escape

from airflow_automl.local.errors import ServiceError, unknown_operation
from airflow_automl.local.http.messages import Request, Response, parse
from airflow_automl.local.http.signatures import Signatures
from airflow_automl.local.serving.metrics import Sums
from airflow_automl.local.storage.client import Credentials

log = logging.getLogger(__name__)

_SIGNED_FOR = re.compile(r"Credential=[^/,]*/[^/,]*/[^/,]*/([^/,]+)/aws4_request")
_PRESIGNED_FOR = re.compile(r"X-Amz-Credential=[^&]*(?:/|%2F)([^/&%]+)(?:/|%2F)aws4_request", re.IGNORECASE)
_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
_GRANTED = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken)>[^<]*</\1>")

SERVICES: dict[str, dict[str, str]] = {
    "applicationautoscaling": {
        "a deployment registers the bounds between which its variants scale": (
            "DeregisterScalableTarget DescribeScalableTargets RegisterScalableTarget"
        ),
        "a deployment keeps its policies": "DeleteScalingPolicy DescribeScalingPolicies PutScalingPolicy",
    },
    "cloudwatch": {
        "what endpoints did is asked for": "GetMetricData GetMetricStatistics ListMetrics PutMetricData",
        "a deployment names alarms": "DeleteAlarms DescribeAlarms DescribeAlarmsForMetric PutMetricAlarm",
    },
    "iam": {
        "the SageMaker SDK and the doctor look up roles": "GetRole ListRoles",
        "a set-up makes a role of its own, whose policies are kept and not enforced": (
            "AttachRolePolicy CreateRole DeleteRole DeleteRolePolicy DetachRolePolicy ListAttachedRolePolicies "
            "ListRolePolicies PutRolePolicy"
        ),
    },
    "kms": {
        "requests name keys and aliases": (
            "CreateAlias CreateKey DeleteAlias DescribeKey ListAliases ListKeys ScheduleKeyDeletion"
        ),
        "Airflow and DAGs encrypt small values": "Decrypt Encrypt GenerateDataKey",
    },
    "logs": {
        "Airflow's remote logging writes task logs to groups of its own and reads them": (
            "CreateLogGroup CreateLogStream DeleteLogGroup DeleteLogStream DescribeLogGroups DescribeLogStreams "
            "FilterLogEvents GetLogEvents PutLogEvents PutRetentionPolicy"
        ),
    },
    "secretsmanager": {
        "Airflow's secrets backend reads connections and variables": (
            "CreateSecret DeleteSecret DescribeSecret GetSecretValue ListSecrets PutSecretValue UpdateSecret"
        ),
    },
    "ssm": {
        "Airflow's secrets backend reads connections and variables": (
            "DeleteParameter DeleteParameters DescribeParameters GetParameter GetParameters GetParametersByPath "
            "PutParameter"
        ),
    },
    "sts": {"clients ask who they are and assume a role": "AssumeRole GetCallerIdentity GetSessionToken"},
}
"""The services that moto answers; what clients of AutoML jobs need them for, and the operations that this takes."""

_OPERATION = "automl.operation"

ROLE = "AutoMLExecutionRole"
"""The role that ``airflow-automl env`` names; IAM knows it from the start."""


class OtherServices:
    """Answers requests for AWS services that the embedded service does not offer itself.

    :param s3_endpoint_url: returns the address that S3 calls belong to.
    :param credentials: what AssumeRole and GetSessionToken grant, to callers who sign with them.
    :param account: the AWS account that moto's answers name.
    :param region: where the metrics of endpoints are.
    :param metrics: takes what the variants of endpoints did, as CloudWatch is to know it.
    :param scale: applies the bounds of a variant.
    """

    def __init__(
        self,
        s3_endpoint_url: Callable[[], str],
        credentials: Credentials,
        account: str,
        region: str,
        metrics: Callable[[], list[tuple[int, str, str, Sums]]],
        scale: Callable[[str, tuple[int | None, int | None] | None], None],
    ) -> None:
        self._region = region
        self._metrics = metrics
        self._scale = scale
        self._s3_endpoint_url = s3_endpoint_url
        self._credentials = credentials
        self._account = account
        # moto's backends are not thread-safe.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="moto")

    async def answer(self, request: Request) -> Response:
        """Answer a request for another service.

        :raises ServiceError: UnknownOperationException if it is not offered.
        """
        service = _service_of(request)
        if service == "s3":
            return self._wrong_endpoint()
        operation = _operation_of(request)
        grants = operation in ("AssumeRole", "GetSessionToken")
        if grants:
            Signatures(self._credentials).check(request)
        if operation in ("RegisterScalableTarget", "DeregisterScalableTarget"):
            self._apply(operation, parse(request.body))
        response = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._ask_moto, request, service, operation
        )
        return self._grant(response) if grants else response

    def _grant(self, response: Response) -> Response:
        """Replace moto's credentials by those that service and store accept; clients send no token if it is empty."""
        key, secret, token = self._credentials
        granted = {"AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token or ""}
        body = _GRANTED.sub(
            lambda found: f"<{found[1]}>{escape(granted[found[1]])}</{found[1]}>", response.body.decode()
        )
        return response._replace(body=body.encode())

    def _apply(self, operation: str, members: dict[str, Any]) -> None:
        if members.get("ServiceNamespace") == "sagemaker":
            bounds = members.get("MinCapacity"), members.get("MaxCapacity")
            self._scale(str(members.get("ResourceId")), bounds if operation.startswith("Register") else None)

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _wrong_endpoint(self) -> Response:
        message = (
            f"This endpoint serves SageMaker; the objects are at {self._s3_endpoint_url()}. "
            "Set AWS_ENDPOINT_URL_S3, or service_config.s3.endpoint_url in the Airflow connection, to that."
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>IncorrectEndpoint</Code><Message>{escape(message)}</Message>"
            f"<Endpoint>{escape(self._s3_endpoint_url())}</Endpoint></Error>"
        )
        link = ServiceError("IncorrectEndpoint", message).link
        return Response(400, {"content-type": "application/xml", "link": link}, body.encode())

    @cached_property
    def _moto(self) -> Any:
        from moto.iam.models import iam_backends
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        from airflow_automl.local.http import metric_data

        metric_data.install()

        class Dispatcher(DomainDispatcherApplication):
            def infer_service_region_host(self, environ: dict[str, Any], path: str) -> str:
                # moto treats unknown calls as S3's, and answers an empty bucket list.
                host: str | None = super().infer_service_region_host(environ, path)
                offered = SERVICES.get(self.get_backend_for_host(host), {}) if host else {}
                if host is None or environ[_OPERATION] not in " ".join(offered.values()).split():
                    raise LookupError(f"{environ[_OPERATION]} of {host or 'this service'}")
                return host

        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
        iam_backends[self._account]["aws"].create_role(ROLE, json.dumps(trust), "/", None, "", [], None)
        return Dispatcher(create_backend_app)

    def _ask_moto(self, request: Request, service: str, operation: str) -> Response:
        subject = operation or f"{request.method} {request.path}"
        try:
            if service == "monitoring":
                from airflow_automl.local.http import metric_data

                metric_data.store(self._account, self._region, self._metrics())
            status, headers, body = _call(self._moto, request, operation, self._account)
        except ModuleNotFoundError as error:
            raise unknown_operation(
                f"{subject} needs the Python package {error.name}: pip install 'airflow-automl[local]'"
            ) from error
        except LookupError as error:
            raise _not_offered(subject) from error
        except Exception as error:
            log.warning("moto can't answer %s: %r", subject, error)
            raise _not_offered(subject) from error
        if status >= 500 or (status == 404 and headers.get("content-type", "").startswith("text/html")):
            log.warning("moto answered %s with %d: %s", subject, status, body[:200])
            raise _not_offered(subject)
        return Response(status, headers, body)


def _not_offered(subject: str) -> ServiceError:
    return unknown_operation(
        f"{subject} is not offered by the embedded Autopilot. It serves AutoML jobs, models, endpoints, transform jobs "
        f"and the model registry of SageMaker, and of other services {', '.join(SERVICES)}. "
        "Use an AWS connection without endpoint_url for everything else."
    )


def _service_of(request: Request) -> str:
    signed = _SIGNED_FOR.search(request.headers.get("authorization", "")) or _PRESIGNED_FOR.search(request.query)
    if signed:
        return signed[1]
    by_hand = "x-amz-target" not in request.headers and "action=" not in request.query.lower()
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return "s3" if by_hand and not form else ""


def _operation_of(request: Request) -> str:
    """Return the operation that is asked for in AWS JSON, Query or RPC v2; it may be empty."""
    if target := request.headers.get("x-amz-target", ""):
        return target.rpartition(".")[2]
    if "/operation/" in request.path:
        return request.path.rpartition("/")[2]
    action = _ACTION.search(request.body or request.query.encode())
    return action[1].decode() if action else ""


def _call(application: Any, request: Request, operation: str, account: str) -> tuple[int, dict[str, str], bytes]:
    from werkzeug.test import EnvironBuilder, run_wsgi_app

    environ = EnvironBuilder(
        request.raw_path,
        f"http://{request.headers.get('host', 'localhost')}",
        request.query,
        request.method,
        headers=[*request.headers.items(), ("x-moto-account-id", account)],
        data=request.body,
        environ_overrides={_OPERATION: operation},
    ).get_environ()
    body, status, headers = run_wsgi_app(application, environ, buffered=True)
    dropped = {"content-length", "transfer-encoding", "connection", "date", "server", "x-amzn-requestid"}
    kept = {name.lower(): value for name, value in headers.items() if name.lower() not in dropped}
    return int(status.split(" ", 1)[0]), kept, b"".join(body)
