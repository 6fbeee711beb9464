"""Artefacts on their way from the store to the model host."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_automl.local.serving.model_host_client import Container, ModelHost
from airflow_automl.local.state.folder import DataFolder


def test_models_that_share_an_artefact_may_be_loaded_at_once(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        entry = tarfile.TarInfo("metadata.json")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"{}"))
    both = threading.Barrier(2, timeout=10)

    class Store:
        def download_file(self, bucket: str, key: str, path: str) -> None:
            both.wait()
            shutil.copy(archive, path)

    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    host = ModelHost(folder, Store, 1)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    models = [Container("image", "s3://automl/model.tar.gz", sha256, {"OUTPUT": output}) for output in ("a", "b")]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(host._fetch, models)) == [folder.models / sha256] * 2
    assert [path.name for path in folder.models.iterdir()] == [sha256]
