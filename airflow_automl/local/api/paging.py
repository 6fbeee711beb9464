"""Pages of lists: a token names the last entry of a page, so that entries which come or go shift no page."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api.backend import described
from airflow_automl.local.errors import invalid
from airflow_automl.local.service_model import seconds
from airflow_automl.local.state.lists import Query

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.resources import Resource

#: SortBy → column.
_COLUMNS = {
    "Name": "name",
    "CreationTime": "created",
    "Status": "status",
    "FinalObjectiveMetricValue": "objective",
}
_TEXT = ("name", "status")


def make_token(value: Any, name: str) -> str:
    """Return a token that names an entry by its sort value and name."""
    return base64.urlsafe_b64encode(json.dumps([value, name]).encode()).decode()


def read_token(token: str, column: str) -> tuple[Any, str]:
    """Return the sort value and the name of the entry that a token names.

    :param column: what the list is sorted by.
    :raises ServiceError: ValidationException if no answer to the same request gave this token.
    """
    try:
        value, name = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True), parse_int=float)
        f"{value}{name}".encode()  # refuses lone surrogates
    except (ValueError, TypeError, binascii.Error, RecursionError):
        value = name = None
    known = isinstance(value, str) if column in _TEXT else isinstance(value, float)
    if not isinstance(name, str) or not (known or (value is None and column == "objective")):
        raise invalid(
            f"NextToken: received {token[:40]!r}; must be the NextToken of the previous answer to the same request"
        )
    return value, name


def sorting(request: Mapping[str, Any], sort_by: str, order: str) -> tuple[str, bool, tuple[Any, str] | None]:
    """Return the column of a request's SortBy, whether it is descending, and the entry that its NextToken names.

    :param sort_by: default of SortBy.
    :param order: default of SortOrder.
    :raises ServiceError: ValidationException for a NextToken that no answer gave.
    """
    column = _COLUMNS[request.get("SortBy", sort_by)]
    token = request.get("NextToken")
    after = None if token is None else read_token(token, column)
    return column, request.get("SortOrder", order) == "Descending", after


def list_resources(
    backend: Backend, request: Mapping[str, Any], kind: str, **options: Any
) -> tuple[list[Resource], str | None]:
    """Return one page of resources of a kind, and the token of the next page.

    :param options: further ones of :func:`list_query`.
    :raises ServiceError: ValidationException for a NextToken that no answer gave.
    """
    query = list_query(request, "resources", kind, **options)
    found, more = backend.resources.page(query)
    token = make_token(getattr(found[-1], query.order), found[-1].name) if more else None
    return found, token


def listing(kind: str, member: str, noun: str, **options: Any) -> Callable[[Backend, dict[str, Any]], dict[str, Any]]:
    """Return the operation that lists the resources of a kind.

    :param member: what the answer calls its list.
    :param noun: what the names of a resource's own members begin with.
    :param options: further ones of :func:`list_query`.
    """

    def answer(backend: Backend, request: dict[str, Any]) -> dict[str, Any]:
        found, token = list_resources(backend, request, kind, **options)
        return {member: [described(each, noun) for each in found], "NextToken": token}

    return answer


def list_query(
    request: Mapping[str, Any],
    table: str,
    kind: str | None = None,
    *,
    sort_by: str = "CreationTime",
    equal: Mapping[str, str | None] | None = None,
    having: str = "1",
    order: str = "Descending",
) -> Query:
    """Return the query of a list by the filters and orders that List operations share.

    :param table: what is listed.
    :param kind: the kind of resources.
    :param sort_by: default of SortBy.
    :param equal: further column → value that it must have.
    :param having: a further condition in SQL.
    :param order: default of SortOrder.
    """
    column, descending, after = sorting(request, sort_by, order)
    equal = dict(equal or {})
    if "StatusEquals" in request:
        equal["status"] = request["StatusEquals"]
    between = {
        name: (seconds(request.get(f"{member}After", 0)), seconds(request.get(f"{member}Before", 1e15)))
        for name, member in (("created", "CreationTime"), ("modified", "LastModifiedTime"))
        if f"{member}After" in request or f"{member}Before" in request
    }
    return Query(
        table=table,
        order=column,
        descending=descending,
        size=request.get("MaxResults", 100),
        after=after,
        kind=kind,
        contains=request.get("NameContains", ""),
        equal=equal,
        between=between,
        having=having,
    )
