"""Asset events of jobs that end: one each, none lost and none repeated across restarts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog
from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder
from airflow.sdk import Asset
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.triggers.base import BaseEventTrigger

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.triggers import event as event_trigger
from airflow_automl.triggers.event import SageMakerAutoMLEventTrigger
from tests.fakes import stands_for
from tests.standin import StandIn, ends, running
from tests.unit.triggers.conftest import until

shared_stream = pytest.importorskip("airflow.triggers.shared_stream", reason="Airflow shares streams from 3.3 on")
context = pytest.importorskip("airflow.sdk.execution_time.context")

INTERVAL = 0.1


@stands_for(TriggerCommsDecoder)
class Supervisor:
    """The triggerer's supervisor at the wire: it answers the messages of Airflow's own state stores."""

    def __init__(self) -> None:
        self.loop_thread = threading.get_ident()
        self.stores: dict[str, Store] = {}

    def send(self, message: Any) -> Any:
        assert threading.get_ident() != self.loop_thread, "the event loop is blocked"
        return self._answer(message)

    async def asend(self, message: Any) -> Any:
        return self._answer(message)

    def _answer(self, message: Any) -> Any:
        store = self.stores[message.name]
        if store.broken:
            raise RuntimeError("no answer")
        if isinstance(message, comms.SetAssetStateStoreByName):
            store.values[message.key] = json.dumps(message.value)
            return None
        assert isinstance(message, comms.GetAssetStateStoreByName)
        if message.key not in store.values:
            return comms.ErrorResponse(error=ErrorType.ASSET_STORE_NOT_FOUND)
        return comms.AssetStateStoreResult(value=json.loads(store.values[message.key]))


@pytest.fixture(autouse=True)
async def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


class Store:
    """What the supervisor keeps for one asset."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.broken = False

    @property
    def progress(self) -> str:
        """What all watchers of the asset have written."""
        return " ".join(self.values.values())

    @property
    def accessors(self) -> Any:
        name = f"model-{id(self)}"
        task_runner.SUPERVISOR_COMMS.stores[name] = self
        return context.AssetStateStoreAccessors([Asset(name)])


class Triggerer:
    """Runs event triggers as Airflow's does, with its own shared streams; ``stored`` events are confirmed."""

    def __init__(self) -> None:
        self.streams = shared_stream.SharedStreamManager(
            log=structlog.get_logger(), max_subscriber_queue=1024, ack_timeout=300.0, cohort_grace_period=0.0
        )
        self.payloads: list[dict[str, Any]] = []
        self.stores_events = True
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, store: Store | None = None, **kwargs: Any) -> None:
        trigger = SageMakerAutoMLEventTrigger(**{"poll_interval": INTERVAL, **kwargs})
        trigger.asset_state_store = (store or Store()).accessors
        self._tasks.append(asyncio.create_task(self._run(len(self._tasks), trigger)))

    async def _run(self, number: int, trigger: BaseEventTrigger) -> None:
        key = trigger.shared_stream_key()
        assert key is not None
        stream = self.streams.subscribe(trigger_id=number, trigger=trigger, key=key)
        async for event in trigger.filter_shared_stream(stream):
            self.payloads.append(json.loads(json.dumps(event.payload)))
            sequence = self.streams.bind_pending_event(trigger_id=number, key=key)
            assert sequence is not None
            if self.stores_events:
                self.streams.confirm_persisted([sequence])

    @property
    def names(self) -> list[str]:
        return [payload["job"]["name"] for payload in self.payloads]

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.streams.stop_all()


@asynccontextmanager
async def triggerer() -> AsyncIterator[Triggerer]:
    running_one = Triggerer()
    try:
        yield running_one
    finally:
        await running_one.kill()


def _polls(standin: StandIn, count: int) -> Callable[[], bool]:
    """Wait until this many more lists have been answered."""
    from_now = standin.calls["ListAutoMLJobs"] + count
    return lambda: standin.calls["ListAutoMLJobs"] >= from_now


def _started(store: Store) -> Callable[[], bool]:
    return lambda: bool(store.progress)


async def test_each_job_that_ends_raises_one_event_with_its_documents(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        standin.add_job("one", running(0.1))
        standin.add_job("two", running(0.3), api="V1")
        await until(lambda: len(airflow.payloads) == 2)
        await until(_polls(standin, 4))
    assert airflow.names == ["one", "two"]
    payload = airflow.payloads[0]
    assert payload["schema_version"] == 1
    assert payload["job"]["status"] == "Completed"
    assert payload["best_candidate"]["CandidateName"] == "one-best"


async def test_only_chosen_names_and_ends_count(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store, name_prefix="churn-", statuses=["Failed", "Stopped"])
        await until(_started(store))
        for name in ("churn-1", "fraud-1"):
            standin.add_job(name, ends("Failed", "Failed", 0.1))
        standin.add_job("churn-2", running(0.1))
        standin.add_job("churn-3", ends("Stopped", "Stopped", 0.2))
        await until(lambda: len(airflow.payloads) == 2)
        await until(_polls(standin, 4))
    assert airflow.names == ["churn-1", "churn-3"]
    assert airflow.payloads[0]["best_candidate"] is None


async def test_a_job_that_ended_before_the_first_poll_causes_no_event(standin: StandIn) -> None:
    standin.add_job("old", age=60.0)
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        await until(_polls(standin, 3))
    assert not airflow.payloads


async def test_a_restart_neither_loses_nor_repeats(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        standin.add_job("before", running(0.1))
        await until(lambda: "automl-job/before" in store.progress)
    assert airflow.names == ["before"]
    standin.add_job("while-away", running(0.0))
    async with triggerer() as again:
        again.add(store)
        standin.add_job("after", running(0.5))
        await until(lambda: len(again.payloads) == 2)
        await until(_polls(standin, 4))
    assert again.names == ["while-away", "after"]


async def test_a_long_absence_is_caught_up_with(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
    ((kept, text),) = store.values.items()
    progress = json.loads(text)
    for key in ("start", "after"):
        progress[key] = progress[key].replace(progress[key][:4], str(int(progress[key][:4]) - 1))
    store.values[kept] = json.dumps(progress)
    for hours in range(1, 4):
        standin.add_job(f"{hours}-hours-ago", age=hours * 3600.0)
    async with triggerer() as again:
        again.add(store)
        await until(lambda: len(again.payloads) == 3)
        await until(_polls(standin, 4))
    assert again.names == ["3-hours-ago", "2-hours-ago", "1-hours-ago"]


async def test_watchers_of_one_asset_keep_their_progress_apart(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        for prefix in ("churn-", "fraud-"):
            airflow.add(store, name_prefix=prefix)
        await until(lambda: len(store.values) == 2)
        standin.add_job("churn-1", running(0.0))
        await until(lambda: "churn-1" in store.progress)
    for kept in [key for key, text in store.values.items() if "churn-1" not in text]:
        # As if this trigger had not got this far.
        del store.values[kept]
    async with triggerer() as again:
        again.add(store, name_prefix="churn-")
        standin.add_job("churn-2", running(0.1))
        await until(lambda: again.names == ["churn-2"])


async def test_jobs_that_one_poll_has_no_time_for_are_read_by_the_next(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        monkeypatch.setattr(event_trigger, "_POLL", -1.0)
        standin.add_job("job", running(0.0))
        await until(_polls(standin, 4))
        assert not airflow.payloads
        monkeypatch.setattr(event_trigger, "_POLL", 60.0)
        await until(lambda: airflow.names == ["job"])


async def test_a_job_that_may_never_be_described_holds_nothing_back(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        monkeypatch.setattr(event_trigger, "_DENIED", timedelta(seconds=-1))
        standin.faults.deny = frozenset({"DescribeAutoMLJobV2", "DescribeAutoMLJob"})
        standin.add_job("denied", running(0.0))
        await until(lambda: "automl-job/denied" in store.progress)
    assert not airflow.payloads


async def test_an_event_that_airflow_did_not_store_is_fired_again(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        airflow.stores_events = False
        standin.add_job("job", running(0.0))
        await until(lambda: airflow.names == ["job"])
        await until(_polls(standin, 3))
    async with triggerer() as again:
        again.add(store)
        await until(lambda: again.names == ["job"])


async def test_many_watchers_of_an_account_share_its_lists(standin: StandIn) -> None:
    stores = [Store() for _ in range(10)]
    async with triggerer() as airflow:
        for number, store in enumerate(stores):
            airflow.add(store, name_prefix=f"team-{number}-")
        await until(lambda: all(_started(store)() for store in stores))
        before, began = standin.calls["ListAutoMLJobs"], time.monotonic()
        await asyncio.sleep(10 * INTERVAL)
        assert standin.calls["ListAutoMLJobs"] - before <= (time.monotonic() - began) / INTERVAL + 1
        for number in range(10):
            standin.add_job(f"team-{number}-job", running(0.1))
        await until(lambda: len(airflow.payloads) == 10)
    assert sorted(airflow.names) == [f"team-{number}-job" for number in range(10)]


async def test_errors_of_service_and_store_delay_events_and_lose_none(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
        standin.faults.deny = frozenset({"DescribeAutoMLJobV2", "DescribeAutoMLJob"})
        standin.add_job("denied", running(0.0))
        await until(lambda: standin.calls["DescribeAutoMLJobV2"] > 1)
        assert not airflow.payloads
        standin.faults.deny = frozenset()
        await until(lambda: airflow.names == ["denied"])
        standin.faults.errors = 0.3
        store.broken = True
        for number in range(5):
            standin.add_job(f"job-{number}", running(0.1))
        await until(lambda: len(airflow.payloads) == 6)
        store.broken = False
        await until(lambda: "job-4" in store.progress)
    assert sorted(airflow.names) == ["denied", *(f"job-{number}" for number in range(5))]


async def test_a_store_that_can_not_be_read_at_the_start_is_not_an_empty_one(standin: StandIn) -> None:
    store = Store()
    async with triggerer() as airflow:
        airflow.add(store)
        await until(_started(store))
    standin.add_job("while-away", running(0.0))
    store.broken = True
    async with triggerer() as again:
        again.add(store)
        await until(_polls(standin, 4))
        assert not again.payloads
        store.broken = False
        await until(lambda: again.names == ["while-away"])


async def test_it_works_alone_too(standin: StandIn) -> None:
    trigger, store = SageMakerAutoMLEventTrigger(poll_interval=INTERVAL), Store()
    trigger.asset_state_store = store.accessors
    payloads: list[Any] = []

    async def watch() -> None:
        async for event in trigger.run():
            payloads.append(event.payload)  # noqa: PERF401

    task = asyncio.create_task(watch())
    await until(_started(store))
    standin.add_job("job", running(0.1))
    await until(lambda: "automl-job/job" in store.progress)
    task.cancel()
    assert [payload["job"]["name"] for payload in payloads] == ["job"]


def test_it_serializes_to_plain_json_and_back() -> None:
    trigger = SageMakerAutoMLEventTrigger("churn-", ("Failed",), 60, region_name="eu-west-1")
    path, arguments = trigger.serialize()
    again = SageMakerAutoMLEventTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert again.shared_stream_key() == trigger.shared_stream_key()
    assert hash(again.shared_stream_key()) == hash(trigger.shared_stream_key())


@pytest.mark.parametrize("statuses", [(), "Completed", ("InProgress",), ("Completed", "Done")])
def test_statuses_that_no_job_ends_with_are_refused(statuses: Any) -> None:
    with pytest.raises(AutoMLValidationError, match=r"statuses: expected some of"):
        SageMakerAutoMLEventTrigger(statuses=statuses)
