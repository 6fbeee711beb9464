"""A valid request with one change that makes it invalid, and the path at which this must be reported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from airflow_automl.contract.model import create_shape, shapes
from tests.wire.samples import Api

#: A value of every type that JSON has, none of them valid where another type belongs.
_OF_TYPE: Mapping[str, Any] = {
    "structure": {"unexpected": 1},
    "list": ["unexpected"],
    "string": "unexpected",
    "number": 17,
    "boolean": True,
    "null": None,
}
_KIND = {"map": "structure", "integer": "number", "long": "number", "float": "number", "double": "number"}


class Mutation(NamedTuple):
    """A request that is wrong in one place.

    :param path: where the violation must be reported.
    :param what: what was done, for messages.
    :param mistyped: whether a value now has a JSON type that can't be read as its shape's.
    """

    request: dict[str, Any]
    path: str
    what: str
    mistyped: bool = False


class _Place(NamedTuple):
    """A value inside a request, or the lack of one."""

    path: str
    shape: Mapping[str, Any]
    steps: tuple[str | int, ...]
    value: Any


def mutate(random: Random, api: Api, request: Mapping[str, Any]) -> Mutation:
    """Draw one mutation of a valid request that makes it invalid by the service model."""
    places = list(_places(create_shape(api), request, "", ()))
    while True:
        place = random.choice(places)
        changes = list(_changes(random, place))
        if changes:
            return _apply(request, place, random.choice(changes))


class _Change(NamedTuple):
    what: str
    suffix: str
    change: Callable[[Any], Any]
    mistyped: bool = False


def _places(shape_name: str, value: Any, path: str, steps: tuple[str | int, ...]) -> Iterator[_Place]:
    shape = shapes()[shape_name]
    yield _Place(path, shape, steps, value)
    match shape["type"]:
        case "structure":
            for name, item in value.items():
                below = f"{path}.{name}" if path else name
                yield from _places(shape["members"][name]["shape"], item, below, (*steps, name))
        case "list":
            for index, item in enumerate(value):
                yield from _places(shape["member"]["shape"], item, f"{path}[{index}]", (*steps, index))
        case "map":
            for key, item in value.items():
                yield from _places(shape["value"]["shape"], item, f"{path}.{key}", (*steps, key))


def _kind(shape: Mapping[str, Any]) -> str:
    return _KIND.get(shape["type"], shape["type"])


def _changes(random: Random, place: _Place) -> Iterator[_Change]:
    shape, value = place.shape, place.value
    kind = _kind(shape)
    if place.steps:  # the tests of the wire cover the request as a whole
        other = random.choice([name for name in _OF_TYPE if name != kind])
        # null reads as absent to some, and as a wrong value to others; it is never a malformed body.
        yield _Change(f"{other} for {kind}", "", lambda _: _OF_TYPE[other], mistyped=other != "null")
    match kind:
        case "structure" if isinstance(value, dict):
            yield from _structure_changes(random, shape, value)
        case "list":
            entry = _OF_TYPE[_kind(shapes()[shape["member"]["shape"]])]
            yield from _size_changes(shape, value, "entries", lambda count: (value or [entry]) * count)
        case "string":
            yield from _string_changes(shape, value)
        case "number":
            if "min" in shape:
                yield _Change("number too small", "", lambda _: shape["min"] - 1)
            if "max" in shape:
                yield _Change("number too large", "", lambda _: shape["max"] + 1)


def _structure_changes(random: Random, shape: Mapping[str, Any], value: dict[str, Any]) -> Iterator[_Change]:
    if shape["type"] == "map":
        return
    name = random.choice(["Unknown", "tags", "ÄÖ", "AutoMLJobNames", "a b"])
    if name not in shape["members"]:
        yield _Change(f"unknown member {name}", f".{name}", lambda _: {**value, name: 1})
    required = [name for name in shape.get("required", ()) if name in value]
    if required:
        missing = random.choice(required)
        yield _Change(
            f"required {missing} left out",
            f".{missing}",
            lambda _: {name: item for name, item in value.items() if name != missing},
        )
    if shape.get("union"):
        other = random.choice([name for name in shape["members"] if name not in value])
        yield _Change(f"second member {other} of a union", "", lambda _: {**value, other: {}})
        yield _Change("union without a member", "", lambda _: {})


def _size_changes(shape: Mapping[str, Any], value: Any, noun: str, times: Callable[[int], Any]) -> Iterator[_Change]:
    if shape.get("min", 0) > 0:
        yield _Change(f"no {noun}", "", lambda _: type(value)())
    if "max" in shape:
        yield _Change(f"too many {noun}", "", lambda _: times(shape["max"] + 1)[: shape["max"] + 1])


def _string_changes(shape: Mapping[str, Any], value: str) -> Iterator[_Change]:
    if "enum" in shape:
        yield _Change("value outside of the enum", "", lambda _: f"{value}x")
        yield _Change("enum in other case", "", lambda _: value.swapcase())
        return
    if shape.get("min", 0) > 0:
        yield _Change("empty string", "", lambda _: "")
    if "max" in shape:
        yield _Change("string too long", "", lambda _: (value or "a").ljust(shape["max"] + 1, "a"))
    # Patterns that take any character at all, such as that of ContentType, take everything but a line break.
    if "pattern" in shape:
        yield _Change("string with a line break", "", lambda _: "a\nb")
        if "[^" not in shape["pattern"]:
            yield _Change("string with a trailing line break", "", lambda _: f"{value}\n")


def _apply(request: Mapping[str, Any], place: _Place, change: _Change) -> Mutation:
    mutated = copy.deepcopy(dict(request))
    path = f"{place.path}{change.suffix}".lstrip(".")
    if not place.steps:
        return Mutation(change.change(mutated), path, change.what, change.mistyped)
    parent: Any = mutated
    for step in place.steps[:-1]:
        parent = parent[step]
    parent[place.steps[-1]] = change.change(parent[place.steps[-1]])
    return Mutation(mutated, path, change.what, change.mistyped)
