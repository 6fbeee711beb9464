"""Checks statements of the pages against the code."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache

import pytest

from airflow_automl import exceptions
from airflow_automl.contract.model import fields, input_shape
from airflow_automl.hooks.sagemaker_automl import automl_defaults
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, table_rows
from tools import compat

SOURCES = (ROOT / "airflow_automl", ROOT / "docker", ROOT / "tests" / "stack")


@cache
def messages() -> tuple[str, ...]:
    """Every text in the source; values inserted at run time are replaced by an ellipsis."""
    found: list[str] = []
    for folder in SOURCES:
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(_piece(value) for value in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value.replace("%s", "…"))
    found += [(ROOT / "docker" / "make-env.sh").read_text().replace("$target", "…")]
    found += [(ROOT / "docker-compose.yaml").read_text().replace(":?", " is missing a value: ")]
    return tuple(" ".join(text.split()) for text in found)


def _piece(node: ast.expr) -> str:
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.IfExp):
        return _piece(node.value.orelse)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def _quoted() -> Iterator[str]:
    for row in table_rows(DOCS / "troubleshooting.md"):
        quoted = re.match(r"`(.+?)`", row[0])
        if quoted:
            yield quoted[1]


QUOTED = list(_quoted())


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_that_is_quoted_is_one_that_the_code_says(message: str) -> None:
    if re.fullmatch(r"AutoML\w+|NoBestCandidate", message):
        assert hasattr(importlib.import_module("airflow_automl.exceptions"), message)
        return
    # An ellipsis in the page may replace more than one in the source.
    pattern = ".*".join(re.escape(part.strip()) for part in message.split("…"))
    assert any(re.search(pattern, text) for text in messages()), f"no such message: {message}"


def test_every_type_of_error_has_an_entry_that_says_whether_to_retry() -> None:
    entries = {row[0]: row[1] for row in table_rows(DOCS / "troubleshooting.md", "By type of error")}
    types = {getattr(exceptions, name) for name in exceptions.__all__}
    leaves = {kind for kind in types if not any(issubclass(other, kind) and other is not kind for other in types)}
    assert entries == {
        f'<a id="{kind.__name__.lower()}"></a>`{kind.__name__}`': (
            "yes" if issubclass(kind, exceptions.AutoMLTransientError) else "no"
        )
        for kind in leaves
    }


def _every_type(root: type[exceptions.AutoMLError]) -> Iterator[type[exceptions.AutoMLError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _every_type(kind)


def test_the_link_of_every_error_leads_to_an_entry() -> None:
    for module in ("plugin.account", "demo.stack", "local.errors", "local.models.artifacts", "local.models.payloads"):
        importlib.import_module(f"airflow_automl.{module}")
    page = (DOCS / "troubleshooting.md").read_text()
    headings = {line.strip("# ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("#")}
    for kind in _every_type(exceptions.AutoMLError):
        name, _, anchor = kind.guide.partition("#")
        assert name == "troubleshooting.md"
        assert f'<a id="{anchor}"></a>' in page or anchor in headings, kind


def test_every_code_that_the_embedded_service_answers_has_an_entry() -> None:
    page = DOCS / "troubleshooting.md"
    calls = [
        node
        for path in (ROOT / "airflow_automl" / "local").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("ServiceError", "_refused")
    ]
    first = [call.args[0] for call in calls]
    codes = {each.value for each in first if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    assert "ValidationException" in codes
    entries = [row[0] for row in table_rows(page, "Calling the embedded Autopilot")]
    assert sorted(entries) == sorted(f'<a id="{code.lower()}"></a>`{code}`' for code in codes)


def test_numbers_of_rules_are_links() -> None:
    numbers = {row[0].partition("</a>")[2] for row in table_rows(DOCS / "reference" / "rules.md")}
    for page in PAGES:
        text = re.sub(r"\[R\d+\]\(|`[^`]*`|</a>R\d+", "", page.read_text())
        named = set(re.findall(r"\bR\d+\b", text)) & numbers
        assert not named - {"R2"}, page  # R2 is a metric, too


def test_errors_link_to_the_documentation_that_the_package_names() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Documentation"] == f"{exceptions.DOCS}/index.md"


def test_pages_that_the_doctor_names_exist() -> None:
    named = set(re.findall(r"…/((?:policies/)?[\w-]+\.(?:md|json))", "\n".join(messages())))
    assert named >= {"aws.md", "iam.md", "policies/job-role-trust.json"}
    assert [name for name in named if (DOCS / name).exists()] == list(named)


def test_the_troubleshooting_page_quotes_messages() -> None:
    assert len(QUOTED) > 20


def test_the_page_states_for_every_member_whether_it_differs_from_aws() -> None:
    patterns = [
        pattern
        for row in table_rows(DOCS / "local.md", "As AWS does, and what differs")
        for pattern in re.findall(r"`([^`]+)`", row[0])
    ]
    paths = {
        field.path for operation in ("CreateAutoMLJob", "CreateAutoMLJobV2") for field in fields(input_shape(operation))
    }
    escaped = [re.sub(r"([\[\]])", r"[\1]", pattern) for pattern in patterns]
    missing = sorted(path for path in paths if not any(fnmatch.fnmatchcase(path, pattern) for pattern in escaped))
    assert not missing
    requests = {pattern for pattern in patterns if re.match(r"[A-Z*]", pattern)}
    idle = [pattern for pattern in requests if not any(fnmatch.fnmatchcase(path, pattern) for path in paths)]
    assert not idle, "no member matches"


@pytest.mark.parametrize("module", ["operators", "sensors", "triggers", "hooks", "notifications", "contract"])
def test_everything_public_has_its_place_in_the_reference(module: str) -> None:
    text = "\n".join(page.read_text() for page in DOCS.rglob("*.md"))
    documented = {path.rpartition(".")[2] for path in re.findall(r"^::: (\S+)", text, re.MULTILINE)}
    loaded = importlib.import_module(f"airflow_automl.{module}")
    public = {name for name in loaded.__all__ if module != "contract" or not _is_data(getattr(loaded, name))}
    assert not public - documented


def _is_data(value: object) -> bool:
    """Whether the name is a return type of a builder or a check, which is documented on its page."""
    return isinstance(value, type)


def test_every_reference_names_something_that_is_there() -> None:
    for page in DOCS.rglob("*.md"):
        for path in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE):
            module, _, name = path.rpartition(".")
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), name), f"{page}: {path}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    records = (DOCS / "decisions" / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        if page.parent.name == "decisions":
            assert page.name == "index.md" or f"]({page.name})" in records, name
        else:
            assert f": {name}" in navigation, name


def test_the_table_of_supported_airflows_is_what_is_tested() -> None:
    rows = {row[0]: row[1:] for row in table_rows(DOCS / "install.md", "What it is tested on") if len(row) == 6}
    for cell in compat.cells().values():
        airflow, python, _, provider, clients = rows.pop(cell.name)
        assert (airflow, python) == (cell.airflow, cell.python)
        if cell.constraints:
            text = (ROOT / "requirements" / cell.constraints).read_text()
            pinned = dict(re.findall(r"^(\S+)==(\S+)", text, re.MULTILINE))
            assert pinned.get("apache-airflow-core", airflow) == airflow
            assert provider == pinned["apache-airflow-providers-amazon"]
            assert clients == f"{pinned['aiobotocore']} / {pinned['botocore']}"
    assert not [name for name in rows if name and not name.startswith(("-", " "))], rows


def test_the_locked_versions_that_the_install_page_names() -> None:
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    pinned = dict(re.findall(r"^(\S+)==([^\s\\]+)", lock, re.MULTILINE))
    airflow, provider = pinned["apache-airflow"], pinned["apache-airflow-providers-amazon"]
    assert f"Airflow {airflow}, amazon provider {provider}" in (DOCS / "install.md").read_text()
    assert [*compat.cells().values()][-1].airflow == airflow


def test_the_comparison_is_with_the_provider_that_is_locked() -> None:
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    version = re.search(r"^apache-airflow-providers-amazon==(\d+\.\d+)", lock, re.MULTILINE)
    assert version is not None
    assert f"amazon provider {version[1]}" in (DOCS / "comparison.md").read_text()


def test_a_connection_that_a_page_shows_is_one_that_the_hook_takes() -> None:
    shown = [block for block in blocks("json") if '"automl": {' in block.text]
    assert {block.page for block in shown} >= {"docs/aws.md", "docs/mwaa.md"}
    for block in shown:
        connection = json.loads(block.text)
        assert automl_defaults(connection.get("extra", connection), str(block))["role_arn"]
