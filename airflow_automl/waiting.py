"""Waiting for what runs at AWS, and stopping it: one implementation for workers and triggers.

The functions are coroutines over :class:`Calls`. A trigger awaits them, on its event loop. A worker runs them with
:func:`in_worker`: its calls and pauses block.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLTransientError,
    described,
    error_code,
)
from airflow_automl.naming import adopted_since

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

_T = TypeVar("_T")

AUTOML_JOB = "AutoML job"
#: SageMaker's hosting operations return this for a well-formed name that does not exist.
ABSENT = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
#: Describes of a job whose create call was interrupted: a killed task has a few seconds left.
_LATE_READS = 3


class Calls(Protocol):
    """How to reach SageMaker: calls raise errors of :mod:`airflow_automl.exceptions`."""

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation by its boto3 name."""

    async def pause(self, seconds: float) -> None:
        """Wait."""


class WorkerCalls:
    """Calls and pauses that block, for :func:`in_worker`.

    :param hook: makes the calls.
    """

    def __init__(self, hook: SageMakerAutoMLHook) -> None:
        self._hook = hook

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call an operation by its boto3 name."""
        return self._hook.call(operation, **arguments)

    async def pause(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)  # noqa: ASYNC251  # there is no event loop to block


def in_worker(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine whose calls and pauses block (:class:`WorkerCalls`), without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    raise RuntimeError("the coroutine waits for an event loop; give it WorkerCalls")


class Resource(NamedTuple):
    """How one kind of resource is described, which statuses are final, and how it is stopped.

    :param prefix: of its members ``…Name``, ``…Arn`` and ``…Status``.
    """

    prefix: str
    operation: str
    final: frozenset[str]
    stop: str = ""


_ENDED = frozenset({"Completed", "Failed", "Stopped"})
#: The kinds of resources that tasks wait for. Any other status, known or not, is waited on.
RESOURCES: Mapping[str, Resource] = {
    AUTOML_JOB: Resource("AutoMLJob", "describe_auto_ml_job_v2", _ENDED, "stop_auto_ml_job"),
    "endpoint": Resource(
        "Endpoint", "describe_endpoint", frozenset({"InService", "Failed", "OutOfService", "UpdateRollbackFailed"})
    ),
    "transform job": Resource("TransformJob", "describe_transform_job", _ENDED, "stop_transform_job"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """One resource.

    :param kind: of the :data:`RESOURCES`.
    :param name: its name.
    :param api_version: of an AutoML job: ``V1``, ``V2``, or ``None`` if it is not known.
    """

    kind: str
    name: str
    api_version: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def resource(self) -> Resource:
        """How it is described."""
        return RESOURCES[self.kind]

    @property
    def named(self) -> dict[str, str]:
        """The argument that names it."""
        return {f"{self.resource.prefix}Name": self.name}

    def status(self, answer: Mapping[str, Any] | None) -> str | None:
        """Return the status in an answer; ``None`` if there is no such resource."""
        return answer.get(f"{self.resource.prefix}Status") if answer else None

    def is_final(self, answer: Mapping[str, Any] | None) -> bool:
        """Return whether an answer has a final status; also if there is no such resource."""
        return answer is None or self.status(answer) in self.resource.final


async def describe(calls: Calls, target: Target) -> dict[str, Any] | None:
    """Describe a resource; ``None`` if there is no endpoint or transform job of this name.

    Operations: DescribeEndpoint, DescribeTransformJob, DescribeAutoMLJobV2, DescribeAutoMLJob. An AutoML job of unknown
    version is described by the V2 operation, which knows jobs of both versions, then by the V1 operation.

    :raises AutoMLJobNotFound: there is no such AutoML job.
    """
    operations: tuple[str, ...] = (target.resource.operation,)
    if target.kind == AUTOML_JOB:
        both = (*operations, "describe_auto_ml_job")
        of_version: dict[str | None, tuple[str, ...]] = {"V1": both[1:], "V2": both[:1]}
        operations = of_version.get(target.api_version, both)
    refusal: AutoMLError | None = None
    for operation in operations:
        try:
            return await calls.call(operation, **target.named)
        except AutoMLError as error:
            if target.kind != AUTOML_JOB and error_code(error) in ABSENT:
                return None
            if not isinstance(error, AutoMLJobNotFound | AutoMLAccessDenied):
                raise
            # With one operation denied and the job not found by the other, it may exist.
            if refusal is None or isinstance(error, AutoMLAccessDenied):
                refusal = error
    assert refusal is not None  # noqa: S101
    raise refusal


async def wait_until_ended(
    calls: Calls,
    target: Target,
    *,
    interval: float,
    deadline: float | None,
    log: Logger,
    delay: float = 0.0,
    notice: Callable[[Any], None],
) -> dict[str, Any] | None:
    """Poll until a resource has a final status, and return the last answer; ``None`` if there is no such resource.

    Transient errors don't end the wait: what runs at AWS continues whether or not it can be described.

    :param interval: seconds between two polls.
    :param deadline: epoch seconds of the last poll; ``None``: no limit.
    :param delay: seconds before the first poll.
    :param notice: called with each answer, also with ``None``.
    :raises TimeoutError: the resource had no final status at the deadline.
    :raises AutoMLError: AWS refused to describe it.
    """
    pause = delay
    while True:
        left = None if deadline is None else max(0.0, deadline - time.time())
        await calls.pause(pause if left is None else min(pause, left))
        last = deadline is not None and time.time() >= deadline
        try:
            answer = await describe(calls, target)
        except AutoMLTransientError as error:
            log.warning("%s can't be described at the moment: %s", target, error)
        else:
            notice(answer)
            if target.is_final(answer):
                return answer
        if last:
            raise TimeoutError
        pause = interval


async def resource_event(
    calls: Calls,
    target: Target,
    state: dict[str, Any],
    *,
    interval: float,
    deadline: float | None,
    log: Logger,
    delay: float = 0.0,
) -> dict[str, Any]:
    """Wait until an endpoint or a transform job has a final status, and return the result for the waiting task.

    :param state: notes of that task, handed back; the other parameters are those of :func:`wait_until_ended`.
    :return: the event that :class:`~airflow_automl.triggers.resource.SageMakerResourceTrigger` fires.
    """
    current: str | None = None
    status, message, kind = "final", "", ""

    def note(answer: Mapping[str, Any] | None) -> None:
        nonlocal current
        found = target.status(answer)
        if found != current:
            log.info("%s: %s", target, found)
            current = found

    try:
        await wait_until_ended(calls, target, interval=interval, deadline=deadline, log=log, delay=delay, notice=note)
    except TimeoutError:
        status, message = "timeout", f"{target} was still {current} at the deadline"
    except Exception as error:
        # Any error: if a trigger fails, Airflow fails its task without notifying it, and a transform job continues.
        if not isinstance(error, AutoMLError):
            log.exception("The wait for %s failed", target)
        status, (kind, message) = "error", described(error)
    return {
        "status": status,
        "kind": target.kind,
        "name": target.name,
        "resource_status": current,
        "message": message,
        "error": kind,
        "state": state,
    }


async def retrying(calls: Calls, call: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    """Make a call, and make it again after transient errors.

    :param call: makes the call.
    :param seconds: how long to try; then the last error is raised.
    """
    until = time.monotonic() + seconds
    pause = 0.2
    while True:
        try:
            return await call()
        except AutoMLTransientError:
            wait = random.uniform(pause / 2, pause)  # noqa: S311
            pause = min(pause * 2, 5.0)
            if time.monotonic() + wait > until:
                raise
            await calls.pause(wait)


def retrying_in_worker(hook: SageMakerAutoMLHook, call: Callable[[], _T], seconds: float) -> _T:
    """Do what :func:`retrying` does for a call that blocks."""

    async def work() -> _T:
        return call()

    return in_worker(retrying(WorkerCalls(hook), work, seconds))


async def read_tags(calls: Calls, arn: str) -> dict[str, str]:
    """Return a resource's tags (ListTags)."""
    tags: dict[str, str] = {}
    token: dict[str, str] = {}
    while True:
        page = await calls.call("list_tags", ResourceArn=arn, **token)
        tags.update({tag["Key"]: tag["Value"] for tag in page.get("Tags", ())})
        if not page.get("NextToken"):
            return tags
        token = {"NextToken": page["NextToken"]}


class StopResult(NamedTuple):
    """What came of :func:`stop`.

    :param said: for a log or an error, such as ``it was stopped``.
    :param runs_on: it could not be stopped.
    :param answer: the last description, if there is one.
    """

    said: str
    runs_on: bool = False
    answer: dict[str, Any] | None = None


async def stop(calls: Calls, target: Target, try_number: int, *, seconds: float, late: bool = False) -> StopResult:
    """Stop a job, unless it has ended or a newer try of its task has adopted it.

    Operations: DescribeAutoMLJobV2, StopAutoMLJob or DescribeTransformJob, StopTransformJob; ListTags. A job that may
    not be described is stopped all the same.

    :param try_number: the try that waited on the job.
    :param seconds: how long to try again after transient errors.
    :param late: the create call may have been cut off: the job may appear in a moment.
    """
    answer: dict[str, Any] | None = None
    try:
        for read in range(_LATE_READS):
            try:
                answer = await retrying(calls, lambda: describe(calls, target), seconds)
            except AutoMLJobNotFound:
                answer = None
            if answer is not None or not late or read == _LATE_READS - 1:
                break
            await calls.pause(1.0)
        if answer is None:
            return StopResult("it does not exist")
        if target.is_final(answer):
            return StopResult("it had already ended", answer=answer)
        arn = answer[f"{target.resource.prefix}Arn"]
        if adopted_since(await retrying(calls, lambda: read_tags(calls, arn), seconds), try_number):
            return StopResult("it belongs to a newer try, and is not stopped", answer=answer)
    except Exception:  # noqa: S110
        pass  # Any error: to let a job run on because it can't be described would be worse.
    try:
        await retrying(calls, lambda: calls.call(target.resource.stop, **target.named), seconds)
    except Exception as error:
        # The stop of a job that has just ended is refused.
        with suppress(Exception):
            answer = await describe(calls, target)
        if answer is not None and target.is_final(answer):
            return StopResult("it had already ended", answer=answer)
        why = described(error)[1]
        return StopResult(f"it continues, because it could not be stopped: {why}", runs_on=True, answer=answer)
    return StopResult("it was stopped", answer=answer)
