"""Builds the images of docker-compose.yaml with buildah, over a base that debootstrap makes."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

TOOLS = ("buildah", "debootstrap", "apt-get")
#: What the official image has beside Debian's essential packages.
PACKAGES = ("ca-certificates", "netbase", "tzdata", "python3.11", "python3.11-venv", "python3-pip")
#: Names of Python's programs in the official image, which lie in ``/usr/local/bin``.
NAMES = {"python": "python3.11", "python3": "python3.11", "python3.11": "python3.11", "pip": "pip3", "pip3": "pip3"}
SUITE = "bookworm"


def missing() -> str | None:
    """Why images can't be built here; ``None`` if they can."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return None if _mirror() else f"/etc/apt names no mirror of Debian {SUITE}"


def _mirror() -> str | None:
    form = "$(SITE) $(RELEASE) $(COMPONENT)"
    done = subprocess.run(["apt-get", "indextargets", "--format", form], capture_output=True, text=True, check=True)
    found = re.findall(rf"^(\S+) {SUITE} main$", done.stdout, re.MULTILINE)
    return found[0] if found else None


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    shown = f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, shown
    return done.stdout.strip()


class Store:
    """A store of images of its own, which is removed at the end.

    :param folder: a folder to make, where images and containers lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._folder)

    def _buildah(self, *arguments: str | Path) -> str:
        where = ("--root", self._folder / "store", "--runroot", self._folder / "run", "--storage-driver", "vfs")
        return _run("buildah", *where, *arguments)

    def make_base(self, name: str) -> None:
        """Make an image of Debian and its Python, and give it the name of an official Python image.

        The official one has a Python beside Debian's, into which pip may install; here that is Debian's own.
        """
        root = self._folder / "base"
        mirror = _mirror()
        assert mirror
        _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, mirror)
        (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
        for program, target in NAMES.items():
            (root / "usr/local/bin" / program).symlink_to(f"/usr/bin/{target}")
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, root, "/")
        shutil.rmtree(root)
        path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._buildah("config", "--env", f"PATH={path}", "--env", "LANG=C.UTF-8", "--cmd", "python3", container)
        self._buildah("commit", "--quiet", "--rm", container, f"docker.io/library/{name}")

    def build(self, service: Mapping[str, Any], checkout: Path) -> None:
        """Build the image of a service of the compose file, as its ``build`` says, unchanged."""
        how = service["build"]
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            volumes = [f"--volume={source}:{target}:ro" for source, target in _pip_of_this_machine(Path(folder))]
            self._buildah(
                *("bud", "--isolation", "chroot", "--pull=never", "--quiet", *volumes),
                *("--file", checkout / how["dockerfile"], "--target", how["target"], "--tag", service["image"]),
                checkout / how["context"],
            )

    def inspect(self, image: str) -> dict[str, Any]:
        """The configuration of an image: ``Env``, ``WorkingDir``, ``User``, …"""
        described = json.loads(self._buildah("inspect", "--type", "image", image))
        found: dict[str, Any] = described["OCIv1"]["config"]
        return found

    def files(self, image: str) -> Path:
        """The folder with all files of an image."""
        return Path(self._buildah("mount", self._buildah("from", "--pull=never", image)))

    def run(self, image: str, *command: str) -> str:
        """What a command prints in a container of an image."""
        container = self._buildah("from", "--pull=never", image)
        return self._buildah("run", "--isolation", "chroot", container, "--", *command)


def _pip_of_this_machine(folder: Path) -> Iterator[tuple[Path, str]]:
    """Let pip find packages in a build as it does here: its settings, and the files and folders that they name."""
    settings = configparser.RawConfigParser()
    named = set()
    for line in _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list").splitlines():
        name, _, shown = line.partition("=")
        section, _, option = name.replace(":env:", "global").partition(".")
        value = str(ast.literal_eval(shown))
        if not settings.has_section(section):
            settings.add_section(section)
        # Settings from the environment are listed first, and take precedence.
        if not settings.has_option(section, option):
            settings.set(section, option, " ".join(value.split()))
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                # The pages of an index link to files beside it.
                named.add(path.parent if option.endswith("index-url") else path)
    with (folder / "pip.conf").open("w") as file:
        settings.write(file)
    yield folder / "pip.conf", "/etc/pip.conf"
    for path in sorted(named):
        yield path, str(path)
