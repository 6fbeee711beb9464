"""Processes are known by pid and start time, and sessions end whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from airflow_automl.local import processes
from airflow_automl.local.processes import Process

PARENT = (
    "import subprocess, sys, time;"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0);"
    "print('born', flush=True); time.sleep(60)"
)


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == b"born\n"
    yield child
    processes.kill_session(processes.holder(child.pid))
    child.wait()


def test_a_process_is_distinguished_from_a_later_one_with_its_pid() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert processes.alive(own)
    assert not processes.alive(Process(own.pid, own.started + 1))


def test_a_process_is_distinguished_from_one_with_its_pid_before_a_reboot() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert not processes.alive(own._replace(boot="another"))
    assert processes.alive(own._replace(boot=None)), "earlier releases did not record it"


def test_a_session_is_distinguished_from_a_later_one_with_its_pid(family: subprocess.Popen[bytes]) -> None:
    leader = processes.holder(family.pid)
    for gone in (leader._replace(started=leader.started - 1), leader._replace(boot="another")):
        assert processes.members(gone) == []
        processes.kill_session(gone)
    assert len(processes.members(leader)) == 2


def test_one_that_may_not_be_killed_does_not_save_the_others(
    family: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(pid: int, number: int, known: Callable[[int, int], None] = os.kill) -> None:
        if pid == family.pid:
            raise PermissionError
        known(pid, number)

    leader = processes.holder(family.pid)
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", kill)
        processes.kill_session(leader)
    deadline = time.monotonic() + 5
    while processes.members(leader) != [family.pid]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_session_ends_with_all_its_groups(family: subprocess.Popen[bytes]) -> None:
    leader = processes.holder(family.pid)
    assert len(processes.members(leader)) == 2
    processes.kill_session(leader)
    family.wait()
    deadline = time.monotonic() + 5
    while processes.members(leader) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.members(leader) == []


def test_a_process_that_ended_but_was_not_reaped_counts_as_ended(family: subprocess.Popen[bytes]) -> None:
    known = processes.identify(family.pid)
    assert known is not None
    os.kill(family.pid, 9)
    assert processes.wait_gone(known, 5)


def test_a_process_is_found_by_its_arguments(family: subprocess.Popen[bytes]) -> None:
    found = processes.find([sys.executable, "-c", PARENT])
    assert found == processes.identify(family.pid)
    assert processes.find([sys.executable, "-c", PARENT, "more"]) is None


def test_memory_counts_the_whole_session(family: subprocess.Popen[bytes]) -> None:
    assert 2 << 20 < processes.memory(processes.holder(family.pid)) < 1 << 30
    assert processes.memory(Process(2**22 + 1, 1)) == 0


NAMED = "open('/proc/self/comm', 'wb').write('überwachungsläufer'.encode()[:15]); print('born', flush=True); input()"


def test_a_process_whose_name_is_cut_within_a_character_is_a_process_like_others() -> None:
    arguments = [sys.executable, "-c", NAMED]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"born\n"
        found = processes.find(arguments)
        assert found is not None
        assert processes.alive(found)
        assert processes.members(found) == [child.pid]
        assert processes.memory(found) > 0
        processes.kill_session(found)
        assert processes.wait_gone(found, 5)


def test_a_process_is_still_itself_after_the_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    own = processes.holder(os.getpid())
    boot, known = psutil.boot_time(), psutil.Process.create_time
    # Linux counts both from the clock of the moment.
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: known(self) + 3600)
    assert processes.alive(own)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_cores_are_those_of_the_control_groups_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert processes.available_cores(tmp_path) == cores


def test_the_identity_of_a_process_needs_nothing_that_macos_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 0, "0F8E-UUID\n", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: answer)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    processes.boot_id.cache_clear()
    try:
        assert processes.holder(os.getpid()).boot == "0F8E-UUID"
        assert processes.available_cores() >= 1
    finally:
        processes.boot_id.cache_clear()
