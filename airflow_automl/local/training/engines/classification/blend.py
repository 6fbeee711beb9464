"""Two approaches as one candidate: the better one, or the weighted mean of their probabilities if that is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.classification.approach import Trained, score

BLEND = "blend"

_SHARES = (0.25, 0.5, 0.75)
"""Few, so that a weight chosen on few samples is not far from the best one."""


@dataclass(frozen=True)
class Blend(Trained):
    """A trained candidate made of others.

    :param parts: name of the approach → what it trained.
    :param weights: the same names → share of its probabilities; they sum to 1.
    """

    parts: Mapping[str, Trained]
    weights: Mapping[str, float]

    def predict(self, items: Sequence[Any]) -> np.ndarray:
        return self.mean({name: part.predict(items) for name, part in self.parts.items()})

    def mean(self, answers: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the weighted mean of what the parts answered."""
        return np.asarray(sum(weight * answers[name] for name, weight in self.weights.items()))

    def save(self, folder: Path) -> None:
        """Write the files of each part into a folder of its own."""
        for name, part in self.parts.items():
            (folder / name).mkdir()
            part.save(folder / name)


def load(folder: Path, metadata: Mapping[str, Any], openers: Mapping[str, Callable[[Path], Trained]]) -> Trained:
    """Open a candidate, blended or not.

    :param metadata: of the artefact.
    :param openers: name of an approach → what opens the folder of its files.
    :raises ValueError: the candidate is of an unknown approach.
    """
    weights = metadata["settings"].get("weights")
    unknown = set(weights or [metadata["approach"]]) - set(openers)
    if unknown:
        raise ValueError(f"this version has no classification with '{unknown.pop()}'")
    if weights is None:
        return openers[metadata["approach"]](folder)
    return Blend(np.empty(0), {}, (), {name: openers[name](folder / name) for name in weights}, weights)


def blend(parts: Mapping[str, Trained], codes: np.ndarray) -> Blend:
    """Return the better of two candidates, or their weighted mean if it is more accurate on the validation samples.

    The weights are those with the highest likelihood. To measure the mean, each half of the samples gets the weights
    that are best for the other half.

    :param parts: name of the approach → what it trained; one or two.
    :param codes: class of each validation sample.
    """
    reached = {name: score(part.probabilities, codes) for name, part in parts.items()}
    best = max(reached, key=lambda name: reached[name])
    weights, probabilities = {best: 1.0}, parts[best].probabilities
    if len(parts) == 2:
        first, second = (part.probabilities for part in parts.values())
        halves = np.random.default_rng(SEED).permutation(len(codes)) % 2 == 0
        measured = np.empty_like(first)
        for half in (halves, ~halves):
            share = _share(first[~half], second[~half], codes[~half])
            measured[half] = share * first[half] + (1 - share) * second[half]
        if score(measured, codes) > reached[best]:
            share = _share(first, second, codes)
            weights, probabilities = dict(zip(parts, (share, 1 - share), strict=True)), measured
    used = {name: parts[name] for name in weights}
    settings = {"weights": weights, **{name: dict(part.settings) for name, part in used.items()}}
    return Blend(probabilities, settings, [note for part in used.values() for note in part.notes], used, weights)


def _share(first: np.ndarray, second: np.ndarray, codes: np.ndarray) -> float:
    """Return the share of the first of two predictions with the highest likelihood of their mean."""
    if not len(codes):
        return 0.5
    return max(_SHARES, key=lambda share: score(share * first + (1 - share) * second, codes)[1])
