"""What ``airflow-automl prune`` removes, and what it leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.cli import main
from airflow_automl.local import processes
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder, ServiceInfo
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.state.resources import ResourceStore
from airflow_automl.local.storage import s3
from tests.unit.local.storage.test_s3_rules import CREDENTIALS, Running

LOG = b"x" * 100_000


class World:
    """A data folder with ended jobs, and a real S3 store with their artefacts."""

    def __init__(self, folder: DataFolder, objects: Any) -> None:
        self.folder, self.objects = folder, objects
        database = Database(folder.database)
        self.jobs, self.resources = JobStore(database), ResourceStore(database)

    def add(self, name: str, output: str = "s3://automl/out") -> None:
        self.jobs.add(name, f"arn:{name}", "V2", {"OutputDataConfig": {"S3OutputPath": output}})
        self.jobs.failed(name, "because")
        self.folder.job(name).mkdir(parents=True)
        (self.folder.job(name) / "log.txt").write_bytes(LOG)
        self.objects.put_object(Bucket=s3.BUCKET, Key=f"out/{name}/model.tar.gz", Body=b"model")

    def objects_left(self) -> list[str]:
        return [entry["Key"] for entry in self.objects.list_objects_v2(Bucket=s3.BUCKET).get("Contents", ())]

    def prune(self, *options: str) -> int:
        return main(["prune", "--older-than", "0m", "--data-dir", str(self.folder.root), *options])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("store"))
    yield running
    running.end()


@pytest.fixture
def world(tmp_path: Path, store: Running) -> Iterator[World]:
    folder = DataFolder(tmp_path)
    folder.prepare()
    own = processes.holder(os.getpid())
    url, keys = store.server.endpoint_url, CREDENTIALS
    info = ServiceInfo(
        own.pid, own.started, "", url, "us-east-1", "1" * 12, keys.access_key_id, keys.secret_access_key, s3.BUCKET
    )
    folder.write_info(info)
    world = World(folder, store.client)
    yield world
    for key in world.objects_left():
        world.objects.delete_object(Bucket=s3.BUCKET, Key=key)


def test_working_files_and_logs_go_and_artefacts_stay(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("churn")
    assert world.prune() == 0
    assert world.objects_left() == ["out/churn/model.tar.gz"]
    assert not world.folder.job("churn").exists()
    assert "freed 0.1 MiB on disk: working files and logs of 1 job" in capsys.readouterr().out
    assert world.prune("--artefacts", "--yes") == 0
    assert "freed 0.0 MiB on disk: working files and logs of 0 jobs" in capsys.readouterr().out
    assert world.prune("--artefacts", "--yes") == 0
    assert "no artefacts to delete in the store http://" in capsys.readouterr().out


def test_a_dry_run_lists_and_removes_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("churn")
    assert world.prune("--dry-run", "--artefacts") == 0
    said = capsys.readouterr().out
    assert "churn: s3://automl/out/churn/ (1 object, 0.0 MiB)" in said
    assert "would free 0.1 MiB" in said
    assert "would delete 1 object" in said
    assert world.objects_left() == ["out/churn/model.tar.gz"]
    assert world.folder.job("churn").exists()


@pytest.mark.parametrize(("answer", "code", "left"), [("", 1, 2), ("n", 1, 2), ("y", 0, 1)])
def test_artefacts_go_when_the_user_says_yes(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    world.add("churn")
    world.objects.put_object(Bucket=s3.BUCKET, Key="out/churn-2/not-ours", Body=b"")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert world.prune("--artefacts") == code
    assert len(world.objects_left()) == left
    assert "out/churn-2/not-ours" in world.objects_left()


def test_artefacts_of_a_later_job_below_those_of_an_earlier_one_stay(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.add("churn")
    world.jobs.database.execute("UPDATE jobs SET ended = ended - 100")
    world.add("nested", output="s3://automl/out/churn")
    assert world.prune("--artefacts", "--yes", "--older-than", "1m") == 0
    assert "churn: kept, because" in capsys.readouterr().out
    assert "out/churn/model.tar.gz" in world.objects_left()
    assert world.prune("--artefacts", "--yes") == 0
    assert world.objects_left() == ["out/nested/model.tar.gz"]


def test_without_a_terminal_artefacts_need_an_explicit_yes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("churn")
    assert world.prune("--artefacts") == 1
    assert "Add --yes" in capsys.readouterr().err
    assert world.objects_left() == ["out/churn/model.tar.gz"]
    assert world.prune("--artefacts", "--yes") == 0
    assert world.objects_left() == []


@pytest.mark.parametrize(
    "address", ["s3://automl/out/churn/model.tar.gz", "https://s3.amazonaws.com/automl/out/churn/m"]
)
@pytest.mark.parametrize("kind", ["model", "model-package", "endpoint-config", "endpoint"])
def test_artefacts_that_anything_registered_names_stay(
    world: World, capsys: pytest.CaptureFixture[str], kind: str, address: str
) -> None:
    world.add("churn")
    world.add("other")
    world.resources.add(kind, "r", "arn:r", {"Containers": [{"ModelDataUrl": address}]}, taken=ValueError("taken"))
    assert world.prune("--artefacts", "--yes") == 0
    assert world.objects_left() == ["out/churn/model.tar.gz"]
    assert "churn: kept, because a model" in capsys.readouterr().out


@pytest.mark.parametrize("age", ["-1d", "7", "7y", ""])
def test_an_age_that_is_none_is_named(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prune", "--older-than", age])
    assert f"{age!r} is not an age. Give a number and m, h, d or w" in capsys.readouterr().err


def test_jobs_with_https_addresses_are_pruned_too(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.add("nowhere", "https://s3.amazonaws.com")
    world.add("churn", "https://s3.amazonaws.com/automl/out")
    assert world.prune("--artefacts", "--yes") == 0
    assert world.objects_left() == ["out/nowhere/model.tar.gz"]
