"""Set the version for a release, or see whether a release is ready.

python tools/release.py 0.2.0     # write the version everywhere, and open the changelog's section
python tools/release.py --check   # tell what is missing for a release of the version that is set
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


class Place(NamedTuple):
    """Where the version stands: a file, and a pattern whose first group it is."""

    path: str
    pattern: str


PLACES = (
    Place("pyproject.toml", r'^version = "([^"]+)"'),
    Place("airflow_automl/__init__.py", r'^__version__ = "([^"]+)"'),
    Place("airflow_automl/get_provider_info.py", r'"versions": \["([^"]+)"'),
    Place("docker-compose.yaml", r"^  image: airflow-automl/airflow:(\S+)"),
    Place("docker-compose.yaml", r"^  image: airflow-automl/autopilot:(\S+)"),
)


def stated(root: Path = ROOT) -> dict[str, str]:
    """The version that each place states."""
    found = {}
    for place in PLACES:
        match = re.search(place.pattern, (root / place.path).read_text(encoding="utf-8"), re.MULTILINE)
        found[f"{place.path} ({place.pattern})"] = match[1] if match else "nothing"
    return found


def set_version(version: str, root: Path = ROOT) -> None:
    """Write a version into every place, the older ones after it in the provider's list, and open its section."""
    before = next(iter(stated(root).values()))
    for place in PLACES:
        path = root / place.path
        text = path.read_text(encoding="utf-8")
        match = re.search(place.pattern, text, re.MULTILINE)
        if match is None:
            raise SystemExit(f"{place.path} has no {place.pattern}")
        start, end = match.span(1)
        older = f'{version}", "{before}' if '"versions"' in place.pattern and version != before else version
        path.write_text(text[:start] + older + text[end:], encoding="utf-8")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    if f"## {version}" not in text:
        first = text.index("\n## ") + 1
        changelog.write_text(f"{text[:first]}## {version} — unreleased\n\n{text[first:]}", encoding="utf-8")


def problems(root: Path = ROOT) -> list[str]:
    """What keeps the version that is set from being released."""
    versions = stated(root)
    found = []
    if len(set(versions.values())) != 1:
        found += [f"{place} states {version}" for place, version in versions.items()]
    version = next(iter(versions.values()))
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(version)} — ([^\n]+)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None:
        found.append(f"CHANGELOG.md has no section for {version}")
    else:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", section[1]):
            today = datetime.now(UTC).date().isoformat()
            found.append(f"CHANGELOG.md says {version} is {section[1]!r}; write the day, such as {today}")
        if not section[2].strip():
            found.append(f"CHANGELOG.md does not mention {version}")
    status = subprocess.run(["git", "-C", root, "status", "--porcelain"], capture_output=True, text=True, check=False)
    if status.returncode == 0 and status.stdout.strip():
        found.append("the working tree has changes that are not committed")
    return found


def main() -> int:
    """Set or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("version", nargs="?", help="the version to set, such as 0.2.0 or 0.2.0rc1")
    parser.add_argument("--check", action="store_true", help="exit 1 if the version that is set can't be released yet")
    args = parser.parse_args()
    if args.check == (args.version is not None):
        parser.error("give a version, or --check")
    if args.version is not None:
        if not VERSION.fullmatch(args.version):
            parser.error(f"received {args.version!r}; must be such as 0.2.0 or 0.2.0rc1")
        set_version(args.version)
        print(f"set {args.version}; now write its section in CHANGELOG.md")
        return 0
    found = problems()
    for problem in found:
        print(problem)
    print("not ready" if found else f"ready: {next(iter(stated().values()))}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
