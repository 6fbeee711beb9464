"""Creating a job exactly once, however often the task is killed and tried again.

The name is derived before the call, so that "created" and "already there" lead to the same job:
``ResourceInUse`` for a derived name means that an earlier try got as far as creating it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_automl.contract import JobStatus
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLNameTaken,
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLThrottled,
    AutoMLTransientError,
)
from airflow_automl.naming import OWNER_TAG, TaskGeneration, adopted_since, request_digest
from airflow_automl.waiting import retrying_in_worker

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_automl.contract.model import Api
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

_MAX_TAGS = 50
_READS = 6
_OLDER_JOBS = 20
#: How long to try again after transient errors to find and stop older jobs, in seconds.
_STOP = 60.0


class CreateRefused(Exception):
    """The create call itself was refused, so that there is no job; errors of later calls do not mean that.

    :param error: why.
    """

    def __init__(self, error: AutoMLError) -> None:
        super().__init__(error)
        self.error = error


class Submission(NamedTuple):
    """The one job that the task is about.

    :param describe: what the service said of it right after it was created or found.
    :param tags: its tags, as far as they are known.
    """

    name: str
    describe: dict[str, Any]
    tags: dict[str, str]


class JobCreation:
    """Creates a task's job, or adopts the job of an earlier try.

    A job is adopted if it has the same owner, generation and request. A derived name covers all three, so that it is
    sufficient if an account forbids tags.

    :param hook: makes the calls.
    :param api: ``V1`` or ``V2``.
    :param request: the checked request. Without ``AutoMLJobName``, a name is derived.
    :param generation: the task's run, and its clears.
    :param try_number: of the task.
    :param log: of the task.
    """

    def __init__(
        self,
        hook: SageMakerAutoMLHook,
        api: Api,
        request: dict[str, Any],
        generation: TaskGeneration,
        try_number: int,
        log: Logger,
    ) -> None:
        self._hook, self._api, self._request, self._log = hook, api, request, log
        self._generation, self._try_number = generation, try_number
        self._wanted = request_digest(request)

    def would_adopt(self) -> bool:
        """Return whether :meth:`submit` creates no job, because there is one already.

        Operation: DescribeAutoMLJobV2.
        """
        given = self._request.get("AutoMLJobName")
        for attempt in count(1):
            try:
                found = self._hook.describe_job(given or self._generation.job_name(self._wanted, attempt))
            except AutoMLJobNotFound:
                return False
            if given or found["AutoMLJobStatus"] in {JobStatus.IN_PROGRESS, JobStatus.COMPLETED}:
                return True
        raise AssertionError("unreachable")

    def submit(self, *, will_create: Callable[[str], None], created: Callable[[str], None]) -> Submission:
        """Create the job, or adopt it.

        Operations: CreateAutoMLJob or CreateAutoMLJobV2, DescribeAutoMLJob or DescribeAutoMLJobV2; if the name is
        taken, ListTags and AddTags.

        :param will_create: called with each derived name, before the call.
        :param created: called with the name of a job that was created.
        :raises AutoMLNameTaken: the given name belongs to another job, or to a job of this task that ended badly.
        :raises CreateRefused: there is no job, because the account is full or AWS refuses it.
        """
        given = self._request.get("AutoMLJobName")
        for attempt in count(1):
            name = given or self._generation.job_name(self._wanted, attempt)
            if not given:
                will_create(name)
            try:
                tags = self._create({**self._request, "AutoMLJobName": name})
            except AutoMLNameTaken:
                if found := self._adopt(name, given=bool(given)):
                    return found
            except (AutoMLQuotaExceeded, AutoMLThrottled, AutoMLTerminalError) as error:
                raise CreateRefused(error) from error
            else:
                created(name)
                self._log.info("Submitted AutoML job %s", name)
                return Submission(name, self._describe(name), tags)
        raise AssertionError("unreachable")

    def _adopt(self, name: str, *, given: bool) -> Submission | None:
        """Return the job of this name; ``None`` if it is this task's and failed, so that another is needed.

        :raises AutoMLNameTaken: the given name can't be used.
        """
        describe = self._describe(name)
        arn, status = describe["AutoMLJobArn"], describe["AutoMLJobStatus"]
        # A derived name proves that the job is this task's.
        tags = self._hook.read_tags(arn) or {} if given else self._hook.known_tags(arn)
        difference = self._generation.difference(tags, self._wanted) if given or OWNER_TAG in tags else None
        if describe.get("AutoMLJobName") != name or difference:
            difference = difference or "names that differ only in upper and lower case are the same"
            raise AutoMLNameTaken(
                f"{name} is not valid for AutoMLJobName: AutoML job {describe.get('AutoMLJobName')} exists, "
                f"and {difference}. Names can't be reused, because jobs can't be deleted. Leave AutoMLJobName out "
                "to have one derived, or give another"
            ) from None
        if status in {JobStatus.IN_PROGRESS, JobStatus.COMPLETED}:
            self._log.info("Adopting AutoML job %s of an earlier try; its status is %s", name, status)
            if status == JobStatus.IN_PROGRESS:
                self._hook.mark_adopted(arn, self._try_number)
            return Submission(name, describe, tags)
        if given:
            raise AutoMLNameTaken(
                f"{name} is not valid for AutoMLJobName: this task's job of that name is {status}, and names can't "
                "be reused. Leave AutoMLJobName out to have one derived for each try, or give another"
            ) from None
        self._log.info("AutoML job %s of an earlier try is %s: submitting another", name, status)
        return None

    def stop_older_jobs(self, *, stop: bool) -> None:
        """Stop the jobs of this task instance that it will not adopt, such as those of before a clear, and log why.

        Their triggers or workers may not have done so: they may have died, or Airflow did not notify them. Throttled
        calls are made again for a minute. If that does not help, or AWS denies a call, a warning says what was left
        undone.

        Operations: ListAutoMLJobs (NameContains), ListTags, StopAutoMLJob.

        :param stop: whether to stop those that still run; otherwise, they are only logged.
        :raises AutoMLTransientError: AWS does not answer. A retry tries it again.
        """
        hook, log, generation = self._hook, self._log, self._generation
        try:
            found = retrying_in_worker(
                hook, lambda: list(hook.list_jobs(name_contains=generation.task_digest, limit=_OLDER_JOBS)), _STOP
            )
        except (AutoMLAccessDenied, AutoMLThrottled) as error:
            log.warning(
                "Older AutoML jobs of this task can't be listed, so none is stopped: %s. Their names contain %s",
                *(error, generation.task_digest),
            )
            return
        own = {generation.job_name(self._wanted, attempt) for attempt in range(1, len(found) + 1)}
        for job in found:
            name, status, arn = job["AutoMLJobName"], job["AutoMLJobStatus"], job["AutoMLJobArn"]
            if name in own or status not in {JobStatus.IN_PROGRESS, JobStatus.COMPLETED}:
                continue
            try:
                tags = retrying_in_worker(hook, partial(hook.read_tags, arn), _STOP) or {}
                difference = (
                    generation.difference(tags, self._wanted) if tags else "its name says that run or request differ"
                )
                if status == JobStatus.COMPLETED or not stop:
                    log.info("AutoML job %s of this task is %s and not adopted: %s", name, status, difference)
                elif tags.get(OWNER_TAG) == generation.owner and adopted_since(tags, self._try_number):
                    log.info("AutoML job %s belongs to a newer try of this task: not stopping it", name)
                else:
                    log.info("Stopping AutoML job %s, which this task submitted earlier: %s", name, difference)
                    retrying_in_worker(hook, partial(hook.stop_job, name), _STOP)
            except (AutoMLAccessDenied, AutoMLThrottled) as error:
                log.warning("AutoML job %s was submitted by this task earlier and can't be stopped: %s", name, error)

    def _describe(self, name: str) -> dict[str, Any]:
        """Describe a job that is known to be there, although reads may lag behind writes, or be throttled."""
        for read in range(_READS):
            try:
                try:
                    return self._hook.describe_job(name, self._api)
                except AutoMLJobNotFound:
                    if self._api != "V1":
                        raise
                    # The name may be held by a V2 job, which DescribeAutoMLJob does not know (R5).
                    return self._hook.describe_job(name, "V2")
            except (AutoMLJobNotFound, AutoMLTransientError) as error:
                if read == _READS - 1:
                    raise AutoMLTransientError(
                        f"AutoML job {name} was created, but can't be described; a retry continues with it: {error}"
                    ) from error
                time.sleep(0.25 * 2**read)
        raise AssertionError("unreachable")

    def _create(self, request: dict[str, Any]) -> dict[str, str]:
        """Create the job with our tags; without them if the account forbids tags. Return the tags that it got."""
        users = {tag["Key"]: tag.get("Value", "") for tag in request.get("Tags", ())}
        own = self._generation.tags(self._wanted, self._try_number)
        ours = dict([(key, value) for key, value in own.items() if key not in users][: _MAX_TAGS - len(users)])
        tags = users | ours
        try:
            self._hook.create_job(self._api, {**request, "Tags": [{"Key": key, "Value": tags[key]} for key in tags]})
        except AutoMLAccessDenied as error:
            if "AddTags" not in str(error) or not ours:
                raise
            self._log.warning("This account does not allow tags with a job's origin; continuing without: %s", error)
            self._hook.create_job(self._api, request)
            return users
        return tags
