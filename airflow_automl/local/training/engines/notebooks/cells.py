"""Pieces of notebooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def notebook(cells: Sequence[Any]) -> Any:
    """A notebook for the Python kernel; cell ids are their positions, so that equal jobs make equal notebooks."""
    from nbformat import v4

    made = v4.new_notebook(
        cells=list(cells),
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
    return made


def text(content: str) -> Any:
    """A Markdown cell."""
    from nbformat import v4

    return v4.new_markdown_cell(content.strip())


def code(content: str) -> Any:
    """A code cell."""
    from nbformat import v4

    return v4.new_code_cell(content.strip())


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; values can't break out of their cell."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(escape(entry) for entry in row) + " |" for row in rows]
    return "\n".join(lines)


def value(content: Any) -> str:
    """A value as Python source, whatever its strings hold."""
    return f"json.loads({json.dumps(json.dumps(content, indent=2))})"


def escape(content: object) -> str:
    """A value as Markdown text: nothing in it is markup."""
    shown = f"{content:.4g}" if isinstance(content, float) else str(content)
    for character, escaped in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "\\`"), ("[", "\\["), ("\n", " ")):
        shown = shown.replace(character, escaped)
    return shown[:80]
