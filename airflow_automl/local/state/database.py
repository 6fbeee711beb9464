"""The SQLite database of the service: connection, schema, transactions, and a clock that never stands still."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from airflow_automl.local.errors import StartupError

Record = TypeVar("Record")

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE jobs (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    arn TEXT NOT NULL,
    api TEXT NOT NULL,                 -- V1 or V2
    request TEXT NOT NULL,             -- as it was received, without its tags
    status TEXT NOT NULL,
    secondary TEXT NOT NULL,
    stage TEXT NOT NULL,               -- queued, training, deploying, ended
    created REAL NOT NULL,
    modified REAL NOT NULL,
    ended REAL,
    started REAL,                      -- of the current attempt
    attempt INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    handle TEXT,                       -- of the trainer, as its executor made it
    position INTEGER NOT NULL DEFAULT 0,  -- bytes of events.jsonl that have been applied
    outcome TEXT,                      -- secondary status that the trainer ended with
    failure TEXT,
    partial TEXT NOT NULL DEFAULT '[]',
    resolved TEXT,
    artifacts TEXT,
    best TEXT,
    endpoint TEXT
);
CREATE INDEX jobs_by_stage ON jobs (stage, status, created);
CREATE TABLE candidates (
    job TEXT NOT NULL COLLATE NOCASE REFERENCES jobs (name),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    created REAL NOT NULL,
    objective REAL,
    document TEXT NOT NULL,
    PRIMARY KEY (job, name)
);
CREATE TABLE digests (
    uri TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    job TEXT NOT NULL COLLATE NOCASE
);
CREATE TABLE tags (
    arn TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (arn, key)
);
CREATE TABLE resources (
    kind TEXT NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    arn TEXT NOT NULL UNIQUE,
    parent TEXT COLLATE NOCASE,
    status TEXT,
    created REAL NOT NULL,
    modified REAL NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);
"""

#: What lists are read from (``lists.py``): index → what it is on. Each index of an order holds all columns that filters
#: look at. Made again if it is missing or another one; earlier releases keep it up to date without
#: knowing of it. Row ids are those of the tables: a VACUUM may change them.
_INDEXES = {
    "jobs_by_name": "jobs (name, status, created, modified)",
    "jobs_by_created": "jobs (created, name, status, modified)",
    "jobs_by_status": "jobs (status, name, created, modified)",
    "jobs_by_modified": "jobs (modified)",
    "jobs_with_log_by_name": "jobs (name) WHERE attempt > 0",
    "jobs_with_log_by_modified": "jobs (modified, name) WHERE attempt > 0",
    "digests_by_job": "digests (job)",
    "resources_by_name": "resources (kind, name, created, modified, status, parent, approval)",
    "resources_by_created": "resources (kind, created, name, modified, status, parent, approval)",
    "resources_by_status": "resources (kind, status, name, created, modified)",
    "resources_by_modified": "resources (kind, modified)",
    "resources_by_parent": "resources (kind, parent)",
    "resources_by_approval": "resources (kind, approval)",
    "resources_by_client_token": "resources (client_token) WHERE client_token NOT NULL",
}

#: Members of documents that lists filter by.
_DERIVED = {"approval": "$.ModelApprovalStatus", "client_token": "$.ClientToken"}

#: Parts of names, but for those at their beginning, which the index of the names finds. The index has three characters
#: of a name at a time, and two dots behind it: shorter parts are beginnings of these.
_NAME_PARTS = """
DROP TRIGGER IF EXISTS {table}_named;
DROP TRIGGER IF EXISTS {table}_unnamed;
DROP TABLE IF EXISTS {table}_name_parts;
CREATE VIRTUAL TABLE {table}_name_parts USING fts5 (name, content = '', tokenize = 'trigram');
CREATE VIRTUAL TABLE {table}_trigrams USING fts5vocab ({table}_name_parts, instance);
INSERT INTO {table}_name_parts (rowid, name) SELECT rowid, substr(name, 2) || '..' FROM {table};
CREATE TRIGGER {table}_named AFTER INSERT ON {table} BEGIN
    INSERT INTO {table}_name_parts (rowid, name) VALUES (new.rowid, substr(new.name, 2) || '..');
END;
CREATE TRIGGER {table}_unnamed AFTER DELETE ON {table} BEGIN
    INSERT INTO {table}_name_parts ({table}_name_parts, rowid, name)
    VALUES ('delete', old.rowid, substr(old.name, 2) || '..');
END;
"""


class Database:
    """One connection to ``state.db``.

    An acknowledged write is on disk (WAL, ``synchronous=FULL``) before its caller continues.

    :param path: the file; it is made if it is missing.
    :param read_only: for commands that look at the state of a service.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._depth = 0
        self._last = 0.0
        self._path = path
        # Escaped: '#' and '?' would end the path, and '%' begins an escape.
        uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "")
        self._connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=10
        )
        self._connection.row_factory = sqlite3.Row
        if not read_only:
            try:
                self._prepare()
            except sqlite3.DatabaseError as error:
                self.close()
                raise StartupError(
                    f"{path} can't be used: {error}. Check its disk and permissions; if it is damaged, restore it "
                    "from a backup or name another folder with --data-dir."
                ) from error

    def _prepare(self) -> None:
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")
        self.execute("PRAGMA cache_size=-16000")
        self._migrate(self._path)
        self._last = self.one("SELECT max(modified) AS t FROM jobs")["t"] or 0.0

    def _migrate(self, path: Path) -> None:
        version = self.one("PRAGMA user_version")["user_version"]
        if version == 0:
            self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise StartupError(
                f"{path} has schema version {version}, this release reads version {SCHEMA_VERSION}; "
                f"use the release that wrote it, or name another folder with --data-dir"
            )
        elif "handle" not in (columns := {column["name"] for column in self.all("PRAGMA table_info(jobs)")}):
            boot = "pid_boot" if "pid_boot" in columns else "NULL"
            with self.transaction():
                self.execute("ALTER TABLE jobs ADD COLUMN handle TEXT")
                self.execute(
                    "UPDATE jobs SET handle = json_object('job', name, 'pid', pid, 'started', pid_started,"  # noqa: S608
                    f" 'boot', {boot}, 'at', started) WHERE pid IS NOT NULL"
                )
        self._add_indexes()

    def _add_indexes(self) -> None:
        there = {row["name"]: row["sql"] for row in self.all("SELECT name, sql FROM sqlite_master")}
        columns = {column["name"] for column in self.all("PRAGMA table_xinfo(resources)")}
        script = [
            f"ALTER TABLE resources ADD COLUMN {column} TEXT AS (json_extract(document, '{path}')) VIRTUAL;"
            for column, path in _DERIVED.items()
            if column not in columns
        ]
        script += [
            _NAME_PARTS.format(table=table) for table in ("jobs", "resources") if f"{table}_trigrams" not in there
        ]
        for name, definition in _INDEXES.items():
            create = f"CREATE INDEX {name} ON {definition}"
            if there.get(name) != create:
                script.append(f"DROP INDEX IF EXISTS {name}; {create};")
        if script:
            self._connection.executescript("".join(["BEGIN IMMEDIATE;", *script, "COMMIT;"]))

    @property
    def changes(self) -> int:
        """How many rows have been changed; this process is the only one that changes any."""
        return self._connection.total_changes

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def execute(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(statement, parameters)

    def one(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> sqlite3.Row:
        """The single row of a query that always has one."""
        row = self.first(statement, parameters)
        if row is None:
            raise LookupError(f"no row for {parameters}")
        return row

    def first(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> sqlite3.Row | None:
        """The first row, or ``None``."""
        return self._connection.execute(statement, parameters).fetchone()  # type: ignore[no-any-return]

    def all(self, statement: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows."""
        return self._connection.execute(statement, parameters).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become visible and durable together, or not at all; may be nested."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already, or left it open at its COMMIT.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0

    def now(self) -> float:
        """Epoch seconds in whole milliseconds, each later than the one before: no two changes share a time."""
        self._last = max(round(time.time(), 3), round(self._last + 0.001, 3))
        return self._last


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Database]:
    """Open a database to read it, whether its service runs or not.

    If that needs files or indexes which are not there, because the folder is read-only or an earlier release wrote
    it, a copy is read instead.

    :raises OSError: the file can't be read.
    :raises sqlite3.Error: the file is damaged.
    """
    with contextlib.ExitStack() as stack:
        database = Database(path, read_only=True)
        try:
            database.first(
                "SELECT 1 FROM jobs INDEXED BY jobs_by_created UNION ALL SELECT 1 FROM jobs_trigrams LIMIT 1"
            )
        except sqlite3.OperationalError:
            database.close()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airflow-automl-")))
            for file in (path, path.with_name(f"{path.name}-wal")):
                if file.exists():
                    shutil.copyfile(file, folder / file.name)
            database = Database(folder / path.name)
        stack.callback(database.close)
        yield database


def dump(value: Any) -> str:
    """JSON for a column."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def load(text: str | None) -> Any:
    """What :func:`dump` wrote; ``None`` for an empty column."""
    return None if text is None else json.loads(text)


def record(kind: type[Record], row: sqlite3.Row, documents: Collection[str]) -> Record:
    """Make a dataclass of a row.

    :param documents: the columns that hold JSON; one that is missing counts as empty.
    """
    columns = dict(row)
    return kind(
        **{name: load(columns.get(name)) if name in documents else columns[name] for name in kind.__annotations__}
    )
