"""ROUGE of generated texts, by its published definition (C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of
Summaries", ACL 2004), as F1 without stemming and stop words: the packages for it stem English only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

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
