"""Other AWS services: the calls that clients need are answered, and all others are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_automl.local.http.moto import SERVICES
from tests.service.running import ROLE, RunningService, scripted_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with scripted_service(tmp_path_factory.mktemp("others") / "data", max_jobs=0) as running:
        yield running


PRETENDED = {
    "batch": lambda c: c.describe_job_queues(),
    "dynamodb": lambda c: c.list_tables(),
    "ec2": lambda c: c.describe_vpcs(),
    "ecr": lambda c: c.describe_repositories(),
    "events": lambda c: c.list_rules(),
    "glue": lambda c: c.get_databases(),
    "lambda": lambda c: c.list_functions(),
    "sns": lambda c: c.list_topics(),
    "sqs": lambda c: c.list_queues(),
    "stepfunctions": lambda c: c.list_state_machines(),
    "sagemaker-runtime": lambda c: c.invoke_endpoint_async(EndpointName="none", InputLocation="s3://automl/none"),
    "sagemaker": lambda c: c.create_training_job(
        TrainingJobName="t",
        AlgorithmSpecification={"TrainingImage": "no/such:image", "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://automl/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    ),
    "sagemaker-metrics": lambda c: c.batch_put_metrics(
        TrialComponentName="t", MetricData=[{"MetricName": "m", "Timestamp": 1, "Value": 1.0}]
    ),
    "sagemaker-featurestore-runtime": lambda c: c.get_record(
        FeatureGroupName="none", RecordIdentifierValueAsString="1"
    ),
}


@pytest.mark.parametrize("name", PRETENDED)
def test_a_service_that_is_not_offered_is_refused(service: RunningService, name: str) -> None:
    with pytest.raises(ClientError) as refused:
        PRETENDED[name](service.client(name))
    assert "UnknownOperation" in refused.value.response["Error"]["Code"]
    assert "embedded Autopilot" in str(refused.value)


PRETENDED_OPERATIONS = {
    "iam": lambda c: c.create_access_key(UserName="nobody"),
    "ssm": lambda c: c.send_command(InstanceIds=["i-1"], DocumentName="AWS-RunShellScript"),
    "sts": lambda c: c.get_federation_token(Name="nobody"),
    "logs": lambda c: c.start_query(logGroupName="g", startTime=0, endTime=1, queryString="fields @message"),
    "secretsmanager": lambda c: c.rotate_secret(SecretId="none"),
    "cloudwatch": lambda c: c.put_dashboard(DashboardName="d", DashboardBody="{}"),
    "application-autoscaling": lambda c: c.describe_scheduled_actions(ServiceNamespace="sagemaker"),
    "sagemaker-runtime": lambda c: c.invoke_endpoint_with_response_stream(EndpointName="none", Body=b"1"),
}


@pytest.mark.parametrize("name", PRETENDED_OPERATIONS)
def test_an_operation_that_is_not_offered_is_refused(service: RunningService, name: str) -> None:
    with pytest.raises(ClientError, match=r"UnknownOperation.*embedded Autopilot"):
        PRETENDED_OPERATIONS[name](service.client(name))


@pytest.mark.parametrize(
    ("name", "entry"), [("iam", "unknownoperationexception"), ("s3", "incorrectendpoint"), ("logs", "resourcenotfound")]
)
def test_errors_of_every_protocol_link_to_their_entries(service: RunningService, name: str, entry: str) -> None:
    client = service.client(name)
    if name == "s3":
        client = boto3.client(name, endpoint_url=service.info.endpoint_url, config=Config(signature_version=UNSIGNED))
    calls = {
        "iam": lambda: PRETENDED_OPERATIONS["iam"](client),
        "s3": lambda: client.list_buckets(),
        "logs": lambda: client.get_log_events(logGroupName="/aws/sagemaker/AutoMLJobs", logStreamName="none/trainer"),
    }
    with pytest.raises(ClientError) as refused:
        calls[name]()
    assert f"troubleshooting.md#{entry}" in refused.value.response["ResponseMetadata"]["HTTPHeaders"]["link"]


def _kept_parameter(client: Any) -> bool:
    client.put_parameter(Name="/airflow/a b", Value="=&?", Type="String", Overwrite=True)
    return bool(client.get_parameter(Name="/airflow/a b")["Parameter"]["Value"] == "=&?")


def _opened(client: Any) -> bool:
    key = client.create_key()["KeyMetadata"]["KeyId"]
    sealed = client.encrypt(KeyId=key, Plaintext=b"\0small")["CiphertextBlob"]
    return bool(client.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"\0small")


OFFERED = {
    "applicationautoscaling": lambda c: c.describe_scalable_targets(ServiceNamespace="sagemaker"),
    "cloudwatch": lambda c: c.describe_alarms(),
    "iam": lambda c: c.get_role(RoleName="AutoMLExecutionRole"),
    "kms": _opened,
    "logs": lambda c: c.describe_log_groups(),
    "secretsmanager": lambda c: c.list_secrets(),
    "ssm": _kept_parameter,
    "sts": lambda c: c.get_caller_identity(),
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_is_offered_answers(service: RunningService, name: str) -> None:
    # moto writes its name without the hyphen.
    client = service.client(name.replace("applicationa", "application-a"))
    assert OFFERED[name](client)
    assert set(" ".join(SERVICES[name].values()).split()) <= set(client.meta.service_model.operation_names)


def test_iam_knows_the_role_that_the_environment_names(service: RunningService) -> None:
    role = service.client("iam").get_role(RoleName=service.info.role_arn.rpartition("/")[2])
    assert role["Role"]["Arn"] == service.info.role_arn == ROLE


@pytest.mark.parametrize("account", ["210987654321"])
def test_answers_name_the_account_of_the_service(tmp_path: Path, account: str) -> None:
    with scripted_service(tmp_path / "data", max_jobs=0, account=account) as service:
        assert service.client("sts").get_caller_identity()["Account"] == account
        assert service.client("iam").get_role(RoleName="AutoMLExecutionRole")["Role"]["Arn"] == service.info.role_arn


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("assume_role", {"RoleArn": ROLE, "RoleSessionName": "dag"}), ("get_session_token", {})],
)
def test_temporary_credentials_open_the_api_and_the_store(
    service: RunningService, call: str, arguments: dict[str, str]
) -> None:
    granted = getattr(service.client("sts"), call)(**arguments)["Credentials"]
    session = boto3.session.Session(
        granted["AccessKeyId"], granted["SecretAccessKey"], granted["SessionToken"], region_name="us-east-1"
    )
    store = session.client("s3", endpoint_url=service.info.s3_endpoint_url)
    store.put_object(Bucket="automl", Key="temporary", Body=b"1")
    assert store.get_object(Bucket="automl", Key="temporary")["Body"].read() == b"1"
    assert session.client("sagemaker", endpoint_url=service.url).list_auto_ml_jobs()["AutoMLJobSummaries"] == []


def test_credentials_are_granted_only_to_who_has_them(service: RunningService) -> None:
    for more in ({"aws_secret_access_key": "guess", "aws_access_key_id": service.info.access_key_id}, {}):
        config = Config() if more else Config(signature_version=UNSIGNED)
        stranger = boto3.session.Session().client(
            "sts", endpoint_url=service.url, region_name="us-east-1", config=config, **more
        )
        with pytest.raises(ClientError) as refused:
            stranger.assume_role(RoleArn=ROLE, RoleSessionName="dag")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


MINUTE = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def watch(service: RunningService) -> Any:
    """CloudWatch, with a metric of 100 values in one minute, and one in each of the next four."""
    client = service.client("cloudwatch")
    data = [{"MetricName": "Took", "Timestamp": MINUTE, "Values": [float(n) for n in range(1, 101)], "Unit": "Seconds"}]
    data += [
        {"MetricName": "Took", "Timestamp": MINUTE + timedelta(minutes=number), "Value": number, "Unit": "Seconds"}
        for number in range(1, 5)
    ]
    client.put_metric_data(Namespace="Mine", MetricData=data)
    return client


def asked(stat: str, period: int = 60, **more: Any) -> dict[str, Any]:
    metric = {"Namespace": "Mine", "MetricName": "Took"}
    return {"Id": "m", "MetricStat": {"Metric": metric, "Period": period, "Stat": stat, **more}}


def metric_data(watch: Any, *queries: dict[str, Any], **more: Any) -> list[tuple[list[datetime], list[float]]]:
    # A minute that StartTime cuts belongs to the answer.
    times = {"StartTime": MINUTE + timedelta(seconds=30), "EndTime": MINUTE + timedelta(minutes=5)}
    pages = watch.get_paginator("get_metric_data").paginate(MetricDataQueries=list(queries), **times, **more)
    found: list[tuple[list[datetime], list[float]]] = [([], []) for _ in queries]
    for page in pages:
        for (at, values), result in zip(found, page["MetricDataResults"], strict=True):
            at += result["Timestamps"]
            values += result["Values"]
    return found


@pytest.mark.parametrize(
    ("stat", "expected"), [("p50", 50), ("p90", 90), ("p99.9", 100), ("p0", 1), ("Average", 50.5), ("SampleCount", 100)]
)
def test_cloudwatch_answers_statistics_and_percentiles(watch: Any, stat: str, expected: float) -> None:
    ((_, values),) = metric_data(watch, asked(stat))
    assert values[-1] == expected
    assert len(values) == 5
    kind = {"ExtendedStatistics": [stat]} if stat.startswith("p") else {"Statistics": [stat]}
    times = {"StartTime": MINUTE, "EndTime": MINUTE + timedelta(minutes=1)}
    (point,) = watch.get_metric_statistics(Namespace="Mine", MetricName="Took", Period=60, **times, **kind)[
        "Datapoints"
    ]
    assert point.get("ExtendedStatistics", point)[stat] == expected
    assert point["Unit"] == "Seconds"


def test_metric_data_have_the_requested_order_unit_periods_and_pages(watch: Any) -> None:
    minutes = [MINUTE + timedelta(minutes=number) for number in range(5)]
    assert metric_data(watch, asked("Minimum"), ScanBy="TimestampAscending") == [(minutes, [1, 1, 2, 3, 4])]
    assert metric_data(watch, asked("Minimum")) == [(minutes[::-1], [4, 3, 2, 1, 1])]
    assert metric_data(watch, asked("Minimum", Unit="Bytes")) == [([], [])]
    assert metric_data(watch, asked("Maximum", 120, Unit="Seconds")) == [(minutes[::-2], [4, 3, 100])]
    both = asked("Minimum"), asked("Maximum") | {"Id": "n"}
    assert metric_data(watch, *both, PaginationConfig={"PageSize": 3}) == metric_data(watch, *both)
    one = watch.get_metric_data(
        MetricDataQueries=both, StartTime=MINUTE, EndTime=MINUTE + timedelta(minutes=5), MaxDatapoints=7
    )
    assert [result["StatusCode"] for result in one["MetricDataResults"]] == ["Complete", "PartialData"]


@pytest.mark.parametrize("stat", ["p101", "tm90", "Median", "sum"])
def test_a_statistic_that_is_not_known_is_refused(watch: Any, stat: str) -> None:
    with pytest.raises(ClientError, match=r"not supported: it knows SampleCount.*percentiles") as refused:
        metric_data(watch, asked(stat))
    assert refused.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match=f"'{stat}' is not supported"):
        watch.get_metric_statistics(
            Namespace="Mine", MetricName="Took", StartTime=MINUTE, EndTime=datetime.now(UTC), Period=60,
            ExtendedStatistics=[stat],
        )  # fmt: skip


def test_a_period_or_an_expression_that_cannot_be_is_refused(watch: Any) -> None:
    with pytest.raises(ClientError, match="Period 90 is not valid"):
        metric_data(watch, asked("Sum", 90))
    with pytest.raises(ClientError, match="NextToken 'x' is not valid"):
        metric_data(watch, asked("Sum"), PaginationConfig={"StartingToken": "x"})
    with pytest.raises(ClientError, match="Expression is not supported"):
        metric_data(watch, {"Id": "e", "Expression": "m * 2"})
