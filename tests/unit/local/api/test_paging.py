"""Pages of lists stay right while entries come and go."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from airflow_automl.local.api.paging import page
from airflow_automl.local.errors import ServiceError

ITEMS: list[tuple[Any, str]] = [(3, "c"), (1, "a"), (None, "n"), (2, "b"), (2, "B2"), (1, "z")]


def key(item: tuple[Any, str]) -> tuple[Any, str]:
    return item


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 6, 100])
def test_pages_put_together_are_the_whole_list(descending: bool, size: int) -> None:
    whole, token = page(ITEMS, key, descending=descending, size=100, token=None)
    assert token is None
    assert whole[-1] == (None, "n")
    assert [value for value, _ in whole[:-1]] == sorted((v for v, _ in ITEMS if v is not None), reverse=descending)
    found: list[Any] = []
    while True:
        chosen, token = page(ITEMS, key, descending=descending, size=size, token=token)
        found += chosen
        if token is None:
            break
    assert found == whole


def test_an_entry_that_comes_between_shifts_no_page() -> None:
    first, token = page(ITEMS, key, descending=False, size=2, token=None)
    rest, _ = page([*ITEMS, (0, "new")], key, descending=False, size=100, token=token)
    assert set(first) | set(rest) == set(ITEMS)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "",
        "é",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b"[1,2]").decode(),
        base64.urlsafe_b64encode(b'[{},"a"]').decode(),
        base64.urlsafe_b64encode(json.dumps(["text", "a"]).encode()).decode(),
    ],
)
def test_a_token_of_somebody_else_is_refused(token: str) -> None:
    with pytest.raises(ServiceError, match="NextToken"):
        page(ITEMS, key, descending=False, size=2, token=token)
