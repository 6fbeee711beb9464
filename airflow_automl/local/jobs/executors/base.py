"""What a place that runs trainers must be able to do; the supervisor knows trainers through this alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

Handle = dict[str, Any]
"""Identifies one trainer, as JSON for the database. Only the executor that made it reads it."""

EXCHANGE = ".trainer/"
"""The folder below a job's output in which a node of a cluster and the service exchange objects."""


class State(NamedTuple):
    """The state of a trainer.

    :param running: whether it runs.
    :param seconds: time since its start, by a monotonic clock.
    :param ended: how it ended, such as ``was killed by signal 9``; meaningless while it runs.
    :param lost: it ended because its machine is lost: its job starts over elsewhere.
    """

    running: bool
    seconds: float
    ended: str
    lost: bool = False


class Executor(Protocol):
    """Runs trainers. A handle stays valid after a restart of the service."""

    def start(self, specification: Mapping[str, Any]) -> Handle:
        """Start a trainer.

        :param specification: see :func:`airflow_automl.local.jobs.specification.specification`.
        :raises Exception: it can't be started; then nothing runs.
        """
        ...

    def find(self, specification: Mapping[str, Any]) -> Handle | None:
        """Return the trainer of a specification if it runs: its service died before it wrote the handle down."""
        ...

    def state(self, handle: Handle) -> State:
        """Return the state of a trainer."""
        ...

    def stop(self, handle: Handle) -> bool:
        """Kill what remains of a trainer, with everything that it started.

        :return: whether nothing remains; call again until then.
        """
        ...

    def forget(self, handle: Handle) -> None:
        """Delete what was kept for :meth:`events`: nothing remains of the trainer, and its job does not need it."""
        ...

    def usage(self, handle: Handle) -> int:
        """Return the bytes of memory that a trainer uses, with everything that it started."""
        ...

    def events(self, handle: Handle, position: int) -> tuple[list[dict[str, Any]], int]:
        """Return what a trainer reported after a position, and the position after that; no more events: no move.

        :param position: 0 at the start of each attempt.
        """
        ...

    def last_words(self, handle: Handle) -> str:
        """Return the last line of a trainer's log that is not empty; empty if there is none."""
        ...
