"""The part of AWS's service model that describes AutoML jobs, read from a small file when it is first needed.

``service_model.json`` has the format of botocore's ``service-2.json``; ``tools/service_model.py`` makes it from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

Api = Literal["V1", "V2"]

CREATE_OPERATIONS: Mapping[Api, str] = {"V1": "CreateAutoMLJob", "V2": "CreateAutoMLJobV2"}


class Field(NamedTuple):
    """One field of an operation's input or output.

    :param path: its path, list entries as ``[]``, map values as ``{}``, map keys as ``{key}``.
    :param shape_name: the name of its shape.
    :param shape: the shape: ``type``, ``min``, ``max``, ``pattern``, ``enum``, ``union``, …
    :param required: whether the structure around it must have it.
    """

    path: str
    shape_name: str
    shape: Mapping[str, Any]
    required: bool


@cache
def _model() -> dict[str, Any]:
    path = Path(__file__).with_name("service_model.json")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def shapes() -> dict[str, Any]:
    """Return all shapes by name."""
    found: dict[str, Any] = _model()["shapes"]
    return found


def input_shape(operation: str) -> str:
    """Name the shape of an operation's request."""
    return str(_model()["operations"][operation]["input"]["shape"])


def output_shape(operation: str) -> str | None:
    """Name the shape of an operation's answer, ``None`` if the answer is empty."""
    output = _model()["operations"][operation].get("output")
    return None if output is None else str(output["shape"])


def create_shape(api: Api) -> str:
    """Name the shape of CreateAutoMLJob's (V1) or CreateAutoMLJobV2's (V2) request."""
    return input_shape(CREATE_OPERATIONS[api])


def fields(shape_name: str) -> Iterator[Field]:
    """List every field under a shape, parents first."""
    return _fields(shape_name, "")


def _fields(shape_name: str, path: str) -> Iterator[Field]:
    shape = shapes()[shape_name]
    match shape["type"]:
        case "structure":
            required = set(shape.get("required", ()))
            children = [
                (f"{path}.{name}" if path else name, reference["shape"], name in required)
                for name, reference in shape["members"].items()
            ]
        case "list":
            children = [(f"{path}[]", shape["member"]["shape"], False)]
        case "map":
            children = [
                (f"{path}{{key}}", shape["key"]["shape"], False),
                (f"{path}{{}}", shape["value"]["shape"], False),
            ]
        case _:
            children = []
    for child_path, child, is_required in children:
        # An object in a list or map is recognized by its own fields.
        if shape["type"] == "structure" or shapes()[child]["type"] != "structure":
            yield Field(child_path, child, shapes()[child], is_required)
        yield from _fields(child, child_path)
