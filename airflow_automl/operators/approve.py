"""Approve or reject a version in SageMaker's model registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators._base import UNSET, document, document_or_name
from airflow_automl.operators._branching import BranchingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_STATUSES = ("Approved", "Rejected", "PendingManualApproval")


class SageMakerAutoMLApproveOperator(BranchingOperator):
    """Set the approval status of a registered version; setting it again changes nothing.

    Operations: UpdateModelPackage, DescribeModelPackage; with ``group`` ListModelPackages.

    :param model_package: the version: its ARN, or what
        :class:`~airflow_automl.operators.SageMakerAutoMLRegisterOperator` returned (``register.output``; templated).
    :param group: instead of ``model_package``: the newest version of this model package group (templated).
    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval`` (templated).
    :param answer: instead of ``status``: the output of a ``HITLOperator`` that asks a person, with the options
        ``Approve`` and ``Reject``, such as ``ask.output`` (templated). After ``Reject``, the tasks directly downstream
        are skipped, except teardowns. In a mapped task group, each answer applies to the tasks of the same map index.
    :param description: why (templated).
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :return: ``{"model_package_arn", "model_package_group", "version", "approval_status"}``.
    :raises AutoMLValidationError: an unknown status, or no such version.
    """

    template_fields = (*BranchingOperator.template_fields, "model_package", "group", "status", "answer", "description")
    ui_color = "#e1d5e7"

    def __init__(
        self,
        *,
        model_package: Any = None,
        group: str | None = None,
        status: str = "Approved",
        answer: Any = UNSET,
        description: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_package = model_package
        self.group = group
        self.status = status
        self.answer = None if answer is UNSET else answer
        self._answered = answer is not UNSET
        self.description = description
        if (model_package is None) == (group is None):
            raise AutoMLValidationError(
                type(self).__name__, ["model_package, group: give exactly one, such as model_package=register.output"]
            )

    def execute(self, context: Context) -> dict[str, Any]:
        """Find the version and set its status."""
        if self._answered:
            self.status = self._status_of_answer()
        if self.status not in _STATUSES:
            raise AutoMLValidationError("status", [f"status: is {self.status!r}; valid are {', '.join(_STATUSES)}"])
        arn = self._arn()
        request: dict[str, Any] = {"ModelPackageArn": arn, "ModelApprovalStatus": self.status}
        if self.description:
            request["ApprovalDescription"] = " ".join(self.description.split())[:1024]
        self.hook.check("UpdateModelPackage", request)
        self.hook.update_model_package(request)
        package = self.hook.describe_model_package(arn) or {}
        self.log.info("%s is %s", arn, self.status)
        result = {
            "model_package_arn": arn,
            "model_package_group": package.get("ModelPackageGroupName"),
            "version": package.get("ModelPackageVersion"),
            "approval_status": self.status,
        }
        self.follow(context, result, not (self._answered and self.status == "Rejected"))
        return result

    def _status_of_answer(self) -> str:
        answer = document(self.answer, "answer")
        chosen = answer.get("chosen_options") if isinstance(answer, dict) else None
        statuses = {"Approve": "Approved", "Reject": "Rejected"}
        if not isinstance(chosen, list) or len(chosen) != 1 or chosen[0] not in statuses:
            raise AutoMLValidationError(
                "answer", [f"answer: {answer!r:.200} chooses neither Approve nor Reject; pass ask.output"]
            )
        return statuses[chosen[0]]

    def _arn(self) -> str:
        if self.group is not None:
            for summary in self.hook.list_model_packages(self.group):
                return str(summary["ModelPackageArn"])
            raise AutoMLValidationError("group", [f"group: {self.group} has no version to approve"])
        package = document_or_name(self.model_package, "model_package")
        arn = package.get("model_package_arn") if isinstance(package, dict) else package
        if not arn:
            raise AutoMLValidationError(
                "model_package", [f"model_package: names no version: {package!r}; pass an ARN or register.output"]
            )
        return str(arn)
