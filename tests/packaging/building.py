"""Builds this package as a release does: from a clean tree, with the locked build backend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")


def clean_tree(target: Path) -> Path:
    """Copy the files of the project, without ignored ones."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
    else:  # an unpacked sdist
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if "__pycache__" not in path.parts]
    for name in names:
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    return target


def build(tree: Path, target: Path, *kinds: str) -> list[Path]:
    """Build a wheel, an sdist, or both (the wheel from the sdist, as the default of ``python -m build`` is)."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *(f"--{kind}" for kind in kinds), "--outdir", target, tree],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(target.iterdir())


def environment(target: Path, *requirements: str | Path, constraints: Path | None = None) -> Path:
    """Make a virtual environment with what is named, and return its folder of programs."""
    variables = {**os.environ, "VIRTUAL_ENV": str(target), "UV_LINK_MODE": "hardlink"}
    subprocess.run([UV, "venv", "--quiet", "--relocatable", "--python", sys.executable, target], check=True)
    options = [] if constraints is None else ["--constraints", constraints]
    done = subprocess.run(
        [UV, "pip", "install", "--quiet", *options, *requirements],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target / "bin"
