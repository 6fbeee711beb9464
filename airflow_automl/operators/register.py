"""Register a candidate in SageMaker's model registry."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.naming import TaskGeneration, tag_list, tag_value
from airflow_automl.operators._base import document, response_keys
from airflow_automl.operators._candidate_operator import CandidateOperator
from airflow_automl.serving import CONTENT_TYPES, containers_of, is_accelerated, with_response_keys
from airflow_automl.version_tags import origin_tags, version_tags

if TYPE_CHECKING:
    from airflow.sdk import Context

_TOKENS = uuid.UUID("6f0e0f0e-6a52-4f7e-9c5e-3c7b8d1f2a90")
_TOKEN_KEY = "airflow-automl:token"  # noqa: S105  # a name, not a secret
#: Artefact location → (section, member, file) of the job's report in ModelMetrics.
_REPORTS = {
    "Explainability": ("Explainability", "Report", "analysis.json"),
    "ModelInsights": ("ModelQuality", "Statistics", "statistics.json"),
}


class SageMakerAutoMLRegisterOperator(CandidateOperator):
    """Register a candidate as a version of a model package group, which is created if it does not exist.

    The version has all containers of the candidate, its metrics and origin as customer metadata, and links to the job's
    own explainability report and model insights if these exist. A retry finds the version that an earlier try created.

    Operations: CreateModelPackageGroup, CreateModelPackage, DescribeModelPackage; ListModelPackages on a retry.

    :param group: the model package group's name (templated).
    :param candidate: the candidate's document in AWS's keys, such as ``train.best_candidate`` (templated). ``None``, of
        a job that has no best candidate, raises NoBestCandidate.
    :param job: the job's document, such as ``train.job``; role, KMS, VPC and tags are taken from it (templated).
        Without ``candidate``, its best candidate is used.
    :param job_name: the name of an AutoML job (V1 or V2) to use instead of ``job`` (templated).
    :param approval_status: ``PendingManualApproval``, ``Approved`` or ``Rejected`` (templated).
    :param response: as for :class:`~airflow_automl.operators.SageMakerAutoMLDeployOperator`.
    :param metadata: further customer metadata; its values are converted to text.
    :param content_types: content types of requests. Default: of the job's problem type, as for
        :class:`~airflow_automl.operators.SageMakerAutoMLTransformOperator`.
    :param response_types: content types of responses. Default: ``application/json`` of text generation, otherwise
        ``text/csv``.
    :param instance_type: chooses between CPU and GPU containers if the candidate has both.
    :param model_package: other members of CreateModelPackage in AWS's shape; they take precedence.
    :param tags: tags for a group that is created, beside the connection's.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"model_package_arn", "model_package_group", "version", "approval_status", "candidate_name",
        "job_name"}``.
    :raises NoBestCandidate: there is no candidate, or it has no containers.
    :raises AutoMLValidationError: a request that AWS would refuse; nothing was created.
    """

    template_fields = (
        *CandidateOperator.template_fields,
        *("group", "approval_status", "response", "metadata", "model_package", "tags"),
    )
    ui_color = "#e1d5e7"

    def __init__(
        self,
        *,
        group: str,
        approval_status: str = "PendingManualApproval",
        response: Sequence[str] | None = None,
        metadata: dict[str, Any] | None = None,
        content_types: Sequence[str] | None = None,
        response_types: Sequence[str] | None = None,
        instance_type: str | None = None,
        model_package: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group = group
        self.approval_status = approval_status
        self.response = response
        self.metadata = metadata
        self.content_types = content_types
        self.response_types = response_types
        self.instance_type = instance_type
        self.model_package = model_package
        self.tags = tags

    def execute(self, context: Context) -> dict[str, Any]:
        """Register, or find what an earlier try registered."""
        candidate, job = self.resolve()
        request = self._request(candidate, job, context)
        self.hook.check("CreateModelPackage", request)
        tags = {**(self.hook.defaults.get("tags") or {}), **(document(self.tags, "tags") or {})}
        group = {"ModelPackageGroupName": self.group, "Tags": tag_list(tags)}
        self.hook.check("CreateModelPackageGroup", group)
        self.hook.ensure_model_package_group(group)
        arn = self._registered(request, context) or self.hook.create_model_package(request)
        package = self.hook.describe_model_package(arn) or {}
        self.log.info("Candidate %s is version %s", candidate["CandidateName"], arn)
        return {
            "model_package_arn": arn,
            "model_package_group": self.group,
            "version": package.get("ModelPackageVersion"),
            "approval_status": package.get("ModelApprovalStatus", self.approval_status),
            "candidate_name": candidate["CandidateName"],
            "job_name": (job or {}).get("name"),
        }

    def _registered(self, request: Mapping[str, Any], context: Context) -> str | None:
        """Return what an earlier try made, if the service does not honour its own client token."""
        if getattr(context["ti"], "try_number", 1) <= 1:
            return None
        for summary, _ in zip(self.hook.list_model_packages(self.group), range(20), strict=False):
            package = self.hook.describe_model_package(summary["ModelPackageArn"]) or {}
            if (package.get("CustomerMetadataProperties") or {}).get(_TOKEN_KEY) == request["ClientToken"]:
                return str(summary["ModelPackageArn"])
        return None

    def _request(self, candidate: Mapping[str, Any], job: Mapping[str, Any] | None, context: Context) -> dict[str, Any]:
        accelerated = is_accelerated(self.instance_type) if self.instance_type else None
        found = containers_of(candidate, accelerated=accelerated)
        containers = with_response_keys(found, response_keys(self.response))
        run = TaskGeneration.of(context).generation_identity
        token = str(uuid.uuid5(_TOKENS, repr((self.group, candidate["CandidateName"], sorted(run.items())))))
        own = {**version_tags(candidate, job, origin_tags(TaskGeneration.of(context).identity)), _TOKEN_KEY: token}
        extra = {key: tag_value(value) for key, value in (document(self.metadata, "metadata") or {}).items()}
        if len(own) + len(extra) > 50:
            raise AutoMLValidationError(
                "metadata", [f"metadata: {len(extra)} entries and {len(own)} of our own are more than AWS's 50"]
            )
        name = (job or {}).get("name")
        content_type = CONTENT_TYPES.get((job or {}).get("problem_type"), "text/csv").partition(";")[0]
        response_type = content_type if content_type == "application/json" else "text/csv"
        request: dict[str, Any] = {
            "ModelPackageGroupName": self.group,
            "ModelPackageDescription": f"Candidate {candidate['CandidateName']}"
            + (f" of AutoML job {name}" if name else ""),
            "ModelApprovalStatus": self.approval_status,
            "InferenceSpecification": {
                "Containers": containers,
                "SupportedContentTypes": list(self.content_types or [content_type]),
                "SupportedResponseMIMETypes": list(self.response_types or [response_type]),
            },
            "CustomerMetadataProperties": {**extra, **own},
            "ClientToken": token,
        }
        metrics = self._model_metrics(candidate)
        if metrics:
            request["ModelMetrics"] = metrics
        return {**request, **(document(self.model_package, "model_package", "CreateModelPackageInput") or {})}

    def _model_metrics(self, candidate: Mapping[str, Any]) -> dict[str, Any]:
        locations = (candidate.get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
        found: dict[str, Any] = {}
        for key, (section, member, file) in _REPORTS.items():
            prefix = locations.get(key)
            address = self._file(prefix, file) if prefix else None
            if address:
                found[section] = {member: {"ContentType": "application/json", "S3Uri": address}}
        return found

    def _file(self, prefix: str, name: str) -> str | None:
        """Return the address of a report's file; ``None`` if it is not there or S3 can't be asked."""
        try:
            for address in self.storage.find(prefix):
                if address.rpartition("/")[2] == name:
                    return address
        except Exception as error:
            # A model package needs no reports.
            self.log.warning("Reports at %s can't be listed: %s", prefix, error)
        return None
