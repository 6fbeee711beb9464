"""Check a value against a shape of AWS's service model, completely.

botocore itself checks types, required and unknown members, unions and minimums; maximums, patterns and enums go
unchecked to the service, and booleans and NaN pass as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from airflow_automl.contract.patterns import describe_pattern, matches
from airflow_automl.contract.violations import SHAPE, Violation
from airflow_automl.contract.wording import alternatives, closest, counted, kind, show

_MAX_DEPTH = 64

_TYPE_NAMES = {
    "structure": "an object",
    "map": "an object",
    "list": "a list",
    "string": "a string",
    "boolean": "a boolean (true or false)",
    "integer": "an integer",
    "long": "an integer",
    "float": "a number",
    "double": "a number",
    "timestamp": "a time (ISO-8601 or epoch seconds)",
    "blob": "bytes or a string",
}


def check_shape(shapes: Mapping[str, Any], shape_name: str, value: Any, path: str = "") -> list[Violation]:
    """Check a value against one shape and all shapes below it.

    :param shapes: shapes by name, in the format of botocore's ``service-2.json``.
    :param shape_name: the shape that the value should have.
    :param value: anything; nothing makes this function raise.
    :param path: where the value stands, put in front of every path that is reported.
    :return: every violation, rule ``shape``. A missing member is reported at the path that it would have, an unknown
        member at its own, a union with no or several members at the union's.
    """
    walk = _Walk(shapes, shape_name)
    walk.check(shape_name, value, path, 0)
    return walk.found


class _Walk:
    def __init__(self, shapes: Mapping[str, Any], root: str) -> None:
        self.shapes = shapes
        self.root = root
        self.found: list[Violation] = []

    def report(self, path: str, message: str) -> None:
        self.found.append(Violation(path, SHAPE, message))

    def check(self, shape_name: str, value: Any, path: str, depth: int) -> None:
        shape = self.shapes[shape_name]
        if depth > _MAX_DEPTH:
            self.report(path, f"nested deeper than {_MAX_DEPTH} levels; flatten it")
            return
        match shape["type"]:
            case "structure" if isinstance(value, Mapping):
                self.structure(shape, value, path, depth)
            case "list" if isinstance(value, list | tuple):
                self.size(shape, len(value), "entry", path)
                member = shape["member"]["shape"]
                for index, item in enumerate(value):
                    self.check(member, item, f"{path}[{index}]", depth + 1)
            case "map" if isinstance(value, Mapping):
                self.map(shape, value, path, depth)
            case "string" if isinstance(value, str):
                self.string(shape, value, path)
            case "boolean" if isinstance(value, bool):
                pass
            case "integer" | "long" if isinstance(value, int) and not isinstance(value, bool):
                self.number(shape, value, path)
            case "float" | "double" if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                self.number(shape, value, path)
            case "timestamp" if _is_time(value):
                pass
            case "blob" if isinstance(value, bytes | bytearray | str):
                pass
            case expected:
                hint = "; leave the field out instead" if value is None else ""
                valid = _TYPE_NAMES.get(expected, f"a {expected}")
                self.report(path, f"received {_typed(value)}; must be {valid}{hint}")

    def structure(self, shape: Mapping[str, Any], value: Mapping[Any, Any], path: str, depth: int) -> None:
        members = shape["members"]
        prefix = f"{path}." if path else ""
        if shape.get("union") and (len(value) != 1 or not members.keys() & value.keys()):
            given = [str(name) if isinstance(name, str) else show(name) for name in value]
            received = f"received {' and '.join(given[:5])}" if given else "received none"
            self.report(path, f"{received}; exactly one of {alternatives(members)} must be given")
        for name in shape.get("required", ()):
            if name not in value:
                expected = _TYPE_NAMES.get(self.shapes[members[name]["shape"]]["type"], "a value")
                self.report(f"{prefix}{name}", f"is required and missing; give {expected}")
        for name, item in value.items():
            if isinstance(name, str) and name in members:
                self.check(members[name]["shape"], item, f"{prefix}{name}", depth + 1)
            else:
                label = name if isinstance(name, str) else show(name)
                self.report(f"{prefix}{label}", f"unknown field; {self.suggestion(label, members)}")

    def map(self, shape: Mapping[str, Any], value: Mapping[Any, Any], path: str, depth: int) -> None:
        self.size(shape, len(value), "entry", path)
        prefix = f"{path}." if path else ""
        for key, item in value.items():
            label = key if isinstance(key, str) else show(key)
            before = len(self.found)
            self.check(shape["key"]["shape"], key, f"{prefix}{label}", depth + 1)
            self.found[before:] = [
                Violation(found.path, found.rule, f"as a key, {found.message}") for found in self.found[before:]
            ]
            self.check(shape["value"]["shape"], item, f"{prefix}{label}", depth + 1)

    def string(self, shape: Mapping[str, Any], value: str, path: str) -> None:
        if (valid := shape.get("enum")) is not None:
            if value not in valid:
                self.report(path, f"received {show(value)}; must be {alternatives(valid)}")
            return
        problems = []
        too_long = len(value) > shape.get("max", math.inf)
        if too_long or len(value) < shape.get("min", 0):
            limits = _limits(shape.get("min"), shape.get("max"))
            problems.append(f"has {counted(len(value), 'character')}, must have {limits}")
        # A pattern often repeats the maximum: a value that is too long is reported once.
        if "pattern" in shape and not too_long and not matches(shape["pattern"], value):
            problems.append(f"must be {describe_pattern(shape['pattern'])}")
        if problems:
            self.report(path, f"received {show(value)}; {'; '.join(problems)}")

    def number(self, shape: Mapping[str, Any], value: int | float | Decimal, path: str) -> None:
        # Not math.isfinite for decimals: it raises on a signalling NaN.
        if not (value.is_finite() if isinstance(value, Decimal) else isinstance(value, int) or math.isfinite(value)):
            self.report(path, f"received {show(value)}; must be a finite number")
        elif value < shape.get("min", value) or value > shape.get("max", value):
            self.report(path, f"received {show(value)}; must be {_limits(shape.get('min'), shape.get('max'))}")

    def size(self, shape: Mapping[str, Any], size: int, noun: str, path: str) -> None:
        if size < shape.get("min", 0) or size > shape.get("max", size):
            limits = _limits(shape.get("min"), shape.get("max"))
            self.report(path, f"received {counted(size, noun)}; must have {limits}")

    def suggestion(self, name: str, members: Mapping[str, Any]) -> str:
        """Suggest where an unknown field belongs, or similar names."""
        if close := closest(name, members):
            return f"did you mean {close[0]}?"
        if homes := self.homes(name):
            return f"it belongs in {alternatives(homes[:4])}"
        return f"valid here: {', '.join(members)}" if members else "no fields are valid here"

    def homes(self, name: str) -> list[str]:
        homes: list[str] = []
        pending: list[tuple[str, str, tuple[str, ...]]] = [("", self.root, ())]
        while pending:
            path, shape_name, above = pending.pop(0)
            shape = self.shapes[shape_name]
            if shape_name in above:
                continue
            here = (*above, shape_name)
            if shape["type"] == "structure":
                if name in shape["members"]:
                    homes.append(path or "the request itself")
                for member, reference in shape["members"].items():
                    pending.append((f"{path}.{member}" if path else member, reference["shape"], here))
            elif shape["type"] == "list":
                pending.append((f"{path}[]", shape["member"]["shape"], here))
            elif shape["type"] == "map":
                pending.append((f"{path}{{}}", shape["value"]["shape"], here))
        return homes


def _limits(lowest: Any, highest: Any) -> str:
    if highest is None:
        return f"at least {lowest}"
    if not lowest and highest > 1:
        return f"at most {highest}"
    return f"exactly {lowest}" if lowest == highest else f"{lowest or 0} to {highest}"


def _typed(value: Any) -> str:
    if value is None or (isinstance(value, Mapping | Sequence) and not isinstance(value, str)):
        return kind(value)
    return f"{kind(value)} ({show(value)})"


def _is_time(value: Any) -> bool:
    if isinstance(value, datetime):
        return True
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15
