"""What the variants of endpoints did: counts, latencies and the sizes of batches."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_automl.local.background import Background
from airflow_automl.local.files import write_private

#: Seconds between two writes, and latencies of a variant that its percentiles are made of.
_WRITE, _LATENCIES = 5.0, 1000
#: Minutes for which sums wait to be asked for.
_MINUTES = 180


STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
"""The statistics of CloudWatch that a metric has beside percentiles."""

_PERCENTILE = re.compile(r"p(100|\d{1,2}(?:\.\d{1,10})?)")


def percentile_of(statistic: str) -> float | None:
    """Return the share of values that a percentile such as ``p99.9`` names; ``None`` for another statistic."""
    found = _PERCENTILE.fullmatch(statistic)
    return float(found[1]) / 100 if found else None


@dataclass
class Sums:
    """A metric of a variant in one minute.

    :param buckets: how many values there are of two significant digits, for percentiles.
    """

    samples: float = 0
    total: float = 0
    least: float = math.inf
    most: float = -math.inf
    buckets: Counter[float] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count a value."""
        self.merge(Sums(1, value, value, value, Counter({float(f"{value:.1e}"): 1})))

    def merge(self, other: Sums) -> None:
        """Count the values of another minute."""
        self.samples += other.samples
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.buckets.update(other.buckets)

    def statistic(self, name: str) -> float | None:
        """Return a statistic of CloudWatch; ``None`` for a percentile of values that are not known."""
        share = percentile_of(name)
        if share is None:
            average = self.total / self.samples if self.samples else None
            found = (self.samples, average, self.total, self.least, self.most)
            return dict(zip(STATISTICS, found, strict=True))[name]
        left = round(share * self.buckets.total(), 9)
        for value in sorted(self.buckets):
            left -= self.buckets[value]
            if left <= 0:
                return self.most if share == 1 else min(max(value, self.least), self.most)
        return None


class Metrics:
    """Sums of each variant, as CloudWatch has them by minute, and altogether.

    :param path: the file that holds what it was altogether, also after a restart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._minutes: dict[tuple[int, str, str], Sums] = {}
        self._latencies: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_LATENCIES))
        self._written = "{}"
        self._totals: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for owner, totals in read(path).items():
            self._totals[owner].update(totals)

    def start(self, background: Background) -> asyncio.Task[None]:
        """Write the file whenever something changed, until the task is cancelled."""
        return background.repeat("endpoint-metrics", self._write)

    def invoked(self, owner: str, status: int, seconds: float | None) -> None:
        """Count an invocation.

        :param owner: ``ENDPOINT/VARIANT``.
        :param status: of the response.
        :param seconds: that the model took; ``None`` if it was not asked.
        """
        client, server = int(400 <= status < 500), int(status >= 500)
        self._add(owner, "Invocations", 1)
        self._add(owner, "Invocation4XXErrors", client)
        self._add(owner, "Invocation5XXErrors", server)
        if seconds is not None:
            self._add(owner, "InvocationModelErrors", client or server)
            self._add(owner, "ModelLatency", seconds * 1e6)
            self._latencies[owner].append(seconds * 1e3)
        totals = self._totals[owner]
        totals["invocations"] += 1
        totals["errors_4xx"] += client
        totals["errors_5xx"] += server

    def batched(self, owner: str, size: int) -> None:
        """Count a batch of requests that one prediction answered; transform jobs are not variants."""
        if "/" not in owner:
            return
        self._add(owner, "BatchSize", size)
        totals = self._totals[owner]
        totals["batches"] += 1
        totals["batched"] += size
        totals["largest_batch"] = max(totals["largest_batch"], size)

    def take(self) -> list[tuple[int, str, str, Sums]]:
        """Return minute (in epoch seconds), owner, name and sums of what was counted since the last call."""
        taken, self._minutes = self._minutes, {}
        return [(*key, sums) for key, sums in taken.items()]

    def _add(self, owner: str, name: str, value: float) -> None:
        minute = int(time.time() // 60) * 60
        if (minute, owner, name) not in self._minutes:
            old = minute - 60 * _MINUTES
            self._minutes = {key: sums for key, sums in self._minutes.items() if key[0] > old}
        self._minutes.setdefault((minute, owner, name), Sums()).add(value)

    async def _write(self) -> None:
        await asyncio.sleep(_WRITE)
        await self.write()

    async def write(self) -> None:
        """Write the file, if something changed."""
        for owner, latencies in self._latencies.items():
            ordered = sorted(latencies)
            for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
                self._totals[owner][name] = round(ordered[int(share * (len(ordered) - 1))], 1)
        text = json.dumps(self._totals)
        if text != self._written:
            await asyncio.to_thread(write_private, self._path, json.loads(text))
            self._written = text


def read(path: Path) -> dict[str, dict[str, float]]:
    """The sums of each variant (``ENDPOINT/VARIANT``) that a service wrote; none without a file.

    :param path: of the file.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found
