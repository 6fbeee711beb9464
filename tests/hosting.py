"""SageMaker's hosting operations on loopback, as AWS answers them: a stand-in at the wire for the downstream tests.

It keeps models, endpoint configs, endpoints, transform jobs, model packages and tags in memory, speaks AWS JSON 1.1 to
an unmodified boto3, and refuses what the service model forbids. An endpoint has its final status after some calls, so
that waits end without sleeping. ``deploys_fail`` makes deployments end as AWS's failed ones do: a new endpoint is
``Failed``, an updated one goes back ``InService`` with its old config; ``ends_as`` lets them end in another status.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.loaders import Loader

from airflow_automl.contract.shapes import check_shape

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
_MODEL = Loader().load_service_model("sagemaker", "service-2")


class Refused(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def _kebab(kind: str) -> str:
    return {"Model": "model", "EndpointConfig": "endpoint-config", "Endpoint": "endpoint"}.get(kind, kind.lower())


class HostingStandIn:
    """The state, and the operations as methods named like AWS's."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.transforms: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.packages: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.candidates: dict[str, list[dict[str, Any]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.looks = 1
        self.deploys_fail: str | None = None
        self.silent_rollback = False
        self.ends_as: str | None = None
        self.scalable: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.refuse: dict[str, str] = {}
        self.predict: Callable[[str], str] | None = None
        self.tags_forbidden = False
        self.url = ""
        self._clock = time.time()
        self._lock = threading.Lock()

    def made(self, operation: str) -> list[dict[str, Any]]:
        """Return the requests of one operation, refused ones included."""
        return [request for name, request in self.calls if name == operation]

    def handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.calls.append((operation, request))
            if operation in self.refuse:
                raise Refused(self.refuse[operation], f"{self.refuse[operation]}: not now")
            described = _MODEL["operations"].get(operation)
            if described and (found := check_shape(_MODEL["shapes"], described["input"]["shape"], request)):
                raise Refused("ValidationException", "; ".join(map(str, found)))
            if self.tags_forbidden and (request.get("Tags") or operation in {"AddTags", "ListTags"}):
                action = "ListTags" if operation == "ListTags" else "AddTags"
                raise Refused("AccessDeniedException", f"User is not authorized to perform: sagemaker:{action}")
            if not hasattr(self, operation):
                raise Refused("UnknownOperationException", operation)
            return getattr(self, operation)(request)

    def _now(self) -> float:
        self._clock += 1
        return self._clock

    def _create(self, store: dict[str, dict[str, Any]], kind: str, label: str, request: dict[str, Any]) -> str:
        name = request[f"{kind}Name"]
        arn = f"{ARN}:{_kebab(kind)}/{name}"
        if name in store:
            raise Refused("ValidationException", f'Cannot create already existing {label} "{arn}".')
        store[name] = {
            **{key: value for key, value in request.items() if key != "Tags"},
            f"{kind}Arn": arn,
            "CreationTime": self._now(),
        }
        self.tags[arn] = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        return arn

    def _get(self, store: dict[str, dict[str, Any]], kind: str, label: str, request: dict[str, Any]) -> dict[str, Any]:
        name = request[f"{kind}Name"]
        if name not in store:
            raise Refused("ValidationException", f'Could not find {label} "{ARN}:{_kebab(kind)}/{name}".')
        return store[name]

    # Models and configs

    def CreateModel(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ModelArn": self._create(self.models, "Model", "model", request)}

    def DescribeModel(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._get(self.models, "Model", "model", request)

    def DeleteModel(self, request: dict[str, Any]) -> dict[str, Any]:
        self._get(self.models, "Model", "model", request)
        del self.models[request["ModelName"]]
        return {}

    def ListModels(self, request: dict[str, Any]) -> dict[str, Any]:
        found = [
            {key: model[key] for key in ("ModelName", "ModelArn", "CreationTime")}
            for name, model in self.models.items()
            if request.get("NameContains", "") in name and "ModelArn" in model
        ]
        return {"Models": found}

    def CreateEndpointConfig(self, request: dict[str, Any]) -> dict[str, Any]:
        for variant in request["ProductionVariants"]:
            self._get(self.models, "Model", "model", variant)
        return {
            "EndpointConfigArn": self._create(self.configs, "EndpointConfig", "endpoint configuration", request),
        }

    def DescribeEndpointConfig(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._get(self.configs, "EndpointConfig", "endpoint configuration", request)

    def DeleteEndpointConfig(self, request: dict[str, Any]) -> dict[str, Any]:
        self._get(self.configs, "EndpointConfig", "endpoint configuration", request)
        del self.configs[request["EndpointConfigName"]]
        return {}

    def ListEndpointConfigs(self, request: dict[str, Any]) -> dict[str, Any]:
        found = [
            {key: config[key] for key in ("EndpointConfigName", "EndpointConfigArn", "CreationTime")}
            for name, config in self.configs.items()
            if request.get("NameContains", "") in name and config["CreationTime"] > request.get("CreationTimeAfter", 0)
        ]
        return {"EndpointConfigs": sorted(found, key=lambda each: -each["CreationTime"])}

    # Endpoints

    def CreateEndpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        self._get(self.configs, "EndpointConfig", "endpoint configuration", request)
        arn = self._create(self.endpoints, "Endpoint", "endpoint", request)
        endpoint = self.endpoints[request["EndpointName"]]
        endpoint |= {"EndpointStatus": "Creating", "LastModifiedTime": self._now(), "looks": self.looks}
        return {"EndpointArn": arn}

    def UpdateEndpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._get(self.endpoints, "Endpoint", "endpoint", request)
        self._get(self.configs, "EndpointConfig", "endpoint configuration", request)
        if endpoint["EndpointStatus"] not in {"InService", "OutOfService"}:
            raise Refused("ValidationException", f'Cannot update in-progress endpoint "{endpoint["EndpointArn"]}".')
        before, after = (
            {each["VariantName"]: each.get("InstanceType") for each in self.configs[name]["ProductionVariants"]}
            for name in (endpoint["EndpointConfigName"], request["EndpointConfigName"])
            if name in self.configs
        )
        for variant, instance_type in before.items():
            target = f"endpoint/{request['EndpointName']}/variant/{variant}"
            if target in self.scalable and after.get(variant) != instance_type:
                raise Refused(
                    "ValidationException",
                    f'The variant(s) "{variant}" must be deregistered as scalable targets with AWS Auto Scaling before '
                    "they can be removed or have their instance type updated.",
                )
        endpoint.pop("FailureReason", None)
        endpoint |= {"EndpointStatus": "Updating", "pending": request["EndpointConfigName"], "looks": self.looks}
        endpoint["LastModifiedTime"] = self._now()
        return {"EndpointArn": endpoint["EndpointArn"]}

    def DescribeEndpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._get(self.endpoints, "Endpoint", "endpoint", request)
        if endpoint["EndpointStatus"] in {"Creating", "Updating", "Deleting"}:
            if endpoint["looks"] > 0:
                endpoint["looks"] -= 1
            else:
                self._record(endpoint)
        if endpoint["EndpointStatus"] == "gone":
            del self.endpoints[request["EndpointName"]]
            return self.DescribeEndpoint(request)
        shown = {key: value for key, value in endpoint.items() if key not in {"looks", "pending", "DeploymentConfig"}}
        return {"LastModifiedTime": endpoint["CreationTime"], **shown}

    def _record(self, endpoint: dict[str, Any]) -> None:
        if endpoint["EndpointStatus"] == "Deleting":
            endpoint["EndpointStatus"] = "gone"
            return
        creating = endpoint["EndpointStatus"] == "Creating"
        if self.ends_as:
            endpoint["EndpointStatus"] = self.ends_as
            endpoint.pop("pending", None)
            return
        if self.deploys_fail is None and not self.silent_rollback:
            endpoint["EndpointStatus"] = "InService"
            endpoint["EndpointConfigName"] = endpoint.pop("pending", endpoint["EndpointConfigName"])
            return
        endpoint.pop("pending", None)
        endpoint["EndpointStatus"] = "Failed" if creating else "InService"
        if self.deploys_fail:
            endpoint["FailureReason"] = self.deploys_fail

    def ListEndpoints(self, request: dict[str, Any]) -> dict[str, Any]:
        keys = ("EndpointName", "EndpointArn", "EndpointStatus", "CreationTime")
        found = [
            {**{key: each[key] for key in keys}, "LastModifiedTime": each.get("LastModifiedTime", each["CreationTime"])}
            for each in self.endpoints.values()
        ]
        since = request.get("LastModifiedTimeAfter", 0)
        return {"Endpoints": [each for each in found if each["LastModifiedTime"] > since]}

    def DeleteEndpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._get(self.endpoints, "Endpoint", "endpoint", request)
        if endpoint["EndpointStatus"] in {"Creating", "Updating"}:
            raise Refused("ValidationException", "Cannot update in-progress endpoint")
        endpoint |= {"EndpointStatus": "Deleting", "looks": self.looks}
        return {}

    def invoke(self, endpoint: str, body: str, headers: Any) -> bytes:
        """InvokeEndpoint: the result of ``predict`` for the whole body."""
        with self._lock:
            variant = headers.get("X-Amzn-SageMaker-Target-Variant")
            self.calls.append(("InvokeEndpoint", {"EndpointName": endpoint, "Body": body, "TargetVariant": variant}))
            assert self.predict is not None
            return self.predict(body).encode()

    # Tags

    def AddTags(self, request: dict[str, Any]) -> dict[str, Any]:
        self.tags.setdefault(request["ResourceArn"], {}).update(
            {tag["Key"]: tag["Value"] for tag in request["Tags"]},
        )
        return {"Tags": request["Tags"]}

    def ListTags(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = self.tags.get(request["ResourceArn"], {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    # AutoML jobs, as far as the tasks after training read them

    def DescribeAutoMLJobV2(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["AutoMLJobName"] not in self.jobs:
            raise Refused("ResourceNotFound", f"Could not find AutoML job {request['AutoMLJobName']}")
        return self.jobs[request["AutoMLJobName"]]

    DescribeAutoMLJob = DescribeAutoMLJobV2

    def ListCandidatesForAutoMLJob(self, request: dict[str, Any]) -> dict[str, Any]:
        self.DescribeAutoMLJobV2(request)
        return {"Candidates": self.candidates.get(request["AutoMLJobName"], [])}

    # Application Auto Scaling

    def RegisterScalableTarget(self, request: dict[str, Any]) -> dict[str, Any]:
        self.scalable[request["ResourceId"]] = {**self.scalable.get(request["ResourceId"], {}), **request}
        return {"ScalableTargetARN": "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/x"}

    def DescribeScalableTargets(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("ResourceIds") or list(self.scalable)
        common = {"RoleARN": "arn:aws:iam::123456789012:role/scaling", "CreationTime": self._now()}
        return {"ScalableTargets": [{**each, **common} for name, each in self.scalable.items() if name in wanted]}

    def DeregisterScalableTarget(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.scalable.pop(request["ResourceId"], None) is None:
            raise Refused("ObjectNotFoundException", "No scalable target registered")
        self.policies.pop(request["ResourceId"], None)
        return {}

    def DescribeScalingPolicies(self, request: dict[str, Any]) -> dict[str, Any]:
        policy = self.policies.get(request["ResourceId"])
        common = {"PolicyARN": "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:x", "CreationTime": 1.0}
        return {"ScalingPolicies": [{**policy, **common}] if policy else []}

    def PutScalingPolicy(self, request: dict[str, Any]) -> dict[str, Any]:
        self.policies[request["ResourceId"]] = request
        return {"PolicyARN": "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:x", "Alarms": []}

    # Transform jobs

    def CreateTransformJob(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["TransformJobName"]
        if name in self.transforms:
            raise Refused("ResourceInUse", f"Job name must be unique: {name}")
        self._get(self.models, "Model", "model", request)
        arn = f"{ARN}:transform-job/{name}"
        self.transforms[name] = {
            **request,
            "TransformJobArn": arn,
            "TransformJobStatus": "InProgress",
            "CreationTime": self._now(),
            "looks": self.looks,
        }
        return {"TransformJobArn": arn}

    def DescribeTransformJob(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._get(self.transforms, "TransformJob", "requested job", request)
        if job["looks"] > 0:
            job["looks"] -= 1
        elif job["TransformJobStatus"] == "Stopping":
            job["TransformJobStatus"] = "Stopped"
        elif job["TransformJobStatus"] == "InProgress":
            job["TransformJobStatus"] = "Failed" if self.deploys_fail else "Completed"
            if self.deploys_fail:
                job["FailureReason"] = self.deploys_fail
        return {key: value for key, value in job.items() if key not in {"looks", "Tags"}}

    def StopTransformJob(self, request: dict[str, Any]) -> dict[str, Any]:
        job = self._get(self.transforms, "TransformJob", "requested job", request)
        if job["TransformJobStatus"] != "InProgress":
            raise Refused("ValidationException", "The request was rejected because the transform job is finished")
        job["TransformJobStatus"] = "Stopping"
        return {}

    # Model registry

    def CreateModelPackageGroup(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["ModelPackageGroupName"]
        if name in self.groups:
            raise Refused(
                "ValidationException", f"Model Package Group already exists: {ARN}:model-package-group/{name}"
            )
        arn = f"{ARN}:model-package-group/{name}"
        self.groups[name] = {**request, "ModelPackageGroupArn": arn, "CreationTime": self._now()}
        return {"ModelPackageGroupArn": arn}

    def DescribeModelPackageGroup(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["ModelPackageGroupName"] not in self.groups:
            raise Refused("ValidationException", "ModelPackageGroup does not exist")
        group = self.groups[request["ModelPackageGroupName"]]
        return {**{key: value for key, value in group.items() if key != "Tags"}, "ModelPackageGroupStatus": "Completed"}

    def CreateModelPackage(self, request: dict[str, Any]) -> dict[str, Any]:
        for package in self.packages:
            if request.get("ClientToken") and package.get("ClientToken") == request["ClientToken"]:
                return {"ModelPackageArn": package["ModelPackageArn"]}
        group = request["ModelPackageGroupName"]
        version = 1 + sum(each["ModelPackageGroupName"] == group for each in self.packages)
        arn = f"{ARN}:model-package/{group}/{version}"
        self.packages.append(
            {
                **request,
                "ModelPackageArn": arn,
                "ModelPackageVersion": version,
                "ModelPackageStatus": "Completed",
                "CreationTime": self._now(),
            }
        )
        return {"ModelPackageArn": arn}

    def ListModelPackages(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("ModelApprovalStatus")
        keys = (
            "ModelPackageGroupName",
            "ModelPackageArn",
            "ModelPackageVersion",
            "ModelApprovalStatus",
            "CreationTime",
        )
        found = [
            {**{key: each[key] for key in keys if key in each}, "ModelPackageStatus": "Completed"}
            for each in reversed(self.packages)
            if request.get("ModelPackageGroupName") in (None, each["ModelPackageGroupName"])
            and each["CreationTime"] > request.get("CreationTimeAfter", 0)
            and wanted in (None, each.get("ModelApprovalStatus"))
        ]
        return {"ModelPackageSummaryList": found}

    def _package(self, arn: str) -> dict[str, Any]:
        for package in self.packages:
            if package["ModelPackageArn"] == arn:
                return package
        raise Refused("ValidationException", f"ModelPackage {arn} does not exist")

    def DescribeModelPackage(self, request: dict[str, Any]) -> dict[str, Any]:
        package = self._package(request["ModelPackageName"])
        return {
            "ModelPackageName": "x",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            **{key: value for key, value in package.items() if key not in {"Tags", "ClientToken"}},
        }

    def UpdateModelPackage(self, request: dict[str, Any]) -> dict[str, Any]:
        package = self._package(request["ModelPackageArn"])
        package["CustomerMetadataProperties"] = {
            **package.get("CustomerMetadataProperties", {}),
            **request.get("CustomerMetadataProperties", {}),
        }
        package.update({key: request[key] for key in ("ModelApprovalStatus", "ApprovalDescription") if key in request})
        return {"ModelPackageArn": package["ModelPackageArn"]}


@contextmanager
def serve() -> Iterator[HostingStandIn]:
    """Serve a stand-in on a free loopback port."""
    stand_in = HostingStandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # otherwise an answer in two writes takes 40 ms

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/invocations"):
                self.answer(200, "text/csv", stand_in.invoke(self.path.split("/")[2], raw.decode(), self.headers))
                return
            body = json.loads(raw or b"{}")
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            try:
                status, answer = 200, stand_in.handle(operation, body)
            except Refused as refused:
                status, answer = 400, {"__type": refused.code, "message": refused.message}
            self.answer(status, "application/x-amz-json-1.1", json.dumps(answer).encode())

        def answer(self, status: int, content_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
