"""Pages of lists, filtered, sorted and cut by SQLite from indexes, so that a page costs the same however long the list.

A page walks the index of its order, which also holds everything that filters look at. If few rows pass one of the
filters, the page starts from these rows instead: otherwise it would walk past all the others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.local.state.database import Database

#: Rows that count as few: about as long to look up and sort as it takes to walk the index for a page.
_FEW = 500
#: Characters of the shortest name part that the index of name parts finds.
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
    :param between: ``created`` or ``modified`` → times between which it must lie, bounds excluded.
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

    :param columns: what to read of each row.
    :return: the rows, and whether more follow.
    """
    filters = _filters(query)
    conditions = [condition for condition, _ in filters.values()] + [query.having]
    parameters = [value for _, values in filters.values() for value in values]
    keys = ["name"] if query.order == "name" else [query.order, "name"]
    if query.after is not None:
        # Compared as one row value, so that the walk begins right there.
        conditions.append(f"({', '.join(keys)}) {'<' if query.descending else '>'} ({', '.join('?' * len(keys))})")
        parameters += query.after[-len(keys) :]
    few = next((column for column in filters if _is_few(database, query, filters, column)), None)
    if few is None:
        source = f"{query.table} INDEXED BY {query.table}_by_{query.order}"
    else:
        rows, values = _matching(query, filters, few)
        # SQLite keeps the order of a CROSS JOIN.
        source = f"({rows}) CROSS JOIN {query.table} ON {query.table}.rowid = id"
        parameters = [*values, *parameters]
    order = ", ".join(f"{key} {'DESC' if query.descending else 'ASC'}" for key in keys)
    found = database.all(
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?",  # noqa: S608
        (*parameters, query.size + 1),
    )
    return found[: query.size], len(found) > query.size


_Filters = Mapping[str, tuple[str, tuple[Any, ...]]]


def _filters(query: Query) -> _Filters:
    """Column → its condition and the parameters of that."""
    found: dict[str, tuple[str, tuple[Any, ...]]] = {}
    if query.kind is not None:
        found["kind"] = ("kind = ?", (query.kind,))
    found |= {column: (f"{column} IS ?", (value,)) for column, value in query.equal.items()}
    created, modified = (query.between.get(column, (0.0, 1e15)) for column in ("created", "modified"))
    # Nothing is modified before it is created: either window bounds the other.
    windows = {
        "created": (created[0], min(created[1], modified[1])),
        "modified": (max(created[0], modified[0]), modified[1]),
    }
    if query.between:
        found |= {column: (f"{column} > ? AND {column} < ?", bounds) for column, bounds in windows.items()}
    if query.contains:
        # Last, because it takes longer than the others together.
        found["name"] = ("name LIKE ?", (f"%{query.contains}%",))
    return found


def _matching(query: Query, filters: _Filters, column: str) -> tuple[str, tuple[Any, ...]]:
    """A query of the ids of all rows that pass one filter, and its parameters."""
    if column == "name":
        return f"SELECT rowid AS id FROM {query.table}_names WHERE name MATCH ?", (f'"{query.contains}"',)  # noqa: S608
    condition, parameters = filters[column]
    if query.kind is not None:
        condition, parameters = f"kind = ? AND {condition}", (query.kind, *parameters)
    source = f"{query.table} INDEXED BY {query.table}_by_{column}"
    return f"SELECT rowid AS id FROM {source} WHERE {condition}", parameters  # noqa: S608


def _is_few(database: Database, query: Query, filters: _Filters, column: str) -> bool:
    if len(query.contains) < _TRIGRAM if column == "name" else column in ("kind", query.order):
        return False
    rows, parameters = _matching(query, filters, column)
    counted = database.one(f"SELECT count(*) AS n FROM ({rows} LIMIT ?)", (*parameters, _FEW + 1))  # noqa: S608
    return int(counted["n"]) <= _FEW


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
        # The index knows no case; what follows the prefix is less than any letter behind it.
        conditions.append("name >= ? AND name < ? AND substr(name, 1, ?) = ? COLLATE BINARY")
        parameters += [prefix, f"{prefix}\x7f", len(prefix), prefix]
    order = ", ".join(f"{key} {direction}" for key in keys)
    return database.all(
        f"SELECT name, created, modified FROM jobs INDEXED BY jobs_with_log_by_{keys[0]}"  # noqa: S608
        f" WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?",
        (*parameters, size),
    )
