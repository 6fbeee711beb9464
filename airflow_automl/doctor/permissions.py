"""Role and permissions, as IAM simulates them. Policies of buckets, keys and organisations are not part of that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_automl.doctor.findings import Findings
from airflow_automl.exceptions import DOCS, error_code

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

_SERVICE = "sagemaker.amazonaws.com"
#: Kind of task → resource type → actions; List actions have no resource.
_ACTIONS: Mapping[str, Mapping[str, str]] = {
    "train": {
        "automl-job": "CreateAutoMLJob CreateAutoMLJobV2 DescribeAutoMLJob DescribeAutoMLJobV2 StopAutoMLJob "
        "AddTags ListTags",
        "*": "ListAutoMLJobs ListCandidatesForAutoMLJob",
    },
    "deploy": {
        "model": "CreateModel DescribeModel DeleteModel AddTags ListTags",
        "endpoint-config": "CreateEndpointConfig DescribeEndpointConfig DeleteEndpointConfig AddTags ListTags",
        "endpoint": "CreateEndpoint UpdateEndpoint DescribeEndpoint DeleteEndpoint AddTags ListTags",
        "model-package": "DescribeModelPackage",
        "*": "ListModels ListEndpoints ListEndpointConfigs ListModelPackages",
    },
    "transform": {
        "model": "CreateModel DeleteModel AddTags",
        "transform-job": "CreateTransformJob DescribeTransformJob StopTransformJob AddTags ListTags",
    },
    "register": {
        "model-package-group": "CreateModelPackageGroup DescribeModelPackageGroup AddTags",
        "model-package": "CreateModelPackage DescribeModelPackage UpdateModelPackage",
        "*": "ListModelPackages",
    },
}


def check_role(findings: Findings, hook: SageMakerAutoMLHook, role: str | None, caller: str) -> None:
    """Is there a role, does it trust SageMaker, and is it of the caller's account?"""
    from botocore.exceptions import ClientError

    if not role:
        findings.problem(
            "role",
            "neither the connection nor a request names the role that jobs run with",
            "put role_arn into the connection's extra `automl`, or role= into every request",
        )
        return
    parts = role.split(":")
    if len(parts) != 6 or parts[2] != "iam" or not parts[5].startswith("role/"):
        findings.problem("role", f"{role!r} is not the ARN of a role", "write arn:aws:iam::ACCOUNT:role/NAME")
        return
    if parts[4] != caller.split(":")[4]:
        findings.problem(
            "role",
            f"{role} is of account {parts[4]}, the caller of {caller.split(':')[4]}",
            "a role can only be passed within its own account: name one of the caller's account",
        )
        return
    with findings.allowed("role", "iam:GetRole"):
        try:
            found = hook.client_of("iam").get_role(RoleName=parts[5].rpartition("/")[2])["Role"]
        except ClientError as error:
            if error_code(error) != "NoSuchEntity":
                raise
            findings.problem("role", f"there is no role {role}", f"create it as {DOCS}/aws.md says, or correct its ARN")
            return
        if _trusts_sagemaker(found.get("AssumeRolePolicyDocument")):
            findings.ok("role", f"{role} can be assumed by {_SERVICE}")
        else:
            findings.problem(
                "role",
                f"the trust policy of {role} does not let {_SERVICE} assume it",
                f"add the statement of {DOCS}/policies/job-role-trust.json",
            )


def check_permissions(
    findings: Findings, hook: SageMakerAutoMLHook, caller: str, request: Mapping[str, Any], also: Iterable[str]
) -> None:
    """May the caller do what the tasks do and pass the role, and may the role read and write the job's data?"""
    from airflow_automl.doctor.storage import object_arns

    principal = _principal(findings, hook, caller)
    role = request.get("RoleArn")
    if principal:
        for task in ("train", *sorted(also)):
            _check_task(findings, hook, principal, task)
    if role and principal:
        context = [
            {"ContextKeyName": "iam:PassedToService", "ContextKeyValues": [_SERVICE], "ContextKeyType": "string"}
        ]
        denied = _denied(findings, hook, "pass role", principal, ["iam:PassRole"], [role], context)
        if denied:
            findings.problem(
                "pass role",
                f"the caller may not pass {role} to {_SERVICE}",
                f"allow iam:PassRole on the role: statement PassTheJobsRole of {DOCS}/policies/airflow.json",
            )
        elif denied is not None:
            findings.ok("pass role", f"the caller may pass {role}")
    for action, resource in object_arns(caller.split(":")[1], request) if role else ():
        denied = _denied(findings, hook, "role's data", str(role), [action], [resource])
        if denied:
            findings.problem(
                "role's data",
                f"the role may not do {action} on {resource}",
                f"allow the actions of {DOCS}/policies/job-role.json",
            )
        elif denied is not None:
            findings.ok("role's data", f"the role's policies allow {action} on {resource}")


def _check_task(findings: Findings, hook: SageMakerAutoMLHook, principal: str, task: str) -> None:
    partition, account = principal.split(":")[1], principal.split(":")[4]
    here = f"arn:{partition}:sagemaker:{hook.conn_region_name}:{account}"
    denied: list[str] = []
    for kind, names in _ACTIONS[task].items():
        resource = "*" if kind == "*" else f"{here}:{kind}/airflow-automl-doctor"
        actions = [f"sagemaker:{name}" for name in names.split()]
        found = _denied(findings, hook, f"to {task}", principal, actions, [resource])
        if found is None:
            return
        denied += [action if kind == "*" else f"{action} on {kind}/*" for action in found]
    if denied:
        findings.problem(
            f"to {task}", f"not allowed: {', '.join(denied)}", f"allow the actions that {DOCS}/iam.md lists"
        )
    else:
        findings.ok(f"to {task}", "the caller's policies allow every action")


def _principal(findings: Findings, hook: SageMakerAutoMLHook, caller: str) -> str | None:
    """Return whose policies decide: of a session, the role that it assumed; ``None`` if no policy does."""
    _, partition, _, _, account, name = caller.split(":", 5)
    if name == "root":
        findings.ok(
            "to train",
            "the caller is the account's root user, who may do everything; use a user or role with fewer permissions",
        )
        return None
    if not name.startswith("assumed-role/"):
        return caller
    short = name.split("/")[1]
    with findings.allowed("to train", "iam:GetRole"):
        return str(hook.client_of("iam").get_role(RoleName=short)["Role"]["Arn"])
    # Most roles have no path.
    findings.pop()
    return f"arn:{partition}:iam::{account}:role/{short}"


def _denied(
    findings: Findings,
    hook: SageMakerAutoMLHook,
    check: str,
    principal: str,
    actions: Iterable[str],
    resources: Iterable[str],
    context: Iterable[Mapping[str, Any]] = (),
) -> list[str] | None:
    """Return the actions that a principal's policies do not allow; ``None`` if that is unknown."""
    with findings.allowed(check, "iam:SimulatePrincipalPolicy"):
        pages = (
            hook.client_of("iam")
            .get_paginator("simulate_principal_policy")
            .paginate(
                PolicySourceArn=principal,
                ActionNames=list(actions),
                ResourceArns=list(resources),
                ContextEntries=list(context),
            )
        )
        results = [each for page in pages for each in page["EvaluationResults"]]
        return [each["EvalActionName"] for each in results if each["EvalDecision"] != "allowed"]
    return None


def _trusts_sagemaker(document: Any) -> bool:
    """Return whether a trust policy allows SageMaker to assume the role; some clients return it as quoted text."""
    policy = json.loads(unquote(document)) if isinstance(document, str) else document or {}
    statements = policy.get("Statement", [])
    for statement in [statements] if isinstance(statements, Mapping) else statements:
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, Mapping) else []
        actions = statement.get("Action", [])
        if (
            statement.get("Effect") == "Allow"
            and _SERVICE in ([services] if isinstance(services, str) else services)
            and {"sts:AssumeRole", "sts:*", "*"} & set([actions] if isinstance(actions, str) else actions)
        ):
            return True
    return False
