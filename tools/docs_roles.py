"""Show Sphinx's roles (``:class:`~package.module.Name```) in the documentation as the code that they name.

Docstrings use them for readers of the source; mkdocstrings leaves them as they are. A target that a page of the
documentation describes becomes a link to it, and a rule's number in parentheses, such as ``(R35)``, one to the rule.

Operators hand most of their parameters on as ``**kwargs``: those that a docstring describes are looked up in the bases'
``__init__``, so that the documentation shows their types and defaults.
"""

from __future__ import annotations

import inspect
import pydoc
import re
from pathlib import Path
from typing import Any

import griffe

_RULES = re.compile(r"\(R\d+(?:(?:,|\s+to|\s+and)\s+R\d+)*\)")
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`(~?)([\w.]+)`")
_DOCUMENTED = {
    name
    for page in (Path(__file__).parent.parent / "docs").rglob("*.md")
    for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
}

#: Only these are imported: others may need packages of an extra that is not installed.
_DOCUMENTED_CLASSES = {name.rpartition(".")[2] for name in _DOCUMENTED}


def _shown(role: re.Match[str]) -> str:
    short, target = role.groups()
    text = f"`{target.rpartition('.')[2] if short else target}`"
    return f"[{text}][{target}]" if target in _DOCUMENTED else text


def _with_rules(docstring: str, path: str) -> str:
    """Link rules. Links are relative to the page that describes the object."""
    rules_page = "../rules.md" if path.startswith("airflow_automl.operators.") else "rules.md"
    return _RULES.sub(lambda rules: re.sub(r"R(\d+)", rf"[R\1]({rules_page}#r\1)", rules[0]), docstring)


class Docstrings(griffe.Extension):
    """Turns roles into Markdown and completes signatures, before docstrings are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _with_rules(_ROLE.sub(_shown, obj.docstring.value), obj.path)
            if isinstance(obj, griffe.Class) and obj.name in _DOCUMENTED_CLASSES:
                _complete(obj, obj.docstring)


def _complete(cls: griffe.Class, docstring: griffe.Docstring) -> None:
    """Add the documented parameters that a class inherits, and the type of what its ``execute`` returns."""
    init, execute = cls.members.get("__init__"), cls.members.get("execute")
    if isinstance(execute, griffe.Function) and execute.returns is not None:
        docstring.value = docstring.value.replace("\n:return:", f"\n:rtype: {execute.returns}\n:return:")
    documented = re.findall(r"^:param (\w+):", docstring.value, re.MULTILINE)
    if (real := pydoc.locate(cls.path)) is None:
        return
    if init is None and documented and "__init__" not in vars(real):
        init = griffe.Function("__init__", parameters=griffe.Parameters(griffe.Parameter("self")))
        cls.set_member("__init__", init)
    if not isinstance(init, griffe.Function):
        return
    for base in inspect.getmro(real)[1:]:  # type: ignore[arg-type]
        theirs = inspect.signature(base.__init__).parameters if "__init__" in vars(base) else {}
        for name in documented:
            if name in theirs and name not in init.parameters:
                init.parameters.add(_inherited(theirs[name]))


def _inherited(parameter: inspect.Parameter) -> griffe.Parameter:
    empty = inspect.Parameter.empty
    return griffe.Parameter(
        parameter.name,
        annotation=None if parameter.annotation is empty else str(parameter.annotation),
        kind=griffe.ParameterKind.keyword_only,
        default=None if parameter.default is empty else repr(parameter.default),
    )
