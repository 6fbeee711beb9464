"""Training steps in a process of their own."""

import faulthandler
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from airflow_automl.local import processes
from airflow_automl.local.training.engines import isolation
from airflow_automl.local.training.engines.tabular.tuning.trial import Pruned


def children():
    mine = os.getpid()
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [stat.split()[0] for stat in stats if stat.rpartition(")")[2].split()[1] == str(mine)]


def test_the_result_is_returned_and_nothing_else_changes():
    memory = {"here": 1}

    def work(ask):
        memory["here"] = 2
        return {"sum": np.ones(3).sum(), "pid": os.getpid()}

    found = isolation.run(work, 60)
    assert found["sum"] == 3
    assert found["pid"] != os.getpid()
    assert memory == {"here": 1}


def test_a_step_that_never_ends_is_killed_with_what_it_started(monkeypatch, tmp_path):
    monkeypatch.setattr(isolation, "GRACE", 0.0)
    pids = tmp_path / "pids"

    def work(ask):
        grandchild = os.fork()
        if grandchild == 0:
            while True:
                time.sleep(60)
        pids.write_text(f"{os.getpid()} {grandchild}")
        while True:
            # Ignores signals, as a library that does not return to Python does.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
            time.sleep(60)

    began = time.monotonic()
    with pytest.raises(isolation.Overrun):
        isolation.run(work, 1)
    assert time.monotonic() - began >= 1
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 10
        while processes.identify(pid) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_limit_may_be_longer_than_the_system_waits_at_once():
    assert isolation.run(lambda ask: "done", 30 * 86_400) == "done"


def test_a_crash_says_how():
    def crash(ask):
        # Without this, pytest's handler prints a report of this intended crash.
        faulthandler.disable()
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(isolation.Died, match="signal 11"):
        isolation.run(crash, 60)
    with pytest.raises(isolation.Died, match="exit code 3"):
        isolation.run(lambda ask: os._exit(3), 60)
    # A result that can't be pickled can't be returned.
    with pytest.raises(isolation.Died, match="exit code 1"):
        isolation.run(lambda ask: threading.Lock(), 60)


def test_errors_are_returned_unchanged():
    def give_up(ask):
        raise Pruned(0.25, 3)

    with pytest.raises(Pruned) as pruned:
        isolation.run(give_up, 60)
    assert (pruned.value.value, pruned.value.step) == (0.25, 3)

    class Local(Exception):
        pass

    def fail(ask):
        raise Local("of no module")

    with pytest.raises(RuntimeError, match="Local: of no module"):
        isolation.run(fail, 60)


def test_questions_are_answered_here():
    asked = []

    def answer(question):
        asked.append((question, os.getpid()))
        return question * 2

    assert isolation.run(lambda ask: [ask(1), ask(2)], 60, answer) == [2, 4]
    assert asked == [(1, os.getpid()), (2, os.getpid())]


def test_libraries_with_threads_of_their_own_work_in_the_copy():
    import xgboost

    rows = np.random.default_rng(0).random((2000, 5))
    data = xgboost.QuantileDMatrix(rows, label=rows[:, 0], nthread=2)

    def work(ask):
        return xgboost.train({"nthread": 2}, data, 3).num_boosted_rounds()

    # Used here first: a copy of OpenMP's threads would be waited for and never end.
    assert work(None) == 3
    assert isolation.run(work, 60) == 3


def test_no_process_is_left():
    isolation.run(lambda ask: None, 60)
    assert children() == []
