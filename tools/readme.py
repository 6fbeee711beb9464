"""Hatch's metadata hook: the README of a package index has absolute links, those of the checkout stay relative."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?://|#)([^)]+)\)")


def absolute(text: str, source: str, version: str) -> str:
    """Return Markdown whose links and images lead to the version's files in the source repository."""

    def lead(link: re.Match[str]) -> str:
        kind = "raw" if link[1] else "blob"
        return f"{link[1]}{link[2]}({source}/{kind}/v{version}/{link[3]})"

    return _LINK.sub(lead, text)


class Readme(MetadataHookInterface):
    """Fills in ``project.readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Read the README and make its links absolute."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        shown = absolute(text, metadata["urls"]["Source"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": shown}
