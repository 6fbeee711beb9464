"""What benchmarks share that keep their results: lines of JSON, units in processes of their own, tables in a page."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FOLDER = Path(__file__).parent / "results"


class Results:
    """Measured units, each a line of JSON; of one that was measured twice, the last line counts.

    :param file: is made if it does not exist.
    :param keys: fields that name a unit.
    """

    def __init__(self, file: Path, keys: Sequence[str]) -> None:
        self._file, self._keys = file, keys
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        self._rows: dict[tuple[Any, ...], Row] = {self.key(row): row for row in rows}

    def key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what names the unit of a row."""
        return tuple(row[name] for name in self._keys)

    def get(self, unit: Mapping[str, Any]) -> Row | None:
        """Return what was measured of a unit."""
        return self._rows.get(self.key(unit))

    def add(self, row: Row) -> None:
        """Keep what was measured."""
        print(row, flush=True)
        self._rows[self.key(row)] = row
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    @property
    def rows(self) -> list[Row]:
        """Return all rows."""
        return list(self._rows.values())


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half of its 95 % interval by Student's t."""
    import numpy as np
    from scipy.stats import t

    count = len(values)
    half = t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return float(np.mean(values)), float(half)


def ranks(losses: Mapping[str, float]) -> dict[str, float]:
    """Return each name's place by its loss, from 1; equal ones share the mean of their places."""
    from scipy.stats import rankdata

    return dict(zip(losses, map(float, rankdata(list(losses.values()))), strict=True))


def write_page(page: Path, script: str, text: str) -> None:
    """Replace the part of a page that a script makes."""
    begin, end = f"<!-- made by benchmarks/{Path(script).name} -->", "<!-- until here -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.split(end, 1)[1]}")


def version(folder: str) -> str:
    """Return what names the code of a folder: it changes with the code, and with nothing else."""
    command = ["git", "rev-parse", "--short", f"HEAD:{folder}"]
    return subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, text=True).stdout.strip()


def apart(command: Sequence[str], threads: int, seconds: float, environment: Mapping[str, str] | None = None) -> Row:
    """Run a script that prints a line of JSON at its end, in a process of its own.

    :param command: the script and its arguments, after the name of an interpreter.
    :param threads: that libraries may use.
    :param seconds: after which it is ended, and has failed.
    :param environment: more variables.
    :return: the object of that line, or the reason as ``failed``; ``cpu``, in seconds, and ``memory``, in megabytes at
        the largest, of the process and all that it started, unless the script says so itself.
    """
    import psutil

    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    variables = os.environ | limits | {"OMP_WAIT_POLICY": "passive"} | dict(environment or {})
    memory, cpu, tree = 0, {}, []
    began = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = psutil.Popen(command, env=variables, stdout=output, stderr=errors)
        while process.poll() is None and time.monotonic() - began < seconds:
            with contextlib.suppress(psutil.Error):
                tree = [process, *process.children(recursive=True)]
            used = 0
            for each in tree:
                with contextlib.suppress(psutil.Error):
                    used += each.memory_info().rss
                    cpu[each.pid] = sum(each.cpu_times()[:2])
            memory = max(memory, used)
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(0.3)
        late = process.poll() is None
        for each in tree:
            # Some libraries leave processes behind.
            with contextlib.suppress(psutil.Error):
                each.kill()
        process.wait()
        output.seek(0)
        errors.seek(0)
        found: Row = {"cpu": round(sum(cpu.values()), 1), "memory": round(memory / 1e6)}
        if late:
            return {**found, "failed": f"was not done after {seconds:.0f} s"}
        if process.returncode:
            lines = errors.read().decode(errors="replace").strip().splitlines()
            return {**found, "failed": (lines[-1] if lines else f"exit code {process.returncode}")[:300]}
        return found | json.loads(output.read().decode().splitlines()[-1])


def script(file: str, *arguments: object, python: str = sys.executable) -> list[str]:
    """Return the command that runs a script with some arguments."""
    return [python, file, *map(str, arguments)]
