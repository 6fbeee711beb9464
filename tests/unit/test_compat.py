"""What differs between Airflow's versions is known in one module, which works as the newest Airflow does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import boto3
import botocore
import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.api.datamodels._generated import VariableResponse
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, PutVariable, VariableResult
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import ParamValidationError

from airflow_automl import compat, exceptions, retries
from airflow_automl.hooks.errors import automl_error
from airflow_automl.operators._base import AutoMLBaseOperator

PACKAGE = Path(compat.__file__).parent
#: Whatever is imported from these has another place, or none, in some Airflow that is supported.
MOVED = re.compile(
    r"^\s*(?:from|import) airflow(?:\.exceptions|\.sdk\.exceptions|\.sdk\.bases\.skipmixin|\.sdk\.plugins_manager|"
    r"\.stats|\.observability|\.triggers\.shared_stream|\.hooks\.base|\.serialization\.definitions)\b.*"
    r"|__version__ as airflow_version|airflow\.__version__",
    re.MULTILINE,
)


def test_no_other_module_and_no_example_knows_airflows_versions() -> None:
    found = {
        path.relative_to(PACKAGE.parent).as_posix(): hits
        for folder in (PACKAGE, Path(__file__).parents[2] / "dags")
        for path in folder.rglob("*.py")
        if path.name != "compat.py" and (hits := MOVED.findall(path.read_text()))
    }
    # ParamValidationError has this place in all of them.
    allowed = {"airflow_automl/plugin/actions.py": ["    from airflow.exceptions import ParamValidationError"]}
    assert found == allowed


def test_each_part_says_when_it_can_be_deleted() -> None:
    text = Path(compat.__file__).read_text()
    assert "Delete at 3.1" in text
    assert all(since <= (3, 3) for since, *_ in compat._MOVED.values())
    for heading in re.findall(r"^# --- .*$", text, re.MULTILINE):
        assert re.search(r"Delete at 3\.\d", heading), heading


@pytest.mark.parametrize("name", compat.__all__)
def test_every_name_is_there_on_this_airflow(name: str) -> None:
    assert getattr(compat, name, None) is not None


@pytest.fixture
def before_3_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this module does for older Airflows, also on a newer one."""
    monkeypatch.setattr(compat, "AIRFLOW", (3, 2))
    for name, replacement in (
        ("RetryAction", "_Action"),
        ("RetryRule", "_Rule"),
        ("ExceptionRetryPolicy", "_RetryPolicy"),
    ):
        monkeypatch.setattr(retries, name, getattr(compat, replacement))


def _operator(error: Exception, **arguments: Any) -> Any:
    class Task(AutoMLBaseOperator):
        def execute(self, context: Any) -> None:
            raise error

        def execute_complete(self, context: Any) -> None:
            raise error

    return Task(task_id="task", **arguments)


@pytest.mark.usefixtures("before_3_3")
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize(
    ("error", "final"),
    [
        (exceptions.AutoMLJobFailed("x"), True),
        (exceptions.AutoMLThrottled("x"), False),
        (RuntimeError("x"), False),
    ],
)
def test_before_3_3_a_policy_fails_a_task_without_retries_by_airflows_exception(
    error: Exception, final: bool, resumed: bool
) -> None:
    def run(operator: Any) -> None:
        operator.resume_execution("execute_complete", None, {}) if resumed else operator.execute({})

    with pytest.raises(compat.AirflowFailException if final else type(error)):
        run(_operator(error, retry_policy=retries.automl_retry_policy()))
    with pytest.raises(type(error)):
        run(_operator(error))


def test_a_policy_in_default_args_reaches_every_operator() -> None:
    from airflow.sdk import DAG

    from airflow_automl.operators import SageMakerAutoMLStopOperator

    policy = retries.automl_retry_policy()
    with DAG("d", default_args={"retry_policy": policy}):
        assert SageMakerAutoMLStopOperator(task_id="stop", job_name="j").retry_policy is policy
        assert BaseOperator(task_id="other").task_id == "other"


@pytest.mark.usefixtures("before_3_3")
@pytest.mark.parametrize("cancellations", [0, 1, 3])
async def test_before_3_3_a_trigger_that_is_cancelled_calls_its_on_kill_to_the_end(cancellations: int) -> None:
    calls = []
    started, stopping, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @compat.stops_when_cancelled
    class Trigger(BaseTrigger):
        def serialize(self) -> Any:
            return "", {}

        async def run(self) -> Any:
            started.set()
            if cancellations:
                await asyncio.Event().wait()
            yield TriggerEvent({})

        async def on_kill(self) -> None:
            stopping.set()
            await go_on.wait()
            calls.append("stopped")

    async def consume() -> int:
        return len([event async for event in Trigger().run()])

    task = asyncio.create_task(consume())
    await started.wait()
    if not cancellations:
        assert await task == 1
        assert calls == []
        return
    task.cancel()
    await stopping.wait()
    for _ in range(cancellations - 1):
        task.cancel()
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == ["stopped"]


class Supervisor:
    """Keeps variables as a triggerer's supervisor does, with Airflow's own messages."""

    def __init__(self) -> None:
        self.variables: dict[str, str | None] = {}
        self.broken = False

    async def asend(self, message: Any) -> Any:
        if self.broken:
            return ErrorResponse(error=ErrorType.API_SERVER_ERROR)
        if isinstance(message, PutVariable):
            self.variables[message.key] = message.value
            return None
        assert isinstance(message, GetVariable)
        if message.key not in self.variables:
            return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        response = VariableResponse(key=message.key, value=self.variables[message.key])
        return VariableResult.from_variable_response(response)


@pytest.mark.usefixtures("before_3_3")
async def test_before_3_3_progress_is_kept_as_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_automl.triggers.event import SageMakerAutoMLEventTrigger

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    trigger = SageMakerAutoMLEventTrigger()
    trigger.trigger_id = None
    assert compat.asset_state_stores(trigger) == []
    trigger.trigger_id = 1
    (store,) = compat.asset_state_stores(trigger)
    assert await store.aget("key") is None
    await store.aset("key", {"after": "2026-01-01"})
    assert await store.aget("key") == {"after": "2026-01-01"}
    supervisor.broken = True
    # If a failed answer were read as "no state", the watcher would start again and omit jobs.
    with pytest.raises(AirflowRuntimeError):
        await store.aget("key")


def test_a_field_that_botocore_does_not_know_is_an_error_that_names_its_version() -> None:
    client = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with pytest.raises(ParamValidationError) as refused:
        client.stop_auto_ml_job(AutoMLJobName="j", Novelty=1)
    error = automl_error(refused.value)
    assert isinstance(error, exceptions.AutoMLValidationError)
    assert re.search(rf"Novelty.*botocore {re.escape(botocore.__version__)} does not know it", str(error), re.DOTALL)
    with pytest.raises(ParamValidationError) as refused:
        client.stop_auto_ml_job(AutoMLJobName=1)
    assert "botocore" not in str(automl_error(refused.value))
