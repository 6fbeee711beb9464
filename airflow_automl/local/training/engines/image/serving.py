"""The container of an image classification, as its process runs it: one image a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.errors import listing
from airflow_automl.local.models import payloads
from airflow_automl.local.models.artifacts import answer_of
from airflow_automl.local.models.payloads import PayloadError, Responses
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.engines.classification import blend
from airflow_automl.local.training.engines.classification.approach import Trained
from airflow_automl.local.training.engines.image import pictures
from airflow_automl.local.training.engines.image.backbone import Backbone
from airflow_automl.local.training.engines.image.cnn import Cnn
from airflow_automl.local.training.engines.image.network import Network
from airflow_automl.local.training.engines.image.pictures import PictureError

CONTENT_TYPES = ("application/x-image", "image/png", "image/jpeg")

_ALIASES = {"image/jpg": "image/jpeg", "image/*": "application/x-image"}

_BATCH = 16
"""Images of one prediction."""


class ImagePredictor:
    """A trained image classification.

    :param model: the trained candidate.
    :param metadata: of its artefact.
    :param keys: what a response holds.
    """

    def __init__(self, model: Trained, metadata: Mapping[str, Any], keys: Sequence[str]) -> None:
        self.metadata = metadata
        self.problem_type = str(metadata["problem_type"])
        self.labels: tuple[str, ...] = tuple(metadata["labels"])
        self._model = model
        self._keys = keys
        self._bits = int(metadata.get("bits", 16))

    def predict(self, images: Sequence[bytes | Path]) -> list[str]:
        """Return the label of each image.

        :param images: contents of PNG or JPEG files, or the files.
        :raises PictureError: one of them can't be read.
        """
        return [self.labels[code] for code in self._probabilities(images).argmax(axis=1)]

    def predict_proba(self, images: Sequence[bytes | Path]) -> pd.DataFrame:
        """Return the probability of each class: images by labels.

        :param images: as for :meth:`predict`.
        """
        return pd.DataFrame(self._probabilities(images), columns=list(self.labels))

    def respond(self, requests: Sequence[Payload]) -> Responses:
        """Answer requests; see :class:`airflow_automl.local.models.artifacts.Responder`."""
        return payloads.answer_together(requests[:_BATCH], partial(_read, self._bits), self._answers)

    def _answers(self, read: Sequence[tuple[str, np.ndarray]]) -> Responses:
        rows = np.asarray(self._model.predict([picture for _, picture in read]), dtype="float64")
        return [
            payloads.encode(answer_of(row[np.newaxis], self.labels), self._keys, kind)
            for row, (kind, _) in zip(rows, read, strict=True)
        ]

    def _probabilities(self, images: Sequence[bytes | Path]) -> np.ndarray:
        found = self._model.predict([pictures.read(image, self._bits) for image in images])
        return np.asarray(found, dtype="float64")


def _read(bits: int, request: Payload) -> tuple[str, np.ndarray]:
    """Return the type of the answer, and the picture."""
    given = (request.content_type or CONTENT_TYPES[0]).partition(";")[0].strip().lower()
    if _ALIASES.get(given, given) not in CONTENT_TYPES:
        raise PayloadError(
            f"The model can't read the content type {request.content_type}; it reads {listing(CONTENT_TYPES)}: one "
            "image as it is in its file."
        )
    # A batch transform without Accept repeats its content type there.
    wanted = [part for part in (request.accept or "").split(",") if "image" not in part]
    kind = payloads.negotiate(",".join(wanted))
    try:
        return kind, pictures.read(request.body, bits)
    except PictureError as error:
        raise PayloadError(f"The image can't be read: {error}.") from error


def load_model(
    folder: Path, metadata: Mapping[str, Any], environment: Mapping[str, str], threads: int
) -> ImagePredictor:
    """Open the files of an artefact; there is no code in them.

    :param environment: of the container; ``SAGEMAKER_INFERENCE_OUTPUT`` says what is answered.
    """
    keys = payloads.response_keys(environment, regression=False)
    openers = dict.fromkeys((Backbone.name, Cnn.name), lambda path: Network.load(path, threads))
    return ImagePredictor(blend.load(folder, metadata, openers), metadata, keys)
