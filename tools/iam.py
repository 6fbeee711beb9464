"""Make the IAM policies of the documentation from what the code calls.

    python tools/iam.py            # write docs/policies/*.json and docs/iam.md
    python tools/iam.py --check    # only check that they are current

``CALLS`` is the one list of the operations that the Airflow side makes. The tests compare it with the operations that
the source names, and with every call that the hooks make while the tests run (``tests/aws_calls.py``), so that neither
can have one that the other lacks. ``IMPLIED`` and the job's role are kept by hand: no call in the code shows them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ROOT / "docs" / "policies"
PAGE = ROOT / "docs" / "iam.md"

ACCOUNT = "111122223333"
BUCKET = "acme-ml"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/AutoML"
KEY = f"arn:aws:kms:*:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


class Statement(NamedTuple):
    """One statement of a policy.

    :param sid: its name.
    :param purpose: who needs it.
    :param resources: what it is about.
    :param condition: when it holds.
    :param optional: when it can be left out.
    """

    sid: str
    purpose: str
    resources: tuple[str, ...]
    condition: dict[str, Any] | None = None
    optional: str = ""


class Call(NamedTuple):
    """An operation that the Airflow side calls, and the action that allows it."""

    service: str
    operation: str
    statement: str
    action: str = ""

    @property
    def permission(self) -> str:
        """The IAM action."""
        return self.action or f"{PREFIXES[self.service]}:{self.operation}"


#: IAM's names of the services, where boto3 has others.
PREFIXES = {
    "sagemaker": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "application-autoscaling": "application-autoscaling",
    "logs": "logs",
    "s3": "s3",
    "sts": "sts",
    "iam": "iam",
    "kms": "kms",
    "service-quotas": "servicequotas",
}


def _sagemaker(*kinds: str) -> tuple[str, ...]:
    return tuple(f"arn:aws:sagemaker:*:{ACCOUNT}:{kind}/*" for kind in kinds)


STATEMENTS = (
    Statement("AutoMLJobs", "Job operators, sensor, triggers", _sagemaker("automl-job")),
    Statement(
        "Lists",
        "Job operators, sensor, triggers. List calls have no resource, so that this can't be restricted",
        ("*",),
    ),
    Statement(
        "Endpoints",
        "Deploy, roll back, delete, gate with a champion",
        _sagemaker("model", "endpoint-config", "endpoint"),
        optional="nothing is deployed",
    ),
    Statement("Transforms", "Batch transform", _sagemaker("transform-job"), optional="nothing is scored in batches"),
    Statement(
        "Registry",
        "Register and approve",
        _sagemaker("model-package-group", "model-package"),
        optional="nothing is registered",
    ),
    Statement(
        "CandidateParameters",
        "Hyperparameters on the pages of candidates",
        _sagemaker("training-job"),
        optional="the pages need not show hyperparameters",
    ),
    Statement(
        "Autoscaling",
        "Deploy with autoscaling",
        (f"arn:aws:application-autoscaling:*:{ACCOUNT}:scalable-target/*",),
        {"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}},
        optional="no deployment has `autoscaling`",
    ),
    Statement(
        "AutoscalingReads",
        "Deploy and rollback, if an update changes the instance type of an autoscaled variant",
        ("*",),
        optional="no deployment has `autoscaling`",
    ),
    Statement(
        "JobLogs",
        "The end of a failed job's log in the task's log",
        (f"arn:aws:logs:*:{ACCOUNT}:log-group:/aws/sagemaker/*",),
        optional="the console's link to the logs is enough",
    ),
    Statement(
        "Doctor",
        "`airflow-automl doctor`; without it, some checks are skipped",
        ("*",),
        optional="it is not called with this identity",
    ),
    Statement(
        "DoctorAboutRoles",
        "The same: the checks of the policies of Airflow's identity and the job's role",
        (f"arn:aws:iam::{ACCOUNT}:role/*", f"arn:aws:iam::{ACCOUNT}:user/*"),
        optional="it is not called with this identity",
    ),
    Statement("Objects", "Reports, registered reports, files of requests", (f"arn:aws:s3:::{BUCKET}/*",)),
    Statement("Bucket", "The same", (f"arn:aws:s3:::{BUCKET}",)),
    Statement(
        "PassTheJobsRole",
        "Every create call that names a role",
        (ROLE,),
        {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    ),
    Statement(
        "CustomersKeys",
        "Requests with your own key",
        (KEY,),
        {"StringLike": {"kms:ViaService": ["sagemaker.*.amazonaws.com", "s3.*.amazonaws.com"]}},
        optional="no request names your own key",
    ),
    Statement(
        "KeyGrants",
        "The same: SageMaker's instances use the key through a grant",
        (KEY,),
        {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        optional="no request names your own key",
    ),
    Statement(
        "AutoscalingsOwnRole",
        "The first autoscaled endpoint of an account",
        (
            f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
            "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
        ),
        {"StringLike": {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}},
        optional="no deployment has `autoscaling`",
    ),
    Statement(
        "AutoscalingsAlarms",
        "A target tracking policy creates alarms with the caller's permissions",
        (f"arn:aws:cloudwatch:*:{ACCOUNT}:alarm:TargetTracking-endpoint/*",),
        optional="no deployment has `autoscaling`",
    ),
)


def _calls(service: str, statement: str, *operations: str, action: str = "") -> Iterator[Call]:
    for operation in operations:
        yield Call(service, operation, statement, action)


#: What the Airflow side calls.
CALLS: tuple[Call, ...] = (
    *_calls("sagemaker", "AutoMLJobs", "CreateAutoMLJob", "CreateAutoMLJobV2", "DescribeAutoMLJob"),
    *_calls("sagemaker", "AutoMLJobs", "DescribeAutoMLJobV2", "StopAutoMLJob", "AddTags", "ListTags"),
    *_calls("sagemaker", "Lists", "ListAutoMLJobs", "ListCandidatesForAutoMLJob"),
    *_calls("sagemaker", "Lists", "ListModels", "ListEndpointConfigs", "ListEndpoints", "ListModelPackages"),
    *_calls("sagemaker", "Endpoints", "CreateModel", "DescribeModel", "DeleteModel"),
    *_calls("sagemaker", "Endpoints", "CreateEndpointConfig", "DescribeEndpointConfig", "DeleteEndpointConfig"),
    *_calls("sagemaker", "Endpoints", "CreateEndpoint", "UpdateEndpoint", "DescribeEndpoint", "DeleteEndpoint"),
    *_calls("sagemaker", "Endpoints", "AddTags", "ListTags"),
    *_calls("sagemaker", "Transforms", "CreateTransformJob", "DescribeTransformJob", "StopTransformJob"),
    *_calls("sagemaker", "Transforms", "AddTags", "ListTags"),
    *_calls("sagemaker", "CandidateParameters", "DescribeTrainingJob"),
    *_calls("sagemaker", "Registry", "CreateModelPackageGroup", "DescribeModelPackageGroup"),
    *_calls("sagemaker", "Registry", "CreateModelPackage", "DescribeModelPackage", "UpdateModelPackage"),
    *_calls(
        *("application-autoscaling", "Autoscaling", "RegisterScalableTarget", "PutScalingPolicy"),
        "DeregisterScalableTarget",
    ),
    *_calls("application-autoscaling", "AutoscalingReads", "DescribeScalableTargets", "DescribeScalingPolicies"),
    *_calls("sagemaker-runtime", "Endpoints", "InvokeEndpoint"),
    *_calls("logs", "JobLogs", "DescribeLogStreams", "GetLogEvents"),
    *_calls("sts", "Doctor", "GetCallerIdentity"),
    *_calls("iam", "DoctorAboutRoles", "GetRole", "SimulatePrincipalPolicy"),
    *_calls("service-quotas", "Doctor", "ListServiceQuotas"),
    *_calls("kms", "CustomersKeys", "DescribeKey"),
    *_calls("s3", "Objects", "GetObject", "HeadObject", action="s3:GetObject"),
    *_calls("s3", "Objects", "PutObject", "CreateMultipartUpload", "UploadPart", action="s3:PutObject"),
    *_calls("s3", "Objects", "CompleteMultipartUpload", action="s3:PutObject"),
    *_calls("s3", "Objects", "AbortMultipartUpload"),
    *_calls("s3", "Bucket", "ListObjectsV2", "HeadBucket", action="s3:ListBucket"),
)


class Implied(NamedTuple):
    """A permission that is needed although no call in the code has its name."""

    action: str
    statement: str
    why: str


#: What AWS demands besides the calls.
IMPLIED: tuple[Implied, ...] = (
    Implied("iam:PassRole", "PassTheJobsRole", "Jobs, models and pipelines run with the role that a request names."),
    Implied("sagemaker:AddTags", "AutoMLJobs", "`Tags` in CreateAutoMLJob(V2): every job is tagged with its owner."),
    Implied("sagemaker:AddTags", "Endpoints", "`Tags` in CreateModel, CreateEndpointConfig, CreateEndpoint."),
    Implied("sagemaker:AddTags", "Transforms", "`Tags` in CreateTransformJob."),
    Implied("sagemaker:AddTags", "Registry", "`Tags` in CreateModelPackageGroup and CreateModelPackage."),
    Implied("kms:CreateGrant", "KeyGrants", "`VolumeKmsKeyId`, `KmsKeyId`: SageMaker grants its instances the key."),
    Implied("kms:DescribeKey", "CustomersKeys", "SageMaker describes the key before it uses it."),
    Implied("kms:Decrypt", "CustomersKeys", "Reading reports and model quality files that are encrypted with it."),
    Implied("kms:GenerateDataKey", "CustomersKeys", "Writing reports into a bucket that is encrypted with it."),
    Implied("iam:CreateServiceLinkedRole", "AutoscalingsOwnRole", "Made by AWS at the first RegisterScalableTarget."),
    Implied("cloudwatch:PutMetricAlarm", "AutoscalingsAlarms", "PutScalingPolicy makes the policy's two alarms."),
    Implied("cloudwatch:DescribeAlarms", "AutoscalingsAlarms", "The same."),
    Implied("cloudwatch:DeleteAlarms", "AutoscalingsAlarms", "The same, when a policy is replaced."),
    Implied("sagemaker:UpdateEndpointWeightsAndCapacities", "Endpoints", "Autoscaling checks that the caller may."),
)


class RoleStatement(NamedTuple):
    """A statement of the job's role's policy, and what it is for."""

    sid: str
    why: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: dict[str, Any] | None = None


#: Actions of the job's role, none of which is a call in the code.
JOB_ROLE: tuple[RoleStatement, ...] = (
    RoleStatement(
        "DataAndArtefacts",
        "Autopilot reads the channels, and writes models, notebooks and reports below the output path.",
        ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"),
        (f"arn:aws:s3:::{BUCKET}/*",),
    ),
    RoleStatement(
        "Buckets",
        "Channels are prefixes.",
        ("s3:ListBucket", "s3:GetBucketLocation"),
        (f"arn:aws:s3:::{BUCKET}",),
    ),
    RoleStatement(
        "Logs",
        "Its training and processing jobs write logs.",
        ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"),
        (f"arn:aws:logs:*:{ACCOUNT}:log-group:/aws/sagemaker/*",),
    ),
    RoleStatement(
        "Metrics",
        "The same for metrics.",
        ("cloudwatch:PutMetricData",),
        ("*",),
        {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "AWS/SageMaker"]}},
    ),
    RoleStatement("RegistryToken", "Algorithms come as images.", ("ecr:GetAuthorizationToken",), ("*",)),
    RoleStatement(
        "Images",
        "The same; the images are in accounts of AWS.",
        ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
        ("arn:aws:ecr:*:*:repository/*",),
    ),
    RoleStatement(
        "ExplainTheBestCandidate",
        "The explainability report asks the best candidate through an endpoint of its own, and one-click deployment "
        "makes one that stays.",
        (
            "sagemaker:CreateModel",
            "sagemaker:DescribeModel",
            "sagemaker:DeleteModel",
            "sagemaker:CreateEndpointConfig",
            "sagemaker:DescribeEndpointConfig",
            "sagemaker:DeleteEndpointConfig",
            "sagemaker:CreateEndpoint",
            "sagemaker:DescribeEndpoint",
            "sagemaker:DeleteEndpoint",
            "sagemaker:InvokeEndpoint",
            "sagemaker:ListTags",
            "sagemaker:AddTags",
        ),
        _sagemaker("model", "endpoint-config", "endpoint"),
    ),
    RoleStatement(
        "PassItselfOn",
        "Its child jobs and models run with the same role.",
        ("iam:PassRole",),
        (ROLE,),
        {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
    ),
)

#: Only for jobs in a VPC, and for your own keys.
JOB_ROLE_VPC = RoleStatement(
    "NetworkInterfaces",
    "A job in a VPC gets network interfaces there (`VpcConfig`). EC2 knows no narrower resource for the describes.",
    (
        "ec2:CreateNetworkInterface",
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
    ),
    ("*",),
)
JOB_ROLE_KEYS = (
    RoleStatement(
        "CustomersKeys",
        "Data, artefacts or volumes that are encrypted with your own key.",
        ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"),
        (KEY,),
    ),
    RoleStatement(
        "KeyGrants",
        "The instances use the key of their volumes through a grant.",
        ("kms:CreateGrant",),
        (KEY,),
        {"Bool": {"kms:GrantIsForAWSResource": "true"}},
    ),
)


def allowed() -> dict[str, list[str]]:
    """The actions of each statement of the Airflow side's policy."""
    actions: dict[str, set[str]] = {statement.sid: set() for statement in STATEMENTS}
    for call in CALLS:
        actions[call.statement].add(call.permission)
    for implied in IMPLIED:
        actions[implied.statement].add(implied.action)
    return {sid: sorted(found) for sid, found in actions.items() if found}


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(sid: str, actions: Any, resources: Any, condition: Any) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**statement, "Condition": condition} if condition else statement


def policies() -> dict[str, dict[str, Any]]:
    """All policies, by the name of their file."""
    actions = allowed()
    airflow = [_statement(s.sid, actions[s.sid], s.resources, s.condition) for s in STATEMENTS if s.sid in actions]

    def role(*statements: RoleStatement) -> dict[str, Any]:
        return _policy([_statement(s.sid, s.actions, s.resources, s.condition) for s in statements])

    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {"aws:SourceArn": f"arn:aws:sagemaker:*:{ACCOUNT}:*"},
        },
    }
    return {
        "airflow": _policy(airflow),
        "job-role": role(*JOB_ROLE),
        "job-role-vpc": role(JOB_ROLE_VPC),
        "job-role-kms": role(*JOB_ROLE_KEYS),
        "job-role-trust": _policy([trust]),
    }


_PAGE = """\
# IAM policies

<!-- Made by tools/iam.py; change that. -->

There are two identities: **Airflow's**, which calls SageMaker, and **the job's role**, which a request names
(`RoleArn`) and with which SageMaker reads your data. The first policy is generated from the calls in the code, and a
test compares the two. The second is written from AWS's documentation, and [not verified](not-verified-on-aws.md).

Replace the account `{account}`, the bucket `{bucket}`, the role `AutoML` and the ARN of the key with yours. The
policies allow all regions (`*`); restrict them to your own.

## Airflow's identity

| statement | needed for | omit it if |
|---|---|---|
{statements}

[Download](policies/airflow.json)

```json
--8<-- "docs/policies/airflow.json"
```

### Permission of each call

| call | permission | statement |
|---|---|---|
{calls}

### Permissions without a call

| permission | statement | why |
|---|---|---|
{implied}

Three permissions have a fallback. Without `sagemaker:AddTags`, jobs and models are created without the tags of this
package (tags of the DAG are required). Without `sagemaker:ListAutoMLJobs`, the watcher describes each job. Without
`sagemaker:ListTags`, a job is adopted by its derived name alone. Any other missing permission fails the task with
`AutoMLAccessDenied` and AWS's message.

## The job's role

| statement | why |
|---|---|
{role}

[Download](policies/job-role.json) · [trust policy](policies/job-role-trust.json) ·
[for a VPC](policies/job-role-vpc.json) · [for your own keys](policies/job-role-kms.json)

```json
--8<-- "docs/policies/job-role.json"
```

Its trust policy allows only SageMaker to assume it, and only for your account:

```json
--8<-- "docs/policies/job-role-trust.json"
```

Jobs in a VPC (`security_group_ids`, `subnets`):

```json
--8<-- "docs/policies/job-role-vpc.json"
```

Your own keys (`kms_key_id`, `volume_kms_key_id`); the key's own policy must allow the role, too:

```json
--8<-- "docs/policies/job-role-kms.json"
```
"""


def _rows(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page() -> str:
    """The page's text."""
    present = allowed()
    statements = [(f"`{s.sid}`", s.purpose, s.optional or "never") for s in STATEMENTS if s.sid in present]
    calls = [(f"{call.service} {call.operation}", f"`{call.permission}`", f"`{call.statement}`") for call in CALLS]
    implied = [(f"`{item.action}`", f"`{item.statement}`", item.why) for item in IMPLIED]
    role = [(f"`{s.sid}`", s.why) for s in JOB_ROLE]
    return _PAGE.format(
        account=ACCOUNT,
        bucket=BUCKET,
        statements=_rows(statements),
        calls=_rows(calls),
        implied=_rows(implied),
        role=_rows(role),
    )


def files() -> dict[Path, str]:
    """Everything that is generated."""
    made = {POLICIES / f"{name}.json": json.dumps(policy, indent=2) + "\n" for name, policy in policies().items()}
    return {**made, PAGE: page()}


def main() -> int:
    """Write or compare the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    args = parser.parse_args()
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not args.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
        print(f"{'stale' if args.check else 'wrote'} {path.relative_to(ROOT)}")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
