"""From a model that AutoGluon just finished to an artefact in S3, while the next one trains."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.data.store import Store
from airflow_automl.local.training.engines.tabular.ensembling.model import distributions

__all__ = ["Exporter", "Snapshot"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What AutoGluon knew when a model was done.

    :param folder: copies of the predictor's small files, in AutoGluon's layout.
    :param models: folders of the models that this one needs, itself included.
    :param name: AutoGluon's name of the model.
    :param threshold: probability from which a row is positive.
    """

    folder: Path
    models: dict[str, Path]
    name: str
    threshold: float

    @classmethod
    def take(cls, trainer: Any, name: str, threshold: float, folder: Path) -> Snapshot:
        """Freeze the state of a trainer in the middle of its fit; quick, the training waits for it.

        :param trainer: AutoGluon's trainer.
        :param name: the model that is done.
        :param threshold: its threshold.
        :param folder: where the copies go.
        """
        root = Path(trainer.path).parent
        (folder / "models").mkdir(parents=True)
        callbacks, trainer.callbacks = trainer.callbacks, []
        try:
            trainer.save()
        finally:
            trainer.callbacks = callbacks
        for path in root.iterdir():
            if path.is_file():
                shutil.copy2(path, folder / path.name)
        shutil.copy2(Path(trainer.path) / trainer.trainer_file_name, folder / "models")
        models = {
            needed: Path(trainer.path) / trainer.get_model_attribute(needed, "path")[-1]
            if isinstance(trainer.get_model_attribute(needed, "path"), tuple | list)
            else Path(trainer.path) / needed
            for needed in trainer.get_minimum_model_set(name)
        }
        return cls(folder, models, name, threshold)


class Exporter:
    """Packs and uploads artefacts one after the other in a thread of its own.

    :param store: where artefacts go.
    :param dataset: what the models were trained on.
    :param metadata: what all artefacts of the job have in common.
    """

    def __init__(self, store: Store, dataset: TabularDataset, metadata: dict[str, Any]) -> None:
        self._store = store
        self._metadata = metadata | {
            "engine": "autogluon",
            "problem_type": dataset.problem_type,
            "objective": dataset.objective,
            "target": dataset.target,
            "features": [feature.as_json() for feature in dataset.features],
            "escaped": dataset.escaped,
            "labels": list(dataset.labels),
        }
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="export")
        self._pending: list[Future[None]] = []

    def submit(self, snapshot: Snapshot, uri: str, done: Callable[[str | None, str | None], None]) -> None:
        """Export a model in the background.

        :param snapshot: the model.
        :param uri: address of its ``model.tar.gz``.
        :param done: called in the background with the artefact's SHA-256, or with ``None`` and why it failed.
        """
        self._pending.append(self._pool.submit(self._export, snapshot, uri, done))

    def wait(self) -> None:
        """Return when everything that was submitted is done."""
        pending, self._pending = self._pending, []
        for future in pending:
            future.result()

    def close(self) -> None:
        """Drop what has not begun and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _export(self, snapshot: Snapshot, uri: str, done: Callable[[str | None, str | None], None]) -> None:
        archive = snapshot.folder.with_suffix(".tar.gz")
        try:
            self._strip(snapshot)
            metadata = self._metadata | {
                "model": snapshot.name,
                "threshold": snapshot.threshold,
                "libraries": artifacts.versions(distributions(list(snapshot.models))),
            }
            artifacts.pack(snapshot.folder, metadata, archive)
            digest = self._store.upload(archive, uri, "application/gzip")
        except JobFailure as failure:
            log.warning("The model %s could not be stored: %s", snapshot.name, failure.reason)
            done(None, failure.reason)
        except Exception as error:
            log.exception("The model %s could not be exported", snapshot.name)
            done(None, f"The artefact of {snapshot.name} could not be made: {error}")
        else:
            done(digest, None)
        finally:
            shutil.rmtree(snapshot.folder, ignore_errors=True)
            archive.unlink(missing_ok=True)

    @staticmethod
    def _strip(snapshot: Snapshot) -> None:
        """Leave one model and what it needs, so that the artefact is small and opens fast."""
        from autogluon.tabular import TabularPredictor

        for name, path in snapshot.models.items():
            # Links, not copies: the files of a finished model never change.
            shutil.copytree(path, snapshot.folder / "models" / name, copy_function=os.link)
        predictor = TabularPredictor.load(str(snapshot.folder))
        predictor.delete_models(models_to_keep=[snapshot.name], delete_from_disk=False)
        predictor.set_model_best(snapshot.name, save_trainer=True)
