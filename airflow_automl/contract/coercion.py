"""Put back the numbers and booleans that rendering a template turned into strings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_automl.contract.model import Api, create_shape, shapes

__all__ = ["coerce"]

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}(?:\.0*)?")
_BOOLEANS = {"true": True, "false": False}


def coerce(api: Api, request: Any) -> Any:
    """Give strings the types that the service model wants in their places.

    ``"5"`` becomes 5 where an integer belongs, ``"0.2"`` 0.2 where a number belongs, ``"True"`` or ``"false"`` a
    boolean where one belongs. Whatever can't be put back is left as it is, for :func:`airflow_automl.contract.check`
    to name.

    :param api: ``V1`` for CreateAutoMLJob, ``V2`` for CreateAutoMLJobV2.
    :param request: the rendered request; it is not changed.
    :return: a copy of the request.
    """
    return _coerce(create_shape(api), request)


def _coerce(shape_name: str, value: Any) -> Any:
    shape = shapes()[shape_name]
    match shape["type"]:
        case "structure" if isinstance(value, Mapping):
            members = shape["members"]
            return {
                name: _coerce(members[name]["shape"], item) if name in members else item for name, item in value.items()
            }
        case "map" if isinstance(value, Mapping):
            return {key: _coerce(shape["value"]["shape"], item) for key, item in value.items()}
        case "list" if isinstance(value, list | tuple):
            return [_coerce(shape["member"]["shape"], item) for item in value]
        case "boolean" if isinstance(value, str):
            return _BOOLEANS.get(value.strip().lower(), value)
        case "integer" | "long" if isinstance(value, str):
            text = value.strip()
            return int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else value
        case "float" | "double" if isinstance(value, str):
            return _number(value)
    return value


def _number(value: str) -> float | str:
    try:
        number = float(value)
    except ValueError:
        return value
    # NaN and infinities are words that float() reads, but no number that the service takes.
    return number if math.isfinite(number) else value
