"""Thousands of requests, most of them invalid, cause no server error and no dead process."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil
import pytest

from tests.wire.autopilot import Autopilot, run_autopilot
from tests.wire.client import Wire
from tests.wire.fuzz import shoot


class Figures(NamedTuple):
    """The result of a run."""

    statuses: Counter[tuple[str, int]]
    accepted: set[str]
    seconds: float
    megabytes: tuple[float, float]

    def __str__(self) -> str:
        total = sum(self.statuses.values())
        kinds = sorted({kind for kind, _ in self.statuses})
        lines = [
            f"{total} requests in {self.seconds:.1f} s ({total / self.seconds:.0f} a second); "
            f"memory of the service {self.megabytes[0]:.0f} MB before, {self.megabytes[1]:.0f} MB after"
        ]
        for kind in kinds:
            counts = {status: count for (of, status), count in sorted(self.statuses.items()) if of == kind}
            lines.append(f"  {kind:<14}" + "  ".join(f"{status}: {count}" for status, count in counts.items()))
        return "\n".join(lines)


def fuzz(autopilot: Autopilot, *, seed: int, shots: int) -> Figures:
    """Send requests and check each answer; every failure names the seed and the request that reproduce it."""
    statuses: Counter[tuple[str, int]] = Counter()
    accepted: set[str] = set()
    process = psutil.Process(autopilot.process.pid)
    before = process.memory_info().rss / 1e6
    started = time.monotonic()
    with Wire(autopilot.url) as wire:
        for number in range(shots):
            shot = shoot(Random(f"{seed}/{number}"), number)
            answer = wire.send(shot.body, shot.headers, shot.method, shot.path)
            statuses[shot.kind, answer.status] += 1
            context = f"seed {seed}, shot {number} ({shot.kind}): {answer.status} {answer.body[:500]!r}"
            assert answer.status < 500, context
            assert autopilot.alive, context
            if shot.accepted is not None:
                assert (answer.status == 200) is shot.accepted, context
            if answer.status == 200 and b'"AutoMLJobArn"' in answer.body and b"automl-job/fuzz-" in answer.body:
                accepted.add(answer.json["AutoMLJobArn"])
    seconds = time.monotonic() - started
    return Figures(statuses, accepted, seconds, (before, process.memory_info().rss / 1e6))


def assert_healthy(autopilot: Autopilot, figures: Figures, log: Path) -> None:
    """Every acknowledged job exists, no other does, and the service's log has no failure."""
    assert autopilot.alive
    pages = autopilot.client().get_paginator("list_auto_ml_jobs").paginate(NameContains="fuzz-")
    listed = {job["AutoMLJobArn"] for page in pages for job in page["AutoMLJobSummaries"]}
    assert figures.accepted <= listed
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("seed", [1])
def test_a_few_hundred_shots(tmp_path: Path, seed: int) -> None:
    with run_autopilot(tmp_path) as autopilot:
        figures = fuzz(autopilot, seed=seed, shots=600)
        assert_healthy(autopilot, figures, tmp_path / "autopilot.log")


@pytest.mark.slow
def test_ten_thousand_shots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = time.time_ns() % 1_000_000
    with run_autopilot(tmp_path) as autopilot:
        figures = fuzz(autopilot, seed=seed, shots=10_000)
        with capsys.disabled():
            print(f"\nfuzz run, seed {seed}: {figures}")
        assert_healthy(autopilot, figures, tmp_path / "autopilot.log")
        # With thousands of jobs, a growth beyond this would be a leak.
        assert figures.megabytes[1] - figures.megabytes[0] < 400
