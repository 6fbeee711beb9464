"""Random values made from the service model: valid ones, ones with a single fault, and ones of any form."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from airflow_automl.contract.model import shapes

#: The settings of all property tests here; FUZZ_EXAMPLES sets a larger number of examples.
SETTINGS = settings(
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    suppress_health_check=list(HealthCheck),
)

_TAG_CHARACTERS = st.characters(categories=("L", "Z", "N"), include_characters="_.:/=+-@")

#: Any JSON value, and the numbers that JSON can't represent.
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["S3Prefix", "validation", "AUTO", "value", "p10", "1D", "Gzip", "image/png"]),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=12,
)


@functools.cache
def valid(shape_name: str) -> st.SearchStrategy[Any]:
    """Values that satisfy a shape."""
    shape = shapes()[shape_name]
    lowest, highest = shape.get("min"), shape.get("max")
    match shape["type"]:
        case "structure" if shape.get("union"):
            options = [
                st.fixed_dictionaries({name: valid(member["shape"])}) for name, member in shape["members"].items()
            ]
            return st.one_of(options)
        case "structure":
            members = {name: valid(member["shape"]) for name, member in shape["members"].items()}
            required = {name: members.pop(name) for name in shape.get("required", ())}
            return st.fixed_dictionaries(required, optional=members)
        case "list":
            return st.lists(valid(shape["member"]["shape"]), min_size=lowest or 0, max_size=min(highest or 3, 3))
        case "map":
            return st.dictionaries(
                valid(shape["key"]["shape"]),
                valid(shape["value"]["shape"]),
                min_size=lowest or 0,
                max_size=min(highest or 3, 3),
            )
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(min_value=lowest, max_value=highest)
        case "float":
            return st.floats(min_value=lowest, max_value=highest, allow_nan=False, allow_infinity=False)
        case "string" if "enum" in shape:
            return st.sampled_from(shape["enum"])
        case "string":
            return _strings(shape)
    raise AssertionError(shape["type"])


def _strings(shape: dict[str, Any]) -> st.SearchStrategy[str]:
    lowest, highest = shape.get("min", 0), shape.get("max", 64)
    pattern = shape.get("pattern")
    if pattern is None:
        return st.text(min_size=lowest, max_size=min(highest, 40))
    if r"\p" in pattern:
        return st.text(_TAG_CHARACTERS, min_size=lowest, max_size=min(highest, 20))
    drawn = st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
    return drawn.filter(lambda value: lowest <= len(value) <= highest and not value.endswith("\n"))


class Fault(NamedTuple):
    """One change that makes a valid value invalid, and where that shows."""

    path: str
    what: str
    apply: Callable[[Any], Any]


def faults(shape_name: str, value: Any) -> list[Fault]:
    """Every fault that can be put into a valid value."""
    return list(_faults(shape_name, value, "", ()))


def _faults(shape_name: str, value: Any, path: str, keys: tuple[Any, ...]) -> Iterator[Fault]:
    shape = shapes()[shape_name]

    def put(replacement: Any) -> Callable[[Any], Any]:
        return lambda root: _replace(root, keys, replacement)

    kind, lowest, highest = shape["type"], shape.get("min"), shape.get("max")
    wrong = {"structure": [], "map": "x", "list": {}, "string": 7, "boolean": "true", "integer": "5", "float": "0.5"}
    yield Fault(path, "wrong type", put(wrong[kind]))
    yield Fault(path, "null", put(None))
    if kind in ("integer", "float"):
        yield Fault(path, "boolean as number", put(True))
        yield Fault(path, "NaN", put(float("nan")))
        yield Fault(path, "infinity", put(float("inf")))
        if lowest is not None:
            yield Fault(path, "below minimum", put(lowest - 1))
        if highest is not None:
            yield Fault(path, "above maximum", put(highest + 1))
    if kind == "integer":
        yield Fault(path, "fraction", put(1.5))
    if kind == "string":
        if "enum" in shape:
            yield Fault(path, "not in the enum", put("no-such-value"))
        else:
            if lowest:
                yield Fault(path, "too short", put(""))
            if highest:
                yield Fault(path, "too long", put("x" * (highest + 1)))
            if "pattern" in shape and shape["pattern"] != ".*":
                yield Fault(path, "breaks the pattern", put("\n\x00"))
    if kind == "list":
        if lowest:
            yield Fault(path, "too few", put([]))
        if highest:
            yield Fault(
                path, "too many", put([copy.deepcopy(value[0])] * (highest + 1) if value else [{}] * (highest + 1))
            )
        for index, item in enumerate(value):
            yield from _faults(shape["member"]["shape"], item, f"{path}[{index}]", (*keys, index))
    if kind == "map":
        if lowest:
            yield Fault(path, "too few", put({}))
        for key, item in value.items():
            yield from _faults(shape["value"]["shape"], item, f"{path}.{key}" if path else key, (*keys, key))
    if kind == "structure":
        prefix = f"{path}." if path else ""
        yield Fault(f"{prefix}NoSuchField", "unknown field", put({**value, "NoSuchField": 1}))
        for name in shape.get("required", ()):
            rest = {key: item for key, item in value.items() if key != name}
            yield Fault(f"{prefix}{name}", "missing", put(rest))
        if shape.get("union"):
            yield Fault(path, "no member", put({}))
            yield Fault(path, "all members", put({name: {} for name in shape["members"]}))
        for name, item in value.items():
            yield from _faults(shape["members"][name]["shape"], item, f"{prefix}{name}", (*keys, name))


def places(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys to every place in a value."""
    yield keys
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*keys, index))


def replaced(root: Any, keys: tuple[Any, ...], replacement: Any) -> Any:
    """A copy of a value with another one in one place."""
    return _replace(root, keys, replacement)


def _replace(root: Any, keys: tuple[Any, ...], replacement: Any) -> Any:
    if not keys:
        return replacement
    changed = copy.deepcopy(root)
    parent = functools.reduce(lambda value, key: value[key], keys[:-1], changed)
    parent[keys[-1]] = replacement
    return changed
