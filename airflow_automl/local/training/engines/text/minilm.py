"""Sentence embeddings of a frozen MiniLM, and a logistic regression on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.models import weights
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.classification.approach import (
    Approach,
    Head,
    Samples,
    Trained,
    fit_embedded,
    open_session,
)
from airflow_automl.local.training.engines.course import Clock

MODEL, TOKENIZER = "encoder.onnx", "tokenizer.json"

MAX_PIECES = 256
"""Word pieces of a text that are read: what the model was trained with."""

_MAX_CHARACTERS = 2_500
"""Texts have more pieces than that in so many characters, in most languages in half of them."""

_PART = 1_000
"""Texts whose pieces are found at once; the clock is read in between."""

_BATCH_PIECES = 4_096
_BATCH_TEXTS = 32
_STRENGTHS = (1.0, 10.0, 100.0)


class Encoder:
    """Texts → unit vectors.

    :param model: the ONNX file.
    :param tokenizer: the tokenizer's JSON file.
    :param threads: how many threads may be used.
    """

    def __init__(self, model: Path, tokenizer: Path, threads: int) -> None:
        from tokenizers import Tokenizer

        self.files = {MODEL: model, TOKENIZER: tokenizer}
        self._session = open_session(model, threads)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        # Cut here, to count what is cut.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.longer = 0
        self._threads = threads

    def __reduce__(self) -> tuple[Any, ...]:
        # A session can't be pickled: another process opens the files again.
        return Encoder, (self.files[MODEL], self.files[TOKENIZER], self._threads)

    def encode(self, texts: Sequence[str], clock: Clock | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Embed texts, short and long ones in batches of their own.

        Long texts are cut; :attr:`longer` counts them.

        :param clock: when to end, even if not all texts were embedded.
        :return: vectors, and the positions of their texts.
        """
        vectors, positions = [np.empty((0, 384), dtype="float32")], list[int]()
        for batch, pieces in self._batches(texts):
            if clock is not None and clock.passed:
                break
            vectors.append(self._run(pieces))
            positions.extend(batch)
        return np.concatenate(vectors), np.array(positions, dtype="int64")

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield the positions of some texts, and their pieces."""
        order = np.random.default_rng(SEED).permutation(len(texts)).tolist()
        for start in range(0, len(order), _PART):
            part = order[start : start + _PART]
            pieces = [self._pieces(texts[position]) for position in part]
            for batch in _batches(pieces):
                yield [part[place] for place in batch], [pieces[place] for place in batch]

    def _pieces(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(" ".join(text[: 4 * _MAX_CHARACTERS].split())[:_MAX_CHARACTERS]).ids
        self.longer += len(found) > MAX_PIECES or len(text) > _MAX_CHARACTERS
        return found if len(found) <= MAX_PIECES else [*found[: MAX_PIECES - 1], found[-1]]

    def _run(self, batch: list[list[int]]) -> np.ndarray:
        width = max(len(entry) for entry in batch)
        ids = np.zeros((len(batch), width), dtype="int64")
        mask = np.zeros_like(ids)
        for row, entry in enumerate(batch):
            ids[row, : len(entry)] = entry
            mask[row, : len(entry)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = self._session.run(None, inputs)
        weight = mask[:, :, None].astype("float32")
        mean = (states * weight).sum(axis=1) / weight.sum(axis=1)
        unit: np.ndarray = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return unit.astype("float32")


def _batches(pieces: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return batches of positions of texts of similar length, in random order, so that any of them are a sample."""
    batches: list[list[int]] = []
    batch: list[int] = []
    for position in sorted(range(len(pieces)), key=lambda each: len(pieces[each])):
        if batch and (len(batch) == _BATCH_TEXTS or (len(batch) + 1) * len(pieces[position]) > _BATCH_PIECES):
            batches.append(batch)
            batch = []
        batch.append(position)
    if batch:
        batches.append(batch)
    order = np.random.default_rng(SEED).permutation(len(batches))
    return [batches[number] for number in order]


@dataclass(frozen=True)
class TrainedMiniLm(Trained):
    """A trained candidate.

    :param encoder: embeds texts.
    :param head: on the embeddings.
    """

    encoder: Encoder
    head: Head

    def predict(self, items: Sequence[str]) -> np.ndarray:
        vectors, positions = self.encoder.encode(items)
        return self.head.probabilities(vectors[np.argsort(positions)])

    def save(self, folder: Path) -> None:
        """Write the encoder's two files and the head: serving needs no other weights."""
        for name, path in self.encoder.files.items():
            shutil.copyfile(path, folder / name)
        self.head.save(folder)

    @classmethod
    def load(cls, folder: Path, threads: int) -> TrainedMiniLm:
        """Read what :meth:`save` wrote."""
        return cls(np.empty(0), {}, (), Encoder(folder / MODEL, folder / TOKENIZER, threads), Head.load(folder))


class MiniLm(Approach):
    """Embeddings of a frozen MiniLM and a logistic regression."""

    name = "minilm"
    weights = ("minilm-int8", "minilm-tokenizer")

    def train(self, samples: Samples, clock: Clock, threads: int) -> TrainedMiniLm:
        model, tokenizer = (weights.locate(name) for name in self.weights)
        encoder = Encoder(model, tokenizer, threads)
        fitted, learned = fit_embedded(encoder.encode, samples, _STRENGTHS, clock)
        notes = []
        if encoder.longer:
            count = len(samples.train) + len(samples.validation)
            notes.append(
                f"{encoder.longer} of {count} texts are longer than the {MAX_PIECES} word pieces that MiniLM reads: it "
                "judges them by their beginning."
            )
        if learned < len(samples.train):
            notes.append(f"MiniLM learned from {learned} of {len(samples.train)} texts: its time limit was reached.")
        settings = {"encoder": "all-MiniLM-L6-v2, int8", "pieces": MAX_PIECES, "strength": fitted.strength}
        return TrainedMiniLm(fitted.probabilities, settings, notes, encoder, fitted.head)
