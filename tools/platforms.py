"""Resolve the dependencies for platforms and Pythons that the tests do not run on: `python tools/platforms.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
PYTHONS = ("3.11", "3.12", "3.13")
LINUX = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
#: Extras and where they must be installable. The Airflow side, which is pure Python, comes first; the others all bring
#: `local`, whose S3 store has no wheel for macOS on x86_64.
PLATFORMS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): (*LINUX, "aarch64-apple-darwin", "x86_64-apple-darwin"),
    ("timeseries", "text", "image", "torch", "llm", "ray", "demo"): (*LINUX, "aarch64-apple-darwin"),
}
#: Packages without wheels on any platform; they are pure Python and are built from their sources.
SOURCES = ("cron-descriptor", "methodtools", "wirerope")


def missing(extras: tuple[str, ...], platform: str, python: str) -> str:
    """Return why extras can't be installed together from wheels, or nothing if they can."""
    command = [UV, "pip", "compile", "--quiet", "--no-header", "--only-binary", ":all:"]
    for package in SOURCES:
        command += ["--no-binary", package]
    command += ["--python-version", python, "--python-platform", platform, "pyproject.toml"]
    for extra in extras:
        command += ["--extra", extra]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def main() -> int:
    """Print one line for each platform and Python."""
    failed = 0
    for extras, platforms in PLATFORMS.items():
        name = "all extras" if extras else "Airflow side"
        for platform in platforms:
            for python in PYTHONS:
                reason = missing(extras, platform, python)
                failed += bool(reason)
                print(f"{name:12} {platform:24} {python}  {reason or 'resolves'}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
