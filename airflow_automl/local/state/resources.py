"""Everything of the API but AutoML jobs, as documents in SQLite: models, endpoint configs, endpoints, …, and tags."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_automl.local.errors import ServiceError, limit_exceeded
from airflow_automl.local.state import lists
from airflow_automl.local.state.database import Database, dump, load, record

_MAX_TAGS = 50
TRANSFORM_JOB = "transform-job"


@dataclass(frozen=True)
class Resource:
    """A named thing of the API.

    :param kind: the word of its ARN, such as ``endpoint-config``.
    :param document: its members as Describe answers them, names and times aside.
    :param parent: the name of what it belongs to, such as a model package's group.
    """

    kind: str
    name: str
    arn: str
    parent: str | None
    status: str | None
    created: float
    modified: float
    document: dict[str, Any]


def _resource(row: sqlite3.Row) -> Resource:
    return record(Resource, row, ("document",))


class ResourceStore:
    """Resources and tags.

    :param database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, kind: str, name: str) -> Resource | None:
        """The resource of this kind and name; names are unique whatever their case."""
        row = self.database.first("SELECT * FROM resources WHERE kind = ? AND name = ?", (kind, name))
        return None if row is None else _resource(row)

    def by_arn(self, arn: str) -> Resource | None:
        """The resource that has this ARN."""
        row = self.database.first("SELECT * FROM resources WHERE arn = ?", (arn,))
        return None if row is None else _resource(row)

    def page(self, query: lists.Query) -> tuple[list[Resource], bool]:
        """Return one page of resources, and whether more follow."""
        rows, more = lists.page(self.database, query)
        return [_resource(row) for row in rows], more

    def in_status(self, kind: str, *statuses: str) -> list[Resource]:
        """Return the resources of a kind that have one of these statuses."""
        marks = ",".join("?" * len(statuses))
        rows = self.database.all(
            f"SELECT * FROM resources WHERE kind = ? AND status IN ({marks})",  # noqa: S608
            (kind, *statuses),
        )
        return [_resource(row) for row in rows]

    def documents(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """Return the documents of all resources of some kinds."""
        marks = ",".join("?" * len(kinds))
        for row in self.database.execute(f"SELECT document FROM resources WHERE kind IN ({marks})", kinds):  # noqa: S608
            yield load(row["document"])

    def has_children(self, kind: str, parent: str) -> bool:
        """Return whether any resource of a kind belongs to ``parent``."""
        query = "SELECT 1 FROM resources WHERE kind = ? AND parent = ?"
        return self.database.first(query, (kind, parent)) is not None

    def by_client_token(self, kind: str, token: str) -> Resource | None:
        """Return the resource that was created with this ClientToken."""
        query = "SELECT * FROM resources WHERE client_token = ? AND kind = ?"
        row = self.database.first(query, (token, kind))
        return None if row is None else _resource(row)

    def add(
        self,
        kind: str,
        name: str,
        arn: str,
        document: Mapping[str, Any],
        *,
        taken: ServiceError,
        status: str | None = None,
        parent: str | None = None,
        tags: Iterable[Mapping[str, str]] = (),
    ) -> Resource:
        """Add a resource with its tags.

        :param taken: what to answer if the name is taken.
        """
        now = self.database.now()
        with self.database.transaction():
            if self.find(kind, name) is not None:
                raise taken
            self.database.execute(
                "INSERT INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (kind, name, arn, parent, status, now, now, dump(document)),
            )
            self.add_tags(arn, tags)
        return Resource(kind, name, arn, parent, status, now, now, dict(document))

    def update(self, kind: str, name: str, *, status: str | None = None, **members: Any) -> Resource:
        """Change members of a resource; ``None`` removes one."""
        with self.database.transaction():
            resource = self.find(kind, name)
            if resource is None:
                raise KeyError(name)
            document = {**resource.document, **members}
            document = {key: value for key, value in document.items() if value is not None}
            self.database.execute(
                "UPDATE resources SET status = ?, modified = ?, document = ? WHERE kind = ? AND name = ?",
                (status or resource.status, self.database.now(), dump(document), kind, name),
            )
            return self.find(kind, name) or resource

    def remove(self, kind: str, name: str) -> None:
        """Remove a resource and its tags."""
        with self.database.transaction():
            resource = self.find(kind, name)
            if resource is not None:
                self.database.execute("DELETE FROM tags WHERE arn = ?", (resource.arn,))
                self.database.execute("DELETE FROM resources WHERE kind = ? AND name = ?", (kind, name))

    def exists(self, arn: str) -> bool:
        """Return whether a job or a resource has this ARN."""
        # The ARN of a job has no index, its name has.
        query = "SELECT 1 FROM resources WHERE arn = ? UNION ALL SELECT 1 FROM jobs WHERE name = ? AND arn = ?"
        return self.database.first(query, (arn, arn.rpartition("/")[2], arn)) is not None

    def tags(self, arn: str, after: str = "", size: int = -1) -> list[dict[str, str]]:
        """Return tags as the API lists them, by key.

        :param after: only keys that come after this one.
        :param size: at most so many; -1 for all.
        """
        query = "SELECT key, value FROM tags WHERE arn = ? AND key > ? ORDER BY key LIMIT ?"
        return [{"Key": row["key"], "Value": row["value"]} for row in self.database.all(query, (arn, after, size))]

    def add_tags(self, arn: str, tags: Iterable[Mapping[str, str]]) -> None:
        """Add tags, or give those that are there new values."""
        with self.database.transaction():
            for tag in tags:
                self.database.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (arn, tag["Key"], tag["Value"]))
            count = self.database.one("SELECT count(*) AS n FROM tags WHERE arn = ?", (arn,))["n"]
            if count > _MAX_TAGS:
                raise limit_exceeded(f"{arn} would have {count} tags; at most {_MAX_TAGS} are allowed")

    def remove_tags(self, arn: str, keys: Iterable[str]) -> None:
        """Remove tags; keys that are not there are no error."""
        with self.database.transaction():
            for key in keys:
                self.database.execute("DELETE FROM tags WHERE arn = ? AND key = ?", (arn, key))
