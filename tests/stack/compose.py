"""Reads a compose file as ``docker compose config`` does: YAML with merge keys, variables put in, the form checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(Path(__file__).with_name("compose.schema.json").read_text())

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<word>[^}]*))?\})"
)


class ComposeError(ValueError):
    """The file can't be used; the message says why, as compose would."""


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Put variables into all texts below a value; keys stay as they are."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    if re.search(r"(?<!\$)(?:\$\$)*\$(?![\w${])", value):
        raise ComposeError(f"a lone $ in {value!r}; write $$")
    return _VARIABLE.sub(lambda found: _one(found, variables), value)


def _one(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["escaped"]:
        return "$"
    name, how, word = found["plain"] or found["name"], found["how"] or "", found["word"] or ""
    given = variables.get(name)
    absent = given is None or (how.startswith(":") and not given)
    if how.endswith("+"):
        return "" if absent else word
    if absent and how.endswith("?"):
        raise ComposeError(f"required variable {name} is missing a value: {word}")
    if absent and how.endswith("-"):
        return word
    return given or ""


def read_env(path: Path) -> dict[str, str]:
    """Read a ``.env`` file of plain ``KEY=value`` lines."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def load(path: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """Read a compose file.

    :raises ComposeError: a required variable is missing.
    :raises jsonschema.ValidationError: the file has a form that compose does not take.
    """
    raw = yaml.safe_load(path.read_text())
    jsonschema.validate(raw, SCHEMA)
    document: dict[str, Any] = interpolate(
        {key: value for key, value in raw.items() if not key.startswith("x-")}, variables
    )
    jsonschema.validate(document, SCHEMA)
    return document
