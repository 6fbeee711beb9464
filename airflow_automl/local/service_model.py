"""AWS's service models, as the service needs them: which operations there are, and what answers look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any


@cache
def _model(service: str) -> dict[str, Any]:
    from botocore.loaders import Loader

    model = Loader().load_service_model(service, "service-2")
    shapes = {name: _bare(shape) for name, shape in model["shapes"].items()}
    operations = {
        name: (operation.get("input", {}).get("shape"), operation.get("output", {}).get("shape"))
        for name, operation in model["operations"].items()
    }
    return {"shapes": shapes, "operations": operations}


def _bare(value: Any) -> Any:
    # The documentation takes nine tenths of the model's memory.
    if isinstance(value, Mapping):
        return {key: _bare(item) for key, item in value.items() if key != "documentation" or not isinstance(item, str)}
    return value


def shapes(service: str = "sagemaker") -> dict[str, Any]:
    """All shapes by name, without their documentation."""
    found: dict[str, Any] = _model(service)["shapes"]
    return found


def operations() -> dict[str, tuple[str | None, str | None]]:
    """Operation → names of its input and output shapes."""
    found: dict[str, tuple[str | None, str | None]] = _model("sagemaker")["operations"]
    return found


def serialize(shape_name: str, value: Any) -> Any:
    """Return an answer as it goes over the wire: only members of the shape, times as epoch seconds (R8)."""
    serializer = _serializer(shape_name)
    return value if serializer is None else serializer(value)


@cache
def _serializer(shape_name: str) -> Callable[[Any], Any] | None:
    """Return what serializes a shape; ``None`` if its values go over the wire unchanged."""
    shape = shapes()[shape_name]
    match shape["type"]:
        case "structure":
            # Built at the first value: shapes may contain themselves.
            members = cache(lambda: {name: _serializer(each["shape"]) for name, each in shape["members"].items()})

            def structure(value: Any) -> Any:
                known = members()
                return {
                    name: item if (inner := known[name]) is None else inner(item)
                    for name, item in value.items()
                    if item is not None and name in known
                }

            return structure
        case "list":
            return lambda value: [serialize(shape["member"]["shape"], item) for item in value]
        case "map":
            return lambda value: {key: serialize(shape["value"]["shape"], item) for key, item in value.items()}
        case "timestamp":
            return seconds
    return None


def seconds(value: Any) -> float:
    """A time that passed the shape check, in epoch seconds."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        # As botocore reads it, a time without a zone is UTC.
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return round(float(value), 3)


_KINDS: Mapping[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "long": (int, float),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
}


def mistyped(shape_name: str, value: Any) -> bool:
    """Return whether a member has a JSON type that its shape can't have: the body is malformed, not a value wrong."""
    if value is None:
        return False
    shape = shapes()[shape_name]
    kind: str = shape["type"]
    valid: Any = _KINDS[kind]
    if not isinstance(value, valid) or (isinstance(value, bool) and kind != "boolean"):
        return True
    match kind:
        case "structure":
            members = shape["members"]
            return any(name in members and mistyped(members[name]["shape"], item) for name, item in value.items())
        case "list":
            return any(mistyped(shape["member"]["shape"], item) for item in value)
        case "map":
            return any(mistyped(shape["value"]["shape"], item) for item in value.values())
    return False
