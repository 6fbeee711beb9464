"""If a deployment fails at any point, the previous model keeps serving, and no resource remains."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from airflow_automl.exceptions import (
    AutoMLDeploymentFailed,
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLThrottled,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.operators import SageMakerAutoMLDeployOperator, SageMakerAutoMLRollbackOperator
from airflow_automl.version_tags import TAG_PREVIOUS, TAG_STATE
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import Killed, make_candidate

Run = Callable[[Callable[[], Any]], Any]

POLICY = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
}
SCALING = {"MinCapacity": 1, "MaxCapacity": 4, "TargetTrackingScalingPolicyConfiguration": POLICY}
CASES = ("first deploy", "same run again", "new run", "changed settings")


class Store(dict[str, Any]):
    """Airflow's task state, as far as a deployment uses it."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Case:
    """An endpoint with its history, the deployment that is tried, and what must hold after it."""

    def __init__(self, hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any]) -> None:
        self.hosting, self.run, self.context, self.job = hosting, run_task, context, job

    def deploy(self, candidate: str, **settings: Any) -> Callable[[], SageMakerAutoMLDeployOperator]:
        arguments = {
            "task_id": "deploy",
            "endpoint_name": "churn",
            "poll_interval": 0.01,
            "candidate": make_candidate(candidate),
            "job": self.job,
            **settings,
        }
        return lambda: SageMakerAutoMLDeployOperator(**copy.deepcopy(arguments))

    def arrange(self, name: str) -> Callable[[], SageMakerAutoMLDeployOperator]:
        """Deploy what the case has served before; return the deployment that is to be tried."""
        tried = self.deploy("second")
        if name != "first deploy":
            self.context["ti"].run_id = "manual__0"
            self.run(self.deploy("first"))
            self.context["ti"].run_id = "manual__1"
        if name in ("same run again", "changed settings"):
            self.run(self.deploy("second"))
        if name == "same run again":
            # The previous version was deployed again: the run's own config and model are there, and do not serve.
            self.run(lambda: SageMakerAutoMLRollbackOperator(task_id="back", endpoint_name="churn", poll_interval=0.01))
        if name == "changed settings":
            tried = self.deploy("second", instance_type="ml.c5.large")
        if name == "new run":
            self.context["ti"].run_id = "manual__2"
        self.before = self.state()
        self.hosting.calls.clear()
        return tried

    def state(self) -> tuple[Any, set[str], set[str]]:
        endpoint = self.hosting.endpoints.get("churn")
        if endpoint is not None and endpoint["EndpointStatus"] == "Deleting":
            endpoint = None
        serving = endpoint and (endpoint["EndpointStatus"], endpoint["EndpointConfigName"])
        return serving, set(self.hosting.configs), set(self.hosting.models)

    def nothing_changed(self) -> None:
        assert self.state() == self.before

    def it_serves(self, result: dict[str, Any]) -> None:
        assert self.hosting.endpoints["churn"]["EndpointStatus"] == "InService"
        assert self.hosting.endpoints["churn"]["EndpointConfigName"] == result["endpoint_config"]
        _, configs, models = self.state()
        assert configs == self.before[1] | {result["endpoint_config"]}
        assert models == self.before[2] | {result["model"]}
        assert self.hosting.tags[self.hosting.configs[result["endpoint_config"]]["EndpointConfigArn"]][TAG_STATE] == (
            "deployed"
        )


@pytest.fixture
def case(hosting: HostingStandIn, run_task: Run, context: dict[str, Any], job: dict[str, Any]) -> Case:
    return Case(hosting, run_task, context, job)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "code",
    [
        "ValidationException",
        pytest.param("AccessDeniedException", marks=pytest.mark.slow),
        pytest.param("ResourceLimitExceeded", marks=pytest.mark.slow),
    ],
)
def test_a_refused_call_changes_nothing(case: Case, name: str, code: str) -> None:
    tried = case.arrange(name)
    submit = "CreateEndpoint" if name == "first deploy" else "UpdateEndpoint"
    reached = [submit]
    if name in ("first deploy", "new run"):
        reached.append("CreateModel")
    if name != "same run again":
        reached.append("CreateEndpointConfig")
    for refused in reached:
        case.hosting.refuse = {refused: code}
        with pytest.raises((AutoMLTerminalError, AutoMLQuotaExceeded), match=code):
            case.run(tried)
        case.nothing_changed()
    case.hosting.refuse = {}
    case.it_serves(case.run(tried))


@pytest.mark.parametrize("name", CASES)
def test_a_deployment_that_does_not_come_up_changes_nothing(case: Case, name: str) -> None:
    tried = case.arrange(name)
    for failure in ({"deploys_fail": "no capacity"}, {"silent_rollback": True}):
        vars(case.hosting).update(failure)
        with pytest.raises(AutoMLDeploymentFailed):
            case.run(tried)
        case.nothing_changed()
        case.hosting.deploys_fail, case.hosting.silent_rollback = None, False
        # The failed endpoint's deletion takes a moment.
        case.hosting.endpoints.pop("churn", None) if name == "first deploy" else None
    case.it_serves(case.run(tried))


#: Each tries some ten kills; these meet every step of a deployment, and the others of the kind are slow.
KILLS = [("rolled back", "first deploy"), ("rolled back", "new run")]


@pytest.mark.parametrize(
    ("then", "name"),
    [
        pytest.param(then, name, marks=() if (then, name) in KILLS else pytest.mark.slow)
        for then in ("refused", "rolled back", "served")
        for name in CASES
    ],
)
def test_a_kill_after_any_call_harms_nothing(
    case: Case, kill_after: Callable[[int], None], name: str, then: str
) -> None:
    tried = case.arrange(name)
    kept = copy.deepcopy({key: value for key, value in vars(case.hosting).items() if key in _STATE})
    for died_after in range(40):
        vars(case.hosting).update(copy.deepcopy(kept))
        kill_after(died_after)
        try:
            result = case.run(tried)
        except Killed:
            kill_after(1000)
        else:
            case.it_serves(result)
            break
        submitted = case.hosting.made("CreateEndpoint") + case.hosting.made("UpdateEndpoint")
        case.hosting.calls.clear()
        if then == "served" or (submitted and then == "refused"):
            case.it_serves(case.run(tried))
            continue
        if then == "refused":
            case.hosting.refuse = {"CreateEndpoint": "AccessDenied", "UpdateEndpoint": "AccessDenied"}
        else:
            if submitted and case.hosting.endpoints["churn"]["EndpointStatus"] == "InService":
                continue  # it had come up before the kill
            case.hosting.deploys_fail = "no capacity"
        with pytest.raises(AutoMLDeploymentFailed):
            case.run(tried)
        case.nothing_changed()
        case.hosting.refuse, case.hosting.deploys_fail = {}, None
    else:
        raise AssertionError("the deployment was killed every time")


_STATE = ("models", "configs", "endpoints", "tags", "calls", "scalable", "policies")


def test_a_mix_of_two_versions_keeps_both(case: Case) -> None:
    tried = case.arrange("new run")
    case.hosting.ends_as = "UpdateRollbackFailed"
    with pytest.raises(AutoMLDeploymentFailed, match="mix of the old and the new version") as failure:
        case.run(tried)
    _, configs, models = case.state()
    assert len(configs) == len(case.before[1]) + 1
    assert len(models) == len(case.before[2]) + 1
    assert all(name in str(failure.value) for name in configs - case.before[1])
    # A retry whose update is refused does not take the mixed version for its own leftover.
    case.hosting.ends_as = None
    with pytest.raises(AutoMLDeploymentFailed, match="was not updated"):
        case.run(tried)
    assert case.state()[1:] == (configs, models)


def test_an_endpoint_that_is_out_of_service_keeps_its_config_and_model(case: Case) -> None:
    case.arrange("new run")
    case.context["ti"].run_id = "manual__0"
    case.hosting.endpoints["churn"]["EndpointStatus"] = "OutOfService"
    before = case.state()
    case.hosting.refuse = {"UpdateEndpoint": "ValidationException"}
    with pytest.raises(AutoMLDeploymentFailed, match="was not updated"):
        case.run(case.deploy("first"))
    assert case.state() == before
    (config,) = case.hosting.configs.values()
    assert TAG_PREVIOUS not in case.hosting.tags[config["EndpointConfigArn"]]


def test_a_failed_endpoint_whose_tags_cannot_be_read_is_not_deleted(case: Case) -> None:
    tried = case.arrange("new run")
    case.hosting.endpoints["churn"] |= {"EndpointStatus": "Failed", "FailureReason": "capacity"}
    case.hosting.tags_forbidden = True
    with pytest.raises(AutoMLDeploymentFailed, match=r"is Failed \(capacity\) and its tags can't be read"):
        case.run(tried)
    assert not case.hosting.made("DeleteEndpoint")


@pytest.mark.parametrize("by", ["endpoint config", "shadow variant", "model package"])
def test_a_model_that_something_else_uses_is_kept(case: Case, by: str) -> None:
    """Neither a failed deployment, nor the removal of old versions, nor a deleted endpoint takes it."""
    first = case.run(case.deploy("first"))
    variant = {
        "VariantName": "a",
        "ModelName": first["model"],
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    if by == "endpoint config":
        case.hosting.CreateEndpointConfig({"EndpointConfigName": "other", "ProductionVariants": [variant]})
    elif by == "shadow variant":
        case.hosting.CreateModel({"ModelName": "main"})
        case.hosting.CreateEndpointConfig(
            {
                "EndpointConfigName": "other",
                "ProductionVariants": [{**variant, "ModelName": "main"}],
                "ShadowProductionVariants": [variant],
            }
        )
    else:
        arn = case.hosting.models[first["model"]]["ModelArn"]
        case.hosting.CreateModelPackage({"ModelPackageGroupName": "g", "SourceUri": arn})
    for number in range(2, 4):
        case.context["ti"].run_id = f"manual__{number}"
        case.run(case.deploy(f"version-{number}", keep_versions=2))
    assert first["endpoint_config"] not in case.hosting.configs
    assert first["model"] in case.hosting.models


def test_removing_old_versions_leaves_what_another_task_is_about_to_deploy(case: Case) -> None:
    case.run(case.deploy("first"))
    case.context["ti"].run_id = "manual__2"
    operator = case.deploy("second", keep_versions=1)()
    prune = operator._prune

    def meanwhile(result: dict[str, Any]) -> None:
        case.hosting.refuse = {"UpdateEndpoint": "ThrottlingException"}
        newer = dict(case.hosting.configs[result["endpoint_config"]])
        name = "churn-0123456789ab"
        arn = f"{newer['EndpointConfigArn'].rpartition('/')[0]}/{name}"
        case.hosting.configs[name] = {
            **newer,
            "EndpointConfigName": name,
            "EndpointConfigArn": arn,
            "CreationTime": case.hosting._now(),
        }
        case.hosting.tags[arn] = {"airflow-automl:endpoint": "churn", TAG_STATE: "deploying"}
        prune(result)

    operator._prune = meanwhile  # type: ignore[method-assign]
    case.run(lambda: operator)
    assert "churn-0123456789ab" in case.hosting.configs


@pytest.mark.parametrize("ends", ["served", "refused", "throttled", "rolled back"])
@pytest.mark.parametrize("changed", ["instance_type", "variant"])
def test_autoscaling_survives_an_update_that_aws_refuses_to_a_scalable_target(
    case: Case, monkeypatch: pytest.MonkeyPatch, ends: str, changed: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    if changed == "variant":  # Airflows before 3.3 have no store.
        case.context["task_state_store"] = Store()
    case.run(case.deploy("first", autoscaling=SCALING))
    before = copy.deepcopy((case.hosting.scalable, case.hosting.policies))
    case.context["ti"].run_id = "manual__2"
    settings: dict[str, Any] = {"instance_type": "ml.c5.large"}
    if changed == "variant":
        settings = {"variants": [{"VariantName": "blue"}]}
    update = case.hosting.UpdateEndpoint

    def refuse_in_the_end(request: dict[str, Any]) -> dict[str, Any]:
        answer = update(request)
        if ends in ("refused", "throttled"):
            from tests.hosting import Refused

            case.hosting.endpoints["churn"].pop("pending")
            case.hosting.endpoints["churn"]["EndpointStatus"] = "InService"
            raise Refused("ValidationException" if ends == "refused" else "ThrottlingException", "not now")
        return answer

    case.hosting.UpdateEndpoint = refuse_in_the_end  # type: ignore[method-assign]
    case.hosting.deploys_fail = "no capacity" if ends == "rolled back" else None
    tried = case.deploy("second", autoscaling={**SCALING, "MaxCapacity": 8}, **settings)
    if ends == "served":
        result = case.run(tried)
        assert case.hosting.endpoints["churn"]["EndpointConfigName"] == result["endpoint_config"]
        variant = "blue" if changed == "variant" else "AllTraffic"
        assert list(case.hosting.scalable) == [f"endpoint/churn/variant/{variant}"]
        assert [each["MaxCapacity"] for each in case.hosting.scalable.values()] == [8]
    else:
        with pytest.raises(AutoMLThrottled if ends == "throttled" else AutoMLDeploymentFailed):
            case.run(tried)
        assert (case.hosting.scalable, case.hosting.policies) == before


@pytest.mark.parametrize("died_after", ["DeregisterScalableTarget", "UpdateEndpoint"])
def test_autoscaling_survives_a_kill_during_the_update(
    case: Case, monkeypatch: pytest.MonkeyPatch, died_after: str
) -> None:
    case.context["task_state_store"] = Store()
    case.run(case.deploy("first", autoscaling=SCALING))
    before = copy.deepcopy((case.hosting.scalable, case.hosting.policies))
    case.context["ti"].run_id = "manual__2"
    tried = case.deploy("second", instance_type="ml.c5.large")
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook as Hook

    with monkeypatch.context() as patch:
        name = "unscale_endpoint" if died_after == "DeregisterScalableTarget" else "update_endpoint"
        original = getattr(Hook, name)

        def die(self: Any, *arguments: Any) -> None:
            original(self, *arguments)
            raise Killed(name)

        patch.setattr(Hook, name, die)
        with pytest.raises(Killed):
            case.run(tried)
    case.hosting.deploys_fail = "no capacity"
    with pytest.raises(AutoMLDeploymentFailed):
        case.run(tried)
    assert (case.hosting.scalable, case.hosting.policies) == before


def test_the_autoscaling_of_two_variants_survives_a_kill_between_them(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook as Hook

    variants = [{"VariantName": "blue"}, {"VariantName": "green"}]
    case.context["task_state_store"] = Store()
    case.run(case.deploy("first", autoscaling=SCALING, variants=variants))
    before = copy.deepcopy((case.hosting.scalable, case.hosting.policies))
    case.context["ti"].run_id = "manual__2"
    tried = case.deploy("second", variants=variants, instance_type="ml.c5.large")
    original = Hook.unscale_endpoint

    def die(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Hook, "unscale_endpoint", die)
        case.run(tried)
    case.run(tried)
    assert (case.hosting.scalable, case.hosting.policies) == before


@pytest.mark.parametrize("throttled", [False, True])
def test_a_rollback_to_another_instance_type_keeps_the_autoscaling(
    case: Case, monkeypatch: pytest.MonkeyPatch, throttled: bool
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    case.run(case.deploy("first"))
    case.context["ti"].run_id = "manual__2"
    case.run(case.deploy("second", instance_type="ml.c5.large", autoscaling=SCALING))
    before = copy.deepcopy((case.hosting.scalable, case.hosting.policies))
    back = lambda: SageMakerAutoMLRollbackOperator(task_id="back", endpoint_name="churn", poll_interval=0.01)  # noqa: E731
    if throttled:
        deregister = case.hosting.DeregisterScalableTarget

        def then_throttle(request: dict[str, Any]) -> dict[str, Any]:
            case.hosting.refuse = {"UpdateEndpoint": "ThrottlingException"}
            return deregister(request)

        case.hosting.DeregisterScalableTarget = then_throttle  # type: ignore[method-assign]
        with pytest.raises(AutoMLThrottled):
            case.run(back)
    else:
        result = case.run(back)
        assert case.hosting.endpoints["churn"]["EndpointConfigName"] == result["endpoint_config"]
    assert (case.hosting.scalable, case.hosting.policies) == before


@pytest.mark.parametrize("failing", ["the second variant can't be deregistered", "the update is not answered"])
def test_the_autoscaling_of_two_variants_survives_an_update_that_does_not_begin(
    case: Case, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = [{"VariantName": "blue"}, {"VariantName": "green"}]
    case.run(case.deploy("first", autoscaling=SCALING, variants=variants))
    before = copy.deepcopy((case.hosting.scalable, case.hosting.policies))
    assert len(before[0]) == 2
    case.context["ti"].run_id = "manual__2"
    tried = case.deploy("second", variants=variants, instance_type="ml.c5.large")
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook as Hook

    name = "unscale_endpoint" if failing.startswith("the second") else "update_endpoint"
    original, calls = getattr(Hook, name), 0

    def fail_the_second_time(self: Any, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise AutoMLTransientError("no answer")
        original(self, *arguments)

    monkeypatch.setattr(Hook, name, fail_the_second_time)
    with pytest.raises(AutoMLTransientError):
        case.run(tried)
    assert calls == 2
    assert (case.hosting.scalable, case.hosting.policies) == before


def test_a_task_that_does_not_wait_leaves_the_autoscaling_alone(case: Case) -> None:
    with pytest.raises(AutoMLValidationError, match="autoscaling: is given, but wait_for_completion is False"):
        case.deploy("first", autoscaling=SCALING, wait_for_completion=False)()
    case.run(case.deploy("first", autoscaling=SCALING))
    before = copy.deepcopy((case.hosting.scalable, case.hosting.policies))
    case.context["ti"].run_id = "manual__2"
    with pytest.raises(AutoMLDeploymentFailed, match=r"(?s)must be deregistered .* only by a task that waits"):
        case.run(case.deploy("second", instance_type="ml.c5.large", wait_for_completion=False))
    assert (case.hosting.scalable, case.hosting.policies) == before


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_timeout_during_an_update_logs_the_autoscaling_that_was_removed(
    case: Case, capsys: pytest.CaptureFixture[str], deferrable: bool
) -> None:
    case.run(case.deploy("first", autoscaling=SCALING))
    case.context["ti"].run_id = "manual__2"
    case.hosting.looks = 1000
    tried = case.deploy("second", instance_type="ml.c5.large", timeout=0.02, deferrable=deferrable)
    with pytest.raises(AutoMLDeploymentFailed, match="ended with timeout"):
        case.run(tried)
    logged = capsys.readouterr().out
    assert "autoscaling of endpoint churn was removed" in logged
    assert "MaxCapacity" in logged


def test_an_update_that_is_denied_leaves_the_autoscaling_alone(case: Case) -> None:
    case.run(case.deploy("first", autoscaling=SCALING))
    case.context["ti"].run_id = "manual__2"
    case.hosting.refuse["UpdateEndpoint"] = "AccessDeniedException"
    case.hosting.calls.clear()
    with pytest.raises(AutoMLDeploymentFailed):
        case.run(case.deploy("second", instance_type="ml.c5.large"))
    assert not case.hosting.made("DeregisterScalableTarget")


def test_a_deployment_after_which_another_one_begins_waits_for_its_end(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude, begun = SageMakerAutoMLDeployOperator._conclude, []

    def another_begins_first(self: Any, context: Any, state: dict[str, Any]) -> Any:
        if not begun:
            endpoint = case.hosting.endpoints["churn"]
            endpoint |= {"EndpointStatus": "SystemUpdating", "looks": 1}
            begun.append(state)
        elif case.hosting.endpoints["churn"]["EndpointStatus"] == "SystemUpdating":
            case.hosting.endpoints["churn"]["EndpointStatus"] = "InService"
        return conclude(self, context, state)

    monkeypatch.setattr(SageMakerAutoMLDeployOperator, "_conclude", another_begins_first)
    waits = iter(["InService"])

    def wait_for(self: Any, context: Any, name: str, state: dict[str, Any]) -> Any:
        if begun:
            case.hosting.endpoints["churn"]["EndpointStatus"] = next(waits)
            return self._conclude(context, state)
        return original(self, context, name, state)

    original = SageMakerAutoMLDeployOperator.wait_for
    monkeypatch.setattr(SageMakerAutoMLDeployOperator, "wait_for", wait_for)
    result = case.run(case.deploy("first"))
    assert result["endpoint_config"] in case.hosting.configs
    assert not list(waits)
