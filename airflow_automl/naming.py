"""The name and the owner of a job, derived before it is created.

CreateAutoMLJob has no client token: the name is the only thing that makes a repeated call harmless. A task that knows
the name beforehand finds its job again, however early it was killed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ADOPTED_TAG", "OWNER_TAG", "TaskGeneration", "adopted_since", "derive_name", "digest", "tag_value"]

OWNER_TAG = "airflow-automl:owner"
#: Which try of its task adopted a job; ``on_kill`` of an older try leaves such a job alone.
ADOPTED_TAG = "airflow-automl:adopted-by-try"
#: Child jobs of an AutoML job keep only so many characters of its name.
CHILD_PREFIX = 10
MAX_LENGTH = 32
_HASH_LENGTH = 12
_LABEL_LENGTH = 4
_TAG_VALUE_LENGTH = 256


def digest(*parts: Any) -> str:
    """Return 12 characters of a-z and 2-7 (60 bits) that stand for the parts."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:_HASH_LENGTH]


def derive_name(readable: str, detail: str, *parts: Any) -> str:
    """Return a job name (R1, R2: at most 32 letters, digits and single inner hyphens) that stands for the parts.

    ``chur-k3x9aqw7b2mz-train``: the first ten characters, all that child jobs keep, hold the start of ``readable`` and
    five of the hash's characters.

    :param readable: what the job is about, such as the DAG's id.
    :param detail: what fills the rest, such as the task's id.
    :param parts: JSON values that tell this job from all others.
    """
    label = (_slug(readable, _LABEL_LENGTH) or "job").ljust(_LABEL_LENGTH, "0")
    start = f"{label}-{digest(*parts)}"
    rest = _slug(detail, MAX_LENGTH - len(start) - 1)
    return f"{start}-{rest}" if rest else start


def tag_value(value: Any) -> str:
    """Return a value as text that a tag may carry: characters that AWS refuses become ``_``."""
    return re.sub(r"[^\w\s.:/=+\-@]", "_", str(value))[:_TAG_VALUE_LENGTH]


def adopted_since(tags: Mapping[str, str] | None, try_number: int) -> bool:
    """Tell whether a newer try of the task went on with the job that bears these tags."""
    adopted = (tags or {}).get(ADOPTED_TAG, "")
    return adopted.isdigit() and int(adopted) > try_number


def _slug(text: str, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-").replace("--", "-")


@dataclass(frozen=True, slots=True)
class TaskGeneration:
    """One run of one task, between two clears. Retries share it, because they are to find each other's job.

    :param deployment: which Airflow this is; several may use one AWS account and have DAGs of the same name.
    :param generation: ``ti.max_tries``: a clear raises it, a retry does not.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    generation: int

    @classmethod
    def of(cls, context: Context, deployment: str) -> TaskGeneration:
        """Read the running task's from its context."""
        ti = context["ti"]
        map_index = getattr(ti, "map_index", -1)
        return cls(
            deployment=deployment,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=-1 if map_index is None else map_index,
            generation=getattr(ti, "max_tries", 0),
        )

    @property
    def _parts(self) -> tuple[Any, ...]:
        return (self.deployment, self.dag_id, self.run_id, self.task_id, self.map_index, self.generation)

    def job_name(self, attempt: int) -> str:
        """Return the name of this generation's job.

        :param attempt: 1, and one more for each job of this generation that ended badly.
        """
        return derive_name(self.dag_id, self.task_id, *self._parts, attempt)

    @property
    def owner(self) -> str:
        """What the job's owner tag says: the same for all jobs of this generation."""
        return digest(*self._parts)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say in the AWS console where a job comes from, and tell us that it is ours."""
        tags = {
            OWNER_TAG: self.owner,
            "airflow:dag_id": tag_value(self.dag_id),
            "airflow:run_id": tag_value(self.run_id),
            "airflow:task_id": tag_value(self.task_id),
        }
        if self.map_index >= 0:
            tags["airflow:map_index"] = str(self.map_index)
        return tags

    def owns(self, tags: Mapping[str, str] | None, *, derived: bool) -> bool:
        """Tell whether a job with these tags was created by this generation.

        :param tags: what ListTags answered; ``None`` where the account does not let us read them.
        :param derived: the job bears a derived name, which is proof enough where it bears no owner tag.
        """
        owner = (tags or {}).get(OWNER_TAG)
        return derived if owner is None else owner == self.owner
