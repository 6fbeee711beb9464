"""The return to the previous config, and the deletion of an endpoint with all its versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_automl.exceptions import AutoMLDeploymentFailed
from airflow_automl.operators import (
    SageMakerAutoMLDeleteEndpointOperator,
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLRollbackOperator,
)
from airflow_automl.version_tags import TAG_PREVIOUS
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import Killed, make_candidate

Run = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def versions(hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any]) -> list[str]:
    """Three configs, deployed one after the other."""
    found = []
    for number in range(3):
        context["ti"].run_id = f"manual__{number}"
        make = lambda number=number: SageMakerAutoMLDeployOperator(  # noqa: E731
            task_id="deploy",
            endpoint_name="churn",
            candidate=make_candidate(f"churn-{number}"),
            job=job,
            poll_interval=0.01,
        )
        found.append(run_task(make)["endpoint_config"])
    hosting.calls.clear()
    return found


def rollback(**settings: Any) -> Callable[[], SageMakerAutoMLRollbackOperator]:
    arguments = {"task_id": "rollback", "endpoint_name": "churn", "poll_interval": 0.01, **settings}
    return lambda: SageMakerAutoMLRollbackOperator(**arguments)


def delete(**settings: Any) -> Callable[[], SageMakerAutoMLDeleteEndpointOperator]:
    arguments = {"task_id": "delete", "endpoint_name": "churn", "poll_interval": 0.01, **settings}
    return lambda: SageMakerAutoMLDeleteEndpointOperator(**arguments)


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_config_before_is_put_back(
    hosting: HostingStandIn, run_task: Run, versions: list[str], deferrable: bool
) -> None:
    result = run_task(rollback(deferrable=deferrable))
    assert hosting.endpoints["churn"]["EndpointConfigName"] == versions[1]
    assert result["endpoint_config"] == versions[1]
    assert result["previous_endpoint_config"] == versions[2]


@pytest.mark.parametrize("died_after", range(7))
def test_a_retry_rolls_back_only_one_version(
    hosting: HostingStandIn, run_task: Run, versions: list[str], kill_after: Callable[[int], None], died_after: int
) -> None:
    kill_after(died_after)
    try:
        run_task(rollback())
    except Killed:
        kill_after(1000)
        run_task(rollback())
    else:
        pytest.skip(f"a rollback needs no more than {died_after} calls")
    assert hosting.endpoints["churn"]["EndpointConfigName"] == versions[1]
    assert len(hosting.made("UpdateEndpoint")) == 1


def test_a_clear_decides_again_which_version_to_restore(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], versions: list[str]
) -> None:
    context["ti"].max_tries = 1
    run_task(rollback())
    # Another run deploys the third version again, on top of the first.
    hosting.endpoints["churn"]["EndpointConfigName"] = versions[2]
    hosting.tags[hosting.configs[versions[2]]["EndpointConfigArn"]][TAG_PREVIOUS] = versions[0]
    context["ti"].max_tries = 2
    assert run_task(rollback())["endpoint_config"] == versions[0]


def test_any_config_can_be_named(hosting: HostingStandIn, run_task: Run, versions: list[str]) -> None:
    run_task(rollback(endpoint_config=versions[0]))
    assert hosting.endpoints["churn"]["EndpointConfigName"] == versions[0]
    assert run_task(rollback(endpoint_config=versions[0]))["previous_endpoint_config"] is None
    assert len(hosting.made("UpdateEndpoint")) == 1


@pytest.mark.usefixtures("versions")
def test_a_rollback_that_fails_says_why(hosting: HostingStandIn, run_task: Run) -> None:
    hosting.deploys_fail = "no capacity"
    with pytest.raises(AutoMLDeploymentFailed, match=r"was not rolled back to .*: no capacity"):
        run_task(rollback())


@pytest.mark.usefixtures("versions")
def test_impossible_rollbacks_fail_with_the_reason(hosting: HostingStandIn, run_task: Run) -> None:
    with pytest.raises(AutoMLDeploymentFailed, match="there is no endpoint other"):
        run_task(rollback(endpoint_name="other"))
    with pytest.raises(
        AutoMLDeploymentFailed, match="can't be rolled back to gone: the config does not exist any more"
    ):
        run_task(rollback(endpoint_config="gone"))
    for tags in hosting.tags.values():
        tags.pop("airflow-automl:previous-config", None)
    with pytest.raises(AutoMLDeploymentFailed, match=r"before .* is not known; name the config"):
        run_task(rollback())


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.usefixtures("versions")
def test_an_endpoint_is_deleted_with_all_its_versions(hosting: HostingStandIn, run_task: Run, deferrable: bool) -> None:
    hosting.models["by-hand"] = {}
    hosting.CreateEndpointConfig(
        {"EndpointConfigName": "churn-by-hand", "ProductionVariants": [{"VariantName": "a", "ModelName": "by-hand"}]}
    )
    result = run_task(delete(deferrable=deferrable))
    assert len(result["endpoint_configs"]) == 3
    assert not hosting.endpoints
    assert set(hosting.configs) == {"churn-by-hand"}
    assert set(hosting.models) == {"by-hand"}


@pytest.mark.parametrize("died_after", range(14))
@pytest.mark.usefixtures("versions")
def test_a_deletion_can_be_retried_at_any_call(
    hosting: HostingStandIn, run_task: Run, kill_after: Callable[[int], None], died_after: int
) -> None:
    kill_after(died_after)
    try:
        run_task(delete())
    except Killed:
        kill_after(1000)
        run_task(delete())
    assert (hosting.endpoints, hosting.configs, hosting.models) == ({}, {}, {})


@pytest.mark.usefixtures("versions")
def test_a_model_without_a_config_is_deleted_too(hosting: HostingStandIn, run_task: Run) -> None:
    name = "churn-0123456789ab"
    tags = [{"Key": "airflow-automl:endpoint", "Value": "churn"}]
    hosting.CreateModel({"ModelName": name, "Tags": tags})
    hosting.CreateModel({"ModelName": "churn-ba9876543210"})
    run_task(delete())
    assert set(hosting.models) == {"churn-ba9876543210"}


@pytest.mark.usefixtures("versions")
def test_versions_can_be_kept_and_missing_ones_are_not_an_error(hosting: HostingStandIn, run_task: Run) -> None:
    assert run_task(delete(delete_versions=False))["endpoint_configs"] == []
    assert len(hosting.configs) == 3
    assert len(run_task(delete())["endpoint_configs"]) == 3


@pytest.mark.usefixtures("versions")
def test_a_deployment_that_is_under_way_is_waited_for(hosting: HostingStandIn, run_task: Run) -> None:
    hosting.endpoints["churn"] |= {"EndpointStatus": "Updating", "looks": 3}
    run_task(delete())
    assert not hosting.endpoints


@pytest.mark.usefixtures("versions")
def test_a_deletion_that_reads_do_not_show_yet_is_waited_for(
    hosting: HostingStandIn, run_task: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, shown = hosting.DescribeEndpoint, []

    def lagging(request: dict[str, Any]) -> dict[str, Any]:
        if hosting.made("DeleteEndpoint") and not shown:
            return {**hosting.endpoints["churn"], "EndpointStatus": "InService"}
        return describe(request)

    monkeypatch.setattr(hosting, "DescribeEndpoint", lagging)
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", shown.append)
    run_task(delete(deferrable=False))
    assert not hosting.endpoints


@pytest.mark.parametrize("remove", ["the endpoint", "old versions"])
def test_a_version_that_another_endpoint_serves_is_kept(
    hosting: HostingStandIn,
    run_task: Run,
    context: dict[str, Any],
    job: dict[str, Any],
    versions: list[str],
    remove: str,
) -> None:
    models = set(hosting.models)
    hosting.CreateEndpoint({"EndpointName": "production", "EndpointConfigName": versions[0]})
    if remove == "the endpoint":
        run_task(delete())
        assert set(hosting.configs) == {versions[0]}
        assert len(models & set(hosting.models)) == 1
    else:
        context["ti"].run_id = "manual__3"
        deploy = lambda: SageMakerAutoMLDeployOperator(  # noqa: E731
            task_id="deploy", endpoint_name="churn", candidate=make_candidate(), job=job, poll_interval=0.01
        )
        run_task(deploy)
        assert versions[0] in hosting.configs
        assert models < set(hosting.models)
    (variant,) = hosting.configs[versions[0]]["ProductionVariants"]
    assert variant["ModelName"] in hosting.models


def test_the_model_of_a_shadow_variant_is_removed_with_its_config(
    hosting: HostingStandIn, run_task: Run, versions: list[str]
) -> None:
    (first,), (second,) = (hosting.configs[each]["ProductionVariants"] for each in versions[:2])
    hosting.configs[versions[1]]["ShadowProductionVariants"] = [{**first, "VariantName": "shadow"}]
    del hosting.configs[versions[0]]
    hosting.tags_forbidden = True
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook
    from airflow_automl.operators._endpoint_versions import remove_versions

    remove_versions(SageMakerAutoMLDeploymentHook(), "churn", [versions[1]])
    assert not {first["ModelName"], second["ModelName"]} & set(hosting.models)


def test_a_rollback_after_which_another_deployment_begins_waits_for_its_end(
    hosting: HostingStandIn, run_task: Run, versions: list[str]
) -> None:
    operator = rollback()()
    state = {"submitted": True, "target": versions[1], "serving": versions[2], "deadline": None}
    hosting.endpoints["churn"] |= {"EndpointStatus": "Updating", "pending": versions[1], "looks": 1}
    event = {"status": "final", "kind": "endpoint", "name": "churn", "state": state}
    assert operator.execute_complete({}, event)["endpoint_config"] == versions[1]
