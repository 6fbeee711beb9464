"""Make the environments of `requirements/clients.toml`: one client with its pinned packages each."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.compat import REQUIREMENTS, ROOT, UV


def clients() -> dict[str, list[str]]:
    """Read the requirements of each client by its name."""
    table = tomllib.loads((REQUIREMENTS / "clients.toml").read_text())
    return {entry["name"]: entry["requirements"] for entry in table["client"]}


def environment(name: str) -> Path:
    """Make a client's environment, unless it is there already, and return its folder of programs."""
    folder, requirements = ROOT / f".venv-clients-{name}", clients()[name]
    made, wanted = folder / ".made", "\n".join([sys.executable, *requirements])
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != wanted:
            subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
            install = [UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *requirements]
            subprocess.run(install, check=True)
            made.write_text(wanted)
    return folder / "bin"
