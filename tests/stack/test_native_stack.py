"""The whole production stack, as docker-compose.yaml says it, in namespaces in place of containers.

Once from environments that are made of the images' lock files, and once from the built images themselves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.building import UV, build, clean_tree, environment
from tests.stack import images, namespace
from tests.stack.compose import ROOT, load, read_env
from tests.stack.scenario import BUILT, SERVERS

RETRAINING = ("scenario", "the stack came back with its data, and ended")
LOCKED_RAY = ROOT / "requirements" / "ray.txt"


def _missing() -> str | None:
    servers = [name for name, path in SERVERS.items() if not Path(path).exists()]
    if servers:
        return f"not installed: {', '.join(servers)}"
    if shutil.which("redis-cli") is None or not UV.exists():
        return "not installed: redis-cli or uv"
    return namespace.missing()


def _install(image: str, wheel: Path, target: Path, *more: Path) -> None:
    """Make what the Dockerfile makes: an environment with the locked packages and the wheel, and nothing else."""
    locks = [word for lock in (ROOT / "docker" / f"{image}.txt", *more) for word in ("-r", lock)]
    environment(target, "--require-hashes", *locks)
    variables = {**os.environ, "VIRTUAL_ENV": str(target), "UV_LINK_MODE": "hardlink"}
    subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", wheel], check=True, env=variables)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that every user may look into, with an ``.env``."""
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    subprocess.run([ROOT / "docker" / "make-env.sh", tmp_path / ".env"], check=True, capture_output=True)
    return tmp_path


def _run_stack(folder: Path, scenario: str, last: str) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", f"tests.stack.{scenario}", str(folder)]
    done = subprocess.run(
        namespace.enter(folder, (ROOT, Path(sys.prefix)), ["env", "-C", str(ROOT), *command], scratch),
        capture_output=True,
        text=True,
        check=False,
        timeout=2400,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert last in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(_missing() is not None, reason=f"the native stack: {_missing()}")
def test_the_stack_of_the_compose_file_runs_the_retraining_dag_and_keeps_its_data(folder: Path) -> None:
    (wheel,) = build(clean_tree(folder / "tree"), folder / "dist", "wheel")
    (folder / "images").mkdir()
    for image in ("airflow", "autopilot"):
        _install(image, wheel, folder / "images" / image)
    _run_stack(folder, *RETRAINING)


@pytest.mark.slow
@pytest.mark.skipif(namespace.missing() is not None, reason=f"the native stack: {namespace.missing()}")
def test_jobs_train_on_both_workers_of_the_profile_ray(folder: Path) -> None:
    (wheel,) = build(clean_tree(folder / "tree"), folder / "dist", "wheel")
    (folder / "images").mkdir()
    _install("autopilot", wheel, folder / "images" / "autopilot")
    _install("autopilot", wheel, folder / "images" / "ray", LOCKED_RAY)
    _run_stack(folder, "ray_scenario", "jobs ran on both workers, and the cluster ended")


@pytest.mark.slow
@pytest.mark.skipif(_missing() is not None, reason=f"the native stack: {_missing()}")
@pytest.mark.skipif(images.missing() is not None, reason=f"building images: {images.missing()}")
def test_the_images_are_built_and_their_processes_run_the_retraining_dag(folder: Path) -> None:
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    services = load(ROOT / "docker-compose.yaml", read_env(folder / ".env"))["services"].values()
    own = {each["image"]: each for each in services if "build" in each}
    tree = clean_tree(folder / "tree")
    built = {}
    with images.Store(folder / "store") as store:
        store.make_base(base)
        for image, service in own.items():
            store.build(service, tree)
            config = store.inspect(image)
            assert config["User"] == service["user"]
            built[image.split(":")[0]] = {**config, "files": str(store.files(image))}
        (ray,) = (image for image, service in own.items() if service["build"]["target"] == "ray")
        trainer = "import airflow_automl.local.training.main, ray; print(ray.__version__)"
        assert f"ray=={store.run(ray, 'python', '-c', trainer)} " in LOCKED_RAY.read_text()
        (folder / BUILT).write_text(json.dumps(built))
        _run_stack(folder, *RETRAINING)
