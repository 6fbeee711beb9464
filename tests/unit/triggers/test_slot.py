"""The queue for the account's quota: fair, without bursts, and never blocked."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from airflow_automl.exceptions import InvalidTriggerEvent
from airflow_automl.triggers._watcher import AwsSettings, slots, watcher_for
from airflow_automl.triggers._watcher.slots import SlotLine
from airflow_automl.triggers.slot import SageMakerAutoMLSlotTrigger, validate_slot_event
from tests.standin import ENDLESS, StandIn, running


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_INTERVAL", "PROBE_AFTER", "PROBE_AFTER_AT_MOST", "CLAIM"):
        monkeypatch.setattr(slots, name, getattr(slots, name) / 100)


def trigger(since: float, wait: float = 3600.0) -> SageMakerAutoMLSlotTrigger:
    return SageMakerAutoMLSlotTrigger({"since": since, "slot_deadline": time.time() + wait, "task_deadline": None})


async def fired(trigger: SageMakerAutoMLSlotTrigger) -> dict[str, Any]:
    classpath, kwargs = trigger.serialize()
    assert classpath.endswith(".SageMakerAutoMLSlotTrigger")
    async for event in SageMakerAutoMLSlotTrigger(**kwargs).run():
        return event.payload
    raise AssertionError("the trigger fired nothing")


async def test_the_first_task_in_the_queue_submits_when_a_job_has_ended(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "PROBE_AFTER", math.inf)
    standin.add_job("theirs", running(0.5))
    late, early = asyncio.create_task(fired(trigger(2000.0))), asyncio.create_task(fired(trigger(1000.0)))
    done, _ = await asyncio.wait([late, early], return_when=asyncio.FIRST_COMPLETED, timeout=60)
    assert done == {early}
    assert (await early)["status"] == "free"
    late.cancel()


async def test_a_wait_for_a_slot_has_an_end(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "PROBE_AFTER", math.inf)
    standin.add_job("theirs", ENDLESS)
    payload = await fired(trigger(1000.0, wait=0.3))
    assert payload["status"] == "timeout"
    free, limits = validate_slot_event(payload)
    assert (free, limits["since"]) == (False, 1000.0)


@pytest.mark.parametrize("unexpectedly", [False, True])
async def test_counting_that_fails_does_not_strand_anybody(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, unexpectedly: bool
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("AutoMLJobSummaries")

    standin.faults.deny = frozenset({"ListAutoMLJobs"})
    if unexpectedly:
        monkeypatch.setattr("airflow_automl.triggers._watcher.listing.Listing.changed_since", broken)
    assert (await fired(trigger(1000.0)))["status"] == "free"


@pytest.mark.parametrize("event", [None, {}, {"status": "gone"}, {"status": "free"}, {"status": "free", "limits": 3}])
def test_an_event_of_another_package_is_refused(event: Any) -> None:
    with pytest.raises(InvalidTriggerEvent):
        validate_slot_event(event)


class Account:
    """An account with a quota, its queue, and time that is counted in polls."""

    def __init__(self, quota: int, waiting: int) -> None:
        self.quota, self.refused, self.most = quota, 0, 0
        self.running = {f"theirs-{number}" for number in range(quota)}
        self.line = SlotLine(listing=None)  # type: ignore[arg-type] - the account itself is counted here
        self.line._probed = 0.0
        self.submitted: list[int] = []
        self.changed: set[str] = set()
        self._looks = 0
        self._waits = {number: asyncio.ensure_future(self.line.turn(float(number))) for number in range(waiting)}

    async def look(self, *, blind: bool = False) -> int:
        """Let the queue poll once; released tasks try to submit. Return how many did."""
        await asyncio.sleep(0)
        if not blind:
            self.line._take_in(set(self.running), self.changed, first=not self._looks)
        self.line._let_go(None if blind else set(self.running), self._looks * slots.POLL_INTERVAL)
        self._looks += 1
        self.changed = set()
        await asyncio.sleep(0)
        gone = [number for number, wait in self._waits.items() if wait.done()]
        for number in gone:
            if len(self.running) < self.quota:
                del self._waits[number]
                self.running.add(f"ours-{number}")
                self.submitted.append(number)
            else:
                self.refused += 1
                self._waits[number] = asyncio.ensure_future(self.line.turn(float(number)))
        self.most = max(self.most, len(self.running))
        return len(gone)

    def end(self, jobs: int) -> None:
        """So many jobs end."""
        for _ in range(min(jobs, len(self.running))):
            self.changed.add(self.running.pop())


async def test_a_thousand_tasks_pass_a_quota_of_four_in_order_and_unrefused() -> None:
    account = Account(quota=4, waiting=1000)
    freed: list[int] = []
    latest = looks = 0
    while len(account.submitted) < 1000:
        before = len(account.submitted)
        await account.look()
        for _ in range(len(account.submitted) - before):
            if freed:
                latest = max(latest, looks - freed.pop(0))
        looks += 1
        if looks % 3 == 0 and len(account.running) == account.quota:
            account.end(1)
            freed.append(looks)
    assert account.submitted == sorted(account.submitted)
    assert account.most == 4
    assert latest <= 3
    assert account.refused <= 100


async def test_jobs_that_come_and_go_between_two_looks_keep_the_line_moving() -> None:
    account = Account(quota=4, waiting=1000)
    account.end(4)
    looks = 0
    while len(account.submitted) < 1000:
        await account.look()
        account.end(4)
        looks += 1
        assert looks < 400, f"{len(account.submitted)} of 1000 submitted"
    assert account.submitted == sorted(account.submitted)
    assert account.refused <= 20


async def test_a_quota_that_is_raised_is_found_and_one_that_is_lowered_stops_the_rush() -> None:
    account = Account(quota=1, waiting=60)
    account.quota = 3
    looks = 0
    while len(account.running) < 3:
        await account.look()
        looks += 1
        assert looks < 600
    account.quota, account.running, account.refused = 1, {"theirs"}, 0
    looks = 300
    for _ in range(looks):
        await account.look()
    assert account.refused < looks / 10


async def test_a_queue_that_can_not_list_jobs_releases_one_at_a_time() -> None:
    account = Account(quota=4, waiting=12)
    account.end(4)
    looks = 0
    while len(account.submitted) < 12:
        before = len(account.submitted)
        await account.look(blind=True)
        assert len(account.submitted) <= before + 1
        account.end(1)
        looks += 1
        assert looks < 12 * 12
    assert account.submitted == sorted(account.submitted)


async def test_a_lone_task_is_let_go_ever_more_seldom(standin: StandIn) -> None:
    standin.add_job("theirs", ENDLESS)
    line = watcher_for(AwsSettings.of("aws_default", None, None, None))._slots
    waits = []
    for _ in range(4):
        # Refused each time, it comes back with the time at which it first asked.
        assert (await fired(trigger(1000.0)))["status"] == "free"
        waits.append(line._probe_after)
    assert waits == [slots.PROBE_AFTER * factor for factor in (2, 4, 8, 16)]


async def test_a_job_that_ends_just_after_a_refusal_does_not_make_the_quota_seem_smaller() -> None:
    account = Account(quota=4, waiting=2)
    while not account.refused:
        await account.look()
    account.end(1)
    await account.look()
    await account.look()
    assert account.submitted
    assert account.line._quota == 4
