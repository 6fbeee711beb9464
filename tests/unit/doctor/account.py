"""An AWS account on loopback, as far as the doctor reads it: STS, IAM, KMS, Service Quotas, S3 and SageMaker."""

from __future__ import annotations

import fnmatch
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

ROLE = "arn:aws:iam::123456789012:role/AutoML"
TRUST = {
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]
}
_SERVICE = re.compile(r"Credential=[^/]*/[^/]*/[^/]*/([^/,]+)/")


class Refused(Exception):
    """An error answer: HTTP status, code."""


class Account:
    """Its state; everything is allowed at first.

    :ivar denied: patterns of ``action resource`` that IAM's simulation denies.
    :ivar refused: actions of the doctor itself that are answered with AccessDenied.
    """

    def __init__(self) -> None:
        self.caller = "arn:aws:iam::123456789012:user/airflow"
        self.roles: dict[str, Any] = {"AutoML": TRUST}
        self.buckets: dict[str, str] = {"acme-ml": "us-east-1"}
        self.objects = {"acme-ml/churn/train/part-0.csv": b"a,b\n1,2\n"}
        self.keys = {"good": "Enabled", "old": "PendingDeletion"}
        self.quotas: dict[str, float] = {"Maximum number of concurrent AutoML Jobs": 4.0, "ml.m5.large": 1.0}
        self.denied: list[str] = []
        self.refused: set[str] = set()
        self.uploads: set[str] = set()
        self.simulated: list[tuple[str, str, str]] = []
        self.url = ""

    def allow(self, action: str) -> None:
        if action in self.refused:
            raise Refused(403, "AccessDenied")

    def query(self, form: dict[str, list[str]]) -> str:
        action = form["Action"][0]
        if action == "GetCallerIdentity":
            self.allow("sts:GetCallerIdentity")
            return f"<Arn>{self.caller}</Arn><Account>123456789012</Account><UserId>x</UserId>"
        self.allow(f"iam:{action}")
        if action == "GetRole":
            name = form["RoleName"][0]
            if name not in self.roles:
                raise Refused(404, "NoSuchEntity")
            document = quote(json.dumps(self.roles[name]))
            arn = f"arn:aws:iam::123456789012:role/{name}"
            return (
                f"<Role><Path>/</Path><RoleName>{name}</RoleName><RoleId>x</RoleId><Arn>{arn}</Arn>"
                f"<CreateDate>2026-01-01T00:00:00Z</CreateDate>"
                f"<AssumeRolePolicyDocument>{document}</AssumeRolePolicyDocument></Role>"
            )
        source, resource = form["PolicySourceArn"][0], form["ResourceArns.member.1"][0]
        members = []
        for key, (name, *_) in form.items():
            if key.startswith("ActionNames."):
                self.simulated.append((source, name, resource))
                no = any(fnmatch.fnmatch(f"{name} {resource}", pattern) for pattern in self.denied)
                decision = "implicitDeny" if no else "allowed"
                members.append(
                    f"<member><EvalActionName>{name}</EvalActionName><EvalResourceName>{resource}</EvalResourceName>"
                    f"<EvalDecision>{decision}</EvalDecision></member>"
                )
        return f"<IsTruncated>false</IsTruncated><EvaluationResults>{''.join(members)}</EvaluationResults>"

    def json(self, target: str, request: dict[str, Any]) -> dict[str, Any]:
        operation = target.rpartition(".")[2]
        if operation == "ListAutoMLJobs":
            self.allow("sagemaker:ListAutoMLJobs")
            return {"AutoMLJobSummaries": []}
        if operation == "ListServiceQuotas":
            self.allow("servicequotas:ListServiceQuotas")
            return {"Quotas": [{"QuotaName": name, "Value": value} for name, value in self.quotas.items()]}
        self.allow("kms:DescribeKey")
        if request["KeyId"] not in self.keys:
            raise Refused(400, "NotFoundException")
        return {"KeyMetadata": {"KeyId": request["KeyId"], "KeyState": self.keys[request["KeyId"]]}}

    def s3(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        bucket, _, key = path.lstrip("/").partition("/")
        if method == "HEAD":
            if bucket not in self.buckets:
                return 404, {}, b""
            self.allow("s3:ListBucket")
            return 200, {"x-amz-bucket-region": self.buckets[bucket]}, b""
        if method == "GET" and not key:
            self.allow("s3:ListObjects")
            prefix = query.get("prefix", [""])[0]
            found = [name.partition("/")[2] for name in self.objects if name.startswith(f"{bucket}/{prefix}")]
            contents = "".join(f"<Contents><Key>{name}</Key><Size>8</Size></Contents>" for name in found)
            return 200, {}, f"<ListBucketResult>{contents}</ListBucketResult>".encode()
        if method == "GET":
            self.allow("s3:GetObject")
            return 206, {}, self.objects[f"{bucket}/{key}"][:1]
        self.allow("s3:PutObject")
        if method == "POST":
            self.uploads.add(f"{bucket}/{key}")
            answer = f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>u</UploadId>"
            return 200, {}, f"{answer}</InitiateMultipartUploadResult>".encode()
        self.uploads.remove(f"{bucket}/{key}")
        return 204, {}, b""


@contextmanager
def serve() -> Iterator[Account]:
    """Serve an account on a free loopback port."""
    account = Account()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # otherwise an answer in two writes takes 40 ms

        def handle_call(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            address = urlsplit(self.path)
            match = _SERVICE.search(self.headers.get("Authorization", ""))
            service = match[1] if match else ""
            try:
                if service == "s3":
                    self.answer(*account.s3(self.command, address.path, parse_qs(address.query)))
                elif target := self.headers.get("X-Amz-Target"):
                    answer = account.json(target, json.loads(body or b"{}"))
                    self.answer(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode())
                else:
                    form = parse_qs(body.decode())
                    name = form["Action"][0]
                    content = f"<{name}Response><{name}Result>{account.query(form)}</{name}Result></{name}Response>"
                    self.answer(200, {"Content-Type": "text/xml"}, content.encode())
            except Refused as refused:
                status, code = refused.args
                if service == "s3":
                    content = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
                elif self.headers.get("X-Amz-Target"):
                    content = json.dumps({"__type": code, "message": "no"}).encode()
                else:
                    content = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
                self.answer(status, {}, content)

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = handle_call  # noqa: N815

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    account.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield account
    finally:
        server.shutdown()
        server.server_close()
