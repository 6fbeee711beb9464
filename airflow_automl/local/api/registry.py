"""The model registry: model package groups, and model packages with their approval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api.backend import described
from airflow_automl.local.api.paging import list_resources, listing
from airflow_automl.local.errors import ServiceError, invalid

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.resources import Resource

GROUP, PACKAGE = "model-package-group", "model-package"

#: Members of a request that the package lacks.
_NOT_KEPT = ("ModelPackageName", "ModelPackageGroupName", "Tags", "ClientToken")
_REPLACED = (
    "ModelApprovalStatus",
    "ModelPackageRegistrationType",
    "ApprovalDescription",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


def create_group(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateModelPackageGroup."""
    name = request["ModelPackageGroupName"]
    arn = backend.arn(GROUP, name)
    document = {"ModelPackageGroupDescription": request.get("ModelPackageGroupDescription"), "LastVersion": 0}
    taken = invalid(f"Model Package Group already exists: {arn}")
    tags = request.get("Tags", ())
    backend.resources.add(GROUP, name, arn, document, taken=taken, status="Completed", tags=tags)
    return {"ModelPackageGroupArn": arn}


def _group(backend: Backend, name_or_arn: str) -> Resource:
    found = backend.resources.find(GROUP, name_or_arn.rpartition("/")[2])
    if found is None or name_or_arn not in (found.arn, found.name):
        raise invalid(f"ModelPackageGroup {name_or_arn} does not exist.")
    return found


def describe_group(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeModelPackageGroup."""
    return {**described(_group(backend, request["ModelPackageGroupName"]), "ModelPackageGroup"), "CreatedBy": {}}


def delete_group(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteModelPackageGroup."""
    group = _group(backend, request["ModelPackageGroupName"])
    if backend.resources.has_children(PACKAGE, group.name):
        raise ServiceError("ConflictException", f"the group {group.name!r} still has model packages; delete them first")
    backend.resources.remove(GROUP, group.name)
    return {}


def create_package(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateModelPackage; a group's packages are versions from 1, and a version is never given twice."""
    if ("ModelPackageName" in request) == ("ModelPackageGroupName" in request):
        raise invalid("ModelPackageName, ModelPackageGroupName: exactly one of the two must be given")
    token = request.get("ClientToken")
    with backend.jobs.database.transaction():
        if token and (known := backend.resources.by_client_token(PACKAGE, token)) is not None:
            return {"ModelPackageArn": known.arn}
        document: dict[str, Any] = {key: value for key, value in request.items() if key not in _NOT_KEPT}
        document["ClientToken"] = token
        parent = None
        if "ModelPackageGroupName" in request:
            group = _group(backend, request["ModelPackageGroupName"])
            parent, version = group.name, group.document["LastVersion"] + 1
            backend.resources.update(GROUP, group.name, LastVersion=version)
            name = f"{group.name}/{version}"
            document |= {"ModelPackageGroupName": group.name, "ModelPackageVersion": version}
            document.setdefault("ModelApprovalStatus", "PendingManualApproval")
        else:
            name = request["ModelPackageName"]
        arn = backend.arn(PACKAGE, name)
        taken = invalid(f"Model Package already exists: {arn}")
        backend.resources.add(
            PACKAGE, name, arn, document, taken=taken, status="Completed", parent=parent, tags=request.get("Tags", ())
        )
    return {"ModelPackageArn": arn}


def _package(backend: Backend, name_or_arn: str) -> Resource:
    found = backend.resources.by_arn(name_or_arn) or backend.resources.find(PACKAGE, name_or_arn)
    if found is None or found.kind != PACKAGE:
        raise invalid(f"ModelPackage {name_or_arn} does not exist.")
    return found


def describe_package(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeModelPackage."""
    package = _package(backend, request["ModelPackageName"])
    statuses = [{"Name": package.name.replace("/", "-"), "Status": "Completed"}]
    return {**_described(package), "ModelPackageStatusDetails": {"ValidationStatuses": statuses}}


def _described(package: Resource) -> dict[str, Any]:
    return {**described(package, "ModelPackage"), "ModelPackageName": package.parent or package.name}


def list_packages(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListModelPackages: unversioned ones, unless a group or another type is asked for."""
    equal: dict[str, str | None] = {}
    having = "1"
    if "ModelPackageGroupName" in request:
        equal["parent"] = _group(backend, request["ModelPackageGroupName"]).name
    if "ModelApprovalStatus" in request:
        equal["approval"] = request["ModelApprovalStatus"]
    kind = request.get("ModelPackageType", "Versioned" if "parent" in equal else "Unversioned")
    if kind == "Versioned":
        having = "parent NOTNULL"
    elif kind == "Unversioned":
        equal.setdefault("parent", None)
        having = "parent ISNULL"
    chosen, token = list_resources(backend, request, PACKAGE, equal=equal, having=having, order="Ascending")
    return {"ModelPackageSummaryList": [_described(package) for package in chosen], "NextToken": token}


def update_package(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """UpdateModelPackage."""
    package = _package(backend, request["ModelPackageArn"])
    changes = {name: request[name] for name in _REPLACED if name in request}
    properties = {
        **package.document.get("CustomerMetadataProperties", {}),
        **request.get("CustomerMetadataProperties", {}),
    }
    for key in request.get("CustomerMetadataPropertiesToRemove", ()):
        properties.pop(key, None)
    added = request.get("AdditionalInferenceSpecificationsToAdd", [])
    backend.resources.update(
        PACKAGE,
        package.name,
        **changes,
        CustomerMetadataProperties=properties or None,
        AdditionalInferenceSpecifications=[*package.document.get("AdditionalInferenceSpecifications", []), *added]
        or None,
    )
    return {"ModelPackageArn": package.arn}


def delete_package(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DeleteModelPackage."""
    backend.resources.remove(PACKAGE, _package(backend, request["ModelPackageName"]).name)
    return {}


OPERATIONS = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": describe_group,
    "ListModelPackageGroups": listing(GROUP, "ModelPackageGroupSummaryList", "ModelPackageGroup", order="Ascending"),
    "DeleteModelPackageGroup": delete_group,
    "CreateModelPackage": create_package,
    "DescribeModelPackage": describe_package,
    "ListModelPackages": list_packages,
    "UpdateModelPackage": update_package,
    "DeleteModelPackage": delete_package,
}
