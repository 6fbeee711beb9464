"""Calls to SageMaker that come after training: models, endpoints, transform jobs, the model registry, tags.

SageMaker's hosting operations have no client tokens (model packages excepted) and no typed errors: "already there" and
"not there" are both ``ValidationException``. So nothing here reads messages: what a create answered is decided by a
describe, and the names, which are derived from their content, identify an existing resource as the requested one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLError, AutoMLValidationError, error_code
from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
from airflow_automl.waiting import ABSENT

_TAKEN = frozenset({"ValidationException", "ResourceInUse", "ConflictException"})
#: Members that the description and the registration of scalable targets and policies have in common.
_TARGET = ("MinCapacity", "MaxCapacity", "SuspendedState")
_POLICY = (
    *("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration"),
    *("StepScalingPolicyConfiguration", "PredictiveScalingPolicyConfiguration"),
)
_AUTOSCALING = "application-autoscaling"
_NEWEST_FIRST = {"SortBy": "CreationTime", "SortOrder": "Descending"}


@cache
def service_model(service: str = "sagemaker") -> Mapping[str, Any]:
    """Return the description of a service's whole API (``operations``, ``shapes``), as botocore ships it."""
    from botocore.loaders import Loader

    model: Mapping[str, Any] = Loader().load_service_model(service, "service-2")
    return model


def _scalable_target(endpoint_name: str, variant_name: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint_name}/variant/{variant_name}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


class SageMakerAutoMLDeploymentHook(SageMakerAutoMLHook):
    """The calls of :class:`~airflow_automl.hooks.SageMakerAutoMLHook`, and those to deploy, score and register.

    Every ``ensure_…`` method can be called again: it makes a resource once and says whether this call made it.
    Every ``delete_…`` method treats a missing resource as deleted.
    """

    def check(self, operation: str, request: Mapping[str, Any]) -> None:
        """Check a request against botocore's model of the operation, before anything is made.

        Instance types are left to the service: new ones appear more often than botocore is updated.

        :raises AutoMLValidationError: all violations at once.
        """
        from airflow_automl.contract.shapes import check_shape

        model = service_model()
        violations = check_shape(model["shapes"], model["operations"][operation]["input"]["shape"], request)
        errors = [each for each in violations if each.severity == "error" and not each.path.endswith("InstanceType")]
        if errors:
            raise AutoMLValidationError(f"{operation} request", errors)

    def _ensure(self, operation: str, name_key: str, request: Mapping[str, Any]) -> bool:
        try:
            self._write(operation, **request)
        except AutoMLError as error:
            describe, name = operation.replace("create", "describe"), {name_key: request[name_key]}
            if error_code(error) not in _TAKEN or self._describe(describe, **name) is None:
                raise
            return False
        return True

    def _write(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self.call(operation, **request)
        except AutoMLAccessDenied as error:
            if "AddTags" not in str(error) or "Tags" not in request:
                raise
            self.log.warning("This account does not allow tags, continuing without them: %s", error)
            return self.call(operation, **{key: value for key, value in request.items() if key != "Tags"})

    def _describe(self, operation: str, **names: str) -> dict[str, Any] | None:
        try:
            return self.call(operation, **names)
        except AutoMLError as error:
            if error_code(error) in ABSENT:
                return None
            raise

    def _delete(self, operation: str, **names: str) -> bool:
        return self._describe(operation, **names) is not None

    def describe_model(self, name: str) -> dict[str, Any] | None:
        """DescribeModel; ``None`` if it does not exist."""
        return self._describe("describe_model", ModelName=name)

    def ensure_model(self, request: Mapping[str, Any]) -> bool:
        """CreateModel, unless a model of this (derived) name exists; return whether this call made it."""
        return self._ensure("create_model", "ModelName", request)

    def list_models(self, name_contains: str) -> list[dict[str, Any]]:
        """ListModels whose names contain a text."""
        return list(self.pages("list_models", "Models", NameContains=name_contains))

    def delete_model(self, name: str) -> bool:
        """DeleteModel; return whether it existed."""
        return self._delete("delete_model", ModelName=name)

    def describe_endpoint_config(self, name: str) -> dict[str, Any] | None:
        """DescribeEndpointConfig; ``None`` if it does not exist."""
        return self._describe("describe_endpoint_config", EndpointConfigName=name)

    def ensure_endpoint_config(self, request: Mapping[str, Any]) -> bool:
        """CreateEndpointConfig, unless one of this (derived) name exists; return whether this call made it."""
        return self._ensure("create_endpoint_config", "EndpointConfigName", request)

    def delete_endpoint_config(self, name: str) -> bool:
        """DeleteEndpointConfig; return whether it existed."""
        return self._delete("delete_endpoint_config", EndpointConfigName=name)

    def list_endpoint_configs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """ListEndpointConfigs, newest first."""
        return self.pages("list_endpoint_configs", "EndpointConfigs", **_NEWEST_FIRST, **filters)

    def describe_endpoint(self, name: str) -> dict[str, Any] | None:
        """DescribeEndpoint; ``None`` if it does not exist."""
        return self._describe("describe_endpoint", EndpointName=name)

    def ensure_endpoint(self, request: Mapping[str, Any]) -> bool:
        """CreateEndpoint, unless one of this name exists; return whether this call made it."""
        return self._ensure("create_endpoint", "EndpointName", request)

    def update_endpoint(self, request: Mapping[str, Any]) -> None:
        """UpdateEndpoint; the endpoint serves the old config until the new one is up."""
        self._write("update_endpoint", **request)

    def delete_endpoint(self, name: str) -> bool:
        """DeleteEndpoint; return whether it existed."""
        return self._delete("delete_endpoint", EndpointName=name)

    def list_endpoints(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """ListEndpoints, newest first."""
        return self.pages("list_endpoints", "Endpoints", **_NEWEST_FIRST, **filters)

    def scale_endpoint(self, endpoint_name: str, variant_name: str, autoscaling: Mapping[str, Any]) -> None:
        """RegisterScalableTarget and PutScalingPolicy for one variant; both overwrite what was there.

        :param autoscaling: ``MinCapacity`` and ``MaxCapacity``, and either a
            ``TargetTrackingScalingPolicyConfiguration`` or the ``policies`` of :meth:`read_scaling`.
        """
        target = _scalable_target(endpoint_name, variant_name)
        policies = list(autoscaling.get("policies", ()))
        tracking = autoscaling.get("TargetTrackingScalingPolicyConfiguration")
        if tracking:
            name = f"{endpoint_name}-{variant_name}"
            policies.append(
                {
                    "PolicyName": name,
                    "PolicyType": "TargetTrackingScaling",
                    "TargetTrackingScalingPolicyConfiguration": tracking,
                }
            )
        with self.reaching_aws(_AUTOSCALING) as client:
            client.register_scalable_target(
                **target, **{key: autoscaling[key] for key in _TARGET if key in autoscaling}
            )
            for policy in policies:
                client.put_scaling_policy(**target, **policy)

    def read_scaling(self, endpoint_name: str, variant_names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """DescribeScalableTargets and DescribeScalingPolicies: by variant, what :meth:`scale_endpoint` puts back."""
        found = {}
        with self.reaching_aws(_AUTOSCALING) as client:
            for name in variant_names:
                target = _scalable_target(endpoint_name, name)
                request = {**target, "ResourceIds": [target["ResourceId"]]}
                del request["ResourceId"]
                for each in client.describe_scalable_targets(**request)["ScalableTargets"]:
                    policies = client.describe_scaling_policies(**target)["ScalingPolicies"]
                    found[name] = {key: each[key] for key in _TARGET if key in each}
                    found[name]["policies"] = [
                        {key: policy[key] for key in _POLICY if key in policy} for policy in policies
                    ]
        return found

    def unscale_endpoint(self, endpoint_name: str, variant_name: str) -> None:
        """DeregisterScalableTarget, which deletes the variant's scaling policies too."""
        with self.reaching_aws(_AUTOSCALING) as client:
            client.deregister_scalable_target(**_scalable_target(endpoint_name, variant_name))

    def invoke_endpoint(
        self, name: str, body: bytes, content_type: str, accept: str, *, target_variant: str | None = None
    ) -> bytes:
        """InvokeEndpoint; return the answer's body.

        :param target_variant: the variant to call; by default, the endpoint chooses one by its weights.
        """
        request: dict[str, Any] = {"EndpointName": name, "Body": body, "ContentType": content_type, "Accept": accept}
        if target_variant:
            request["TargetVariant"] = target_variant
        with self.reaching_aws("sagemaker-runtime") as client:
            answer: bytes = client.invoke_endpoint(**request)["Body"].read()
        return answer

    def describe_transform_job(self, name: str) -> dict[str, Any] | None:
        """DescribeTransformJob; ``None`` if it does not exist."""
        return self._describe("describe_transform_job", TransformJobName=name)

    def ensure_transform_job(self, request: Mapping[str, Any]) -> bool:
        """CreateTransformJob, unless one of this (derived) name exists; return whether this call made it."""
        return self._ensure("create_transform_job", "TransformJobName", request)

    def ensure_model_package_group(self, request: Mapping[str, Any]) -> bool:
        """CreateModelPackageGroup, unless it exists; return whether this call made it."""
        return self._ensure("create_model_package_group", "ModelPackageGroupName", request)

    def describe_model_package_group(self, name: str) -> dict[str, Any] | None:
        """DescribeModelPackageGroup; ``None`` if it does not exist."""
        return self._describe("describe_model_package_group", ModelPackageGroupName=name)

    def create_model_package(self, request: Mapping[str, Any]) -> str:
        """CreateModelPackage; return the ARN. The request's ``ClientToken`` makes a repeated call answer the same."""
        return str(self._write("create_model_package", **request)["ModelPackageArn"])

    def list_model_packages(self, group: str | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """ListModelPackages of a group, or of all (``ModelPackageType="Both"``), newest first."""
        if group:
            filters["ModelPackageGroupName"] = group
        return self.pages("list_model_packages", "ModelPackageSummaryList", **_NEWEST_FIRST, **filters)

    def describe_model_package(self, name: str) -> dict[str, Any] | None:
        """DescribeModelPackage by ARN; ``None`` if there is none."""
        return self._describe("describe_model_package", ModelPackageName=name)

    def update_model_package(self, request: Mapping[str, Any]) -> None:
        """UpdateModelPackage."""
        self._write("update_model_package", **request)
