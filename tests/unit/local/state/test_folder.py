"""A data folder belongs to one service, and its secrets to one user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.folder import DataFolder, ServiceInfo, running_service


def info(**changes: object) -> ServiceInfo:
    known: dict[str, object] = {
        "pid": 2**22 + 1,
        "started": 1,
        "endpoint_url": "http://127.0.0.1:1",
        "s3_endpoint_url": "http://127.0.0.1:2",
        "region": "us-east-1",
        "account": "123456789012",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "bucket": "automl",
    }
    return ServiceInfo(**{**known, **changes})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    found = DataFolder(tmp_path / "data")
    found.prepare()
    return found


def test_only_one_service_has_the_folder(folder: DataFolder) -> None:
    with folder.lock(), pytest.raises(StartupError, match="another service"):
        folder.lock()
    folder.lock().close()


def test_secrets_are_for_their_owner_alone_and_last(folder: DataFolder) -> None:
    pair = folder.own_credentials()
    assert folder.own_credentials() == pair
    folder.write_info(info())
    for name in ("credentials.json", "service.json"):
        assert (folder.root / name).stat().st_mode & 0o777 == 0o600
    assert folder.root.stat().st_mode & 0o077 == 0


def test_the_address_that_a_dead_service_published_is_not_used(folder: DataFolder) -> None:
    folder.write_info(info())
    assert folder.read_info() == info()
    with pytest.raises(StartupError, match="no service runs"):
        running_service(folder.root)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"file/data can't be used .*--data-dir"):
        DataFolder(tmp_path / "file" / "data").prepare()


def test_a_full_disk_is_named_whatever_is_written_first(folder: DataFolder) -> None:
    (folder.root / "lock").symlink_to("/dev/full")
    for name in ("service", "credentials"):
        (folder.root / f".{name}.json.{os.getpid()}").symlink_to("/dev/full")
    for write in (folder.lock, folder.own_credentials, lambda: folder.write_info(info())):
        with pytest.raises(StartupError, match="can't be used"):
            write()


def test_keys_that_cannot_be_read_are_not_replaced(folder: DataFolder) -> None:
    (folder.root / "credentials.json").mkdir()
    with pytest.raises(StartupError, match="can't be used"):
        folder.own_credentials()


@pytest.mark.parametrize("content", ["", "[]", "7", "{}", '{"pid": 1}', '{"pid": "x"'])
def test_a_damaged_file_of_a_service_is_as_good_as_none(folder: DataFolder, content: str) -> None:
    for name in ("service.json", "credentials.json"):
        (folder.root / name).write_text(content)
    assert folder.read_info() is None
    assert folder.own_credentials() == folder.own_credentials()
