"""The checks of the doctor, in order of their dependencies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from airflow_automl.doctor.findings import Finding, Findings
from airflow_automl.doctor.permissions import check_permissions, check_role
from airflow_automl.doctor.storage import check_buckets
from airflow_automl.exceptions import DOCS, AutoMLError, error_code

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook


def examine(
    conn_id: str,
    region: str | None,
    config: Mapping[str, Any] | None,
    also: frozenset[str],
    show: Callable[[Finding], None],
) -> list[Finding]:
    """Check connection, credentials, service, role, buckets, keys, quota and permissions.

    Operations: GetCallerIdentity; ListAutoMLJobs; GetRole and SimulatePrincipalPolicy; HeadBucket, ListObjectsV2,
    GetObject, and a multipart upload that is started and aborted; DescribeKey; ListServiceQuotas.

    :param conn_id: the Airflow connection.
    :param region: the AWS region; by default that of the connection.
    :param config: an operator's config, if there is one.
    :param also: what is to be done after training.
    :param show: is called with each finding.
    """
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

    findings = Findings(show)
    hook = SageMakerAutoMLHook(aws_conn_id=conn_id, region_name=region)
    request = _connection(findings, hook, conn_id, config)
    if request is None or not _region(findings, hook):
        return findings
    # An endpoint that does not answer is given up soon.
    hook = hook.with_config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2})
    caller = _credentials(findings, hook)
    if caller is None or not _service(findings, hook):
        return findings
    if hook.is_aws:
        check_role(findings, hook, request.get("RoleArn"), caller)
    else:
        findings.ok("role", "not needed: the endpoint is not AWS's own")
        _background(findings, f"{hook.conn_client_meta.endpoint_url.rstrip('/')}/health")
    check_buckets(findings, hook, request)
    _keys(findings, hook, request)
    if hook.is_aws:
        _quota(findings, hook)
        check_permissions(findings, hook, caller, request, also)
    return findings


def _connection(
    findings: Findings, hook: SageMakerAutoMLHook, conn_id: str, config: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return what a job's request would be made of; ``None`` if the connection can't be used."""
    from airflow_automl.operators._job_request import api_of, complete

    try:
        # The hook itself would continue with boto3's own chain of credentials.
        hook.get_connection(conn_id)
        defaults = hook.defaults
    except AutoMLError as error:
        message = "; ".join(map(str, getattr(error, "violations", [error])))
        findings.problem("connection", message, "correct the connection")
        return None
    except Exception as error:  # whatever a secrets backend raises
        findings.problem(
            "connection",
            f"{conn_id} can't be read: {' '.join(str(error).split())[:300]}",
            f"create an Airflow connection {conn_id!r} of type aws, or name another with --conn-id",
        )
        return None
    findings.ok("connection", f"{conn_id}, with defaults for {', '.join(defaults) or 'nothing'} in its extra `automl`")
    if config is None:
        return {
            "RoleArn": defaults.get("role_arn"),
            "OutputDataConfig": {"S3OutputPath": defaults.get("output_path"), "KmsKeyId": defaults.get("kms_key_id")},
            "SecurityConfig": {"VolumeKmsKeyId": defaults.get("volume_kms_key_id")},
        }
    try:
        api = api_of(config, None)
        request = complete(api, config, defaults=defaults, max_runtime=None, log=hook.log)
    except AutoMLError as error:
        found = getattr(error, "violations", [error])
        findings.problem("config", "; ".join(map(str, found)), "airflow-automl check --config FILE says the same")
        return dict(config)
    findings.ok("config", f"a valid request for {'CreateAutoMLJob' if api == 'V1' else 'CreateAutoMLJobV2'}")
    return request


def _region(findings: Findings, hook: SageMakerAutoMLHook) -> bool:
    from botocore.exceptions import BotoCoreError

    try:
        name = hook.conn_region_name
    except (BotoCoreError, ValueError) as error:
        findings.problem("region", str(error), "set region_name in the connection's extra, or --region")
        return False
    if not name:
        findings.problem("region", "none is set", "set region_name in the connection's extra, or --region")
        return False
    findings.ok("region", f"{name}, at {hook.conn_client_meta.endpoint_url}")
    return True


def _credentials(findings: Findings, hook: SageMakerAutoMLHook) -> str | None:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnection

    try:
        caller = str(hook.client_of("sts").get_caller_identity()["Arn"])
    except (NoConnection, HTTPClientError) as error:
        findings.problem("service", str(error), _unreachable(hook))
        return None
    except (ClientError, BotoCoreError) as error:
        findings.problem(
            "credentials", str(error), "give the connection a login and password, a role to assume, or a profile"
        )
        return None
    findings.ok("credentials", f"AWS knows the caller as {caller}")
    return caller


def _service(findings: Findings, hook: SageMakerAutoMLHook) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        hook.conn.list_auto_ml_jobs(MaxResults=1)
    except ClientError as error:
        findings.problem(
            "service",
            f"ListAutoMLJobs answered {error_code(error)}: {error.response['Error'].get('Message', '')}",
            f"allow the caller the actions of {DOCS}/policies/airflow.json",
        )
        # A caller who may not list may still create: continue.
        return True
    except BotoCoreError as error:
        findings.problem("service", str(error), _unreachable(hook))
        return False
    findings.ok("service", "SageMaker answers ListAutoMLJobs")
    return True


def _background(findings: Findings, url: str) -> None:
    """Check the background tasks of the embedded Autopilot."""
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 - the connection's own address
            tasks = json.load(answer)["tasks"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        findings.unknown("background", f"{url} shows no background tasks: {error}")
        return
    failing = {name: task for name, task in sorted(tasks.items()) if task["state"] != "running"}
    for name, task in failing.items():
        cluster = "check the Ray cluster with `airflow-automl local --check` and the options of the service"
        advice = cluster if name.startswith("ray") else "see the log of the service"
        findings.problem("background", f"the task {name} fails: {task.get('reason', 'its log says why')}", advice)
    if not failing:
        findings.ok("background", f"all {len(tasks)} background tasks of the embedded Autopilot run")


def _unreachable(hook: SageMakerAutoMLHook) -> str:
    if hook.is_aws:
        return "check that SageMaker is in this region and that this machine reaches it (proxy, VPC endpoint)"
    return "start the embedded Autopilot with `airflow-automl local`, or correct the connection's endpoint_url"


def _keys(findings: Findings, hook: SageMakerAutoMLHook, request: Mapping[str, Any]) -> None:
    from botocore.exceptions import ClientError

    security = request.get("SecurityConfig") or (request.get("AutoMLJobConfig") or {}).get("SecurityConfig") or {}
    keys = {(request.get("OutputDataConfig") or {}).get("KmsKeyId"), security.get("VolumeKmsKeyId")}
    for key in sorted(filter(None, keys)):
        with findings.allowed("key", "kms:DescribeKey"):
            try:
                found = hook.client_of("kms").describe_key(KeyId=key)["KeyMetadata"]
            except ClientError as error:
                if error_code(error) != "NotFoundException":
                    raise
                findings.problem("key", f"there is no key {key} in this region", "name a key of the job's region")
                continue
            if found.get("KeyState", "Enabled") == "Enabled":
                findings.ok("key", f"{key} is enabled")
            else:
                findings.problem("key", f"{key} is {found['KeyState']}", "enable the key, or name another")


def _quota(findings: Findings, hook: SageMakerAutoMLHook) -> None:
    advice = "raise the quota in Service Quotas, or set wait_for_slot=timedelta(...) to wait for a job to end"
    with findings.allowed("quota", "servicequotas:ListServiceQuotas"):
        pages = hook.client_of("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
        found = [
            (quota["QuotaName"], quota["Value"])
            for page in pages
            for quota in page["Quotas"]
            if any(word in quota["QuotaName"].lower() for word in ("automl", "autopilot"))
        ]
        if not found:
            findings.unknown("quota", "Service Quotas has no quota for AutoML jobs; new accounts run 1 to 4 at once")
        for name, value in found:
            if value > 0:
                findings.ok("quota", f"{name}: {value:g}")
            else:
                findings.problem("quota", f"{name}: {value:g}", advice)
