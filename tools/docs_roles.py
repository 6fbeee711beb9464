"""Show Sphinx's roles (``:class:`~package.module.Name```) in the documentation as the code that they name.

Docstrings use them for readers of the source; mkdocstrings leaves them as they are. A target that a page of the
documentation describes becomes a link to it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([\w.]+)`")
_DOCUMENTED = {
    name
    for page in (Path(__file__).parent.parent / "docs").rglob("*.md")
    for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
}


def _shown(role: re.Match[str]) -> str:
    short, target = role.groups()
    text = f"`{target.rpartition('.')[2] if short else target}`"
    return f"[{text}][{target}]" if target in _DOCUMENTED else text


class Roles(griffe.Extension):
    """Turns the roles of every docstring into Markdown, before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_shown, obj.docstring.value)
