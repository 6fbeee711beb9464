"""The only module that knows Airflow's versions, from 3.0.6 on.

The other modules import from here what moved between Airflow's versions, or what an older one lacks. Each entry names
the Airflow that made it superfluous: delete it when that is the oldest Airflow that this package supports.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow import __version__
from airflow.sdk import BaseOperator as _BaseOperator

if TYPE_CHECKING:
    from airflow.observability import stats
    from airflow.sdk import BaseHook, BaseOperator, ExceptionRetryPolicy, RetryAction, RetryRule
    from airflow.sdk.bases.skipmixin import SkipMixin
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRuntimeError,
        AirflowSensorTimeout,
        AirflowSkipException,
        DownstreamTasksSkipped,
        TaskDeferred,
        XComNotFound,
    )
    from airflow.sdk.plugins_manager import AirflowPlugin
    from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

__all__ = [
    "AIRFLOW",
    "HAS_PAGES",
    "AdvanceItem",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowPlugin",
    "AirflowRuntimeError",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "DownstreamTasksSkipped",
    "ExceptionRetryPolicy",
    "RetryAction",
    "RetryRule",
    "SharedStreamProducer",
    "SkipMixin",
    "TaskDeferred",
    "XComNotFound",
    "asset_state_stores",
    "is_arg_set",
    "obey_policy",
    "of_team",
    "stats",
    "stops_when_cancelled",
    "team_of_connection",
    "teams_of_dags",
]

AIRFLOW: Final = tuple(int(part) for part in __version__.split(".")[:2])

#: Whether the web interface shows pages of plugins. Delete at 3.1.
HAS_PAGES: Final = AIRFLOW >= (3, 1)

_Trigger = TypeVar("_Trigger", bound=type)

#: Name → the first Airflow with its new module, that module, the module before. Delete each at its version.
_MOVED: Final[dict[str, tuple[tuple[int, int], str, str]]] = {
    "AirflowRuntimeError": ((3, 0), "airflow.sdk.exceptions", ""),
    "BaseHook": ((3, 1), "airflow.sdk", "airflow.hooks.base"),
    "AirflowPlugin": ((3, 2), "airflow.sdk.plugins_manager", "airflow.plugins_manager"),
    "SkipMixin": ((3, 2), "airflow.sdk.bases.skipmixin", "airflow.providers.standard.utils.skipmixin"),
    **dict.fromkeys(
        (
            *("AirflowException", "AirflowFailException", "AirflowNotFoundException", "AirflowSensorTimeout"),
            *("AirflowSkipException", "DownstreamTasksSkipped", "TaskDeferred", "XComNotFound"),
        ),
        ((3, 2), "airflow.sdk.exceptions", "airflow.exceptions"),
    ),
}

#: What 3.3 added, with this module's replacement, if one is needed.
_SINCE_3_3: Final[dict[str, tuple[str, str]]] = {
    "AdvanceItem": ("airflow.triggers.shared_stream", ""),
    "BaseOperator": ("airflow.sdk", "_OperatorWithRetryPolicy"),
    "ExceptionRetryPolicy": ("airflow.sdk", "_RetryPolicy"),
    "RetryAction": ("airflow.sdk", "_Action"),
    "RetryRule": ("airflow.sdk", "_Rule"),
    "SharedStreamProducer": ("airflow.triggers.shared_stream", ""),
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: a DAG parse needs few of them."""
    if name in _MOVED:
        since, new, old = _MOVED[name]
        found = getattr(importlib.import_module(new if since <= AIRFLOW else old), name)
    elif name in _SINCE_3_3:
        module, replacement = _SINCE_3_3[name]
        if AIRFLOW >= (3, 3):
            found = getattr(importlib.import_module(module), name)
        else:
            found = globals().get(replacement, object)
    elif name == "stats":
        found = _stats()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def _stats() -> Any:
    """Return what has ``incr``, ``gauge`` and ``timing``: a class before 3.3, in another place before 3.2."""
    if AIRFLOW < (3, 2):
        return importlib.import_module("airflow.stats").Stats
    module = importlib.import_module("airflow.observability.stats")
    return module if AIRFLOW >= (3, 3) else module.Stats


# --- Retry policies. Delete at 3.3, which has them. -------------------------------------------------------------------


class _Action(Enum):
    RETRY = "retry"
    FAIL = "fail"
    DEFAULT = "default"


@dataclass(frozen=True)
class _Rule:
    """What to do about one kind of exception. The delay is the task's own ``retry_delay``, whatever is given here."""

    exception: type[BaseException]
    action: _Action
    retry_delay: timedelta | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _RetryPolicy:
    """The first rule that fits decides."""

    rules: list[_Rule]

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int) -> _Rule:
        fitting = (rule for rule in self.rules if isinstance(exception, rule.exception))
        return next(fitting, _Rule(BaseException, _Action.DEFAULT))


class _OperatorWithRetryPolicy(_BaseOperator):
    """Takes ``retry_policy``, which may fail a task without retries.

    :param retry_policy: what :func:`airflow_automl.retries.automl_retry_policy` returns.
    """

    def __init__(self, *, retry_policy: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.retry_policy: Any = retry_policy


def obey_policy(policy: Any, error: Exception) -> None:
    """Raise ``AirflowFailException``, after which Airflow does not retry, if a policy says "fail".

    From 3.3 on, Airflow itself asks the policy.
    """
    if AIRFLOW < (3, 3) and policy is not None and policy.evaluate(error, 0, 0).action is _Action.FAIL:
        from airflow.exceptions import AirflowFailException

        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


# --- Triggers. Delete at 3.3, which calls `on_kill` of triggers and has a state store for assets. ---------------------


def stops_when_cancelled(trigger: _Trigger) -> _Trigger:
    """Class decorator: call the trigger's ``on_kill`` when its ``run`` is cancelled.

    That is all that a triggerer before 3.3 does when a user marks or clears a deferred task. It does the same to a
    trigger that another triggerer has taken over: ``on_kill`` asks Airflow for the task's state before it stops
    anything. A triggerer that ends cancels no trigger.
    """
    if AIRFLOW >= (3, 3):
        return trigger
    run: Callable[[Any], AsyncIterator[Any]] = trigger.run  # type: ignore[attr-defined]

    @wraps(run)
    async def run_until_cancelled(self: Any) -> AsyncIterator[Any]:
        try:
            async for event in run(self):
                yield event
        except asyncio.CancelledError:
            # Such a triggerer cancels every second until the trigger has ended.
            stopping = asyncio.ensure_future(self.on_kill())
            while not stopping.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({stopping})
            stopping.result()
            raise

    trigger.run = run_until_cancelled  # type: ignore[attr-defined]
    return trigger


def asset_state_stores(trigger: Any) -> list[Any]:
    """Return where an event trigger keeps its state: one store for each asset that it watches.

    :param trigger: the running trigger.
    :return: objects with ``aget(key)`` and ``aset(key, value)``, for JSON values. Before 3.3 it is one store that keeps
        each key as an Airflow variable. It is empty outside a triggerer.
    """
    if AIRFLOW < (3, 3):
        return [_Variables()] if trigger.trigger_id is not None else []
    accessors = trigger.asset_state_store
    if accessors is None:
        return []
    # There is no public way to iterate over them.
    stores = [*accessors._by_name.values(), *accessors._by_uri.values()]
    return [store if hasattr(store, "aget") else _Blocking(store) for store in stores]


class _Blocking:
    """A state store of Airflow 3.3.0 or 3.3.1, which block the event loop. Delete at 3.3.2."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def aget(self, key: str) -> Any:
        return await asyncio.to_thread(self._store.get, key)

    async def aset(self, key: str, value: Any) -> None:
        await asyncio.to_thread(self._store.set, key, value)


class _Variables:
    """Airflow's variables as a state store."""

    async def aget(self, key: str) -> Any:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import GetVariable

        try:
            return json.loads((await _ask(GetVariable(key=key))).value)
        except AirflowRuntimeError as error:
            if error.error.error is ErrorType.VARIABLE_NOT_FOUND:
                return None
            raise

    async def aset(self, key: str, value: Any) -> None:
        from airflow.sdk.execution_time.comms import PutVariable

        text = json.dumps(value)
        await _ask(PutVariable(key=key, value=text, description="Progress of a SageMakerAutoMLEventTrigger"))


async def _ask(message: Any) -> Any:
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time import comms, task_runner

    answer = await task_runner.SUPERVISOR_COMMS.asend(message)
    if isinstance(answer, comms.ErrorResponse):
        raise AirflowRuntimeError(error=answer)
    return answer


# --- The web interface. Delete at 3.2, which has teams. ---------------------------------------------------------------


def teams_of_dags(dag_ids: Collection[str]) -> dict[str, str | None]:
    """Return the teams of DAGs by their ids; empty before 3.2."""
    if AIRFLOW < (3, 2) or not dag_ids:
        return {}
    from airflow.models.dag import DagModel

    return dict(DagModel.get_dag_id_to_team_name_mapping(list(dag_ids)))


def team_of_connection(connection: str | None) -> str | None:
    """Return a connection's team; ``None`` before 3.2."""
    if AIRFLOW < (3, 2) or not connection:
        return None
    from airflow.models.connection import Connection

    return Connection.get_team_name(connection)


def of_team(team: str | None) -> dict[str, Any]:
    """Return the argument ``team_name`` for the auth manager's filters, which take none before 3.2."""
    return {"team_name": team} if AIRFLOW >= (3, 2) else {}


def is_arg_set(value: Any) -> bool:
    """Return whether a DAG parameter has a default."""
    if AIRFLOW >= (3, 2):
        from airflow.serialization.definitions import notset

        return bool(notset.is_arg_set(value))
    from airflow.sdk.definitions._internal.types import NOTSET

    return value is not NOTSET
