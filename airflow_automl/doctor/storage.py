"""The buckets of a job: do they exist, in the job's region, and can they be read and written?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import documents
from airflow_automl.doctor.findings import Findings
from airflow_automl.exceptions import error_code
from airflow_automl.hooks.storage import bucket_and_key
from airflow_automl.operators._base import is_template

if TYPE_CHECKING:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook


def _inputs(request: Mapping[str, Any]) -> list[str]:
    """Return the addresses of a request's data, except templates."""
    found = (documents.s3_source(each).get("S3Uri") for each in documents.channels(request))
    return list(dict.fromkeys(each for each in found if isinstance(each, str) and not is_template(each)))


def check_buckets(findings: Findings, hook: SageMakerAutoMLHook, request: Mapping[str, Any]) -> None:
    """Check the bucket of the output, and that of each channel."""
    output = (request.get("OutputDataConfig") or {}).get("S3OutputPath")
    if not output:
        findings.problem(
            "output",
            "neither the connection nor a request says where results go",
            "put output_path into the connection's extra `automl`, or output= into every request",
        )
    elif not is_template(output) and _bucket(findings, hook, "output", output):
        _writable(findings, hook, output)
    for address in _inputs(request):
        if _bucket(findings, hook, "input", address):
            _readable(findings, hook, address)


def _bucket(findings: Findings, hook: SageMakerAutoMLHook, check: str, address: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _ = bucket_and_key(address)
    try:
        answer = hook.client_of("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        # HEAD answers have no body: the code is the HTTP status.
        code, headers = error_code(error), error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if code == "404":
            findings.problem(check, f"there is no bucket {bucket}", f"make it, or correct {address}")
            return False
        if code != "301":
            findings.problem(
                check,
                f"the caller may not see bucket {bucket} ({code})",
                "allow s3:ListBucket on it, in the caller's and in the bucket's own policy",
            )
            return False
        region = headers.get("x-amz-bucket-region")
    except BotoCoreError as error:
        findings.unknown(check, f"HeadBucket {bucket}: {error}")
        return False
    else:
        region = answer.get("BucketRegion") or answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    if hook.is_aws and region and region != hook.conn_region_name:
        findings.problem(
            check,
            f"bucket {bucket} is in {region}, the job would run in {hook.conn_region_name}",
            "use a bucket of the job's region: SageMaker reads and writes there only",
        )
        return False
    return True


def _readable(findings: Findings, hook: SageMakerAutoMLHook, address: str) -> None:
    bucket, key = bucket_and_key(address)
    client = hook.client_of("s3")
    with findings.allowed("input", "s3:ListBucket"):
        listed = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=10).get("Contents", ())
        objects = [each["Key"] for each in listed if each["Size"] > 0]
        if not objects:
            findings.problem("input", f"there is no data at {address}", "put the data there, or correct the address")
            return
        with findings.allowed("input", "s3:GetObject"):
            client.get_object(Bucket=bucket, Key=objects[0], Range="bytes=0-0")["Body"].read()
            findings.ok("input", f"{address} has data that the caller can read")


def _writable(findings: Findings, hook: SageMakerAutoMLHook, address: str) -> None:
    """Begin an upload and give it up: it needs the permission to write, and leaves nothing behind."""
    bucket, key = bucket_and_key(address)
    client = hook.client_of("s3")
    probe = {"Bucket": bucket, "Key": f"{key.rstrip('/')}/airflow-automl-doctor".lstrip("/")}
    with findings.allowed("output", "s3:PutObject"):
        upload = client.create_multipart_upload(**probe)
        findings.ok("output", f"{address} can be written by the caller")
        with findings.allowed("output", "s3:AbortMultipartUpload"):
            client.abort_multipart_upload(**probe, UploadId=upload["UploadId"])


def object_arns(partition: str, request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the job's role must be allowed: pairs of an action and a resource."""
    output = (request.get("OutputDataConfig") or {}).get("S3OutputPath")
    if output and not is_template(output):
        bucket, key = bucket_and_key(output)
        yield "s3:PutObject", f"arn:{partition}:s3:::{bucket}/{key.rstrip('/')}/x".replace("//x", "/x")
    for address in _inputs(request):
        bucket, key = bucket_and_key(address)
        yield "s3:GetObject", f"arn:{partition}:s3:::{bucket}/{key}{'x' if address.endswith('/') else ''}"
        yield "s3:ListBucket", f"arn:{partition}:s3:::{bucket}"
