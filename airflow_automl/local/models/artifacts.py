"""Model artefacts: what is in a ``model.tar.gz``, and how to load one.

::

    from airflow_automl.local.models import artifacts

    predictor = artifacts.load(best_candidate["InferenceContainers"])
    predictor.predict(frame)

An artefact holds pickles, and a pickle is code: load only what you trained yourself. The embedded Autopilot loads an
artefact only if its SHA-256 is the one recorded when it was trained.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.metadata
import io
import json
import os
import platform
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

try:
    import numpy as np
    import pandas as pd
    import pyarrow  # noqa: F401 - what reads the values needs it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name} is not installed. Install: pip install numpy pandas pyarrow") from error

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models.archive import ArtifactError, unpack
from airflow_automl.local.models.payloads import Responses
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.storage.client import parse_uri
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.data.columns import locate
from airflow_automl.local.training.data.store import S3Object, Store
from airflow_automl.local.training.data.values import Refused, Unusable

__all__ = [
    "ArtifactError",
    "Predictor",
    "Responder",
    "Stage",
    "Threshold",
    "answer_of",
    "chosen",
    "describe",
    "load",
    "load_folders",
    "pack",
    "unpack",
    "versions",
]

FORMAT_VERSION = 2

Threshold: TypeAlias = float | Sequence[float]
"""How the class of a row is chosen: the probability from which a row is positive, of two classes; of more, what the
probability of each is multiplied by before the largest wins (0.5: by the same)."""
METADATA = "metadata.json"
MODEL = "model"

_LOADERS = {
    "autogluon": "airflow_automl.local.training.engines.tabular.ensembling.model",
    "generation": "airflow_automl.local.training.engines.generation.serving",
    "image": "airflow_automl.local.training.engines.image.serving",
    "text": "airflow_automl.local.training.engines.text.serving",
    "timeseries": "airflow_automl.local.training.engines.timeseries.serving",
    "tuning": "airflow_automl.local.training.engines.tabular.tuning.serving",
}
"""Engine named in the metadata → the module that opens it.

It has ``load_stage(folder, metadata, environment, threads)`` if the model takes rows of a table (:class:`Stage`), else
``load_model`` with the same parameters (:class:`Responder`).
"""

_DISTRIBUTIONS = {"xgboost": ("xgboost", "xgboost-cpu"), "lightgbm": ("lightgbm",), "torch": ("torch",)}


class Stage(Protocol):
    """What one container does: a value in, a value out.

    The first stage of a chain takes a frame of the features. The last one answers a mapping with ``predicted_label``
    (a number or label for each row) and, for classes, ``probability`` (one for each row), ``probabilities`` (rows by
    classes) and ``labels`` (the classes). What passes in between is the engine's affair.
    """

    def __call__(self, value: Any) -> Any:
        """Process the rows of one request."""
        ...


@runtime_checkable
class Responder(Protocol):
    """A trained candidate in one container, whose requests and answers are not rows of a table."""

    def respond(self, requests: Sequence[Payload]) -> Responses:
        """Answer requests that wait, by one prediction.

        :param requests: at least one.
        :return: for each of the first requests, at least one, the answer and its type, or why it can't be answered.
        """
        ...


class Predictor:
    """A trained candidate, ready to predict.

    :param metadata: of the first container's artefact.
    :param stages: one for each container.
    """

    def __init__(self, metadata: Mapping[str, Any], stages: Sequence[Stage]) -> None:
        self.metadata = metadata
        self._stages = stages
        self.features = tuple(Codec.from_json(entry) for entry in metadata["features"])
        self.problem_type = str(metadata["problem_type"])
        self.labels: tuple[float | str, ...] = tuple(metadata["labels"])

    @property
    def columns(self) -> list[str]:
        """The features' names, in the order in which rows without a header are read."""
        return [feature.name for feature in self.features]

    def answer(self, rows: pd.DataFrame, *, conformed: bool = False) -> Mapping[str, Any]:
        """All that the model says about some rows.

        :param rows: at least the columns of :attr:`columns`; numbers, dates and text are read as in training.
        :param conformed: whether the rows have just these columns already, typed as in training.
        :return: ``predicted_label`` and, for classes, ``probability``, ``probabilities`` and ``labels``.
        :raises ArtifactError: a column is missing, or has values of another kind than in training.
        """
        value: Any = rows if conformed else self._read(rows)
        for stage in self._stages:
            value = stage(value)
        answer: Mapping[str, Any] = value
        return answer

    def _read(self, rows: pd.DataFrame) -> pd.DataFrame:
        try:
            order, missing = locate(list(rows.columns), self.columns)
        except ValueError as error:
            raise ArtifactError(str(error)) from error
        if missing:
            raise ArtifactError(f"The rows lack {listing(missing)}; the model takes {listing(self.columns, 30)}.")
        found = {}
        for feature, position in zip(self.features, order, strict=True):
            try:
                found[feature.name] = feature.take(rows.iloc[:, position])
            except (Refused, Unusable) as error:
                where = f"Row {error.row + 1}" if isinstance(error, Refused) else f"The column '{feature.name}'"
                raise ArtifactError(f"{where}: {error}. The training data has no such value.") from error
        # Without the caller's labels: AutoGluon takes them for positions where a date is missing.
        return pd.DataFrame(found, copy=False)

    def predict(self, rows: pd.DataFrame) -> list[Any]:
        """The predicted number or label of each row."""
        return list(self.answer(rows)["predicted_label"])

    def predict_proba(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The probability of each class.

        :raises ArtifactError: the model is a regression.
        """
        if not self.labels:
            raise ArtifactError("A regression model has no probabilities: use predict().")
        found = np.asarray(self.answer(rows)["probabilities"], dtype="float64")
        return pd.DataFrame(found, columns=list(self.labels), index=rows.index)


def chosen(scores: np.ndarray, threshold: Threshold = 0.5) -> np.ndarray:
    """The position of the predicted class of each row.

    :param scores: probabilities of the classes for each row.
    :param threshold: see :data:`Threshold`.
    """
    if scores.shape[1] == 2:
        return np.asarray(scores[:, 1] >= threshold, dtype=int)
    return np.asarray((scores * np.asarray(threshold)).argmax(axis=1))


def answer_of(
    scores: np.ndarray, labels: Sequence[float | str], threshold: Threshold = 0.5, positive_probability: bool = False
) -> dict[str, Any]:
    """The answer of a chain's last stage, from plain scores.

    :param scores: predictions, or probabilities of the classes for each row.
    :param labels: the classes (of two, the second is the positive one); empty for regression.
    :param threshold: see :data:`Threshold`.
    :param positive_probability: binary: ``probability`` is that of the positive class (HYPERPARAMETER_TUNING), not that
        of the predicted one (ENSEMBLING).
    """
    if not labels:
        return {"predicted_label": [float(value) for value in scores]}
    found = chosen(scores, threshold)
    shown = np.ones_like(found) if len(labels) == 2 and positive_probability else found
    return {
        "predicted_label": [labels[index] for index in found],
        "probability": scores[np.arange(len(scores)), shown],
        "probabilities": scores,
        "labels": list(labels),
    }


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
    except (OSError, KeyError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:
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
        # Higher levels hardly make models smaller.
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        _add(archive, METADATA, json.dumps(document, indent=1).encode())
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, f"{MODEL}/{path.relative_to(folder).as_posix()}", recursive=False, filter=_plain)


def load(
    source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[str | os.PathLike[str] | Mapping[str, Any]],
) -> Any:
    """Load a candidate.

    :param source: its ``model.tar.gz``, or the folder that was unpacked to; or its ``InferenceContainers`` as the
        service describes them, or the paths of their artefacts in the same order (HYPERPARAMETER_TUNING has several).
        What is in S3 is read with boto3, from the store and with the credentials that the environment names.
    :return: a :class:`Predictor`; for other problem types than tables what their engine's ``load_model`` returns.
    :raises ArtifactError: the file is not an artefact or can't be read, needs other versions of the libraries, or is
        one of several that make a candidate together.
    """
    sources = [source] if isinstance(source, str | os.PathLike | Mapping) else source
    containers: list[Mapping[str, Any]] = [
        each if isinstance(each, Mapping) else {"ModelDataUrl": each} for each in sources
    ]
    paths = [os.fspath(container["ModelDataUrl"]) for container in containers]
    with tempfile.TemporaryDirectory(prefix="airflow-automl-") as base:
        # The first and the last container of a classification often have the same artefact.
        folders = {path: _folder_of(path, Path(base, str(number))) for number, path in enumerate(dict.fromkeys(paths))}
        return load_folders([folders[path] for path in paths], [each.get("Environment") or {} for each in containers])


def _folder_of(path: str, scratch: Path) -> Path:
    if Path(path).is_dir():
        return Path(path)
    if path.startswith("s3://"):
        archive = scratch.with_suffix(".tar.gz")
        try:
            Store().download(S3Object(*parse_uri(path)), archive)
        except ModuleNotFoundError as error:
            raise ArtifactError(f"{path} is in S3: pip install boto3, or give a downloaded file's path.") from error
        except JobFailure as error:
            raise ArtifactError(str(error)) from error
        path = str(archive)
    describe(path)
    unpack(path, scratch)
    return scratch


def load_folders(
    folders: Sequence[Path], environments: Sequence[Mapping[str, str]] | None = None, threads: int = 1
) -> Any:
    """Load a candidate from the unpacked artefacts of its containers.

    :param folders: one for each container, in their order.
    :param environments: Environment of each container; by default none.
    :param threads: how many threads a prediction may use.
    :return: as for :func:`load`.
    :raises ArtifactError: an artefact can't be used here, or they don't make a candidate together.
    """
    documents = [describe(folder) for folder in folders]
    for folder, document in zip(folders, documents, strict=True):
        _require_usable(folder, document)
    expected = int(documents[0].get("containers", 1))
    if len(folders) != expected:
        raise ArtifactError(
            f"{expected} containers make this candidate, not {len(folders)}: take all of its InferenceContainers."
        )
    environments = environments or [{} for _ in folders]
    try:
        loaders = [importlib.import_module(loader_of(document)) for document in documents]
        if hasattr(loaders[0], "load_model"):
            return loaders[0].load_model(folders[0] / MODEL, documents[0], environments[0], threads)
        stages = [
            loader.load_stage(folder / MODEL, document, environment, threads)
            for loader, folder, document, environment in zip(loaders, folders, documents, environments, strict=True)
        ]
    except ModuleNotFoundError as error:
        hint = _to_install(documents[0].get("written_with", {}))
        raise ArtifactError(f"The model needs {error.name}, which is not installed here.{hint}") from error
    return Predictor(documents[0], stages)


def loader_of(metadata: Mapping[str, Any]) -> str:
    """The module that opens an artefact; of an unknown engine, this one.

    :param metadata: of the artefact.
    """
    return _LOADERS.get(str(metadata.get("engine")), __name__)


def _require_usable(folder: Path, document: Mapping[str, Any]) -> None:
    if document["format_version"] != FORMAT_VERSION:
        raise ArtifactError(
            f"The artefact in {folder} has format {document['format_version']}; this version of airflow-automl reads "
            f"format {FORMAT_VERSION}."
        )
    if document.get("engine") not in _LOADERS:
        raise ArtifactError(f"The artefact in {folder} is of the unknown engine '{document.get('engine')}'.")
    different, packages = [], {}
    for library, wanted in document.get("libraries", {}).items():
        installed = platform.python_version() if library == "python" else _version(library)
        if installed is None:
            different.append(f"{library} {wanted} (not installed here)")
        elif installed.split(".")[:2] != wanted.split(".")[:2]:
            different.append(f"{library} {wanted} (here {installed})")
        else:
            continue
        packages[library] = wanted
    if different:
        raise ArtifactError(
            "The model was written with "
            + ", ".join(different)
            + "; install these versions, or train again here."
            + _to_install(packages)
        )


def _to_install(packages: Mapping[str, str]) -> str:
    pinned = " ".join(f"'{name}=={version}'" for name, version in packages.items() if name != "python")
    return f" The packages: pip install {pinned}" if pinned else ""


def _version(library: str) -> str | None:
    for name in _DISTRIBUTIONS.get(library, (library,)):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
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
