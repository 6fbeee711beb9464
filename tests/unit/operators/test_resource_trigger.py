"""The trigger that waits for endpoints and transform jobs, against the wire."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import MaskSecret, TaskStatesResult
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_automl.naming import TRY_TAG
from airflow_automl.triggers.resource import SageMakerResourceTrigger
from tests.fakes import fake, stands_for
from tests.hosting import HostingStandIn, Refused


@pytest.fixture
def endpoint(hosting: HostingStandIn) -> HostingStandIn:
    hosting.models["m"] = {}
    hosting.CreateEndpointConfig(
        {"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "a", "ModelName": "m"}]}
    )
    hosting.CreateEndpoint({"EndpointName": "churn", "EndpointConfigName": "c"})
    return hosting


async def first_event(trigger: SageMakerResourceTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        payload: dict[str, Any] = json.loads(json.dumps(event.payload))
        return payload
    raise AssertionError("no event")


async def test_it_survives_being_serialized_with_all_its_settings(hosting: HostingStandIn) -> None:
    settings: dict[str, Any] = {
        "kind": "endpoint",
        "name": "churn",
        "state": {"a": 1},
        "poll_interval": 5,
        "deadline": 7.0,
        "stop_on_kill": False,
        "aws_conn_id": "other",
        "region_name": "eu-west-1",
        "verify": False,
        "botocore_config": {"read_timeout": 3},
        "connection_exists": True,
    }
    path, kwargs = SageMakerResourceTrigger(**settings).serialize()
    assert path == "airflow_automl.triggers.resource.SageMakerResourceTrigger"
    assert json.loads(json.dumps(kwargs)) == settings


async def test_an_endpoint_at_rest_ends_the_wait(endpoint: HostingStandIn) -> None:
    endpoint.endpoints["churn"]["looks"] = 2
    event = await first_event(SageMakerResourceTrigger("endpoint", "churn", {"x": 1}, poll_interval=0.01))
    assert event == {
        "status": "final",
        "kind": "endpoint",
        "name": "churn",
        "resource_status": "InService",
        "message": "",
        "error": "",
        "state": {"x": 1},
        "connection_exists": True,
    }


async def test_a_deleted_endpoint_ends_the_wait(endpoint: HostingStandIn) -> None:
    event = await first_event(SageMakerResourceTrigger("endpoint", "other", poll_interval=0.01))
    assert (event["status"], event["resource_status"]) == ("final", None)


@pytest.mark.parametrize(
    "code",
    ["ThrottlingException", "InternalFailure", "ServiceUnavailable", "ExpiredTokenException", "InvalidClientTokenId"],
)
async def test_trouble_that_passes_never_ends_the_wait(
    endpoint: HostingStandIn, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    describe, troubles = endpoint.DescribeEndpoint, iter(range(4))

    def troubled(request: dict[str, Any]) -> dict[str, Any]:
        if next(troubles, None) is not None:
            raise Refused(code, "slow down")
        return describe(request)

    monkeypatch.setattr(endpoint, "DescribeEndpoint", troubled)
    event = await first_event(SageMakerResourceTrigger("endpoint", "churn", poll_interval=0.01))
    assert event["resource_status"] == "InService"


async def test_an_answer_that_says_nothing_never_ends_the_wait(
    endpoint: HostingStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, empty = endpoint.DescribeEndpoint, iter(range(2))
    monkeypatch.setattr(
        endpoint, "DescribeEndpoint", lambda request: {} if next(empty, None) is not None else describe(request)
    )
    event = await first_event(SageMakerResourceTrigger("endpoint", "churn", poll_interval=0.01))
    assert event["resource_status"] == "InService"


async def test_a_refusal_ends_the_wait_with_the_services_words(
    endpoint: HostingStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(request: dict[str, Any]) -> dict[str, Any]:
        raise Refused("AccessDeniedException", "not authorized to perform: sagemaker:DescribeEndpoint")

    monkeypatch.setattr(endpoint, "DescribeEndpoint", denied)
    event = await first_event(SageMakerResourceTrigger("endpoint", "churn", poll_interval=0.01))
    assert event["status"] == "error"
    assert "not authorized to perform: sagemaker:DescribeEndpoint" in event["message"]


async def test_the_deadline_ends_the_wait(endpoint: HostingStandIn) -> None:
    endpoint.endpoints["churn"]["looks"] = 10_000
    trigger = SageMakerResourceTrigger("endpoint", "churn", poll_interval=0.01, deadline=time.time() + 0.1)
    assert (await first_event(trigger))["status"] == "timeout"


@pytest.mark.parametrize(
    ("state", "adopted_by", "status"),
    [
        ("deferred", None, "InProgress"),
        ("failed", None, "Stopping"),
        (None, None, "Stopping"),
        (OSError(), None, "InProgress"),
        ("failed", "2", "Stopping"),
        ("running", "3", "InProgress"),
    ],
)
async def test_a_transform_job_is_stopped_only_when_a_user_took_its_task_away(
    hosting: HostingStandIn, monkeypatch: pytest.MonkeyPatch, state: Any, adopted_by: str | None, status: str
) -> None:
    @stands_for(TriggerCommsDecoder)
    class Supervisor:
        async def asend(self, request: Any) -> Any:
            if isinstance(state, Exception):
                raise state
            return TaskStatesResult(task_states={"run": {"score": state} if state else {}})

        def send(self, request: MaskSecret) -> None:
            assert isinstance(request, MaskSecret)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
    hosting.models["m"] = {}
    arn = hosting.CreateTransformJob({"TransformJobName": "t", "ModelName": "m"})["TransformJobArn"]
    if adopted_by:
        hosting.tags[arn] = {TRY_TAG: adopted_by}
    trigger = SageMakerResourceTrigger("transform job", "t")
    trigger.task_instance = fake(
        RuntimeTaskInstance, dag_id="d", task_id="score", run_id="run", map_index=-1, try_number=2
    )
    await trigger.on_kill()
    assert hosting.transforms["t"]["TransformJobStatus"] == status


async def test_a_deployment_is_left_alone_when_its_task_is_killed(endpoint: HostingStandIn) -> None:
    trigger = SageMakerResourceTrigger("endpoint", "churn")
    await trigger.on_kill()
    assert endpoint.endpoints["churn"]["EndpointStatus"] == "Creating"
    assert endpoint.calls == []


@pytest.mark.parametrize("in_triggerer", [False, True])
async def test_an_unexpected_error_ends_the_wait_with_an_event_so_that_the_task_can_stop_its_job(
    endpoint: HostingStandIn, monkeypatch: pytest.MonkeyPatch, in_triggerer: bool
) -> None:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
    from airflow_automl.triggers._watcher import Client
    from airflow_automl.waiting import Target, WorkerCalls, resource_event

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("EndpointStatus")

    monkeypatch.setattr(Client if in_triggerer else WorkerCalls, "call", broken)
    if in_triggerer:
        event = await first_event(SageMakerResourceTrigger("endpoint", "churn", poll_interval=0.01))
    else:
        calls, log = WorkerCalls(SageMakerAutoMLHook()), SageMakerResourceTrigger("endpoint", "churn").log
        event = await resource_event(calls, Target("endpoint", "churn"), {}, interval=1, deadline=None, log=log)
    assert (event["status"], event["error"]) == ("error", "AutoMLError")
    assert "KeyError" in event["message"]


async def test_an_answer_that_breaks_off_is_asked_for_again(
    endpoint: HostingStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiobotocore.endpoint import AioEndpoint
    from aiohttp import ClientPayloadError

    send, broken = AioEndpoint._send_request, [1]

    async def break_off(self: Any, *arguments: Any) -> Any:
        if broken:
            broken.pop()
            raise ClientPayloadError("Response payload is not completed")
        return await send(self, *arguments)

    monkeypatch.setattr(AioEndpoint, "_send_request", break_off)
    event = await first_event(SageMakerResourceTrigger("endpoint", "churn", poll_interval=0.01))
    assert not broken
    assert (event["status"], event["resource_status"]) == ("final", "InService")
