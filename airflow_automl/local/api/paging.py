"""Pages of lists: a token names the last entry that was given, so that entries which come or go shift no page."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from airflow_automl.local.errors import invalid
from airflow_automl.local.service_model import seconds
from airflow_automl.local.state.resources import Resource

T = TypeVar("T")

#: A sort value and a name, which makes it unique.
Key = tuple[Any, str]


def page(
    items: Sequence[T],
    key: Callable[[T], Key],
    *,
    descending: bool,
    size: int,
    token: str | None,
) -> tuple[list[T], str | None]:
    """One page of a list.

    :param items: what passed the filters, in any order.
    :param key: what to sort by; entries without a value (``None``) come last in either order.
    :param size: entries on the page.
    :param token: the token of the page before.
    :return: the page, and the token of the next one if there is any.
    """

    def position(entry: Key) -> tuple[Any, ...]:
        value, name = entry
        return (value is None, _ordered(value, descending), _ordered(name.lower(), descending))

    ordered = sorted(items, key=lambda item: position(key(item)))
    if token is not None:
        after = position(read_token(token))
        try:
            ordered = [item for item in ordered if position(key(item)) > after]
        except TypeError:
            raise _bad_token(token) from None
    chosen = ordered[:size]
    more = len(ordered) > size
    return chosen, make_token(key(chosen[-1])) if more else None


class _Reversed:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)

    def __gt__(self, other: _Reversed) -> bool:
        return bool(other.value > self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]


def _ordered(value: Any, descending: bool) -> Any:
    if value is None:
        return 0
    return _Reversed(value) if descending else value


def make_token(key: Key) -> str:
    """A token that names an entry."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def read_token(token: str) -> Key:
    """The entry that a token names.

    :raises ServiceError: ValidationException where the token is none of ours.
    """
    try:
        value, name = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _bad_token(token) from None
    if not isinstance(name, str) or not (value is None or isinstance(value, str | float | int)):
        raise _bad_token(token)
    return value, name


def _bad_token(token: str) -> Exception:
    return invalid(f"NextToken: received {token[:40]!r}; must be the NextToken of the answer before, unchanged")


def in_window(request: Mapping[str, Any], created: float, modified: float) -> bool:
    """Whether something lies inside the request's CreationTime and LastModifiedTime filters."""
    return seconds(request.get("CreationTimeAfter", 0)) < created < seconds(
        request.get("CreationTimeBefore", 1e15)
    ) and seconds(request.get("LastModifiedTimeAfter", 0)) < modified < seconds(
        request.get("LastModifiedTimeBefore", 1e15)
    )


def list_resources(
    resources: Sequence[Resource],
    request: Mapping[str, Any],
    *,
    sort_by: str = "CreationTime",
    order: str = "Descending",
    status: str = "StatusEquals",
) -> tuple[list[Resource], str | None]:
    """One page of resources, by the filters and orders that most List operations share.

    :param sort_by: the default of SortBy.
    :param order: the default of SortOrder.
    :param status: the name of the status filter.
    """
    kept = [
        resource
        for resource in resources
        if request.get("NameContains", "").lower() in resource.name.lower()
        and request.get(status) in (None, resource.status)
        and in_window(request, resource.created, resource.modified)
    ]
    attribute = {"Name": "name", "Status": "status", "LastModifiedTime": "modified", "CreationTime": "created"}[
        request.get("SortBy", sort_by)
    ]
    return page(
        kept,
        lambda resource: (_lower(getattr(resource, attribute)), resource.name),
        descending=request.get("SortOrder", order) in ("Descending", "Desc"),
        size=min(request.get("MaxResults", 100), 100),
        token=request.get("NextToken"),
    )


def _lower(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.lower() if isinstance(value, str) else value
