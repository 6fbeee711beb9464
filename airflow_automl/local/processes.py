"""What the service asks the operating system about the processes that it started, also before its last restart.

A process is known by its pid and its start time: a pid alone is given to somebody else after a while. What is left of
a session whose leader has ended is known by the leader's pid alone: therefore the boot belongs to a process as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class Process(NamedTuple):
    """A process, when it started in clock ticks since boot, and which boot that was; older records don't say."""

    pid: int
    started: int
    boot: str | None = None


class _Stat(NamedTuple):
    state: str
    group: int
    session: int
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses of its own.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(fields[0], int(fields[2]), int(fields[3]), int(fields[19]))


@cache
def _boot() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def identify(pid: int) -> Process | None:
    """The process that has this pid now, or ``None``; one that ended and was not reaped is gone too."""
    stat = _stat(pid)
    return None if stat is None or stat.state in "ZX" else Process(pid, stat.started, _boot())


def holder(pid: int) -> Process:
    """Who has this pid now, also if it has ended: a child keeps its pid until somebody waits for it."""
    stat = _stat(pid)
    return Process(pid, 0 if stat is None else stat.started, _boot())


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    found = identify(process.pid)
    return found is not None and found.started == process.started and process.boot in (None, found.boot)


def _all() -> Iterator[tuple[int, _Stat]]:
    for entry in os.listdir(_PROC):  # noqa: PTH208
        if entry.isdigit() and (stat := _stat(int(entry))) is not None and stat.state not in "ZX":
            yield int(entry), stat


def members(leader: Process) -> list[int]:
    """Pids of the session that this process leads: everything it started, unless that made a session of its own.

    The kernel gives a pid away only when its session is empty: if somebody else has it, nothing is left.
    """
    stat = _stat(leader.pid)
    if leader.boot not in (None, _boot()) or (stat is not None and stat.started != leader.started):
        return []
    return [pid for pid, stat in _all() if leader.pid in (stat.session, stat.group)]


def kill_session(leader: Process) -> None:
    """Send SIGKILL to every process of the session; one pass may miss a process that is being born."""
    for pid in members(leader):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def find(arguments: Sequence[str]) -> Process | None:
    """The process that was started with exactly these arguments (the program's own name aside)."""
    wanted = list(arguments[1:])
    for pid, stat in _all():
        try:
            line = (_PROC / str(pid) / "cmdline").read_bytes()
        except OSError:
            continue
        if line.decode(errors="replace").split("\0")[1:-1] == wanted:
            return Process(pid, stat.started, _boot())
    return None


def memory(leader: Process) -> int:
    """Proportional memory (PSS) of the session in bytes: shared pages are counted once."""
    total = 0
    for pid in members(leader):
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total * 1024


def wait_gone(process: Process, timeout: float) -> bool:
    """Wait until the process has ended.

    :param timeout: seconds.
    :return: whether it ended in time.
    """
    deadline = time.monotonic() + timeout
    while alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def available_memory() -> int:
    """Memory that this machine or its control group may use at all, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text()))
    return total


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))
