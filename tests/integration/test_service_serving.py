"""A trained model behind endpoints, in batch transform and in the registry, through an unmodified boto3."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sklearn.datasets import load_breast_cancer

from airflow_automl.local.processes import find
from tests.service.running import ROLE, RunningService, ended, real_service, until

FRAME = load_breast_cancer(as_frame=True).frame
FEATURES = FRAME.drop(columns="target")
ROWS = FEATURES.head(20).to_csv(index=False, header=False)
VARIANT = {"VariantName": "all", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, executor: dict[str, str]) -> Iterator[RunningService]:
    arguments = ["--max-jobs", "1"]
    if executor:
        arguments += [
            "--executor",
            "ray",
            "--ray-address",
            executor["ray"],
            "--executor-file",
            executor["executor_file"],
        ]
    with real_service(tmp_path_factory.mktemp("serving") / "data", *arguments) as running:
        yield running


@pytest.fixture(scope="module")
def job(service: RunningService) -> dict[str, Any]:
    """A job that trained two models and deployed the better one."""
    body = FRAME.to_csv(index=False).encode()
    service.client("s3").put_object(Bucket="automl", Key="in/train.csv", Body=body)
    sagemaker = service.client()
    algorithms = {"AutoMLAlgorithms": ["lightgbm", "linear-learner"]}
    arn = sagemaker.create_auto_ml_job(
        AutoMLJobName="cancer",
        InputDataConfig=[
            {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/in/"}},
                "TargetAttributeName": "target",
            }
        ],
        OutputDataConfig={"S3OutputPath": "s3://automl/out"},
        RoleArn=ROLE,
        ProblemType="BinaryClassification",
        AutoMLJobObjective={"MetricName": "AUC"},
        AutoMLJobConfig={
            "Mode": "ENSEMBLING",
            "CandidateGenerationConfig": {"AlgorithmsConfig": [algorithms]},
            "CompletionCriteria": {"MaxCandidates": 3, "MaxAutoMLJobRuntimeInSeconds": 120},
        },
        ModelDeployConfig={"EndpointName": "one-click"},
        Tags=[{"Key": "team", "Value": "oncology"}],
    )["AutoMLJobArn"]
    found = ended(sagemaker, "cancer", 180)
    assert found["AutoMLJobArn"] == arn
    assert found["AutoMLJobStatus"] == "Completed", found.get("FailureReason")
    return found


@pytest.fixture(scope="module")
def model(service: RunningService, job: dict[str, Any]) -> str:
    service.client().create_model(
        ModelName="cancer", Containers=job["BestCandidate"]["InferenceContainers"], ExecutionRoleArn=ROLE
    )
    return "cancer"


def invoke(service: RunningService, endpoint: str, body: str = ROWS, **more: Any) -> list[str]:
    answer = service.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, ContentType="text/csv", Body=body, **more
    )
    lines: list[str] = answer["Body"].read().decode().split()
    return lines


def in_service(sagemaker: Any, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
        return found if found["EndpointStatus"] not in ("Creating", "Updating") else None

    found: dict[str, Any] = until(look, 60)
    return found


def test_the_job_itself_deploys_its_best_candidate(service: RunningService, job: dict[str, Any]) -> None:
    assert job["ModelDeployResult"] == {"EndpointName": "one-click"}
    assert service.client().describe_endpoint(EndpointName="one-click")["EndpointStatus"] == "InService"
    predicted = [int(line) for line in invoke(service, "one-click")]
    assert sum(a == b for a, b in zip(predicted, FRAME["target"].head(20), strict=True)) >= 18


def test_v1_and_v2_describe_the_same_job(service: RunningService, job: dict[str, Any]) -> None:
    v1 = service.client().describe_auto_ml_job(AutoMLJobName="cancer")
    assert v1["ProblemType"] == "BinaryClassification"
    assert v1["GenerateCandidateDefinitionsOnly"] is False
    assert job["AutoMLProblemTypeConfigName"] == "Tabular"
    config = job["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    assert (config["TargetAttributeName"], config["Mode"]) == ("target", "ENSEMBLING")
    for shared in ("BestCandidate", "AutoMLJobStatus", "CreationTime", "EndTime", "ModelDeployResult"):
        assert v1[shared] == job[shared]


def test_every_candidate_has_its_artefact_in_s3(service: RunningService, job: dict[str, Any]) -> None:
    candidates = service.client().list_candidates_for_auto_ml_job(AutoMLJobName=job["AutoMLJobName"])["Candidates"]
    assert len(candidates) > 1
    for candidate in candidates:
        for container in candidate["InferenceContainers"]:
            bucket, key = container["ModelDataUrl"].removeprefix("s3://").split("/", 1)
            assert service.client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] > 1000


def test_an_update_that_fails_keeps_the_old_configuration_serving(service: RunningService, model: str) -> None:
    sagemaker = service.client()
    sagemaker.create_endpoint_config(EndpointConfigName="good", ProductionVariants=[{**VARIANT, "ModelName": model}])
    sagemaker.create_endpoint(EndpointName="rollback", EndpointConfigName="good")
    assert in_service(sagemaker, "rollback")["EndpointStatus"] == "InService"
    service.client("s3").put_object(Bucket="automl", Key="strange/model.tar.gz", Body=b"code of another owner")
    container = {"Image": "any", "ModelDataUrl": "s3://automl/strange/model.tar.gz"}
    sagemaker.create_model(ModelName="strange", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variants = [{**VARIANT, "ModelName": "strange"}]
    sagemaker.create_endpoint_config(EndpointConfigName="strange", ProductionVariants=variants)
    sagemaker.update_endpoint(EndpointName="rollback", EndpointConfigName="strange")
    found = in_service(sagemaker, "rollback")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "good")
    assert "was not written by a job of this service" in found["FailureReason"]
    assert len(invoke(service, "rollback")) == 20
    sagemaker.create_endpoint(EndpointName="never", EndpointConfigName="strange")
    assert in_service(sagemaker, "never")["EndpointStatus"] == "Failed"
    sagemaker.delete_endpoint(EndpointName="never")


def test_an_artefact_that_was_changed_is_not_loaded(service: RunningService, job: dict[str, Any]) -> None:
    candidates = service.client().list_candidates_for_auto_ml_job(AutoMLJobName="cancer")["Candidates"]
    other = next(c for c in candidates if c["CandidateName"] != job["BestCandidate"]["CandidateName"])
    container = other["InferenceContainers"][0]
    bucket, key = container["ModelDataUrl"].removeprefix("s3://").split("/", 1)
    service.client("s3").put_object(Bucket=bucket, Key=key, Body=b"changed")
    sagemaker = service.client()
    sagemaker.create_model(ModelName="changed", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variants = [{**VARIANT, "ModelName": "changed"}]
    sagemaker.create_endpoint_config(EndpointConfigName="changed", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="changed", EndpointConfigName="changed")
    found = in_service(sagemaker, "changed")
    assert found["EndpointStatus"] == "Failed"
    assert "SHA-256" in found["FailureReason"]


def test_variants_share_traffic_by_weight_and_can_be_asked_by_name(service: RunningService, model: str) -> None:
    sagemaker = service.client()
    variants = [
        {**VARIANT, "ModelName": model, "InitialVariantWeight": 1.0},
        {**VARIANT, "ModelName": model, "VariantName": "other", "InitialVariantWeight": 0.0},
    ]
    sagemaker.create_endpoint_config(EndpointConfigName="two", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="two", EndpointConfigName="two")
    assert in_service(sagemaker, "two")["EndpointStatus"] == "InService"
    runtime = service.client("sagemaker-runtime")
    ask = {"EndpointName": "two", "ContentType": "text/csv", "Body": ROWS}
    assert {runtime.invoke_endpoint(**ask)["InvokedProductionVariant"] for _ in range(5)} == {"all"}
    assert runtime.invoke_endpoint(**ask, TargetVariant="other")["InvokedProductionVariant"] == "other"
    with pytest.raises(ClientError, match="ValidationError"):
        runtime.invoke_endpoint(**ask, TargetVariant="third")
    weights = [{"VariantName": "all", "DesiredWeight": 0.0}, {"VariantName": "other", "DesiredWeight": 2.0}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName="two", DesiredWeightsAndCapacities=weights)
    assert {runtime.invoke_endpoint(**ask)["InvokedProductionVariant"] for _ in range(5)} == {"other"}


@pytest.mark.parametrize(
    ("endpoint", "body", "code"), [("missing", ROWS, "ValidationError"), ("one-click", "1,2,3", "ModelError")]
)
def test_bad_invocations_get_the_errors_of_aws(
    service: RunningService, job: dict[str, Any], endpoint: str, body: str, code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        invoke(service, endpoint, body)
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500


def test_endpoints_serve_again_after_the_model_host_or_the_service_was_killed(
    service: RunningService, job: dict[str, Any]
) -> None:
    before = invoke(service, "one-click")
    host = find(["", "-m", "airflow_automl.local.models.host", "--socket", str(service.data_dir / "model_host.sock")])
    assert host is not None
    os.kill(host.pid, 9)
    assert invoke(service, "one-click") == before
    service.kill()
    service.start()
    assert service.client().describe_endpoint(EndpointName="one-click")["EndpointStatus"] == "InService"
    assert invoke(service, "one-click") == before


def transform(service: RunningService, name: str, model: str, **members: Any) -> dict[str, Any]:
    sagemaker = service.client()
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://automl/batch/{name}/"}}
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=model,
        TransformInput={"DataSource": source, "ContentType": "text/csv", **members.pop("given", {})},
        TransformOutput={"S3OutputPath": f"s3://automl/scored/{name}", **members.pop("made", {})},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **members,
    )

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName=name)
        return found if found["TransformJobStatus"] not in ("InProgress", "Stopping") else None

    found: dict[str, Any] = until(look, 60)
    return found


def scored(service: RunningService, key: str) -> list[str]:
    body: bytes = service.client("s3").get_object(Bucket="automl", Key=f"scored/{key}")["Body"].read()
    return body.decode().splitlines()


def test_batch_transform_scores_every_object_under_the_prefix(service: RunningService, model: str) -> None:
    objects = service.client("s3")
    objects.put_object(Bucket="automl", Key="batch/plain/a.csv", Body=ROWS.encode())
    objects.put_object(Bucket="automl", Key="batch/plain/deep/b.csv", Body="".join(ROWS.splitlines(True)[:3]).encode())
    lines = {"given": {"SplitType": "Line"}, "made": {"AssembleWith": "Line"}}
    found = transform(service, "plain", model, **lines, BatchStrategy="SingleRecord")
    assert found["TransformJobStatus"] == "Completed", found.get("FailureReason")
    assert found["TransformStartTime"] <= found["TransformEndTime"]
    assert scored(service, "plain/a.csv.out") == invoke(service, "one-click")
    assert len(scored(service, "plain/deep/b.csv.out")) == 3


def test_batch_transform_filters_and_joins(service: RunningService, model: str) -> None:
    rows = [f"id-{number},{line}" for number, line in enumerate(ROWS.splitlines())]
    packed = gzip.compress("\n".join(rows).encode())
    service.client("s3").put_object(Bucket="automl", Key="batch/joined/a.csv.gz", Body=packed)
    found = transform(
        service,
        "joined",
        model,
        given={"SplitType": "Line", "CompressionType": "Gzip"},
        made={"AssembleWith": "Line", "Accept": "text/csv"},
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )
    assert found["TransformJobStatus"] == "Completed", found.get("FailureReason")
    expected = [f"id-{number},{line}" for number, line in enumerate(invoke(service, "one-click"))]
    assert scored(service, "joined/a.csv.gz.out") == expected


def test_a_batch_transform_that_cannot_be_fails_with_its_reason(service: RunningService, model: str) -> None:
    found = transform(service, "empty", model)
    assert found["TransformJobStatus"] == "Failed"
    assert "no object" in found["FailureReason"]
    service.client("s3").put_object(Bucket="automl", Key="batch/narrow/a.csv", Body=b"1,2\n")
    found = transform(service, "narrow", model)
    assert found["TransformJobStatus"] == "Failed"
    assert "batch/narrow/a.csv" in found["FailureReason"]


def test_the_registry_keeps_versions_and_their_approval(service: RunningService, job: dict[str, Any]) -> None:
    sagemaker = service.client()
    group = sagemaker.create_model_package_group(ModelPackageGroupName="churn")["ModelPackageGroupArn"]
    containers = [
        {"Image": c["Image"], "ModelDataUrl": c["ModelDataUrl"], "Environment": c["Environment"]}
        for c in job["BestCandidate"]["InferenceContainers"]
    ]
    specification = {
        "Containers": containers,
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    arns = [
        sagemaker.create_model_package(ModelPackageGroupName=name, InferenceSpecification=specification)[
            "ModelPackageArn"
        ]
        for name in ("churn", group)
    ]
    assert [arn.rpartition("/")[2] for arn in arns] == ["1", "2"]
    found = sagemaker.describe_model_package(ModelPackageName=arns[1])
    assert (found["ModelPackageVersion"], found["ModelApprovalStatus"]) == (2, "PendingManualApproval")
    properties = {"CustomerMetadataProperties": {"by": "a test"}}
    sagemaker.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Approved", **properties)
    approved = sagemaker.list_model_packages(ModelPackageGroupName="churn", ModelApprovalStatus="Approved")
    assert [package["ModelPackageArn"] for package in approved["ModelPackageSummaryList"]] == [arns[1]]
    sagemaker.create_model(ModelName="registered", Containers=[{"ModelPackageName": arns[1]}], ExecutionRoleArn=ROLE)
    variants = [{**VARIANT, "ModelName": "registered"}]
    sagemaker.create_endpoint_config(EndpointConfigName="registered", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="registered", EndpointConfigName="registered")
    assert in_service(sagemaker, "registered")["EndpointStatus"] == "InService"
    assert invoke(service, "registered") == invoke(service, "one-click")
    sagemaker.add_tags(ResourceArn=arns[0], Tags=[{"Key": "a", "Value": "b"}])
    assert sagemaker.list_tags(ResourceArn=arns[0])["Tags"] == [{"Key": "a", "Value": "b"}]
    with pytest.raises(ClientError, match="ConflictException"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="churn")
    sagemaker.delete_model_package(ModelPackageName=arns[1])
    again = sagemaker.create_model_package(ModelPackageGroupName="churn", InferenceSpecification=specification)
    assert again["ModelPackageArn"].endswith("/3")
    for arn in (arns[0], again["ModelPackageArn"]):
        sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName="churn")


def test_the_waiter_sees_that_an_endpoint_is_deleted(service: RunningService, job: dict[str, Any]) -> None:
    sagemaker = service.client()
    sagemaker.delete_endpoint(EndpointName="one-click")
    waiter = sagemaker.get_waiter("endpoint_deleted")
    waiter.wait(EndpointName="one-click", WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    with pytest.raises(ClientError, match="not found"):
        invoke(service, "one-click")


def test_other_services_are_answered_and_s3_is_shown_the_way(service: RunningService) -> None:
    assert service.client("sts").get_caller_identity()["Account"] == "123456789012"
    info = service.info
    lost = boto3.client(
        "s3",
        endpoint_url=info.endpoint_url,
        region_name=info.region,
        aws_access_key_id=info.access_key_id,
        aws_secret_access_key=info.secret_access_key,
    )
    with pytest.raises(ClientError) as refused:
        lost.put_object(Bucket="automl", Key="x", Body=b"y")
    assert info.s3_endpoint_url in refused.value.response["Error"]["Message"]


def test_cloudwatch_and_autoscaling_know_the_endpoint(service: RunningService, model: str) -> None:
    sagemaker = service.client()
    sagemaker.create_endpoint_config(EndpointConfigName="seen", ProductionVariants=[{**VARIANT, "ModelName": model}])
    sagemaker.create_endpoint(EndpointName="seen", EndpointConfigName="seen")
    assert in_service(sagemaker, "seen")["EndpointStatus"] == "InService"
    invoke(service, "seen")
    with pytest.raises(ClientError):
        invoke(service, "seen", "1,2,3")
    dimensions = [{"Name": "EndpointName", "Value": "seen"}, {"Name": "VariantName", "Value": "all"}]
    now = datetime.now(UTC)
    times = {"StartTime": now - timedelta(minutes=5), "EndTime": now + timedelta(minutes=5)}
    watch = service.client("cloudwatch")
    names = ("Invocations", "Invocation4XXErrors", "ModelLatency")
    metric = {name: {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": dimensions} for name in names}
    queries = [
        {"Id": f"m{at}", "MetricStat": {"Metric": metric[name], "Period": 600, "Stat": "Sum"}}
        for at, name in enumerate(names)
    ]
    invocations, errors, latency = (
        sum(entry["Values"]) for entry in watch.get_metric_data(MetricDataQueries=queries, **times)["MetricDataResults"]
    )
    assert (invocations, errors) == (2, 1)
    points = watch.get_metric_statistics(**metric["ModelLatency"], Period=600, Statistics=["Sum"], **times)
    # The two requests may lie in two minutes, which are points of their own.
    assert sum(point["Sum"] for point in points["Datapoints"]) == pytest.approx(latency)
    assert latency > 100
    for query in queries:
        query["MetricStat"]["Stat"] = "p50"
    medians = [
        entry["Values"] for entry in watch.get_metric_data(MetricDataQueries=queries, **times)["MetricDataResults"]
    ]
    assert set(medians[0]) == {1}
    assert all(0 < value < latency * 1.05 for value in medians[2])
    scaling = service.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/seen/variant/all",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=2, MaxCapacity=4)
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert found["MaxCapacity"] == 4
    (variant,) = sagemaker.describe_endpoint(EndpointName="seen")["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 2
    scaling.deregister_scalable_target(**target)
    with pytest.raises(ClientError, match="must be endpoint/NAME/variant/NAME"):
        scaling.register_scalable_target(
            **{**target, "ResourceId": "endpoint/none/variant/all"}, MinCapacity=1, MaxCapacity=2
        )


def test_prune_frees_what_no_model_uses(service: RunningService, job: dict[str, Any], tmp_path: Path) -> None:
    from airflow_automl.cli import main

    arguments = ["prune", "--artefacts", "--yes", "--older-than", "0m", "--data-dir", str(service.data_dir)]
    time.sleep(0.01)
    assert main(arguments) == 0
    objects = service.client("s3")
    assert objects.list_objects_v2(Bucket="automl", Prefix="out/cancer/")["KeyCount"] > 0
    sagemaker = service.client()
    for endpoint in sagemaker.list_endpoints()["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
    for model in sagemaker.list_models()["Models"]:
        sagemaker.delete_model(ModelName=model["ModelName"])
    assert main(arguments) == 0
    assert objects.list_objects_v2(Bucket="automl", Prefix="out/cancer/")["KeyCount"] == 0
    assert not (service.data_dir / "jobs" / "cancer").exists()
    assert sagemaker.describe_auto_ml_job_v2(AutoMLJobName="cancer")["AutoMLJobStatus"] == "Completed"
    assert json.loads((service.data_dir / "service.json").read_text())["pid"] == service.process.pid
