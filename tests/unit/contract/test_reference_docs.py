"""The reference pages agree with the code."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_automl.contract import builders
from airflow_automl.contract.builders.problems import ProblemOptions
from airflow_automl.contract.rules import RULES

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("reference_docs", ROOT / "tools" / "reference_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(tool):
    return {row.number: row for row in tool.rules()}


def test_the_page_of_fields_is_current():
    command = [sys.executable, ROOT / "tools" / "reference_docs.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_rule_is_on_the_page(rows):
    assert {*(f"R{number}" for number in range(1, 116)), *(rule.number for rule in RULES)} <= set(rows)


def test_the_page_lists_exactly_the_rules_that_are_checked(rows):
    severities = {"rejected": "error", "warned": "warning"}
    for number, row in rows.items():
        said = {severities[word] for word in row.broken.split(", ") if word in severities}
        done = {rule.severity for rule in RULES if rule.number == number}
        assert said == done, number
        assert not done or "check" in row.seen_by, number


def test_every_rules_fields_are_fields(tool, rows):
    listed = {field.path for table in tool.tables() for field in tool.fields(table.shape)}
    for row in rows.values():
        for pattern in row.patterns:
            regex = re.escape(pattern).replace(r"\*", ".*")
            assert any(re.fullmatch(regex, path) for path in listed), (row.number, pattern)


def test_the_code_named_for_each_field_exists(tool):
    names = {
        name
        for handlers in (tool.SAID, tool.READ, tool.LOOKED_UP)
        for _, text in handlers
        for name in re.findall(r"`([^`]+)`", text)
    }
    parameters = {parameter for name in builders.__all__ for parameter in _parameters(getattr(builders, name))} | set(
        ProblemOptions.__annotations__
    )
    for name in names:
        path = ROOT / "airflow_automl" / name.replace(".", "/")
        if name.endswith("="):
            assert name[:-1] in parameters | {"name", "role"}, name
        else:
            assert name in builders.__all__ or path.is_dir() or path.with_suffix(".py").is_file(), name


def _parameters(function):
    return function.__annotations__
