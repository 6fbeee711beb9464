"""Find, measure and kill processes that the service started, also before its last restart.

A process is identified by pid and start time, because pids are reused. What remains of a session whose leader has ended
is identified by the leader's pid alone; therefore the boot is part of the identity.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil

_TICKS = 100
#: ``PR_SET_PDEATHSIG`` of ``prctl(2)``.
_PARENT_DEATH = 1


class Process(NamedTuple):
    """A process.

    :param pid: its process id.
    :param started: hundredths of a second from the boot to its start.
    :param boot: identifier of the boot; ``None`` in records of earlier releases.
    """

    pid: int
    started: int
    boot: str | None = None


def _started(process: psutil.Process) -> int:
    """Return the start in hundredths of a second since the boot, which does not change when the clock is set."""
    while True:
        boot = psutil.boot_time()
        created = process.create_time()
        if boot == psutil.boot_time():
            return round((created - boot) * _TICKS)


@cache
def boot_id() -> str | None:
    """Return the identifier of the current boot, ``None`` if the operating system has none."""
    if sys.platform == "darwin":
        found = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
        )
        return found.stdout.strip() or None
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def identify(pid: int) -> Process | None:
    """Return the running process with this pid; ``None`` if there is none, or it has ended and was not reaped."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return Process(pid, _started(process), boot_id())
    except psutil.Error:
        return None


def holder(pid: int) -> Process:
    """Return the process with this pid, also if it has ended: a child keeps its pid until its parent waits for it."""
    try:
        return Process(pid, _started(psutil.Process(pid)), boot_id())
    except psutil.Error:
        return Process(pid, 0, boot_id())


def alive(process: Process) -> bool:
    """Return whether this process still runs."""
    found = identify(process.pid)
    return found is not None and found.started == process.started and process.boot in (None, found.boot)


def members(leader: Process) -> list[int]:
    """Return the pids of the session that a process leads: all its descendants without a session of their own.

    The kernel reuses a pid only when its session is empty: if another process has it, nothing remains.
    """
    known = holder(leader.pid)
    if leader.boot not in (None, known.boot) or known.started not in (0, leader.started):
        return []
    return [pid for pid in psutil.pids() if _belongs(pid, leader.pid) and identify(pid) is not None]


def _belongs(pid: int, leader: int) -> bool:
    try:
        return leader in (os.getsid(pid), os.getpgid(pid))
    except (ProcessLookupError, PermissionError):
        return False


def kill_session(leader: Process) -> None:
    """Send SIGKILL to every process of a session; repeat it, because a process that is just forked may be missed."""
    for pid in members(leader):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, if it can.

    :param parent: its pid; if it has ended already, this process ends at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(os.EX_UNAVAILABLE)


def find(arguments: Sequence[str]) -> Process | None:
    """Return the process that was started with exactly these arguments, apart from the program's own name."""
    wanted = list(arguments[1:])
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:] == wanted and (found := identify(process.pid)) is not None:
                return found
    return None


def memory(leader: Process) -> int:
    """Return the memory of a session in bytes; shared pages count once if the operating system reports PSS."""
    total = 0
    for pid in members(leader):
        with contextlib.suppress(psutil.Error):
            used = psutil.Process(pid).memory_full_info()
            total += getattr(used, "pss", used.uss)
    return total


def wait_gone(process: Process, timeout: float) -> bool:
    """Wait until a process has ended.

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
    """Return the bytes of memory that this machine has, or that its control group may use if that is less."""
    total = psutil.virtual_memory().total
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text()))
    return total


def available_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may keep busy, at least 1: its affinity, and its control group's quota.

    :param control_groups: where the control groups are mounted.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (control_groups / "cpu.max").read_text().split()
        return max(1, min(cores, int(int(quota) / int(period))))
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((control_groups / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:
            return max(1, min(cores, int(int(quota) / int(period))))
    return cores
