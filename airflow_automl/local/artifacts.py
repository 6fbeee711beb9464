"""Model artefacts: what lies in a ``model.tar.gz``, and how to load one.

::

    from airflow_automl.local import artifacts

    predictor = artifacts.load("model.tar.gz")
    predictor.predict(frame)

An artefact holds pickles, and a pickle is code: load only what you trained yourself. The embedded Autopilot loads an
artefact only if its SHA-256 is the one recorded when it was trained.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from airflow_automl.exceptions import AutoMLTerminalError
from airflow_automl.local.data.frame import Feature

__all__ = ["ArtifactError", "Model", "Predictor", "describe", "load", "load_folders", "pack", "unpack", "versions"]

FORMAT_VERSION = 1
METADATA = "metadata.json"
MODEL = "model"

MAX_FILES = 20_000
MAX_BYTES = 20 << 30
"""What an artefact may unpack to; a bomb is stopped before it fills the disk."""

_LOADERS = {
    "autogluon": "airflow_automl.local.engines.ensembling.model",
    "features": "airflow_automl.local.engines.tuning.model",
    "algorithm": "airflow_automl.local.engines.tuning.model",
    "labels": "airflow_automl.local.engines.tuning.model",
}
"""Engine named in the metadata → the module whose ``load(folder, metadata)`` opens it."""

_DISTRIBUTIONS = {"xgboost": ("xgboost", "xgboost-cpu"), "lightgbm": ("lightgbm",), "torch": ("torch",)}


class ArtifactError(AutoMLTerminalError):
    """A model artefact can't be used; the message says why and what to do."""


class Model(Protocol):
    """What the engine of an artefact gives: numbers for rows."""

    def scores(self, rows: Any) -> Any:
        """What the model says about some rows.

        :param rows: a frame of the features, or what the container before this one answered.
        :return: for the last model of a chain: regression: one number a row; classification: one probability for each
            class and row, in the order of the metadata's labels.
        """
        ...


class Predictor:
    """A trained candidate, ready to predict.

    :param metadata: of the first container's artefact.
    :param models: the engines' models, in the order of the containers.
    """

    def __init__(self, metadata: Mapping[str, Any], models: Sequence[Model]) -> None:
        self.metadata = metadata
        self._models = models
        self.features = tuple(Feature.from_json(entry) for entry in metadata["features"])
        self.problem_type = str(metadata["problem_type"])
        self.labels: tuple[int | str, ...] = tuple(metadata["labels"])
        self.threshold = float(metadata.get("threshold", 0.5))
        self.positive_probability = bool(metadata.get("positive_probability", False))

    @property
    def columns(self) -> list[str]:
        """The features' names, in the order in which rows without a header are read."""
        return [feature.name for feature in self.features]

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """Predictions (regression) or probabilities of the classes, in the order of ``labels``.

        :param rows: at least the columns of :attr:`columns`.
        :return: an array of shape (rows,) or (rows, classes).
        """
        values: Any = rows
        for model in self._models:
            values = model.scores(values)
        return np.asarray(values, dtype="float64")

    def decide(self, scores: np.ndarray) -> list[Any]:
        """The prediction that follows from the scores of each row."""
        if not self.labels:
            return [float(value) for value in scores]
        if len(self.labels) == 2:
            chosen = (scores[:, 1] >= self.threshold).astype(int)
        else:
            chosen = scores.argmax(axis=1)
        return [self.labels[index] for index in chosen]

    def predict(self, rows: pd.DataFrame) -> list[Any]:
        """The predicted number or label of each row."""
        return self.decide(self.scores(rows))

    def predict_proba(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The probability of each class.

        :raises ArtifactError: the model is a regression.
        """
        if not self.labels:
            raise ArtifactError("A regression model has no probabilities: use predict().")
        return pd.DataFrame(self.scores(rows), columns=list(self.labels), index=rows.index)


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed versions of Python and some libraries, for an artefact's metadata.

    :param libraries: distribution names; those that are not installed are left out.
    """
    found = {"python": platform.python_version()}
    for library in libraries:
        version = _version(library)
        if version:
            found[library] = version
    return found


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of an artefact (a ``model.tar.gz`` or an unpacked folder), without loading any model.

    :raises ArtifactError: it is not an artefact of this package.
    """
    path = Path(path)
    try:
        if path.is_dir():
            text: str | bytes = (path / METADATA).read_bytes()
        else:
            with tarfile.open(path, "r:gz") as archive:
                member = archive.extractfile(METADATA)
                text = member.read() if member else b""
        document = json.loads(text)
    except (OSError, KeyError, ValueError, EOFError, tarfile.TarError) as error:
        raise ArtifactError(f"{path} is not a model artefact of airflow-automl: {error}.") from error
    if not isinstance(document, dict) or "format_version" not in document:
        raise ArtifactError(f"{path} is not a model artefact of airflow-automl: its {METADATA} has no format_version.")
    return document


def pack(folder: Path, metadata: Mapping[str, Any], target: Path) -> None:
    """Write an artefact.

    :param folder: the engine's files; they go below ``model/``.
    :param metadata: what :func:`load` needs to know; the format's version is added.
    :param target: the ``model.tar.gz`` to write.
    """
    document = {"format_version": FORMAT_VERSION, **metadata}
    with (
        target.open("wb") as raw,
        # Level 1: models hardly get smaller above it, and training waits for nobody.
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        _add(archive, METADATA, json.dumps(document, indent=1).encode())
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, f"{MODEL}/{path.relative_to(folder).as_posix()}", recursive=False, filter=_plain)


def unpack(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Extract an artefact: regular files and folders only, nothing outside of ``folder``, and no bomb.

    :param path: the ``model.tar.gz``.
    :param folder: where to; made if it is missing.
    :raises ArtifactError: the archive is damaged, holds links or devices, or is too large.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    count = size = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                count, size = count + 1, size + member.size
                if not (member.isfile() or member.isdir()):
                    raise ArtifactError(f"{path} holds '{member.name}', which is neither a file nor a folder.")
                if count > MAX_FILES or size > MAX_BYTES:
                    raise ArtifactError(f"{path} unpacks to more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB.")
                archive.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ArtifactError(f"{path} is damaged or unsafe: {error}.") from error


def load(path: str | os.PathLike[str]) -> Predictor:
    """Load a candidate that is one artefact (ENSEMBLING).

    :param path: a ``model.tar.gz``, or the folder it was unpacked to.
    :return: the predictor.
    :raises ArtifactError: it is no artefact, was written with other versions of the libraries, or is one of several
        that make a candidate together: then use :func:`load_folders`.
    """
    path = Path(path)
    if path.is_dir():
        return load_folders([path])
    describe(path)
    with tempfile.TemporaryDirectory(prefix="airflow-automl-") as folder:
        unpack(path, folder)
        return load_folders([Path(folder)])


def load_folders(folders: Sequence[Path]) -> Predictor:
    """Load a candidate from the unpacked artefacts of its containers.

    :param folders: one for each container, in their order.
    :raises ArtifactError: an artefact can't be used here, or they don't make a candidate together.
    """
    documents = [describe(folder) for folder in folders]
    models: list[Model] = []
    for folder, document in zip(folders, documents, strict=True):
        _require_usable(folder, document)
        module = importlib.import_module(_LOADERS[document["engine"]])
        models.append(module.load(folder / MODEL, document))
    expected = documents[0].get("containers", 1)
    kinds = [document["engine"] for document in documents]
    if len(folders) != expected or kinds != documents[0].get("chain", kinds[:1]):
        raise ArtifactError(
            f"These {len(folders)} artefacts ({', '.join(kinds)}) don't make a candidate: "
            f"{expected} are needed ({', '.join(documents[0].get('chain', kinds[:1]))})."
        )
    return Predictor(documents[0], models)


def _require_usable(folder: Path, document: Mapping[str, Any]) -> None:
    if document["format_version"] != FORMAT_VERSION:
        raise ArtifactError(
            f"The artefact in {folder} has format {document['format_version']}; this version of airflow-automl reads "
            f"format {FORMAT_VERSION}."
        )
    if document.get("engine") not in _LOADERS:
        raise ArtifactError(f"The artefact in {folder} is of the unknown engine '{document.get('engine')}'.")
    different = []
    for library, wanted in document.get("libraries", {}).items():
        installed = platform.python_version() if library == "python" else _version(library)
        if installed is None:
            different.append(f"{library} {wanted} (not installed here)")
        elif installed.split(".")[:2] != wanted.split(".")[:2]:
            different.append(f"{library} {wanted} (here {installed})")
    if different:
        raise ArtifactError(
            "The model was written with " + ", ".join(different) + "; install these versions, or train again here."
        )


def _version(library: str) -> str | None:
    for name in _DISTRIBUTIONS.get(library, (library,)):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    import io

    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(content))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who packed it and when: equal models make equal archives."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
