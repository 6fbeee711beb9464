"""No fault of the service loses an event, or makes one early or wrong; and waiting costs few calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airflow_automl.contract import is_terminal
from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLJobNotFound, AutoMLValidationError
from airflow_automl.hooks import errors
from airflow_automl.triggers._watcher import AwsSettings, client, watcher, watcher_for
from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger
from tests.standin import COMPLETED, ENDLESS, Faults, StandIn, connection, ends, running
from tests.unit.triggers.conftest import INTERVAL, Herd, fire, until

AWS = AwsSettings.of("aws_default", None, None, None)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(Faults(), id="none"),
        pytest.param(Faults(throttle_next=8), id="throttled for a while"),
        pytest.param(Faults(throttle_rate=2), id="lists throttled throughout"),
        pytest.param(Faults(errors=0.2), id="one call in five fails"),
        pytest.param(Faults(list_lag=1.5), id="lists lag"),
        pytest.param(Faults(list_misses=0.5), id="lists miss jobs"),
        pytest.param(Faults(skew=-600), id="the service's clock is slow"),
        pytest.param(Faults(skew=600), id="the service's clock is fast"),
        pytest.param(Faults(deny=frozenset({"ListAutoMLJobs"})), id="lists denied"),
        pytest.param(Faults(expired_next=5), id="credentials expire"),
        pytest.param(Faults(errors=0.2, list_lag=1.0, list_misses=0.2, skew=600, throttle_next=10), id="all at once"),
    ],
)
async def test_every_event_arrives_once_on_time_and_is_correct(standin: StandIn, herd: Herd, faults: Faults) -> None:
    standin.faults = faults
    await herd()


async def test_a_list_that_never_changes_again_hides_no_end(standin: StandIn) -> None:
    for number in range(20):
        standin.add_job(f"job-{number}", running(101.0), age=100.0)
    standin.faults.list_lag = 50.0
    fired = await asyncio.wait_for(
        asyncio.gather(*(fire(SageMakerAutoMLJobTrigger(f"job-{number}", "V2", INTERVAL)) for number in range(20))), 60
    )
    assert {event.payload["status"] for event in fired} == {"completed"}


async def test_jobs_that_ended_before_are_found(standin: StandIn, herd: Herd) -> None:
    await herd(first=0.0, last=0.0)


async def test_registering_many_costs_pages_not_describes(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "RECHECK_SHARE", 500)
    for number in range(400):
        standin.add_job(f"job-{number}", ENDLESS)
    for number in range(3):
        standin.add_job(f"ended-{number}", age=50.0)
    names = [f"job-{number}" for number in range(400)] + [f"ended-{number}" for number in range(3)]
    waits = [asyncio.create_task(fire(SageMakerAutoMLJobTrigger(name, "V2", 0.5))) for name in names]
    await asyncio.wait_for(asyncio.gather(*waits[-3:]), 60)
    assert standin.calls.total() <= 3 * 5 + 10
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def test_waiting_for_a_hundred_costs_few_calls_a_tick(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url))
    for number in range(100):
        standin.add_job(f"job-{number}", ENDLESS)
    waits = [asyncio.create_task(fire(SageMakerAutoMLJobTrigger(f"job-{n}", "V2", 0.5))) for n in range(100)]
    await until(lambda: standin.calls["ListAutoMLJobs"] >= 2)
    before, began = standin.calls.total(), time.monotonic()
    await asyncio.sleep(3.0)
    # A list and a recheck each; one more of both for where the window cuts.
    assert standin.calls.total() - before <= 2 * ((time.monotonic() - began) / 0.5 + 1)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


async def test_a_few_jobs_are_described_and_never_listed(standin: StandIn) -> None:
    for name in ("one", "two", "three"):
        standin.add_job(name, running(0.5))
    await asyncio.gather(*(fire(SageMakerAutoMLJobTrigger(name, None, INTERVAL)) for name in ("one", "two", "three")))
    assert not standin.calls["ListAutoMLJobs"]


async def test_all_share_one_client_that_outlives_each_of_them(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = client.Client._build

    async def counted(self: client.Client) -> Any:
        built.append(self)
        return await build(self)

    monkeypatch.setattr(client.Client, "_build", counted)
    for number in range(10):
        standin.add_job(f"job-{number}", running(1.5))
    waits = [asyncio.create_task(fire(SageMakerAutoMLJobTrigger(f"job-{n}", "V2", INTERVAL))) for n in range(10)]
    await until(lambda: standin.calls.total() > 0)
    waits[0].cancel()
    fired = await asyncio.wait_for(asyncio.gather(*waits[1:]), 60)
    assert {event.payload["status"] for event in fired} == {"completed"}
    assert len(built) == 1


async def test_other_settings_get_a_watcher_of_their_own(standin: StandIn) -> None:
    assert watcher_for(AWS) is watcher_for(AwsSettings.of("aws_default", "", None, {}))
    assert watcher_for(AWS) is not watcher_for(AwsSettings.of("aws_default", "eu-west-1", None, None))
    assert watcher_for(AWS) is not watcher_for(AwsSettings.of("aws_default", None, False, None))
    assert watcher_for(AWS) is not watcher_for(AwsSettings.of("aws_default", None, None, {"read_timeout": 5}))


async def test_new_credentials_of_the_connection_are_taken_up(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.add_job("job", running(0.3))
    standin.faults.valid_key = "rotated"
    wait = asyncio.create_task(fire(SageMakerAutoMLJobTrigger("job", "V2", INTERVAL)))
    await until(lambda: standin.calls.total() > 0)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url).replace('"test"', '"rotated"'))
    assert (await asyncio.wait_for(wait, 60)).payload["status"] == "completed"


async def test_credentials_that_stay_stale_end_the_wait_at_last(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "CONNECTION_GRACE", 0.3)
    standin.add_job("job", ENDLESS)
    standin.faults.valid_key = "another"
    event = await asyncio.wait_for(fire(SageMakerAutoMLJobTrigger("job", "V2", INTERVAL)), 60)
    assert event.payload["status"] == "access_denied"
    assert "The security token included in the request is expired" in event.payload["message"]


async def test_a_connection_that_can_not_be_read_just_now_is_read_again(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.add_job("job", running(0.1))
    build, failures = client.Client._build, iter([RuntimeError("the API server is away")] * 3)

    async def failing(self: client.Client) -> Any:
        for failure in failures:
            raise failure
        return await build(self)

    monkeypatch.setattr(client.Client, "_build", failing)
    event = await asyncio.wait_for(fire(SageMakerAutoMLJobTrigger("job", "V2", INTERVAL)), 60)
    assert event.payload["status"] == "completed"


async def test_settings_that_can_never_work_fail_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://key:secret@")
    with pytest.raises(AutoMLValidationError, match="region_name"):
        await asyncio.wait_for(watcher_for(AWS).end_of("job", None, INTERVAL), 60)


async def test_a_job_that_is_seen_late_is_not_missing(standin: StandIn) -> None:
    wait = asyncio.create_task(watcher_for(AWS).end_of("late", None, 0.5))
    await until(lambda: standin.calls.total() > 0)
    standin.add_job("late", running(0.1))
    assert (await asyncio.wait_for(wait, 60))["AutoMLJobStatus"] == "Completed"


async def test_a_poll_that_another_trigger_caused_is_not_the_second_one(standin: StandIn) -> None:
    wait = asyncio.create_task(watcher_for(AWS).end_of("late", "V2", 2.0))
    await until(lambda: standin.calls.total() == 1)
    standin.add_job("other", ENDLESS)
    other = asyncio.create_task(watcher_for(AWS).end_of("other", "V2", 2.0))
    await until(lambda: standin.calls.total() == 3)
    standin.add_job("late", running(0.1))
    assert (await asyncio.wait_for(wait, 60))["AutoMLJobStatus"] == "Completed"
    other.cancel()


@pytest.mark.parametrize("others", [0, 10])
async def test_a_job_that_does_not_exist_is_described_again_and_not_for_ever(standin: StandIn, others: int) -> None:
    for number in range(others):
        standin.add_job(f"job-{number}", ENDLESS)
    waits = [asyncio.create_task(watcher_for(AWS).end_of(f"job-{n}", "V2", INTERVAL)) for n in range(others)]
    with pytest.raises(AutoMLJobNotFound, match="gone"):
        await asyncio.wait_for(watcher_for(AWS).end_of("gone", "V2", INTERVAL), 60)
    looks = [body for operation, body in standin.requests if body.get("AutoMLJobName") == "gone"]
    assert 2 <= len(looks) <= 4
    for wait in waits:
        wait.cancel()


async def test_a_denied_describe_ends_the_wait_with_the_services_own_text(standin: StandIn) -> None:
    standin.add_job("job", ENDLESS)
    standin.faults.deny = frozenset({"DescribeAutoMLJob", "DescribeAutoMLJobV2"})
    with pytest.raises(AutoMLAccessDenied, match="User: u is not authorized to perform: sagemaker:DescribeAutoMLJob"):
        await asyncio.wait_for(watcher_for(AWS).end_of("job", None, INTERVAL), 60)


async def test_where_v2_is_denied_a_job_of_unknown_version_is_described_by_v1(standin: StandIn) -> None:
    standin.add_job("job", running(0.2), api="V1")
    standin.faults.deny = frozenset({"DescribeAutoMLJobV2"})
    answer = await asyncio.wait_for(watcher_for(AWS).end_of("job", None, INTERVAL), 60)
    assert "InputDataConfig" in answer


@pytest.mark.parametrize("others", [0, 10])
async def test_every_status_is_reported_in_order(standin: StandIn, others: int) -> None:
    job = standin.add_job("job", ends("Completed", "Completed", 200.0), age=10.0)
    for number in range(others):
        standin.add_job(f"job-{number}", ENDLESS)
    waits = [asyncio.create_task(watcher_for(AWS).end_of(f"job-{n}", "V2", INTERVAL)) for n in range(others)]
    noticed: list[str] = []

    def notice(answer: Any) -> None:
        secondary = answer["AutoMLJobSecondaryStatus"]
        if noticed[-1:] != [secondary]:
            noticed.append(secondary)

    wait = asyncio.create_task(watcher_for(AWS).end_of("job", "V2", INTERVAL, notice))
    async with asyncio.timeout(20):
        await until(lambda: noticed == ["Starting"])
        standin.faults.list_lag = 0.5
        now = time.time() - job.created
        job.script = ((0.0, "InProgress", "Starting"), (now, "InProgress", "TrainingModels"))
        await until(lambda: noticed == ["Starting", "TrainingModels"])
        job.script = (*job.script, (time.time() - job.created, "Completed", "Completed"))
        await wait
    assert noticed == ["Starting", "TrainingModels", "Completed"]
    for wait in waits:
        wait.cancel()


async def test_two_triggers_of_one_job_are_both_notified_of_its_end(standin: StandIn) -> None:
    standin.add_job("job", running(0.5))
    first, second = await asyncio.gather(*(watcher_for(AWS).end_of("job", "V2", INTERVAL) for _ in range(2)))
    assert is_terminal(first["AutoMLJobStatus"])
    assert first == second


async def test_an_idle_watcher_closes_its_client_and_makes_way(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LINGER", 0.1)
    standin.add_job("job", running(0.0))
    first = watcher_for(AWS)
    await first.end_of("job", "V2", INTERVAL)
    await until(lambda: first.closed)
    assert watcher_for(AWS) is not first
    await watcher_for(AWS).end_of("job", "V2", INTERVAL)


async def test_a_burst_of_ends_does_not_delay_a_recheck(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred ends at ten describes a second would take half a minute; the job that lists miss is not last."""
    monkeypatch.setattr("airflow_automl.settings.max_calls_per_second", lambda: 10.0)
    monkeypatch.setattr(watcher, "RECHECK_SHARE", 500)
    jobs = [standin.add_job(f"job-{number}", ENDLESS) for number in range(300)]
    slow = standin.add_job("slow", ENDLESS)

    def described() -> list[str]:
        return [body["AutoMLJobName"] for _, body in standin.requests if "AutoMLJobName" in body]

    settled = asyncio.create_task(watcher_for(AWS).end_of("slow", "V2", INTERVAL))
    await until(lambda: "slow" in described())
    waits = [asyncio.create_task(watcher_for(AWS).end_of(job.name, "V2", INTERVAL)) for job in jobs]
    await until(lambda: standin.calls["ListAutoMLJobs"] > 2)
    for job in jobs:
        job.script = (*ENDLESS, (time.time() - job.created, "Completed", "Completed"))
    await until(lambda: len(set(described())) > 10)
    slow.created, slow.script = slow.created - 3600, COMPLETED
    async with asyncio.timeout(60):
        await settled
    assert len(set(described())) < 200
    for wait in waits:
        wait.cancel()


async def test_metrics_say_which_connection_they_are_of(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, set[tuple[str, str]]] = {}

    def note(name: str, *_: Any, tags: dict[str, str]) -> None:
        told.setdefault(name, set()).add((tags["connection"], tags["region"]))

    for kind in ("incr", "timing", "gauge"):
        monkeypatch.setattr(f"airflow_automl.triggers._watcher.client.stats.{kind}", note)
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", connection(standin.url))
    for number, arguments in enumerate(({}, {"aws_conn_id": "team", "region_name": "eu-west-1"})):
        standin.add_job(f"job-{number}", running(0.3))
        await fire(SageMakerAutoMLJobTrigger(f"job-{number}", poll_interval=INTERVAL, **arguments))
    both = {("aws_default", "default"), ("team", "eu-west-1")}
    for name in ("calls", "call_duration", "poll_duration", "jobs_watched"):
        assert told[f"automl.{name}"] == both


async def test_an_interval_of_zero_leaves_the_event_loop_to_others(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls, tick = 0, watcher.Watcher._tick

    def counted(self: watcher.Watcher) -> None:
        nonlocal polls
        polls += 1
        tick(self)

    monkeypatch.setattr(watcher.Watcher, "_tick", counted)
    standin.add_job("job", ENDLESS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await watcher_for(AWS).end_of("job", None, 0.0)
    assert 0 < polls <= 60
