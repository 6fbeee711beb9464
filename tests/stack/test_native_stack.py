"""The whole production stack, as docker-compose.yaml says it, in namespaces in place of containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.building import UV, build, clean_tree, environment
from tests.stack import namespace
from tests.stack.compose import ROOT
from tests.stack.scenario import SERVERS


def _missing() -> str | None:
    servers = [name for name, path in SERVERS.items() if not Path(path).exists()]
    if servers:
        return f"not installed: {', '.join(servers)}"
    if shutil.which("redis-cli") is None or not UV.exists():
        return "not installed: redis-cli or uv"
    return namespace.missing()


def _install(image: str, wheel: Path, target: Path) -> None:
    """Make what the Dockerfile makes: an environment with the locked packages and the wheel, and nothing else."""
    environment(target, "--require-hashes", "-r", ROOT / "docker" / f"{image}.txt")
    variables = {**os.environ, "VIRTUAL_ENV": str(target), "UV_LINK_MODE": "hardlink"}
    subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", wheel], check=True, env=variables)


@pytest.mark.slow
@pytest.mark.skipif(_missing() is not None, reason=f"the native stack: {_missing()}")
def test_the_stack_of_the_compose_file_runs_the_retraining_dag_and_keeps_its_data(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    subprocess.run([ROOT / "docker" / "make-env.sh", tmp_path / ".env"], check=True, capture_output=True)
    (wheel,) = build(clean_tree(tmp_path / "tree"), tmp_path / "dist", "wheel")
    (tmp_path / "images").mkdir()
    for image in ("airflow", "autopilot"):
        _install(image, wheel, tmp_path / "images" / image)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "tests.stack.scenario", str(tmp_path)]
    done = subprocess.run(
        namespace.enter(tmp_path, ROOT, ["env", "-C", str(ROOT), *command], scratch),
        capture_output=True,
        text=True,
        check=False,
        timeout=2400,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "the stack came back with its data, and ended" in done.stdout
