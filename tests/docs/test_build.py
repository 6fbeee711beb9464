"""The documentation is built strictly, and the parameters in its reference pages agree with the code."""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

pytest.importorskip("mkdocs")

_ROW = re.compile(r'<tr class="doc-section-item">\s*<td>\s*<code>(\w+)</code>(.*?)</tr>', re.DOTALL)


def build(site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command of ``make docs``."""
    command = re.search(r"mkdocs (build.*)", (ROOT / "Makefile").read_text())
    assert command is not None
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *command[1].split(), "--site-dir", str(site), *options],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = build(folder)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return folder


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    dead = ["nowhere.md", "#nowhere", "/absolute.md", "nowhere/", "images/nowhere.png", "../outside.md"]
    page = "\n".join([*(f"[dead]({link})" for link in dead), "[dead][airflow_automl.nowhere]"])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# One page\n\n{page}\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {tmp_path}/docs\nnav: [index.md]\n")
    result = build(tmp_path / "site", "--config-file", str(config))
    assert result.returncode != 0
    warnings = "\n".join(line for line in result.stderr.splitlines() if "WARNING" in line)
    for link in (*dead, "airflow_automl.nowhere"):
        assert f"'{link}'" in warnings, warnings


def documented(page: Path) -> Iterator[object]:
    """The objects that a page describes, and their public methods."""
    for path in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE):
        found = pydoc.locate(path)
        assert found is not None, path
        yield found
        yield from (each for name, each in vars(found).items() if not name.startswith("_") and callable(each))


def optional(found: object) -> set[str]:
    """Parameters with a default, of a class also those of its bases."""
    functions = [base.__init__ for base in inspect.getmro(found)] if inspect.isclass(found) else [found]
    taken = [each for function in functions for each in inspect.signature(function).parameters.values()]
    return {each.name for each in taken if each.default is not each.empty or each.kind is each.VAR_KEYWORD}


@pytest.mark.parametrize("page", sorted((DOCS / "reference").rglob("*.md")), ids=lambda page: page.stem)
def test_a_parameter_that_has_a_default_is_not_shown_as_required(site: Path, page: Path) -> None:
    shown = (site / page.relative_to(DOCS).with_suffix("") / "index.html").read_text()
    required = {name for name, rest in _ROW.findall(shown) if "<em>required</em>" in rest}
    functions = [each for each in documented(page) if inspect.isroutine(each) or inspect.isclass(each)]
    mandatory = {name for each in functions for name in _parameters(each) - optional(each)}
    assert required <= mandatory


def _parameters(found: object) -> set[str]:
    functions = [base.__init__ for base in inspect.getmro(found)] if inspect.isclass(found) else [found]
    return {name for function in functions for name in inspect.signature(function).parameters}


def test_rules_in_parameter_tables_are_links_to_them(site: Path) -> None:
    rules = (site / "reference" / "rules" / "index.html").read_text()
    found = 0
    for page in (site / "reference").rglob("index.html"):
        text = page.read_text()
        assert not re.search(r"\(R\d+[,) ]", text) or page.parent.name in ("fields", "rules"), page
        for address, number in re.findall(r'href="([./]+rules/)#(r\d+)">R\d+</a>', text):
            assert (page.parent / address / "index.html").is_file(), page
            assert f'id="{number}"' in rules
            found += 1
    assert found > 50


def test_no_private_member_is_described(site: Path) -> None:
    pages = [page.read_text() for page in (site / "reference").rglob("index.html")]
    described = {name for page in pages for name in re.findall(r'id="(airflow_automl\.[\w.]+)"', page)}
    assert len(described) > 60
    assert not [name for name in described if re.search(r"\._|\.__", name)]
