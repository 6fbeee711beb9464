"""Setting the version for a release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import airflow_automl
from tests.packaging.building import ROOT
from tools import release


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in {place.path for place in release.PLACES} | {"CHANGELOG.md"}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_every_place_states_the_same_version() -> None:
    assert len(set(release.stated().values())) == 1, release.stated()


def test_a_new_version_is_written_everywhere(checkout: Path) -> None:
    release.set_version("7.8.9", checkout)
    assert set(release.stated(checkout).values()) == {"7.8.9"}
    assert (checkout / "CHANGELOG.md").read_text().index("## 7.8.9 — unreleased") < (
        checkout / "CHANGELOG.md"
    ).read_text().index("## 0.1.0")
    before = airflow_automl.__version__
    assert f'"versions": ["7.8.9", "{before}"' in (checkout / "airflow_automl/get_provider_info.py").read_text()


def test_it_is_not_ready_before_its_changes_are_written_and_dated(checkout: Path) -> None:
    release.set_version("7.8.9", checkout)
    found = "\n".join(release.problems(checkout))
    assert "is 'unreleased'; write the day" in found
    assert "does not mention 7.8.9" in found
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("7.8.9 — unreleased\n", "7.8.9 — 2026-01-02\n\n- News.\n"))
    assert release.problems(checkout) == []


def test_places_that_disagree_are_named(checkout: Path) -> None:
    path = checkout / "airflow_automl/__init__.py"
    path.write_text(path.read_text().replace(airflow_automl.__version__, "0.0.1"))
    assert any("__init__.py" in problem and "0.0.1" in problem for problem in release.problems(checkout))
