"""What it costs to wait for many jobs: our triggers beside one waiter trigger per job, as the amazon provider has them.

    python benchmarks/waiting.py                    # N = 100 and 1,000, about 12 minutes
    python benchmarks/waiting.py --n 5000 --quick   # ours alone: lost, early and wrong events, and calls
    python benchmarks/waiting.py --n 1000 --faulty  # ours alone, while the service errs, throttles, lags and skews

Each kind runs in one real ``TriggerRunner``, in a process of its own as in a triggerer, against a stand-in for
SageMaker in another process on loopback. The modules of both kinds are imported before anything is measured. Poll
interval: 5 s. Start: from handing the triggers over until each job was described or listed. Steady: a window after
that in which nothing ends. Ends: all jobs end, spread over a minute; latency is from then to the trigger's event.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-automl-waiting-"))
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
os.environ["AIRFLOW__TRIGGERER__RUNNER_HEALTH_CHECK_THRESHOLD"] = "0"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import psutil  # noqa: E402
from airflow.executors import workloads  # noqa: E402
from airflow.jobs.triggerer_job_runner import TriggerRunner, TriggerRunnerSupervisor  # noqa: E402
from airflow.models.trigger import Trigger  # noqa: E402
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook  # noqa: E402
from airflow.providers.amazon.aws.triggers.base import AwsBaseWaiterTrigger  # noqa: E402
from airflow.providers.amazon.aws.waiters.base_waiter import BaseBotoWaiter  # noqa: E402
from airflow.sdk.execution_time.comms import ConnectionResult, GetConnection  # noqa: E402

INTERVAL = 5
OURS, PROVIDER = "ours", "provider-style"
#: What goes wrong in a faulty run: shares, lists a second, seconds.
FAULTS = {"errors": 0.2, "throttle_rate": 3, "list_lag": 8, "list_misses": 0.05, "skew": -400}
#: Shares of the provider-style figure that are to be kept, at N = 100 and 1,000.
TARGETS = {
    "calls a minute": (0.03, 0.01),
    "memory growth, MB": (0.20, 0.05),
    "start CPU, s": (0.20, 0.05),
    "steady CPU, s a minute": (0.30, 0.10),
    "largest loop lag at start, s": (0.20, 0.10),
    "event latency p99, s": (1.40, 1.00),
}
_STATUS = "AutoMLJobStatus"
_WAITER = {
    "version": 2,
    "waiters": {
        "AutoMLJobComplete": {
            "delay": 30,
            "operation": "DescribeAutoMLJobV2",
            "maxAttempts": 60,
            "acceptors": [
                {"matcher": "path", "argument": _STATUS, "expected": "Completed", "state": "success"},
                {"matcher": "path", "argument": _STATUS, "expected": "Failed", "state": "failure"},
                {"matcher": "path", "argument": _STATUS, "expected": "Stopped", "state": "failure"},
            ],
        }
    },
}


class WaiterHook(SageMakerHook):
    """The provider's hook with a waiter for AutoML jobs, which it lacks."""

    def get_waiter(self, waiter_name: str, *args: Any, client: Any = None, **kwargs: Any) -> Any:
        return BaseBotoWaiter(client=client, model_config=_WAITER, deferrable=True).waiter(waiter_name)


class WaiterTrigger(AwsBaseWaiterTrigger):
    """One job, one client, one waiter: how the amazon provider waits."""

    aws_hook_class = WaiterHook

    def __init__(self, job_name: str, **kwargs: Any) -> None:
        super().__init__(
            serialized_fields={"job_name": job_name},
            waiter_name="AutoMLJobComplete",
            waiter_args={"AutoMLJobName": job_name},
            failure_message="failed",
            status_message="not done yet",
            status_queries=[_STATUS],
            return_key="job_name",
            return_value=job_name,
            waiter_delay=INTERVAL,
            waiter_max_attempts=10**9,
            **kwargs,
        )


class TimedEvents(deque):
    """Notes when a trigger fired, rather than when its supervisor heard of it."""

    def append(self, entry: Any) -> None:
        entry.event.payload["fired_at"] = time.time()
        super().append(entry)


class Runner(TriggerRunner):
    """The real runner, with a probe for how long its loop is blocked."""

    lag_file: str

    def __init__(self) -> None:
        super().__init__()
        self.events = TimedEvents()

    async def init_comms(self) -> None:
        for module in ("airflow_automl.triggers._watcher", "airflow_automl.triggers.job", "aiobotocore.session"):
            importlib.import_module(module)
        await super().init_comms()
        self._probe = asyncio.create_task(self._measure_lag())

    async def _measure_lag(self) -> None:
        worst = 0.0
        with Path(self.lag_file).open("w", encoding="utf-8", buffering=1) as out:  # noqa: ASYNC230
            while not self.stop:
                began = time.monotonic()
                await asyncio.sleep(0.05)
                lag = time.monotonic() - began - 0.05
                if lag > worst:
                    worst = lag
                    out.write(f"{worst}\n")


class Supervisor(TriggerRunnerSupervisor):
    """The real supervisor, with triggers from us instead of a database."""

    @classmethod
    def run_in_process(cls) -> None:
        Runner().run()

    def prepare(self, connection: dict[str, Any]) -> None:
        self.connection = connection
        self.fired: dict[str, dict[str, Any]] = {}
        self.failures = 0

    def heartbeat(self) -> None: ...

    def load_triggers(self) -> None: ...

    def clean_unused(self) -> None: ...

    def emit_metrics(self) -> None: ...

    def on_trigger_event(self, trigger_id: int, event: Any) -> None:
        name = event.payload["job_name"]
        if name in self.fired:
            raise RuntimeError(f"two events of {name}")
        self.fired[name] = event.payload

    def on_trigger_failure(self, trigger_id: int, exc: Any) -> None:
        self.failures += 1
        print("a trigger failed:", "".join(exc or [])[-800:], file=sys.stderr)

    def _handle_request(self, msg: Any, log: Any, req_id: int) -> None:
        if isinstance(msg, GetConnection):
            self.send_msg(
                ConnectionResult(conn_id=msg.conn_id, **self.connection), request_id=req_id, error=None, by_alias=True
            )
        else:
            super()._handle_request(msg, log, req_id)

    def run_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.step(min(0.2, until - time.monotonic()))

    def step(self, seconds: float = 0.2) -> None:
        if not self.is_alive():
            raise RuntimeError("the trigger runner died")
        self._service_subprocess(max(0.01, seconds))
        self.handle_events()
        self.handle_failed_triggers()


class StandIn:
    """The stand-in for SageMaker, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.standin"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def control(self, **command: Any) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.url}/control", json.dumps(command).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def workload(kind: str, number: int, name: str) -> workloads.RunTrigger:
    classpath, kwargs = {
        OURS: ("airflow_automl.triggers.job.SageMakerAutoMLJobTrigger", {"poll_interval": INTERVAL}),
        PROVIDER: ("waiting.WaiterTrigger", {}),
    }[kind]
    arguments = {"job_name": name, "aws_conn_id": "aws_default", "region_name": "us-east-1", **kwargs}
    return workloads.RunTrigger(id=number, classpath=classpath, encrypted_kwargs=Trigger.encrypt_kwargs(arguments))


def measure(kind: str, n: int, *, steady: float, spread: float, faults: dict[str, Any]) -> dict[str, Any]:
    """Run one kind of trigger from start to end."""
    import structlog

    stand_in = StandIn()
    with tempfile.NamedTemporaryFile("r", suffix=".lag") as lag_file:
        Runner.lag_file = lag_file.name
        supervisor = Supervisor.start(capacity=n, logger=structlog.get_logger())
        supervisor.prepare(
            {
                **dict.fromkeys(("host", "schema", "port")),
                "conn_type": "aws",
                "login": "test-access-key",
                "password": "test-secret-key",
                "extra": json.dumps({"endpoint_url": stand_in.url, "region_name": "us-east-1"}),
            }
        )
        try:
            runner = psutil.Process(supervisor.pid)
            names = [f"job-{number:05}" for number in range(n)]
            stand_in.control(jobs=[[name, 86_400.0] for name in names], faults=faults)
            supervisor.run_for(3)

            def cpu() -> float:
                times = runner.cpu_times()
                return times.user + times.system

            memory, cpu_before = runner.memory_full_info().uss, cpu()
            began = time.monotonic()
            supervisor.creating_triggers.extend(workload(kind, number, name) for number, name in enumerate(names, 1))
            while not stand_in.control()["all_seen"]:
                supervisor.step()
                if supervisor.failures or time.monotonic() - began > 900:
                    raise RuntimeError("triggers failed, or not every job was described within 15 minutes")
            supervisor.run_for(0.5)
            start_cpu, start_seconds = cpu() - cpu_before, time.monotonic() - began
            lags = [float(line) for line in lag_file.read().split()]
            registering = stand_in.control(reset_calls=True)["calls"]

            cpu_before, began = cpu(), time.monotonic()
            supervisor.run_for(steady)
            minutes = (time.monotonic() - began) / 60
            steady_cpu = (cpu() - cpu_before) / minutes
            calls = stand_in.control(reset_calls=True)["calls"]
            grown = (runner.memory_full_info().uss - memory) / 1e6
            early = len(supervisor.fired)

            now = time.time()
            ends = {name: now + 2 + spread * index / n for index, name in enumerate(names)}
            stand_in.control(end_at=ends)
            until = time.monotonic() + spread + 180
            while len(supervisor.fired) + supervisor.failures < n and time.monotonic() < until:
                supervisor.step()
            latencies = sorted(event["fired_at"] - ends[name] for name, event in supervisor.fired.items())
            wrong = sum(event.get("status") not in {"completed", "success"} for event in supervisor.fired.values())
            return {
                "calls a minute": sum(calls.values()) / minutes,
                "memory growth, MB": grown,
                "start CPU, s": start_cpu,
                "steady CPU, s a minute": steady_cpu,
                "largest loop lag at start, s": max(lags, default=0.0),
                "event latency p99, s": latencies[int(0.99 * (len(latencies) - 1))] if latencies else float("nan"),
                "start, s": start_seconds,
                "calls by operation": calls,
                "calls to register": registering,
                "calls at the end": stand_in.control()["calls"],
                "lost": n - len(supervisor.fired),
                "early": early + sum(latency < 0 for latency in latencies),
                "wrong": wrong,
                "steady minutes": minutes,
            }
        finally:
            supervisor.kill(force=True)
            stand_in.close()


def compare(n: int, steady: float) -> bool:
    print(f"\nN = {n}: {OURS} beside {PROVIDER}", flush=True)
    results = {}
    for kind in (OURS, PROVIDER):
        results[kind] = measure(kind, n, steady=steady, spread=60, faults={})
        print(f"  {kind}: {json.dumps(results[kind])}", flush=True)
    print(f"  {'figure':32}{OURS:>12}{PROVIDER:>16}{'ratio':>9}{'target':>9}")
    met = True
    for figure, targets in TARGETS.items():
        mine, theirs = results[OURS][figure], results[PROVIDER][figure]
        target = targets[n >= 1000]
        ratio = mine / theirs if theirs else float("inf")
        met &= ratio <= target
        verdict = "" if ratio <= target else "  MISSED"
        print(f"  {figure:32}{mine:>12.3f}{theirs:>16.3f}{ratio:>9.1%}{target:>9.0%}{verdict}")
    mine = results[OURS]
    print(f"  ours: {mine['lost']} lost, {mine['early']} early, {mine['wrong']} wrong events")
    return met and not (mine["lost"] or mine["early"] or mine["wrong"])


def alone(n: int, steady: float) -> bool:
    print(f"\nN = {n}: ours alone", flush=True)
    result = measure(OURS, n, steady=steady, spread=max(60, n / 16), faults={})
    pages = -(-n // 100)
    registering, budget = sum(result["calls to register"].values()), 3 * pages + 10
    ticks = result["steady minutes"] * 60 / INTERVAL
    rechecks = result["calls by operation"].get("DescribeAutoMLJobV2", 0)
    sweeps = result["steady minutes"] * (pages + 1)
    lists = result["calls by operation"].get("ListAutoMLJobs", 0)
    a_tick = max(0.0, lists - sweeps) / ticks
    print(json.dumps(result, indent=2))
    print(f"  {registering} calls to register (at most {budget}); {a_tick:.1f} calls a tick outside sweeps (at most 5)")
    print(f"  {rechecks / ticks:.1f} describes a tick that sweep; {result['calls a minute']:.0f} calls a minute in all")
    print(f"  {result['lost']} lost, {result['early']} early, {result['wrong']} wrong events")
    return registering <= budget and a_tick <= 5 and not (result["lost"] or result["early"] or result["wrong"])


def faulty(n: int, steady: float) -> bool:
    print(f"\nN = {n}: ours alone, with {FAULTS}")
    result = measure(OURS, n, steady=steady, spread=max(60, n / 16), faults=FAULTS)
    print(json.dumps(result, indent=2))
    print(f"  {result['lost']} lost, {result['early']} early, {result['wrong']} wrong events")
    return not (result["lost"] or result["early"] or result["wrong"])


def main() -> None:
    """Measure and print; end with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, action="append", help="how many triggers (default: 100 and 1000)")
    parser.add_argument("--steady", type=float, default=60, help="seconds of the steady window (default: 60)")
    parser.add_argument("--quick", action="store_true", help="ours alone, without the comparison")
    parser.add_argument("--faulty", action="store_true", help="ours alone, against a service that errs and lags")
    options = parser.parse_args()
    run = faulty if options.faulty else alone if options.quick else compare
    met = [run(n, options.steady) for n in options.n or (100, 1000)]
    print("\nall targets met" if all(met) else "\na target was missed")
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    # The runner finds WaiterTrigger by its module's name.
    sys.modules.setdefault("waiting", sys.modules["__main__"])
    main()
