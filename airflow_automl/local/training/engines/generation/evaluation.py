"""Loss, perplexity and ROUGE of a model on the validation examples, before and after fine-tuning."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.contract.rouge import rouge_scores
from airflow_automl.local.training.engines.generation.data import Example
from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel
from airflow_automl.local.training.engines.generation.training import mean_loss
from airflow_automl.local.training.engines.reports import spread

log = logging.getLogger(__name__)

MEASURED = 500
"""Held-out examples that the loss is measured on, at most."""

GENERATED = 32
"""Held-out examples that a text is generated for, at most."""

MAX_NEW_TOKENS = 256
_BATCH = 8


@dataclass
class Evaluation:
    """Measurements of one model.

    :param loss: cross-entropy, nats per token of the answers.
    :param texts: what it says to the first prompts.
    :param rouge: mean F1 of these; empty if there was no time to generate any.
    :param loss_seconds: what the loss took.
    :param text_seconds: what the texts took.
    """

    loss: float = math.nan
    texts: list[str] = field(default_factory=list)
    rouge: dict[str, float] = field(default_factory=dict)
    loss_seconds: float = 0.0
    text_seconds: float = 0.0

    @property
    def metrics(self) -> dict[str, float]:
        """By the API's names; what is not a finite number is left out."""
        # exp overflows at 710, where a perplexity has no meaning.
        found = {"ValidationLoss": self.loss, "Perplexity": math.exp(min(self.loss, 700.0)), **self.rouge}
        return {name: value for name, value in found.items() if math.isfinite(value)}


class Evaluator:
    """Measures a model on the same examples each time.

    :param examples: all that were held out.
    :param encoded: the same in tokens.
    """

    def __init__(self, examples: Sequence[Example], encoded: Sequence[Encoded]) -> None:
        chosen = spread(len(examples), MEASURED).tolist()
        self._encoded = [encoded[row] for row in chosen]
        self._shown = [examples[row] for row in chosen[:: max(len(chosen) // GENERATED, 1)][:GENERATED]]
        if len(chosen) < len(examples):
            log.info("The loss is measured on %d of the %d held-out examples", len(chosen), len(examples))

    def loss(self, model: LanguageModel) -> float:
        """Return the cross-entropy of a model."""
        return mean_loss(model, self._encoded)

    def evaluate(
        self, model: LanguageModel, seconds: float | None, texts: int = GENERATED, loss: float | None = None
    ) -> Evaluation:
        """Measure a model.

        :param seconds: when no further texts are begun; ``None`` for no limit.
        :param texts: how many to generate at most.
        :param loss: if it was measured already.
        """
        found = Evaluation()
        began = time.monotonic()
        found.loss = self.loss(model) if loss is None else loss
        found.loss_seconds = time.monotonic() - began
        began = time.monotonic()
        shown = self._shown[:texts]
        longest = max((len(model.tokenizer(example.answer)["input_ids"]) for example in self._shown), default=0)
        most = min(longest + longest // 4 + 8, MAX_NEW_TOKENS)
        room = max(model.positions - most, 1)
        took = 0.0
        for start in range(0, len(shown), _BATCH):
            if seconds is not None and time.monotonic() - began + took > seconds:
                break
            at = time.monotonic()
            prompts = [model.prompt(example.prompt, room) for example in shown[start : start + _BATCH]]
            found.texts += [model.text(tokens) for tokens in model.generate(prompts, most)]
            took = time.monotonic() - at
        found.text_seconds = time.monotonic() - began
        pairs = zip((example.answer for example in shown), found.texts, strict=False)
        found.rouge = rouge_scores(list(pairs))
        return found

    def samples(self, before: Evaluation, after: Evaluation, limit: int = 8) -> list[dict[str, str]]:
        """Prompts with what was expected and what both models said, for the report."""
        return [
            {"input": example.prompt, "expected": example.answer, "before": first, "after": second}
            for example, first, second in zip(self._shown, before.texts, after.texts, strict=False)
        ][:limit]


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """For the document beside the artefact."""
    return {"metrics": evaluation.metrics, "texts": len(evaluation.texts)}
