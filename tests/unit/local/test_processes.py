"""Processes are known by pid and start time, and sessions end whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

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


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert processes.alive(own)
    assert not processes.alive(Process(own.pid, own.started + 1))


def test_a_process_is_told_from_one_that_had_its_pid_before_a_reboot() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert not processes.alive(own._replace(boot="another"))
    assert processes.alive(own._replace(boot=None)), "earlier releases did not record it"


def test_a_session_is_told_from_a_later_one_with_its_pid(family: subprocess.Popen[bytes]) -> None:
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


def test_one_that_ended_but_was_not_reaped_is_gone(family: subprocess.Popen[bytes]) -> None:
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
