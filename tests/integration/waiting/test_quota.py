"""Many mapped tasks against an account that runs four jobs at once, in a full Airflow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.waiting.postgres import postgres
from tests.integration.waiting.stack import FullAirflow, full_airflow
from tests.standin import StandIn, connection, running, serve

QUOTA = 4


def _latencies(account: StandIn) -> list[float]:
    """Seconds from the end of a job to the start of the one that took its slot, in the order of the starts."""
    jobs = list(account.jobs.values())
    starts = sorted(job.created for job in jobs)
    ends = sorted(job.created + job.script[-1][0] for job in jobs)
    return [start - end for start, end in zip(starts[QUOTA:], ends, strict=False)]


def pass_a_quota(airflow: FullAirflow, account: StandIn, tasks: int, seconds: float) -> str:
    """Run some tasks with jobs of some seconds, check that all succeed, and return how long it took."""
    account.reset()
    account.faults.quota = QUOTA
    account.plan = lambda request: running(seconds)
    began = time.monotonic()
    run = airflow.trigger("quota", f"quota-{tasks}", tasks=tasks)
    most_at_work = 0

    def over() -> bool:
        nonlocal most_at_work
        # Not all states each time: a thousand of them keep half a core of the API server busy.
        if account.most_running >= QUOTA:
            most_at_work = max(most_at_work, airflow.running(run))
        return airflow.run_state(run) in {"success", "failed"}

    airflow.until(over, "the mapped tasks have ended", 3 * 3600)
    took = time.monotonic() - began
    assert set(airflow.states(run).values()) == {"success"}, "no task failed for the quota"
    assert len(account.jobs) == tasks, "one job each"
    assert account.most_running <= QUOTA
    latencies = sorted(_latencies(account))
    refused = account.refused_creates - tasks
    assert refused <= 0.1 * tasks + 2, f"{refused} more refused creates than the first look of each task"
    return (
        f"{tasks} tasks, quota {QUOTA}, jobs of {seconds:g} s: {took:.0f} s; at most {account.most_running} jobs at "
        f"once; from an end to the next start {latencies[len(latencies) // 2]:.1f} s (median), {latencies[-1]:.1f} s "
        f"(most); {account.refused_creates} refused creates; at most {most_at_work} tasks in a worker"
    )


def test_eight_mapped_tasks_pass_a_quota_of_four(airflow: FullAirflow, account: StandIn) -> None:
    print(pass_a_quota(airflow, account, 8, 15.0))


@pytest.fixture
def big_airflow(tmp_path: Path) -> Iterator[tuple[FullAirflow, StandIn]]:
    with ExitStack() as stack:
        account = stack.enter_context(serve())
        database = stack.enter_context(postgres())
        connections = {"account": connection(account.url)}
        yield stack.enter_context(full_airflow(tmp_path / "airflow", connections, database)), account


@pytest.mark.slow
def test_a_thousand_mapped_tasks_pass_a_quota_of_four(
    big_airflow: tuple[FullAirflow, StandIn], capsys: pytest.CaptureFixture[str]
) -> None:
    said = pass_a_quota(*big_airflow, 1000, 2.0)
    with capsys.disabled():
        print(said)
