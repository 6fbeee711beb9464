"""Restore the types that rendering a template lost: numbers and booleans that became text, and missing values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from numbers import Integral
from typing import Any

from airflow_automl.contract.files import json_or_literal
from airflow_automl.contract.model import Api, create_shape, shapes
from airflow_automl.contract.shapes import check_shape

_CONTAINERS = ("structure", "map", "list")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}(?:\.0*)?")
_BOOLEANS = {"true": True, "false": False}
#: What an empty form field, or a variable that is None, renders to.
_NOTHING = {"", "none", "null"}


def coerce(api: Api, request: Any) -> Any:
    """Convert strings to the types of the service model.

    ``"5"`` becomes 5 where an integer belongs, ``"0.2"`` 0.2 where a number belongs, ``"True"`` or ``"false"`` a
    boolean where one belongs. Decimals, and integers of other libraries such as NumPy's, become Python's own numbers,
    which JSON knows. A number becomes a string where one belongs, and the JSON or Python literal of an object or list
    becomes that. An optional member that rendered to nothing (``None``, an empty string or ``"None"`` that is
    not valid there) is left out, because the service accepts no null. Values that can't be converted are not changed;
    :func:`airflow_automl.contract.check` reports them.

    :param api: ``V1`` for CreateAutoMLJob, ``V2`` for CreateAutoMLJobV2.
    :param request: the rendered request; it is not changed.
    :return: a copy of the request.
    """
    return coerce_shape(shapes(), create_shape(api), request)


def coerce_shape(known: Mapping[str, Any], shape_name: str, value: Any) -> Any:
    """Do what :func:`coerce` does for any shape of a service.

    :param known: shapes by name, in the format of botocore's ``service-2.json``.
    :param shape_name: the shape that the value should have.
    """
    shape = known[shape_name]
    if shape["type"] in _CONTAINERS and isinstance(value, str):
        with suppress(ValueError):
            value = json_or_literal(value)
    match shape["type"]:
        case "string" if isinstance(value, int | float):
            return str(value)
        case "structure" if isinstance(value, Mapping):
            return _structure(known, shape, value)
        case "map" if isinstance(value, Mapping):
            return {key: coerce_shape(known, shape["value"]["shape"], item) for key, item in value.items()}
        case "list" if isinstance(value, list | tuple):
            return [coerce_shape(known, shape["member"]["shape"], item) for item in value]
        case "boolean" if isinstance(value, str):
            return _BOOLEANS.get(value.strip().lower(), value)
        case "integer" | "long" if isinstance(value, str):
            text = value.strip()
            return int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else value
        case "integer" | "long" if isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
        case "float" | "double" if isinstance(value, str | Decimal):
            return _number(value)
    return value


def _structure(known: Mapping[str, Any], shape: Mapping[str, Any], value: Mapping[Any, Any]) -> dict[Any, Any]:
    members, required = shape["members"], shape.get("required", ())
    return {
        name: coerce_shape(known, members[name]["shape"], item) if name in members else item
        for name, item in value.items()
        if name not in members or name in required or not _is_nothing(known, members[name]["shape"], item)
    }


def _is_nothing(known: Mapping[str, Any], shape_name: str, item: Any) -> bool:
    """Return whether a value stands for nothing. An empty string that the service accepts is a value."""
    rendered = item is None or (isinstance(item, str) and item.strip().lower() in _NOTHING)
    return rendered and bool(check_shape(known, shape_name, item))


def _number(value: str | Decimal) -> float | str | Decimal:
    try:
        number = float(value)
    except ValueError:
        return value
    # float() reads NaN and infinities, which the service does not accept.
    return number if math.isfinite(number) else value
