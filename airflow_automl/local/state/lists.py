"""Pages of lists, filtered, sorted and cut by SQLite from indexes, so that a page costs the same however long the list.

A page walks the index of its order, which also holds everything that filters look at. If few rows pass one of the
filters, the page starts from these rows instead: otherwise it would walk past all the others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from airflow_automl.local.state.database import Database

#: Rows that can be looked up and sorted in the time that the index needs for a page.
_FEW = 500
#: Characters of an entry in the index of name parts.
_TRIGRAM = 3


@dataclass(frozen=True)
class Query:
    """What to list of ``jobs`` or ``resources``.

    :param table: the table; it has an index ``<table>_by_<column>`` for each order and filter.
    :param order: ``name``, ``created``, ``modified`` or ``status``; the name decides between equals.
    :param size: rows of the page.
    :param after: order value and name of the last row of the page before; ``None`` for the first page.
    :param kind: the kind of resources; ``None`` for jobs.
    :param contains: part of the name, in any case.
    :param equal: column → value that it must have; ``None`` stands for no value.
    :param between: ``created`` or ``modified`` → times between which it must be, bounds excluded.
    :param having: a further condition in SQL.
    """

    table: str
    order: str
    descending: bool
    size: int
    after: tuple[Any, str] | None = None
    kind: str | None = None
    contains: str = ""
    equal: Mapping[str, str | None] = field(default_factory=dict)
    between: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    having: str = "1"


def page(database: Database, query: Query, columns: str = "*") -> tuple[list[sqlite3.Row], bool]:
    """Return one page of a list.

    :param columns: what to read of each row; the name and the column of the order must be among them.
    :return: the rows, and whether more follow.
    """
    rows = _rows(database, replace(query, size=query.size + 1), columns)
    return rows[: query.size], len(rows) > query.size


def _rows(database: Database, query: Query, columns: str) -> list[sqlite3.Row]:
    if query.order == "status":
        return _by_status(database, query, columns)
    filters = _filters(query)
    if (few := _few(database, query, filters)) is not None:
        return _read(database, query, filters, columns, few)
    if query.order == "name" and query.contains:
        # Names with the same beginning are adjacent: there may be many matches far from the beginning of the list.
        begins, inside = _containing(query)
        if _count(database, inside) <= _FEW:
            elsewhere = {**filters, "begin": _Part("name NOT LIKE ?", (f"{query.contains}%",))}
            found = _read(database, query, elsewhere, columns, inside)
            found += _read(database, query, {**filters, "name": begins}, columns)
            return sorted(found, key=lambda row: row["name"].lower(), reverse=query.descending)[: query.size]
    return _read(database, query, filters, columns)


def _by_status(database: Database, query: Query, columns: str) -> list[sqlite3.Row]:
    extreme, than = ("max", "<") if query.descending else ("min", ">")
    kind, parameters = ("1", ()) if query.kind is None else ("kind = ?", (query.kind,))
    found: list[sqlite3.Row] = []
    status, name = query.after or (None, None)
    while len(found) < query.size:
        if name is None:
            beyond, bound = ("1", ()) if status is None else (f"status {than} ?", (status,))
            statuses = f"SELECT {extreme}(status) AS status FROM {query.table} WHERE {kind} AND {beyond}"  # noqa: S608
            status = database.one(statuses, (*parameters, *bound))["status"]
            if status is None:
                break
        if query.equal.get("status", status) == status:
            after = None if name is None else (name, name)
            equal = {**query.equal, "status": status}
            found += _rows(
                database, replace(query, order="name", after=after, equal=equal, size=query.size - len(found)), columns
            )
        name = None
    return found


class _Part(NamedTuple):
    sql: str
    parameters: tuple[Any, ...]


def _filters(query: Query) -> dict[str, _Part]:
    found: dict[str, _Part] = {}
    if query.kind is not None:
        found["kind"] = _Part("kind = ?", (query.kind,))
    found |= {column: _Part(f"{column} IS ?", (value,)) for column, value in query.equal.items()}
    created, modified = (query.between.get(column, (0.0, 1e15)) for column in ("created", "modified"))
    if query.between:
        # Nothing is modified before it is created: either window bounds the other.
        found["created"] = _Part("created > ? AND created < ?", (created[0], min(created[1], modified[1])))
        found["modified"] = _Part("modified > ? AND modified < ?", (max(created[0], modified[0]), modified[1]))
    if query.contains:
        # Last, because it takes longer than the others together.
        found["name"] = _Part("name LIKE ?", (f"%{query.contains}%",))
    return found


def _matching(query: Query, filters: Mapping[str, _Part], column: str) -> list[_Part]:
    """Return queries of the ids of rows that pass one filter, all rows together."""
    if column == "name":
        begins, inside = _containing(query)
        return [_indexed(query, "name", begins), inside]
    return [_indexed(query, column, filters[column])]


def _containing(query: Query) -> tuple[_Part, _Part]:
    """Return the condition of names that begin with a part, and a query of the ids of names that have it further in."""
    part, beyond = query.contains, f"{query.contains}\x7f"
    # No character of a name sorts after letters and digits.
    begins = _Part("name >= ? AND name < ?", (part, beyond))
    if len(part) < _TRIGRAM:
        entries = f"SELECT DISTINCT doc AS id FROM {query.table}_trigrams WHERE term >= ? AND term < ?"  # noqa: S608
        return begins, _Part(entries, (part.lower(), beyond.lower()))
    inside = f"SELECT rowid AS id FROM {query.table}_name_parts WHERE name MATCH ?"  # noqa: S608
    return begins, _Part(inside, ('"{}"'.format(part.replace('"', '""')),))


def _indexed(query: Query, column: str, condition: _Part) -> _Part:
    kind, parameters = ("1", ()) if query.kind is None else ("kind = ?", (query.kind,))
    source = f"{query.table} INDEXED BY {query.table}_by_{column}"
    return _Part(
        f"SELECT rowid AS id FROM {source} WHERE {kind} AND {condition.sql}",  # noqa: S608
        (*parameters, *condition.parameters),
    )


def _few(database: Database, query: Query, filters: Mapping[str, _Part]) -> _Part | None:
    """Return a query of the ids of all rows that pass the strictest filter, if they are few."""
    fewest, found = _FEW + 1, None
    for column in filters:
        if column in ("kind", query.order) and column != "name":
            continue
        rows = _matching(query, filters, column)
        count = max(_count(database, each) for each in rows)
        if count < fewest:
            fewest = count
            found = _Part(" UNION ".join(each.sql for each in rows), sum((each.parameters for each in rows), ()))
    return found


def _count(database: Database, rows: _Part) -> int:
    counted = f"SELECT count(*) AS n FROM (SELECT 1 FROM ({rows.sql}) LIMIT ?)"  # noqa: S608
    return int(database.one(counted, (*rows.parameters, _FEW + 1))["n"])


def _read(
    database: Database,
    query: Query,
    filters: Mapping[str, _Part],
    columns: str,
    rows: _Part | None = None,
) -> list[sqlite3.Row]:
    """Read the first rows that pass all filters, of those that ``rows`` selects or along the order's index."""
    parameters: tuple[Any, ...] = ()
    if rows is None:
        # With a single status, its index is ordered by name.
        index = "status" if query.order == "name" and query.equal.get("status") else query.order
        source = f"{query.table} INDEXED BY {query.table}_by_{index}"
    else:
        # SQLite keeps the order of a CROSS JOIN.
        source = f"({rows.sql}) CROSS JOIN {query.table} ON {query.table}.rowid = id"
        parameters = rows.parameters
    keys = ["name"] if query.order == "name" else [query.order, "name"]
    parts = [*filters.values(), _Part(query.having, ())]
    if query.after is not None:
        # A row value, so that the index is entered at this row.
        than = f"({', '.join(keys)}) {'<' if query.descending else '>'} ({', '.join('?' * len(keys))})"
        parts.append(_Part(than, query.after[-len(keys) :]))
    order = ", ".join(f"{key} {'DESC' if query.descending else 'ASC'}" for key in keys)
    return database.all(
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(part.sql for part in parts)}"  # noqa: S608
        f" ORDER BY {order} LIMIT ?",
        (*parameters, *(value for part in parts for value in part.parameters), query.size),
    )


def candidates(
    database: Database,
    job: str,
    order: str,
    *,
    descending: bool,
    size: int,
    after: tuple[Any, str] | None = None,
    equal: Mapping[str, str],
) -> tuple[list[sqlite3.Row], bool]:
    """Return one page of a job's candidates.

    :param order: ``created``, ``status`` or ``objective``; candidates without an objective come last either way.
    :param size: rows of the page.
    :param after: order value and name of the last candidate of the page before.
    :param equal: column → value that it must have.
    :return: rows with ``name``, ``document`` and the column of the order, and whether more follow.
    """
    conditions, parameters = ["job = ?", *(f"{column} = ?" for column in equal)], [job, *equal.values()]
    than, direction = ("<", "DESC") if descending else (">", "ASC")
    if after is not None and after[0] is None:
        conditions.append(f"{order} ISNULL AND name {than} ?")
        parameters.append(after[1])
    elif after is not None:
        conditions.append(f"(({order}, name) {than} (?, ?) OR {order} ISNULL)")
        parameters += after
    rows = database.all(
        f"SELECT name, document, {order} FROM candidates WHERE {' AND '.join(conditions)}"  # noqa: S608
        f" ORDER BY {order} ISNULL, {order} {direction}, name {direction} LIMIT ?",
        (*parameters, size + 1),
    )
    return rows[:size], len(rows) > size


def jobs_with_log(
    database: Database,
    *,
    descending: bool,
    size: int,
    after: tuple[Any, str] | None = None,
    by_time: bool = False,
    prefix: str = "",
    whole: bool = False,
) -> list[sqlite3.Row]:
    """Return jobs that a trainer was started for, with ``name``, ``created`` and ``modified``.

    :param size: at most so many.
    :param after: order value and name of the last job of the page before.
    :param by_time: whether the time of the last change orders them, instead of the name.
    :param prefix: what the name begins with, case included.
    :param whole: whether ``prefix`` is the whole name.
    """
    keys = ("modified", "name") if by_time else ("name",)
    than, direction = ("<", "DESC") if descending else (">", "ASC")
    conditions = ["attempt > 0"]
    parameters: list[Any] = []
    if after is not None:
        conditions.append(f"({', '.join(keys)}) {than} ({', '.join('?' * len(keys))})")
        parameters += after[-len(keys) :]
    if whole:
        conditions.append("name = ? AND name = ? COLLATE BINARY")
        parameters += [prefix, prefix]
    elif prefix:
        # The index ignores case; the character after the prefix sorts before any letter.
        conditions.append("name >= ? AND name < ? AND substr(name, 1, ?) = ? COLLATE BINARY")
        parameters += [prefix, f"{prefix}\x7f", len(prefix), prefix]
    order = ", ".join(f"{key} {direction}" for key in keys)
    return database.all(
        f"SELECT name, created, modified FROM jobs INDEXED BY jobs_with_log_by_{keys[0]}"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?",
        (*parameters, size),
    )
