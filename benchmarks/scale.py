"""How far one service goes as a front of a Ray cluster: measures what its work costs, then simulates a large cluster.

    PYTHONPATH=. python benchmarks/scale.py                    # 10,000 queued jobs, 200 nodes, nodes that fail
    PYTHONPATH=. python benchmarks/scale.py --nodes 2000

The constants are measured in this process, with the service's own code: the database, the supervisor, the Ray executor
and its store are real, Ray's Jobs API is a stand-in. The simulation then lets jobs queue, train, report and lose their
nodes, and counts how long one turn of the service takes: reports are applied and lost nodes noticed a turn late.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_automl.local.background import Background
from airflow_automl.local.jobs import events
from airflow_automl.local.jobs.executors import ray
from airflow_automl.local.jobs.executors.base import State
from airflow_automl.local.jobs.executors.node import BEAT, report_key
from airflow_automl.local.jobs.specification import Share, TrainerSettings
from airflow_automl.local.jobs.supervisor import Supervisor
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import JobStore
from benchmarks.service import JOB, candidate, rate
from tests.jobs_api import JobsApi
from tests.service.running import RunningService, real_service

QUEUED = 10_000
#: Seconds of the service between two turns with the store, two looks at its jobs, and without a beat to a dead trainer.
TURN, LOOK, STALE = ray._INTERVAL, 0.2, ray._STALE
#: Seconds from a submission to the trainer's first report.
BEGIN = 3.0


@dataclasses.dataclass
class Costs:
    """Seconds that the service needs; of CPU unless it says otherwise, in one Python process with one lock."""

    event: float = 0.0
    look: float = 0.0
    start: float = 0.0
    submit: float = 0.0
    quiet: float = 0.0
    report: float = 0.0
    listing: float = 0.0
    store: float = 0.0
    """Wall time of one attempt's turn with the store, eight at once."""


class Idle:
    """An executor whose trainers run and say nothing."""

    def start(self, specification: Any) -> dict[str, Any]:
        return {"job": specification["name"], "id": specification["name"], "uri": "s3://automl/out/x/", "attempt": 1}

    def state(self, handle: Any) -> State:
        return State(True, 1.0, "")

    def events(self, handle: Any, position: int) -> tuple[list[Any], int]:
        return [], position


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU and the wall time of something."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def add(store: JobStore, count: int, prefix: str = "queued") -> list[str]:
    """Add jobs to a database."""
    names = [f"{prefix}-{number}" for number in range(count)]
    with store.database.transaction():
        for name in names:
            arn = f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{name}"
            store.add(name, arn, "V2", {**JOB, "AutoMLJobName": name})
    return names


def measure_database(folder: Path, costs: Costs, running: int = 200) -> None:
    """Measure the supervisor: starts, looks, and events that are applied."""
    store = JobStore(Database(folder / "state.db"))
    add(store, QUEUED)

    async def nothing(job: object) -> Any:
        return ""

    settings = TrainerSettings("123456789012", "us-east-1", Share(1, None))
    executor: Any = Idle()
    supervisor = Supervisor(store, executor, settings, running, nothing, nothing, Background())
    costs.start = timed(supervisor._step)[0] / running
    looks = 20
    costs.look = timed(lambda: [supervisor._step() for _ in range(looks)])[0] / looks / running
    job, count = store.in_stage("training")[0], 500
    reports = [
        [{"event": "candidate", "attempt": 1, "candidate": candidate(f"c-{number % 50}"), "digests": {}}]
        for number in range(count)
    ]

    def read(position: int) -> tuple[list[Any], int]:
        return (reports[position], position + 1) if position < count else ([], position)

    costs.event = timed(lambda: events.apply(store, job, read))[0] / count


@contextmanager
def service(folder: Path) -> Iterator[RunningService]:
    """A service that has many queued jobs and starts none."""
    with real_service(folder / "data", "--max-jobs", "0"):
        pass
    add(JobStore(Database(DataFolder(folder / "data").database)), QUEUED)
    with real_service(folder / "data", "--max-jobs", "0") as running:
        yield running


def measure_executor(folder: Path, running: RunningService, costs: Costs, count: int = 200) -> None:
    """Measure the Ray executor with a real store: submissions, turns without news, and turns with a report each."""
    api, s3 = JobsApi(), running.client("s3")
    executor = ray.RayExecutor(DataFolder(folder / "executor"), api.address, lambda: s3, dict)
    shared = {"attempt": 1, "created": 0.0, "threads": 1, "gpus": 0, "memory_limit_bytes": None, "request": JOB}
    handles = [
        executor.start({"name": f"n-{n}", "arn": f"arn:{n}", "output": f"s3://automl/out/n-{n}/", **shared})
        for n in range(count)
    ]
    ray._INTERVAL = 0.0
    try:
        # The stand-in answers in this process: its part is counted too.
        costs.submit = timed(executor.ask)[0] / count
        write_reports(s3, handles, 0)
        executor.exchange()
        cpu, wall = timed(executor.exchange)
        costs.quiet, costs.store = cpu / count, wall / count
        write_reports(s3, handles, 1)
        costs.report = timed(executor.exchange)[0] / count - costs.quiet
    finally:
        ray._INTERVAL = TURN
        api.close()
    url = running.url
    costs.listing = 1 / rate(url, "ListAutoMLJobs", {"MaxResults": 100, "StatusEquals": "InProgress"}, 4, 3.0)


def write_reports(s3: Any, handles: list[dict[str, Any]], number: int) -> None:
    """Write what nodes do: a report with one event, and a beat."""
    event = {"event": "candidate", "attempt": 1, "candidate": candidate("c"), "digests": {}}
    report = {"events": [event], "log": "one line of a log\n", "offset": 0}
    beat = {"reports": number + 1, "seconds": 5.0, "usage": 1, "ended": None, "at": time.time()}
    for handle in handles:
        for key, document in ((report_key(number), report), (BEAT, beat)):
            key = f"{handle['uri'].removeprefix('s3://automl/')}{handle['attempt']}/{key}"
            s3.put_object(Bucket="automl", Key=key, Body=json.dumps(document).encode())


@dataclasses.dataclass
class Outcome:
    """What a simulation found; seconds."""

    makespan: float
    ideal: float
    turn: float
    worst_turn: float
    lost: int
    noticed: float
    cpu: dict[str, float]


def simulate(costs: Costs, options: argparse.Namespace, nodes: int) -> Outcome | None:
    """Simulate the cluster, turn by turn.

    :return: what was found; ``None`` if the service does not keep up.
    """
    chance = random.Random(7)
    queued, now, lost, noticed = options.jobs, 0.0, 0, 0.0
    ends: list[tuple[float, int]] = []  # (end of the training, its node)
    dead: list[tuple[float, float]] = []  # (time at which it is noticed, its death)
    idle = list(range(nodes))
    back: list[tuple[float, int]] = []  # (a failed node's return, it)
    cpu = dict.fromkeys(("events", "looks", "starts and submissions", "store", "list calls"), 0.0)
    turns: list[float] = []
    starting = 0
    while queued or ends or dead:
        training = len(ends) + len(dead)
        per_second = training * costs.look / LOOK + options.lists * costs.listing
        if per_second >= 1:
            return None
        reported = len(ends) * options.reports / options.seconds * (turns[-1] if turns else TURN)
        parts = {
            "events": reported * costs.event,
            "starts and submissions": starting * (costs.start + costs.submit),
            "store": training * costs.quiet + reported * costs.report,
        }
        length = max(TURN + training * costs.store, sum(parts.values()) / (1 - per_second))
        parts |= {"looks": length * training * costs.look / LOOK, "list calls": length * options.lists * costs.listing}
        for name, seconds in parts.items():
            cpu[name] += seconds
        turns.append(length)
        now += length
        while back and back[0][0] <= now:
            idle.append(heapq.heappop(back)[1])
        while ends and ends[0][0] <= now:
            idle.append(heapq.heappop(ends)[1])
        for entry in [entry for entry in dead if entry[0] <= now]:
            dead.remove(entry)
            noticed = max(noticed, now - entry[1])
            queued += 1
        failing = [entry for entry in ends if chance.random() < length / options.between_failures]
        for entry in failing:
            ends.remove(entry)
            lost += 1
            dead.append((now + STALE + length, now))
            heapq.heappush(back, (now + options.repair, entry[1]))
        heapq.heapify(ends)
        starting = min(queued, len(idle))
        for _ in range(starting):
            duration = options.seconds * chance.uniform(0.5, 1.5)
            heapq.heappush(ends, (now + BEGIN + duration, idle.pop()))
        queued -= starting
    shares = {name: seconds / now for name, seconds in sorted(cpu.items(), key=lambda entry: -entry[1])}
    ideal = options.jobs * options.seconds / nodes
    return Outcome(now, ideal, sum(turns) / len(turns), max(turns), lost, noticed, shares)


def main() -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[200, 500, 1000, 2000, 5000])
    parser.add_argument("--jobs", type=int, default=QUEUED)
    parser.add_argument("--seconds", type=float, default=300.0, help="a job trains, on average")
    parser.add_argument("--reports", type=float, default=60.0, help="a job writes")
    parser.add_argument("--lists", type=float, default=1.0, help="list calls a second of all watchers")
    parser.add_argument("--between-failures", type=float, default=86_400.0, help="seconds between two of one node")
    parser.add_argument("--repair", type=float, default=300.0, help="seconds until a failed node is back")
    options = parser.parse_args()
    costs = Costs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_database(folder, costs)
        with service(folder) as running:
            measure_executor(folder, running, costs)
    print("milliseconds:", ", ".join(f"{name} {value * 1000:.2f}" for name, value in dataclasses.asdict(costs).items()))
    print(
        f"a second, alone on one core: {1 / costs.event:,.0f} events applied, {1 / costs.submit:,.0f} submissions, "
        f"{1 / costs.listing:,.0f} list calls, {1 / costs.store:,.0f} beats read"
    )
    print(f"{options.jobs:,} jobs of {options.seconds:.0f} s, each node fails every {options.between_failures:,.0f} s:")
    for nodes in options.nodes:
        found = simulate(costs, options, nodes)
        if found is None:
            print(f"  {nodes:5} nodes: the service does not keep up with its looks at running jobs")
            continue
        shares = ", ".join(f"{name} {share:.1%}" for name, share in found.cpu.items())
        print(
            f"  {nodes:5} nodes: {found.makespan / 3600:.2f} h ({found.makespan / found.ideal:.2f} x ideal), turn "
            f"{found.turn:.2f} s (at most {found.worst_turn:.1f}), {found.lost} jobs lost their node, noticed within "
            f"{found.noticed:.1f} s; of one core {sum(found.cpu.values()):.1%}: {shares}"
        )


if __name__ == "__main__":
    main()
