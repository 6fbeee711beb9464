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
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
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


def run(work: Callable[[Ask], Any], seconds: float, answer: Callable[[Any], Any] = lambda question: None) -> Any:
    """Do something in a copy of this process.

    The copy has all memory of this process without copying it, and changes none of it: what it makes comes back as the
    result, or as files.

    :param work: what to do; its result, or the exception that it raises, must be picklable.
    :param seconds: how long it may take; it is killed :data:`GRACE` seconds later.
    :param answer: answers the questions that the work asks in between, in this process.
    :return: what the work returns.
    :raises Overrun: the time was over.
    :raises Died: the copy crashed, or was killed by somebody else, for instance for want of memory.
    """
    ends = time.monotonic() + seconds + GRACE
    ours, theirs = Pipe()
    pid = _fork(work, ours, theirs)
    theirs.close()
    reaped = False
    try:
        while True:
            left = ends - time.monotonic()
            # One call waits for 24 days at most, and a limit may be longer.
            if not ours.poll(min(max(0.0, left), _LONGEST_LOOK)):
                if left > _LONGEST_LOOK:
                    continue
                raise Overrun
            try:
                kind, content = _receive(ours)
            except (EOFError, ConnectionResetError):
                # The pipe is closed before the process can be reaped.
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                reaped = True
                how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
                raise Died(f"its process ended without a result ({how})") from None
            if kind == "question":
                # A step that was killed for its time in the meantime is found out at the next look.
                with contextlib.suppress(BrokenPipeError):
                    _send(ours, answer(content))
            elif kind == "error":
                raise content
            else:
                return content
    finally:
        ours.close()
        if not reaped:
            # Its group: a library may have started processes of its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _send(channel: Connection, message: Any) -> None:
    # Not by channel.send: PyTorch makes that send tensors through shared memory, which ends with the process.
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
        # A group of its own in the trainer's session: the step can be killed alone, and with the job.
        os.setpgid(0, 0)

        def ask(question: Any) -> Any:
            _send(channel, ("question", question))
            return _receive(channel)

        try:
            message = ("result", work(ask))
        except Exception as error:
            log.debug("The step failed", exc_info=True)
            message = ("error", _portable(error))
        _send(channel, message)
        code = 0
    except BaseException:
        log.exception("The result of a training step could not be handed over")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # No clean-up of what belongs to the process that was copied.
        os._exit(code)


def _portable(error: Exception) -> Exception:
    """Return an exception as it can be sent: some can't be pickled, or not be built again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line before
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
