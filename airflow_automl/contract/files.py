"""Read JSON and YAML so that nothing is lost: their usual readers keep the last of two equal keys in silence."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any


def parse_json(text: str) -> Any:
    """Parse JSON.

    :raises ValueError: the text is not JSON, or an object has a key twice.
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in document if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object. Remove one of them")
    return document


def json_or_literal(text: str) -> Any:
    """Parse JSON or a Python literal: templates render either.

    :raises ValueError: the text is neither.
    """
    for parse in (parse_json, ast.literal_eval):
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    raise ValueError("it is neither JSON nor a Python literal")


def parse_yaml(text: str) -> Any:
    """Parse YAML, plain values only.

    :raises ValueError: the text is not YAML, or a mapping has a key twice.
    """
    import yaml  # not at the top: DAG files import this package, and few of them read YAML

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is given twice in one mapping. Remove one of them",
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
            return node

    try:
        return Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
