"""Trains TextClassification jobs: TF-IDF and sentence embeddings, chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.columns import trimmed
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.classification.engine import Problem
from airflow_automl.local.training.engines.classification.engine import train as train_candidates
from airflow_automl.local.training.engines.text import data, minilm
from airflow_automl.local.training.engines.text.minilm import MiniLm
from airflow_automl.local.training.engines.text.tfidf import Tfidf
from airflow_automl.local.training.engines.text.words import words

_PARTS = 40
_SHOWN = 400


class TextPresenter:
    """See :class:`airflow_automl.local.training.engines.classification.reports.Presenter`."""

    method = "How much the probability of the predicted class changes when a word is taken out of the text, in"

    def apart(self, item: str) -> tuple[str, Mapping[str, str]]:
        """The text's first words, and these without each of them."""
        found = words(item)[:_PARTS]
        if len(found) < 2:
            return item, {}
        parts = {word: " ".join(other for other in found if other != word) for word in dict.fromkeys(found)}
        return " ".join(found), parts

    def opened(self, item: str) -> str:
        """The text itself."""
        return item

    def shown(self, item: str) -> dict[str, str]:
        """The beginning of the text."""
        return {"text": item if len(item) <= _SHOWN else item[: _SHOWN - 1] + "…"}


def train(run: Run) -> str:
    """Train TextClassificationJobConfig jobs; see :data:`airflow_automl.local.training.engines.base.Engine`."""
    run.events.phase("AnalyzingData")
    samples = data.load(run.store, run.spec.request, run.folder / "download")
    run.events.data_failures(samples.failures)
    content, label = (trimmed(str(run.spec.config[key])) for key in ("ContentColumn", "TargetLabelColumn"))
    metadata = {"features": [Codec(content, Kind.TEXT).as_json()], "target": label, "escaped": samples.escaped}
    problem = Problem("TextClassification", "text", metadata, (Tfidf(), MiniLm()), minilm.NAME, TextPresenter())
    return train_candidates(run, problem, samples)
