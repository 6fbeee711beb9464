"""Processes are known by pid and start time, and sessions end whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

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
    processes.kill_session(child.pid)
    child.wait()


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    own = processes.identify(os.getpid())
    assert own is not None
    assert processes.alive(own)
    assert not processes.alive(Process(own.pid, own.started + 1))


def test_a_session_ends_with_all_its_groups(family: subprocess.Popen[bytes]) -> None:
    assert len(processes.members(family.pid)) == 2
    processes.kill_session(family.pid)
    family.wait()
    deadline = time.monotonic() + 5
    while processes.members(family.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.members(family.pid) == []


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
    assert 2 << 20 < processes.memory(family.pid) < 1 << 30
    assert processes.memory(2**22 + 1) == 0
