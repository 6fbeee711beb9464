"""Resolve the dependencies for platforms and Pythons that the tests do not run on: `python tools/platforms.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
PYTHONS = ("3.11", "3.12", "3.13")
#: The Airflow side is pure Python; the embedded Autopilot runs on Linux.
PLATFORMS = {
    "": ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-apple-darwin"),
    "local": ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"),
    "timeseries": ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"),
    "text": ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"),
    "image": ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"),
}
#: Packages without wheels on any platform; they are pure Python and are built from their sources.
SOURCES = ("cron-descriptor", "methodtools", "wirerope", "annoy")


def missing(extra: str, platform: str, python: str) -> str:
    """Return why an extra can't be installed from wheels, or nothing if it can."""
    command = [UV, "pip", "compile", "--quiet", "--no-header", "--only-binary", ":all:"]
    for package in SOURCES:
        command += ["--no-binary", package]
    command += ["--python-version", python, "--python-platform", platform, "pyproject.toml"]
    command += ["--extra", extra] if extra else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def main() -> int:
    """Print one line for each extra, platform and Python."""
    failed = 0
    for extra, platforms in PLATFORMS.items():
        for platform in platforms:
            for python in PYTHONS:
                reason = missing(extra, platform, python)
                failed += bool(reason)
                print(f"{extra or 'Airflow side':12} {platform:24} {python}  {reason or 'resolves'}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
