"""The name and the owner of a job, derived before it is created.

CreateAutoMLJob has no client token: only the name makes a repeated call harmless. A task that derives
the name finds its job again, however early it was killed.

A derived name, ``chur-g5x9aqw-k3x9aqw7b2mz-train``, has two hashes. The second one is the same for every job that a
task instance ever submits: one ListAutoMLJobs (NameContains) finds all of them. The first one differs for each of these
jobs: it covers the start of the DAG run, the clears, the request and a counter.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_automl import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

#: The task instance that a job belongs to, and the creation of its run.
OWNER_TAG = "airflow-automl:owner"
#: How often run and task had been cleared when the job was submitted.
GENERATION_TAG = "airflow-automl:generation"
REQUEST_TAG = "airflow-automl:request"
#: The newest try that waits on a job; ``on_kill`` of an older try stops no such job.
TRY_TAG = "airflow-automl:try"
#: Characters of an AutoML job's name that its child jobs keep: the label, and five of the first hash.
CHILD_PREFIX = 10
MAX_LENGTH = 32
_LABEL_LENGTH = 4
_JOB_HASH_LENGTH, _TASK_HASH_LENGTH = 7, 12
_TAG_VALUE_LENGTH = 256
_DERIVED = re.compile(r"[a-z0-9-]{4}-[a-z2-7]{7}-[a-z2-7]{12}(-|$)")


def digest(*parts: Any) -> str:
    """Return 12 characters of a-z and 2-7 (60 bits) that stand for the parts, which are JSON values."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:_TASK_HASH_LENGTH]


def request_digest(request: Mapping[str, Any]) -> str:
    """Return a digest of what a create request asks for: everything but the job's name and its tags."""
    return digest({key: value for key, value in request.items() if key not in {"AutoMLJobName", "Tags"}})


def derive_name(label: str, job: str, task: str, detail: str) -> str:
    """Return a job name (R1, R2: at most 32 letters, digits and single inner hyphens).

    :param label: what the job is about, such as the DAG's id.
    :param job: a digest that identifies this job.
    :param task: a digest that all jobs of a task instance share.
    :param detail: what fills the rest, such as the task's id.
    """
    start = f"{_label(label)}-{job[:_JOB_HASH_LENGTH]}-{task}"
    rest = _slug(detail, MAX_LENGTH - len(start) - 1)
    return f"{start}-{rest}" if rest else start


def may_be_of(name: str, dag_id: str) -> bool:
    """Return whether a DAG may have submitted a job of this name: one that is derived begins with the DAG's label."""
    return _DERIVED.match(name) is None or name.startswith(f"{_label(dag_id)}-")


def tag_value(value: Any) -> str:
    """Return a value as a tag can hold it: at most 256 characters, ``_`` for each one that AWS refuses."""
    return re.sub(r"[^\w\s.:/=+\-@]|[\t-\r\x1c-\x1f\x85]", "_", str(value))[:_TAG_VALUE_LENGTH]


def tag_list(tags: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return tags as AWS takes them, with values as :func:`tag_value` writes them."""
    return [{"Key": key, "Value": tag_value(value)} for key, value in tags.items()]


def adopted_since(tags: Mapping[str, str] | None, try_number: int) -> bool:
    """Return whether a newer try of the task waits on the job that has these tags."""
    newest = (tags or {}).get(TRY_TAG, "")
    return newest.isdecimal() and int(newest) > try_number


def _label(text: str) -> str:
    return (_slug(text, _LABEL_LENGTH) or "job").ljust(_LABEL_LENGTH, "0")


def _slug(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-").replace("--", "-")


@dataclass(frozen=True, slots=True)
class TaskGeneration:
    """One run of one task, between two clears. Retries share it, because they are to find each other's job.

    :param deployment: which Airflow this is; several may use one AWS account and have DAGs of the same name.
    :param run_started: when the DAG run started. A run that is deleted and made again under the same id has another
        start, and so has one that is cleared after its end; retries don't change it.
    :param clears: ``clear_number`` of the run, and ``max_tries`` of the task. Airflow 3.3 raises the first at every
        clear of the run's tasks. An older Airflow may raise the second alone, and of a running task that is cleared not
        in every case.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    run_started: str = ""
    clears: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, context: Context) -> TaskGeneration:
        """Read the running task's from its context."""
        ti, run = context["ti"], context["dag_run"]
        map_index = getattr(ti, "map_index", -1)
        return cls(
            deployment=settings.deployment(),
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if map_index is None else map_index,
            run_started=run.start_date.isoformat() if run.start_date else "",
            clears=(getattr(run, "clear_number", 0) or 0, getattr(ti, "max_tries", 0)),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What all makings of this run of this task have in common."""
        return {
            "deployment": self.deployment,
            "dag": self.dag_id,
            "run": self.run_id,
            "task": self.task_id,
            "map_index": self.map_index,
        }

    @property
    def task_digest(self) -> str:
        """The part that the names of all jobs of this task instance share."""
        return digest(self.identity)

    @property
    def generation_identity(self) -> dict[str, Any]:
        """Identifies the tries between two clears."""
        return {**self.identity, "run_started": self.run_started, "clears": self.clears}

    @property
    def _generation(self) -> str:
        return digest(self.run_started, *self.clears)

    def job_name(self, request: str, attempt: int) -> str:
        """Return the name of a job of this generation.

        :param request: the request's digest.
        :param attempt: 1, and one more for each job of this request and generation that ended badly.
        """
        job = digest(self.generation_identity, request, attempt)
        return derive_name(self.dag_id, job, self.task_digest, self.task_id)

    @property
    def owner(self) -> str:
        """What the owner tag says: the same for all jobs of this making of the run."""
        return digest(self.identity, self.run_started)

    def tags(self, request: str, try_number: int) -> dict[str, str]:
        """Return the tags that name the origin of a job, in the AWS console and for adoption.

        :param request: the request's digest.
        :param try_number: the try that submits the job.
        """
        tags = {
            OWNER_TAG: self.owner,
            GENERATION_TAG: self._generation,
            REQUEST_TAG: request,
            TRY_TAG: str(try_number),
            "airflow:dag_id": tag_value(self.dag_id),
            "airflow:run_id": tag_value(self.run_id),
            "airflow:task_id": tag_value(self.task_id),
        }
        if self.map_index >= 0:
            tags["airflow:map_index"] = str(self.map_index)
        return tags

    def difference(self, tags: Mapping[str, str], request: str) -> str | None:
        """Return why a job with these tags is not this task's; ``None`` if it is.

        :param tags: what ListTags answered.
        :param request: the digest of this task's request.
        """
        if tags.get(OWNER_TAG) != self.owner:
            return "it does not belong to this run of this task"
        if tags.get(GENERATION_TAG) != self._generation:
            return "it was submitted before a clear"
        if tags.get(REQUEST_TAG) != request:
            return "its request was a different one"
        return None


def submitter(tags: Mapping[str, str], name: str) -> TaskGeneration | None:
    """Return the task that submitted a job, as its tags say; ``None`` if it was not a task of this Airflow.

    Airflows that share an AWS account may have DAGs of the same name: a derived name distinguishes them.

    :param tags: what ListTags answered.
    :param name: the job's.
    """
    if OWNER_TAG not in tags or "airflow:dag_id" not in tags:
        return None
    dag_id, run_id, task_id = (tags.get(f"airflow:{key}", "") for key in ("dag_id", "run_id", "task_id"))
    index = tags.get("airflow:map_index", "-1")
    map_index = int(index) if index.isdecimal() else -1
    task = TaskGeneration(settings.deployment(), dag_id, run_id, task_id, map_index)
    return None if _DERIVED.match(name) and task.task_digest not in name.split("-") else task
