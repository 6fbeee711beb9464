"""Loss, perplexity and ROUGE of a model on the validation examples, before and after fine-tuning.

ROUGE is implemented by its published definition (C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries",
ACL 2004), as F1 without stemming and stop words: the packages for it stem English only.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_automl.local.training.engines.generation.data import Example
from airflow_automl.local.training.engines.generation.language_model import Encoded, LanguageModel
from airflow_automl.local.training.engines.generation.training import mean_loss
from airflow_automl.local.training.engines.reports import spread

log = logging.getLogger(__name__)

METRICS = ("Rouge1", "Rouge2", "RougeL", "RougeLSum")

# A script that puts no blanks between words has one word for each of its letters.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def rouge(reference: str, candidate: str) -> dict[str, float]:
    """Return the scores of one text.

    :param reference: the text that was expected.
    :param candidate: the text that was generated.
    :return: ``Rouge1`` and ``Rouge2`` (words and pairs of words in common), ``RougeL`` (longest common subsequence) and
        ``RougeLSum`` (the same, line by line, over the union of the matches), each from 0 to 1.
    """
    expected, found = _words(reference), _words(candidate)
    return {
        "Rouge1": _overlap(expected, found, 1),
        "Rouge2": _overlap(expected, found, 2),
        "RougeL": _f1(len(_common(expected, found)), len(expected), len(found)),
        "RougeLSum": _summary(reference, candidate),
    }


def rouge_scores(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return the mean scores of several texts.

    :param pairs: of reference and candidate.
    :return: as :func:`rouge`; empty without pairs.
    """
    scores = [rouge(reference, candidate) for reference, candidate in pairs]
    return {name: sum(score[name] for score in scores) / len(scores) for name in METRICS} if scores else {}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _overlap(expected: Sequence[str], found: Sequence[str], size: int) -> float:
    first, second = (Counter(zip(*(words[at:] for at in range(size)), strict=False)) for words in (expected, found))
    return _f1((first & second).total(), first.total(), second.total())


def _summary(reference: str, candidate: str) -> float:
    """Return RougeLSum: for each line of the reference, the words in common with any line of the candidate."""
    expected = [words for line in reference.splitlines() if (words := _words(line))]
    found = [words for line in candidate.splitlines() if (words := _words(line))]
    left, right = (Counter(word for words in lines for word in words) for lines in (expected, found))
    sizes = left.total(), right.total()
    hits = 0
    for words in expected:
        union = {at for other in found for at in _common(words, other)}
        for at in sorted(union):
            word = words[at]
            if left[word] > 0 and right[word] > 0:
                left[word] -= 1
                right[word] -= 1
                hits += 1
    return _f1(hits, *sizes)


def _common(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Return positions in ``first`` of a longest common subsequence."""
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for row, word in enumerate(first, 1):
        above, here = lengths[row - 1], lengths[row]
        for column, other in enumerate(second, 1):
            here[column] = above[column - 1] + 1 if word == other else max(above[column], here[column - 1])
    positions: list[int] = []
    row, column = len(first), len(second)
    while row and column:
        if first[row - 1] == second[column - 1]:
            positions.append(row - 1)
            row, column = row - 1, column - 1
        elif lengths[row - 1][column] >= lengths[row][column - 1]:
            row -= 1
        else:
            column -= 1
    return positions[::-1]


def _f1(hits: int, expected: int, found: int) -> float:
    return 2 * hits / (expected + found) if hits else 0.0


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
    :param rouge: mean F1 of these; empty where there was no time to generate any.
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
        # exp overflows at 710; a loss of that size is no perplexity that anybody wants to read.
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
        :param loss: where it was measured already.
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
