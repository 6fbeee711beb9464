"""Unpacks artefacts, with little to import: the service unpacks what a model host loads."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from airflow_automl.exceptions import AutoMLTerminalError

MAX_FILES = 20_000
MAX_BYTES = 20 << 30
"""What an artefact may unpack to; a bomb is stopped before it fills the disk."""


class ArtifactError(AutoMLTerminalError):
    """A model artefact can't be used; the message says why and what to do."""


def unpack(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Extract an artefact: regular files and folders only, nothing outside of ``folder``, and at most the allowed size.

    :param path: the ``model.tar.gz``.
    :param folder: where to; made if it is missing.
    :raises ArtifactError: the archive is damaged, holds links or devices, or is too large.
    """
    target = Path(folder).resolve()
    target.mkdir(parents=True, exist_ok=True)
    count = size = 0
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
            for member in archive:
                count, size = count + 1, size + member.size
                # Python before 3.11.4 has no extraction filters.
                place = (target / member.name).resolve()
                if not (member.isfile() or member.isdir()):
                    raise ArtifactError(f"{path} holds '{member.name}', which is neither a file nor a folder.")
                if not place.is_relative_to(target):
                    raise ArtifactError(f"{path} holds '{member.name}', which leads out of its folder.")
                if count > MAX_FILES or size > MAX_BYTES:
                    raise ArtifactError(f"{path} unpacks to more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB.")
                place.parent.mkdir(parents=True, exist_ok=True)
                if content := archive.extractfile(member):
                    with content, place.open("wb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
                else:
                    place.mkdir(exist_ok=True)
            # Reading to the end checks the checksum; after the last file there is only filling.
            while (rest := packed.read(1 << 20)) and size <= MAX_BYTES:
                size += len(rest)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArtifactError(f"{path} is damaged or unsafe: {error}.") from error
