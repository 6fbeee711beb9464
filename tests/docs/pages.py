"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A code block: its page and line, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> Iterator[Block]:
    """All code blocks in some languages."""
    for page in PAGES:
        text = page.read_text()
        for found in _FENCE.finditer(text):
            if found["language"] in languages:
                line = text.count("\n", 0, found.start()) + 1
                yield Block(page.relative_to(ROOT).as_posix(), line, found["language"], textwrap.dedent(found["text"]))


def commands() -> Iterator[tuple[Block, str]]:
    """Every command in a page's console blocks."""
    for block in blocks("console", "bash", "sh", "shell"):
        prompt = block.language == "console"
        joined = re.sub(r"\\\n\s*>?\s*", " ", block.text)
        for line in joined.splitlines():
            if prompt and not line.startswith("$ "):
                continue
            command = line.removeprefix("$ ").split("   #")[0].split(" # ")[0].strip()
            if command:
                yield block, command


def table_rows(page: Path, heading: str | None = None) -> Iterator[list[str]]:
    """The rows of a page's tables, without their heads; of one section if a heading is named."""
    section = ""
    previous = ""
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        row = line.startswith("|") and previous.startswith("|") and not re.fullmatch(r"[|\s:-]+", line)
        if row and heading in (None, section):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        previous = line
