"""What the variants of endpoints did: counts, latencies and the sizes of batches."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, NamedTuple

from airflow_automl.local.background import Background
from airflow_automl.local.files import write_private

#: Seconds between two writes, and latencies of a variant that its percentiles are made of.
_WRITE, _LATENCIES = 5.0, 1000
#: Minutes for which sums wait to be asked for.
_MINUTES = 180


class Sums(NamedTuple):
    """A metric of a variant in one minute."""

    samples: int
    total: float
    least: float
    most: float


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

    def invoked(self, owner: str, status: int, seconds: float) -> None:
        """Count an invocation.

        :param owner: ``ENDPOINT/VARIANT``.
        :param status: what the model answered.
        :param seconds: that it took.
        """
        client, server = int(400 <= status < 500), int(status >= 500)
        for name, value in (
            ("Invocations", 1.0),
            ("Invocation4XXErrors", client),
            ("Invocation5XXErrors", server),
            ("InvocationModelErrors", client or server),
            ("ModelLatency", seconds * 1e6),
        ):
            self._add(owner, name, value)
        totals = self._totals[owner]
        totals["invocations"] += 1
        totals["errors_4xx"] += client
        totals["errors_5xx"] += server
        self._latencies[owner].append(seconds * 1e3)

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
        known = self._minutes.get((minute, owner, name))
        if known is None:
            old = minute - 60 * _MINUTES
            self._minutes = {key: sums for key, sums in self._minutes.items() if key[0] > old}
            self._minutes[minute, owner, name] = Sums(1, value, value, value)
            return
        sums = Sums(known.samples + 1, known.total + value, min(known.least, value), max(known.most, value))
        self._minutes[minute, owner, name] = sums

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
