"""Deploying a candidate, against SageMaker's hosting operations at the wire."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLDeploymentFailed,
    AutoMLQuotaExceeded,
    AutoMLThrottled,
    AutoMLTransientError,
    AutoMLValidationError,
    InvalidTriggerEvent,
    NoBestCandidate,
)
from airflow_automl.operators import SageMakerAutoMLDeployOperator
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import ROLE, Killed, make_candidate

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture(params=[False, True], ids=["in its slot", "deferred"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def deploy(**settings: Any) -> Callable[[], SageMakerAutoMLDeployOperator]:
    arguments = {"task_id": "deploy", "endpoint_name": "churn", "poll_interval": 0.01, **settings}
    return lambda: SageMakerAutoMLDeployOperator(**copy.deepcopy(arguments))


def test_a_first_deployment_makes_model_config_and_endpoint(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    result = run_task(deploy(candidate=candidate, job=job, instance_type="ml.m5.large", deferrable=deferrable))

    (model,) = hosting.models.values()
    (config,) = hosting.configs.values()
    assert model["ExecutionRoleArn"] == ROLE
    assert model["PrimaryContainer"] == candidate["InferenceContainers"][0]
    assert config["ProductionVariants"] == [
        {
            "VariantName": "AllTraffic",
            "ModelName": model["ModelName"],
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": 1.0,
        }
    ]
    assert hosting.endpoints["churn"]["EndpointStatus"] == "InService"
    assert result == {
        "endpoint_name": "churn",
        "endpoint_arn": hosting.endpoints["churn"]["EndpointArn"],
        "endpoint_config": config["EndpointConfigName"],
        "model": model["ModelName"],
        "previous_endpoint_config": None,
        "candidate_name": candidate["CandidateName"],
        "job_name": "churn-5a8e",
    }


def test_a_second_run_updates_the_endpoint_and_remembers_the_config_before(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    first = run_task(deploy(candidate=make_candidate(), job=job, deferrable=deferrable))
    context["ti"].run_id = "manual__2"
    second = run_task(deploy(candidate=make_candidate("churn-2", 0.9), job=job, deferrable=deferrable))

    assert second["previous_endpoint_config"] == first["endpoint_config"]
    assert second["endpoint_config"] != first["endpoint_config"]
    assert hosting.endpoints["churn"]["EndpointConfigName"] == second["endpoint_config"]
    assert len(hosting.made("CreateEndpoint")) == len(hosting.made("UpdateEndpoint")) == 1


@pytest.mark.parametrize("there_before", [False, True], ids=["new endpoint", "endpoint there"])
@pytest.mark.parametrize("died_after", range(10))
def test_a_retry_after_a_crash_at_any_call_makes_nothing_twice(
    hosting: HostingStandIn,
    run_task: Run,
    kill_after: Callable[[int], None],
    context: dict[str, Any],
    job: dict[str, Any],
    there_before: bool,
    died_after: int,
) -> None:
    previous = None
    if there_before:
        previous = run_task(deploy(candidate=make_candidate(), job=job))["endpoint_config"]
        context["ti"].run_id = "manual__2"
    before = (len(hosting.models), len(hosting.configs))
    hosting.calls.clear()
    make = deploy(candidate=make_candidate("churn-2", 0.9), job=job)
    kill_after(died_after)
    try:
        run_task(make)
    except Killed:
        kill_after(1000)
        result = run_task(make)
    else:
        pytest.skip(f"the deployment needs no more than {died_after} calls")

    assert (len(hosting.models), len(hosting.configs)) == (before[0] + 1, before[1] + 1)
    assert len(hosting.made("CreateEndpoint")) + len(hosting.made("UpdateEndpoint")) == 1
    assert hosting.endpoints["churn"]["EndpointConfigName"] == result["endpoint_config"]
    assert result["previous_endpoint_config"] == previous


def test_an_update_that_fails_leaves_the_old_version_serving_and_removes_the_new_one(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    first = run_task(deploy(candidate=make_candidate(), job=job))
    context["ti"].run_id = "manual__2"
    hosting.deploys_fail = "The primary container for production variant AllTraffic did not pass the ping health check."

    with pytest.raises(AutoMLDeploymentFailed, match="did not pass the ping health check") as failure:
        run_task(deploy(candidate=make_candidate("churn-2"), job=job, deferrable=deferrable))

    assert first["endpoint_config"] in str(failure.value)
    assert hosting.endpoints["churn"]["EndpointConfigName"] == first["endpoint_config"]
    assert set(hosting.configs) == {first["endpoint_config"]}
    assert set(hosting.models) == {first["model"]}


def test_an_update_that_is_rolled_back_silently_counts_as_failed(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any]
) -> None:
    run_task(deploy(candidate=make_candidate(), job=job))
    context["ti"].run_id = "manual__2"
    hosting.silent_rollback = True

    with pytest.raises(AutoMLDeploymentFailed, match="does not serve candidate churn-2"):
        run_task(deploy(candidate=make_candidate("churn-2"), job=job))


def test_a_creation_that_fails_removes_endpoint_config_and_model(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    hosting.deploys_fail = "Unable to locate at least 2 availability zones with the requested instance type"

    with pytest.raises(AutoMLDeploymentFailed, match="availability zones"):
        run_task(deploy(candidate=candidate, job=job, deferrable=deferrable))

    assert hosting.endpoints.get("churn", {"EndpointStatus": "gone"})["EndpointStatus"] in {"Deleting", "gone"}
    assert not hosting.configs
    assert not hosting.models


def test_a_deployment_of_another_task_is_waited_for(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    run_task(deploy(candidate=make_candidate(), job=job))
    other = run_task(deploy(candidate=make_candidate("other"), job=job, wait_for_completion=False))
    context["ti"].run_id = "manual__2"
    mine = run_task(deploy(candidate=make_candidate("mine"), job=job, deferrable=deferrable))

    assert hosting.endpoints["churn"]["EndpointConfigName"] == mine["endpoint_config"]
    assert mine["previous_endpoint_config"] == other["endpoint_config"]


def test_a_failed_endpoint_of_this_package_is_replaced_and_another_one_is_not(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    run_task(deploy(candidate=candidate, job=job))
    endpoint = hosting.endpoints["churn"]
    endpoint |= {"EndpointStatus": "Failed", "EndpointConfigName": "gone", "FailureReason": "capacity"}
    own = dict(hosting.tags[endpoint["EndpointArn"]])
    hosting.tags[endpoint["EndpointArn"]].clear()
    with pytest.raises(AutoMLDeploymentFailed, match=r"is Failed \(capacity\) and was not made by this operator"):
        run_task(deploy(candidate=candidate, job=job))

    hosting.tags[endpoint["EndpointArn"]].update(own)
    result = run_task(deploy(candidate=candidate, job=job))
    assert hosting.endpoints["churn"]["EndpointStatus"] == "InService"
    assert hosting.endpoints["churn"]["EndpointConfigName"] == result["endpoint_config"]


def test_a_pipeline_of_three_containers_gets_its_response_keys_one_by_one(
    hosting: HostingStandIn, run_task: Run, job: dict[str, Any]
) -> None:
    keys = ["predicted_label", "probability", "probabilities", "labels"]
    run_task(deploy(candidate=make_candidate(containers=3), job=job, response=keys))

    (model,) = hosting.models.values()
    environments = [container["Environment"] for container in model["Containers"]]
    assert "SAGEMAKER_INFERENCE_OUTPUT" not in environments[0]
    assert environments[1]["SAGEMAKER_INFERENCE_OUTPUT"] == "predicted_label,probability,probabilities"
    assert environments[2]["SAGEMAKER_INFERENCE_INPUT"] == "predicted_label,probability,probabilities"
    assert environments[2]["SAGEMAKER_INFERENCE_OUTPUT"] == "predicted_label,probability,probabilities,labels"


@pytest.mark.parametrize(("mode", "warned"), [("AUTO", True), (None, True), ("ENSEMBLING", False)])
def test_a_mode_that_the_job_chose_itself_is_warned_about(
    hosting: HostingStandIn,
    run_task: Run,
    candidate: dict[str, Any],
    job: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    mode: str | None,
    warned: bool,
) -> None:
    config = {"TargetAttributeName": "churn", **({"Mode": mode} if mode else {})}
    hosting.jobs["churn-5a8e"] = {"AutoMLProblemTypeConfig": {"TabularJobConfig": config}}
    run_task(deploy(candidate=candidate, job=job, response=["probability"]))
    assert ("chose its training mode itself" in capsys.readouterr().out) is warned


def test_security_and_tags_come_from_the_job(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    job["security"] = {"VolumeKmsKeyId": "key-1", "VpcConfig": vpc}
    job["tags"]["aws:cloudformation:stack-id"] = "AWS refuses such a tag from anyone else"
    run_task(deploy(candidate=candidate, job=job, tags={"cost": "42"}))

    (model,) = hosting.models.values()
    (config,) = hosting.configs.values()
    assert model["VpcConfig"] == vpc
    assert config["KmsKeyId"] == "key-1"
    for arn in (model["ModelArn"], config["EndpointConfigArn"], hosting.endpoints["churn"]["EndpointArn"]):
        assert hosting.tags[arn] == hosting.tags[arn] | {
            "team": "growth",
            "cost": "42",
            "airflow-automl:endpoint": "churn",
            "airflow-automl:job": "churn-5a8e",
            "airflow-automl:candidate": candidate["CandidateName"],
            "airflow-automl:objective": "AUC",
            "airflow-automl:metric:AUC": "0.85",
            "airflow-automl:metric:F1": "0.64",
        }
        assert not any(key.startswith("aws:") for key in hosting.tags[arn])


def test_the_jobs_kms_key_is_left_away_where_instances_encrypt_themselves(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    job["security"] = {"VolumeKmsKeyId": "key-1"}
    run_task(deploy(candidate=candidate, job=job, instance_type="ml.m5d.large"))
    (config,) = hosting.configs.values()
    assert "KmsKeyId" not in config


def test_settings_that_only_aws_supports_are_sent_unchanged(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 20,
        "DestinationS3Uri": "s3://a/capture/",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    }
    guardrails = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 300,
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
            },
            "TerminationWaitInSeconds": 60,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "churn-5xx"}]},
    }
    scaling = {
        "MinCapacity": 1,
        "MaxCapacity": 4,
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 70.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        },
    }
    settings = {
        "job": job,
        "deployment_config": guardrails,
        "model": {"EnableNetworkIsolation": True},
        "endpoint_config": {"DataCaptureConfig": capture, "KmsKeyId": "key-2"},
        "autoscaling": scaling,
        "retain_variant_properties": True,
    }
    run_task(deploy(candidate=candidate, **settings))
    context["ti"].run_id = "manual__2"
    run_task(deploy(candidate=candidate, **settings))

    (create,), (update,) = hosting.made("CreateEndpoint"), hosting.made("UpdateEndpoint")
    assert create["DeploymentConfig"] == update["DeploymentConfig"] == guardrails
    assert update["RetainAllVariantProperties"] is True
    for config in hosting.made("CreateEndpointConfig"):
        assert config["DataCaptureConfig"] == capture
        assert config["KmsKeyId"] == "key-2"
    assert all(model["EnableNetworkIsolation"] for model in hosting.made("CreateModel"))
    assert hosting.made("RegisterScalableTarget")[0] == {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/churn/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "MinCapacity": 1,
        "MaxCapacity": 4,
    }
    assert (
        hosting.made("PutScalingPolicy")[0]["TargetTrackingScalingPolicyConfiguration"]
        == scaling["TargetTrackingScalingPolicyConfiguration"]
    )


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


@pytest.mark.parametrize(
    "policy",
    [
        {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}},
        {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    "Type": "LINEAR",
                    "WaitIntervalInSeconds": 300,
                    "LinearStepSize": percent(25),
                },
                "TerminationWaitInSeconds": 600,
                "MaximumExecutionTimeoutInSeconds": 3600,
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "churn-5xx"}, {"AlarmName": "churn-latency"}]},
        },
        {
            "RollingUpdatePolicy": {
                "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
                "WaitIntervalInSeconds": 60,
                "RollbackMaximumBatchSize": percent(50),
            },
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "churn-5xx"}]},
        },
    ],
    ids=["all at once", "linear", "rolling"],
)
def test_every_deployment_strategy_reaches_the_wire(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], policy: dict[str, Any]
) -> None:
    run_task(deploy(candidate=candidate, job=job, deployment_config=policy))
    (create,) = hosting.made("CreateEndpoint")
    assert create["DeploymentConfig"] == policy


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"BlueGreenUpdatePolicy": {}}, "TrafficRoutingConfiguration"),
        ({"BlueGreen": {}}, "BlueGreen: unknown field"),
        ({"AutoRollbackConfiguration": {"Alarms": []}}, "Alarms"),
        ("not a document", "is not valid for deployment_config"),
    ],
)
def test_a_strategy_that_aws_does_not_know_makes_nothing(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], policy: Any, message: str
) -> None:
    with pytest.raises(AutoMLValidationError, match=message):
        run_task(deploy(candidate=candidate, job=job, deployment_config=policy))
    assert not hosting.models


def test_a_retry_after_a_crash_between_serving_and_scaling_scales(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    policy = {
        "TargetValue": 70.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    }
    scaling = {"MinCapacity": 1, "MaxCapacity": 4, "TargetTrackingScalingPolicyConfiguration": policy}
    hosting.refuse = {"PutScalingPolicy": "ConcurrentUpdateException"}
    make = deploy(candidate=candidate, job=job, autoscaling=scaling)
    with pytest.raises(AutoMLTransientError, match="ConcurrentUpdateException"):
        run_task(make)
    hosting.refuse = {}

    assert run_task(make)["endpoint_config"] == hosting.endpoints["churn"]["EndpointConfigName"]
    assert len(hosting.models) == len(hosting.configs) == len(hosting.made("CreateEndpoint")) == 1
    assert not hosting.made("UpdateEndpoint")
    assert [each["MaxCapacity"] for each in hosting.made("RegisterScalableTarget")] == [4, 4]
    assert len(hosting.made("PutScalingPolicy")) == 2


def test_several_variants_share_the_traffic(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], context: dict[str, Any]
) -> None:
    champion = run_task(deploy(candidate=candidate, job=job))["model"]
    context["ti"].run_id = "manual__2"
    variants = [
        {"VariantName": "champion", "ModelName": champion, "InitialVariantWeight": 0.9},
        {"VariantName": "challenger", "InitialVariantWeight": 0.1, "InstanceType": "ml.c5.large"},
    ]
    result = run_task(deploy(candidate=make_candidate("churn-2"), job=job, variants=variants))

    first, second = hosting.configs[result["endpoint_config"]]["ProductionVariants"]
    assert (first["ModelName"], first["InstanceType"]) == (champion, "ml.m5.2xlarge")
    assert (second["ModelName"], second["InstanceType"]) == (result["model"], "ml.c5.large")


def test_serverless(hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]) -> None:
    job["security"] = {"VolumeKmsKeyId": "key-1", "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}}
    run_task(deploy(candidate=candidate, job=job, serverless={"MemorySizeInMB": 2048, "MaxConcurrency": 5}))
    (config,), (model,) = hosting.configs.values(), hosting.models.values()
    (variant,) = config["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    assert "InstanceType" not in variant
    assert "VpcConfig" not in model
    assert "KmsKeyId" not in config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"serverless": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}, "containers": 3}, "pipeline of 3 containers"),
        ({"serverless": {"MemorySizeInMB": 1, "MaxConcurrency": 5}}, "MemorySizeInMB"),
        ({"response": ["probabilty"]}, "probabilty is not supported by this candidate; it supports: predicted_label"),
        ({"instance_count": "two"}, "'two' is not valid for instance_count"),
        ({"endpoint_name": "not_a_name"}, "EndpointName"),
        ({"variants": [{"VariantName": "a", "ModelName": "b"}]}, "none would serve the candidate"),
        ({"endpoint_config": {"DataCapture": {}}}, "DataCapture: unknown field"),
        ({"job": None}, "no role to run the model with"),
    ],
)
def test_a_request_that_aws_would_refuse_is_refused_before_any_resource_is_created(
    hosting: HostingStandIn, run_task: Run, job: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    candidate = make_candidate(containers=settings.pop("containers", 1))
    with pytest.raises(AutoMLValidationError, match=message):
        run_task(deploy(**{"candidate": candidate, "job": job, **settings}))
    assert not any(operation.startswith("Create") for operation, _ in hosting.calls)


def test_no_best_candidate(hosting: HostingStandIn, run_task: Run, job: dict[str, Any]) -> None:
    with pytest.raises(NoBestCandidate, match=r"churn-5a8e \(Completed/Completed\) has no best candidate"):
        run_task(deploy(candidate=None, job=job))


def test_an_unfinished_candidate(hosting: HostingStandIn, run_task: Run, job: dict[str, Any]) -> None:
    candidate = make_candidate()
    del candidate["InferenceContainers"]
    with pytest.raises(NoBestCandidate, match="neither InferenceContainers nor InferenceContainerDefinitions"):
        run_task(deploy(candidate=candidate, job=job))


def test_a_deployment_without_a_model_fails_the_dag_at_parse_time() -> None:
    with pytest.raises(AutoMLValidationError, match="candidate, job, job_name: none is given"):
        SageMakerAutoMLDeployOperator(task_id="deploy", endpoint_name="churn")


@pytest.mark.parametrize(
    ("instance_type", "image"),
    [("ml.g5.xlarge", "gpu"), ("ml.m5.large", "cpu"), (None, "cpu")],
)
def test_container_definitions_are_taken_for_the_instance(
    hosting: HostingStandIn, run_task: Run, job: dict[str, Any], instance_type: str | None, image: str
) -> None:
    candidate = make_candidate()
    (container,) = candidate.pop("InferenceContainers")
    candidate["InferenceContainerDefinitions"] = {
        "CPU": [{**container, "Image": "cpu"}],
        "GPU": [{**container, "Image": "gpu"}],
    }
    run_task(
        deploy(candidate=candidate, job={**job, "problem_type": "TextClassification"}, instance_type=instance_type)
    )
    (model,) = hosting.models.values()
    assert model["PrimaryContainer"]["Image"] == image


def test_text_generation_gets_time_to_start_and_a_gpu(
    hosting: HostingStandIn, run_task: Run, job: dict[str, Any]
) -> None:
    candidate = make_candidate()
    candidate["InferenceContainerDefinitions"] = {"GPU": candidate.pop("InferenceContainers")}
    run_task(deploy(candidate=candidate, job={**job, "problem_type": "TextGeneration"}))
    (config,) = hosting.configs.values()
    (variant,) = config["ProductionVariants"]
    assert variant["InstanceType"] == "ml.g5.12xlarge"
    assert (
        variant["ModelDataDownloadTimeoutInSeconds"] == variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 3600
    )


def test_old_versions_of_our_own_are_removed_and_nothing_else(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any]
) -> None:
    hosting.models["churn-hand-made"] = {"ModelName": "churn-hand-made"}
    hosting.CreateEndpointConfig(
        {
            "EndpointConfigName": "churn-0123456789ab",
            "ProductionVariants": [{"VariantName": "x", "ModelName": "churn-hand-made"}],
        }
    )
    results = []
    for number in range(5):
        context["ti"].run_id = f"manual__{number}"
        results.append(run_task(deploy(candidate=make_candidate(f"churn-{number}"), job=job, keep_versions=2)))

    assert set(hosting.configs) == {"churn-0123456789ab", *(each["endpoint_config"] for each in results[-2:])}
    assert set(hosting.models) == {"churn-hand-made", *(each["model"] for each in results[-2:])}


def test_without_permission_for_tags_there_are_none(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    hosting.tags_forbidden = True
    run_task(deploy(candidate=candidate, job=job))
    context["ti"].run_id = "manual__2"
    result = run_task(deploy(candidate=candidate, job=job))
    assert hosting.endpoints["churn"]["EndpointConfigName"] == result["endpoint_config"]


def test_access_denied_keeps_the_message_of_the_service(
    hosting: HostingStandIn,
    run_task: Run,
    candidate: dict[str, Any],
    job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.hosting import Refused

    def denied(request: dict[str, Any]) -> dict[str, Any]:
        raise Refused("AccessDeniedException", "User x is not authorized to perform: iam:PassRole on resource y")

    monkeypatch.setattr(hosting, "CreateModel", denied)
    with pytest.raises(AutoMLAccessDenied, match="User x is not authorized to perform: iam:PassRole on resource y"):
        run_task(deploy(candidate=candidate, job=job))


@pytest.mark.parametrize(
    ("operation", "code", "kind", "kept"),
    [
        ("CreateEndpointConfig", "ValidationException", AutoMLDeploymentFailed, 0),
        ("CreateModel", "ResourceLimitExceeded", AutoMLQuotaExceeded, 0),
        ("CreateEndpointConfig", "ResourceLimitExceeded", AutoMLQuotaExceeded, 0),
        ("CreateEndpoint", "ResourceLimitExceeded", AutoMLQuotaExceeded, 0),
        ("CreateEndpoint", "AccessDeniedException", AutoMLDeploymentFailed, 0),
        ("CreateEndpoint", "ThrottlingException", AutoMLThrottled, 1),
    ],
)
def test_a_refused_call_leaves_no_resource_and_a_throttled_one_those_that_the_retry_needs(
    hosting: HostingStandIn,
    run_task: Run,
    candidate: dict[str, Any],
    job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    code: str,
    kind: type[Exception],
    kept: int,
) -> None:
    from tests.hosting import Refused

    def refused(request: dict[str, Any]) -> dict[str, Any]:
        raise Refused(code, "the service's own words")

    with monkeypatch.context() as patch:
        patch.setattr(hosting, operation, refused)
        with pytest.raises(kind, match="the service's own words"):
            run_task(deploy(candidate=candidate, job=job, botocore_config={"retries": {"total_max_attempts": 1}}))
    assert len(hosting.models) == len(hosting.configs) == kept
    run_task(deploy(candidate=candidate, job=job))
    assert len(hosting.models) == len(hosting.configs) == 1


def test_the_job_can_be_looked_up_by_its_name(hosting: HostingStandIn, run_task: Run) -> None:
    candidate = make_candidate()
    for key in ("CreationTime", "EndTime", "LastModifiedTime"):
        candidate[key] = 1_790_000_000.5
    hosting.jobs["churn-5a8e"] = {
        "AutoMLJobName": "churn-5a8e",
        "AutoMLJobArn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/churn-5a8e",
        "AutoMLJobInputDataConfig": [],
        "OutputDataConfig": {"S3OutputPath": "s3://acme-ml/out/"},
        "RoleArn": ROLE,
        "CreationTime": 1_790_000_000.5,
        "LastModifiedTime": 1_790_000_000.5,
        "AutoMLJobStatus": "Completed",
        "AutoMLJobSecondaryStatus": "Completed",
        "BestCandidate": candidate,
    }
    result = run_task(deploy(job_name="churn-5a8e"))
    assert result["candidate_name"] == candidate["CandidateName"]
    assert result["job_name"] == "churn-5a8e"


def test_the_deadline_ends_the_wait(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    hosting.looks = 10_000
    make = deploy(candidate=candidate, job=job, timeout=timedelta(seconds=0.1), deferrable=deferrable)
    with pytest.raises(AutoMLDeploymentFailed, match="endpoint churn was still Creating at the deadline"):
        run_task(make)


@pytest.mark.parametrize("event", [None, {}, {"status": "?"}])
def test_events_of_other_triggers_are_refused(context: dict[str, Any], event: Any) -> None:
    operator = deploy(candidate=make_candidate())()
    with pytest.raises(InvalidTriggerEvent, match="expected an event"):
        operator.execute_complete(context, event)
