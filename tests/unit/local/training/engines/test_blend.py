"""Two candidates become one only if it is better on samples that its weights have not seen."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from airflow_automl.local.training.engines.classification import blend
from airflow_automl.local.training.engines.classification.approach import Trained, score

CODES = np.arange(400) % 2


@dataclass(frozen=True)
class Fixed(Trained):
    """Answers the same for every item."""

    answer: float = 0.5

    def predict(self, items):
        return np.tile([1 - self.answer, self.answer], (len(items), 1))

    def save(self, folder):
        (folder / "answer.json").write_text(json.dumps(self.answer))

    @classmethod
    def load(cls, folder):
        return cls(np.empty(0), {}, (), json.loads((folder / "answer.json").read_text()))


def guessing(seed, noise, answer=0.5):
    """A candidate that is right about most validation samples, with mistakes of its own."""
    scores = (CODES - 0.5) * 2 + np.random.default_rng(seed).normal(0, noise, len(CODES))
    second = 1 / (1 + np.exp(-2 * scores))
    return Fixed(np.column_stack([1 - second, second]), {}, (f"candidate {seed}",), answer)


def test_candidates_that_err_independently_are_blended(tmp_path):
    parts = {"one": guessing(1, 1.0, 0.2), "other": guessing(2, 1.0, 0.6)}

    found = blend.blend(parts, CODES)

    alone = max(score(part.probabilities, CODES) for part in parts.values())
    assert score(found.probabilities, CODES) > alone
    assert set(found.weights) == {"one", "other"}
    second = 0.2 * found.weights["one"] + 0.6 * found.weights["other"]
    assert list(found.notes) == ["candidate 1", "candidate 2"]
    assert found.predict(["a"]) == pytest.approx(np.array([[1 - second, second]]))
    found.save(tmp_path)
    metadata = {"approach": blend.BLEND, "settings": json.loads(json.dumps(found.settings))}
    loaded = blend.load(tmp_path, metadata, {"one": Fixed.load, "other": Fixed.load})
    assert loaded.predict(["a"]) == pytest.approx(np.array([[1 - second, second]]))


def test_a_candidate_that_only_disturbs_the_other_has_no_share():
    found = blend.blend({"good": guessing(1, 0.4), "bad": guessing(2, 30.0)}, CODES)

    assert found.weights == {"good": 1.0}
    assert set(found.parts) == {"good"}


def test_a_single_validation_sample_is_enough_to_choose():
    parts = {name: Fixed(np.array([[1 - p, p]]), {}, ()) for name, p in (("one", 0.4), ("other", 0.8))}

    assert blend.blend(parts, np.array([1])).weights == {"other": 1.0}


def test_an_artefact_with_a_part_that_this_version_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no classification with 'newer'"):
        blend.load(tmp_path, {"approach": blend.BLEND, "settings": {"weights": {"newer": 1.0}}}, {"one": Fixed.load})
