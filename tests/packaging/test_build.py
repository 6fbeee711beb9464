"""The wheel and the sdist, built from a clean tree."""

from __future__ import annotations

import configparser
import re
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest

import airflow_automl
from tests.packaging.building import ROOT, build, clean_tree

VERSION = airflow_automl.__version__


class Built(NamedTuple):
    wheel: Path
    sdist: Path

    @property
    def in_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    @property
    def in_sdist(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("build")
    wheel, sdist = build(clean_tree(folder / "tree"), folder / "dist")
    assert (wheel.suffix, sdist.suffix) == (".whl", ".gz"), "python -m build makes the wheel from the sdist"
    return Built(wheel, sdist)


def test_they_are_named_after_the_version_and_run_anywhere(built: Built) -> None:
    assert built.wheel.name == f"airflow_automl-{VERSION}-py3-none-any.whl"
    assert built.sdist.name == f"airflow_automl-{VERSION}.tar.gz"


def test_the_wheel_holds_every_file_of_the_package_and_the_example_dags(built: Built) -> None:
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "airflow_automl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    examples = {f"airflow_automl/example_dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    files = {name for name in built.in_wheel if ".dist-info/" not in name}
    assert files == package | examples
    assert "airflow_automl/py.typed" in files


def test_the_wheel_holds_nothing_else(built: Built) -> None:
    assert {name.split("/")[0] for name in built.in_wheel} == {"airflow_automl", f"airflow_automl-{VERSION}.dist-info"}
    assert f"airflow_automl-{VERSION}.dist-info/licenses/LICENSE" in built.in_wheel


def test_the_sdist_can_build_test_and_document_itself(built: Built) -> None:
    needed = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "mkdocs.yml")
    assert set(needed) <= built.in_sdist
    for folder in ("airflow_automl", "dags", "tests", "docs", "docker", "requirements", "tools", "benchmarks"):
        assert any(name.startswith(f"{folder}/") for name in built.in_sdist), folder
    assert "docker-compose.yaml" in built.in_sdist
    assert not [name for name in built.in_sdist if name.startswith((".git/", ".venv", "site/", ".demo", "dist/"))]


def test_the_metadata_has_the_fields_of_a_package_index(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        folder = f"airflow_automl-{VERSION}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        entries = configparser.ConfigParser(delimiters=("=",))
        entries.optionxform = str  # type: ignore[assignment, method-assign]
        entries.read_string(archive.read(f"{folder}/entry_points.txt").decode())
    assert metadata["Name"] == "airflow-automl"
    assert metadata["Version"] == VERSION
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    assert "Amazon SageMaker Autopilot for Apache Airflow" in metadata.get_payload()
    links = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert len(links) > 20
    assert not [link for link in links if not link.startswith("https://")]
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    assert {"Source", "Documentation", "Changelog", "Issues"} <= set(urls)
    assert f"]({urls['Source']}/blob/v{VERSION}/docs/install.md)" in metadata.get_payload()
    assert entries["console_scripts"]["airflow-automl"] == "airflow_automl.cli:main"
    assert entries["apache_airflow_provider"]["provider_info"].startswith("airflow_automl.get_provider_info:")
