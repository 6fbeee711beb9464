"""Reads what docker/Dockerfile says of an image: its environment, its lock files, what it copies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Stage(NamedTuple):
    """One stage, with what it takes over from the stages that it is made of."""

    name: str
    environment: dict[str, str]
    locks: list[str]
    copies: list[str]
    user: str | None


def stages(path: Path) -> dict[str, Stage]:
    """Read all stages of a Dockerfile."""
    found: dict[str, Stage] = {}
    current: Stage | None = None
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            base = found.get(parent, Stage("", {}, [], [], None))
            current = Stage(name, dict(base.environment), list(base.locks), list(base.copies), base.user)
            found[name] = current
        elif current is None or not word or word.startswith("#"):
            continue
        elif word == "ENV":
            current.environment.update(pair.split("=", 1) for pair in rest.split())
        elif word == "RUN":
            current.locks.extend(re.findall(r"--require-hashes -r (\S+)", rest))
        elif word == "COPY" and not rest.startswith("--from"):
            current.copies.extend(rest.split()[:-1])
        elif word == "USER":
            found[current.name] = current = current._replace(user=rest)
    return found
