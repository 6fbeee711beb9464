"""Runs one training step in a copy of this process, so that a step that ignores its time limit can be killed.

Libraries look at the clock when it suits them: between two trees, two epochs, or never.
MaxRuntimePerTrainingJobInSeconds holds for them too, and what other candidates have reached must not be lost with the
one that ran too long (R51).
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds in which a step that keeps its time by itself may still hand over what it has."""

_LONGEST_LOOK = 86_400.0

Ask = Callable[[Any], Any]
"""Puts a question to the process that waits for the step, and returns its answer; both must be picklable."""


class Overrun(Exception):
    """The step was killed, because it ran longer than it may."""


class Died(Exception):
    """The step's process ended without a result; the message says how."""


class Step:
    """Work under way in a copy of this process.

    The copy has all memory of this process without copying it, and changes none of it: what it makes comes back as the
    result, or as files.

    :param work: what to do; its result, or the exception that it raises, must be picklable.
    :param seconds: how long it may take; :func:`first` gives it up :data:`GRACE` seconds later.
    """

    def __init__(self, work: Callable[[Ask], Any], seconds: float) -> None:
        self._ends = time.monotonic() + seconds + GRACE
        self.channel, theirs = Pipe()
        self._pid = _fork(work, self.channel, theirs)
        theirs.close()
        self._reaped = False

    @property
    def left(self) -> float:
        """Return the seconds until it is given up."""
        return self._ends - time.monotonic()

    def listen(self, answer: Callable[[Any], Any]) -> tuple[Any] | None:
        """Receive one message; return the result or the error if that is what it was."""
        try:
            kind, content = _receive(self.channel)
        except (EOFError, ConnectionResetError):
            # The pipe is closed before the process can be reaped.
            status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            self._reaped = True
            how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
            return (Died(f"its process ended without a result ({how})"),)
        if kind != "question":
            return (content,)
        # A step that was killed at its limit in the meantime is detected at the next check.
        with contextlib.suppress(BrokenPipeError):
            _send(self.channel, answer(content))
        return None

    def close(self) -> None:
        """Kill what remains of it."""
        self.channel.close()
        if not self._reaped:
            # The group: a library may have started processes.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._reaped = True


def first(steps: Collection[Step], answer: Callable[[Step, Any], Any]) -> tuple[Step, Any]:
    """Wait for the first of some steps to end.

    :param answer: answers the questions that steps ask in between, in this process.
    :return: the step, and its result or the exception that ended it, such as :class:`Overrun` or :class:`Died`.
    """
    by_channel: dict[Any, Step] = {step.channel: step for step in steps}
    while True:
        # One call waits for 24 days at most; a limit may be longer.
        ready = wait(by_channel, min(max(0.0, min(step.left for step in steps)), _LONGEST_LOOK))
        for channel in ready:
            step = by_channel[channel]
            if (outcome := step.listen(partial(answer, step))) is not None:
                return step, outcome[0]
        for channel, step in by_channel.items():
            if channel not in ready and step.left <= 0:
                return step, Overrun()


def run(work: Callable[[Ask], Any], seconds: float, answer: Callable[[Any], Any] = lambda question: None) -> Any:
    """Do something in a copy of this process; see :class:`Step`.

    :param answer: answers the questions that the work asks in between, in this process.
    :return: what the work returns.
    :raises Overrun: the time was over.
    :raises Died: the copy crashed, or was killed by another process, for instance for lack of memory.
    """
    step = Step(work, seconds)
    try:
        outcome = first([step], lambda _, question: answer(question))[1]
    finally:
        step.close()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _send(channel: Connection, message: Any) -> None:
    # Not channel.send: PyTorch sends tensors through shared memory, which ends with the process.
    channel.send_bytes(pickle.dumps(message))


def _receive(channel: Connection) -> Any:
    return pickle.loads(channel.recv_bytes())  # noqa: S301 - from a copy of this process


def _fork(work: Callable[[Ask], Any], ours: Connection, theirs: Connection) -> int:
    """Start the copy from a thread of its own: OpenMP's threads belong to the thread that used them and are not copied.

    A copy of a thread that has used them would wait for them for ever.
    """
    started: list[int] = []

    def begin() -> None:
        pid = os.fork()
        if pid == 0:
            ours.close()
            _work(work, theirs)
        started.append(pid)

    sys.stdout.flush()
    sys.stderr.flush()
    thread = threading.Thread(target=begin, name="fork")
    thread.start()
    thread.join()
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(started[0], started[0])
    return started[0]


def _work(work: Callable[[Ask], Any], channel: Connection) -> NoReturn:
    code = 1
    try:
        # A process group in the trainer's session: the step can be killed alone, and with the job.
        os.setpgid(0, 0)

        def ask(question: Any) -> Any:
            _send(channel, ("question", question))
            return _receive(channel)

        try:
            message = ("result", work(ask))
        except Exception as error:
            log.debug("The step failed", exc_info=True)
            message = ("error", portable(error))
        _send(channel, message)
        code = 0
    except BaseException:
        log.exception("The result of a training step could not be returned")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # No clean-up: it belongs to the copied process.
        os._exit(code)


def portable(error: Exception) -> Exception:
    """Return an exception as it can be sent: some can't be pickled, or not be built again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line before
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
