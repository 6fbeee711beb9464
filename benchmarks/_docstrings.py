"""Texts to fine-tune an assistant on: the functions of Python's standard library, and what each of them does.

Written by hundreds of people over thirty years, and on every machine that runs Python.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROMPT", "load"]

PROMPT = "What does the Python function {} do?"

_MODULES = (
    *(
        "argparse",
        "ast",
        "asyncio",
        "base64",
        "bisect",
        "calendar",
        "collections",
        "configparser",
        "contextlib",
        "copy",
    ),
    *(
        "csv",
        "datetime",
        "decimal",
        "difflib",
        "email.message",
        "email.utils",
        "enum",
        "fractions",
        "functools",
        "glob",
    ),
    *("gzip", "hashlib", "heapq", "html", "http.client", "imaplib", "inspect", "io", "ipaddress", "itertools", "json"),
    *(
        "linecache",
        "locale",
        "logging",
        "mailbox",
        "math",
        "mimetypes",
        "operator",
        "os",
        "os.path",
        "pathlib",
        "pickle",
    ),
    *("pkgutil", "platform", "plistlib", "posixpath", "pprint", "queue", "random", "re", "secrets", "shelve", "shlex"),
    *("shutil", "smtplib", "socket", "sqlite3", "ssl", "stat", "statistics", "string", "subprocess", "sysconfig"),
    *("tarfile", "tempfile", "textwrap", "threading", "time", "timeit", "token", "tokenize", "traceback", "types"),
    *("typing", "unicodedata", "unittest", "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "zipfile"),
)
_LENGTHS = (15, 120)
_SEED = 7
_SENTENCE = re.compile(r"[A-Z][^.]*\.")


def load(rows: int | None = None) -> pd.DataFrame:
    """The texts, in the columns ``input`` and ``output`` and always in the same order.

    :param rows: how many; by default all, about 1,500.
    """
    import pandas as pd

    found: dict[str, str] = {}
    for name in _MODULES:
        for function, summary in _summaries(importlib.import_module(name)):
            # What one module takes from another is described once.
            if summary not in found.values():
                found[function] = summary
    pairs = [(PROMPT.format(function), summary) for function, summary in sorted(found.items())]
    frame = pd.DataFrame(pairs, columns=["input", "output"])
    return frame.sample(frac=1, random_state=_SEED).reset_index(drop=True).head(len(frame) if rows is None else rows)


def _summaries(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, member in sorted(vars(module).items()):
        if name.startswith("_"):
            continue
        if inspect.isroutine(member):
            yield from _summary(f"{module.__name__}.{name}", member)
        elif inspect.isclass(member) and member.__module__ == module.__name__:
            for method, routine in sorted(vars(member).items()):
                if not method.startswith("_") and inspect.isroutine(routine):
                    yield from _summary(f"{module.__name__}.{name}.{method}", routine)


def _summary(name: str, routine: object) -> Iterator[tuple[str, str]]:
    first = " ".join((inspect.getdoc(routine) or "").partition("\n\n")[0].split())
    sentence = _SENTENCE.match(first)
    if sentence and _LENGTHS[0] <= len(sentence[0]) <= _LENGTHS[1]:
        yield name, sentence[0]
