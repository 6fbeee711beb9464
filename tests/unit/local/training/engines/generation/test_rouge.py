"""ROUGE against the examples of its definition (Lin, 2004)."""

from __future__ import annotations

import pytest

from airflow_automl.contract.rouge import METRICS, rouge, rouge_scores

REFERENCE = "police killed the gunman"


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        ("police kill the gunman", {"Rouge1": 3 / 4, "Rouge2": 1 / 3, "RougeL": 3 / 4}),
        ("the gunman kill police", {"Rouge1": 3 / 4, "Rouge2": 1 / 3, "RougeL": 2 / 4}),
        ("the gunman police killed", {"Rouge1": 4 / 4, "Rouge2": 2 / 3, "RougeL": 2 / 4}),
    ],
)
def test_word_order_counts_for_the_longest_common_subsequence(candidate, expected):
    found = rouge(REFERENCE, candidate)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_lines_of_a_summary_are_matched_by_their_union():
    # With one line against w1 w2 and w1 w3 w5, four of five words are found; precision is of ten words.
    found = rouge("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5")
    assert found["RougeLSum"] == pytest.approx(2 * (4 / 5) * (4 / 10) / (4 / 5 + 4 / 10))


def test_a_word_is_matched_at_most_as_often_as_it_occurs():
    assert rouge("the cat", "the the the the")["Rouge1"] == pytest.approx(2 * (1 / 2) * (1 / 4) / (1 / 2 + 1 / 4))


def test_case_and_punctuation_do_not_count():
    assert rouge("The capital is Paris.", "the CAPITAL, is paris!") == pytest.approx(dict.fromkeys(METRICS, 1.0))


@pytest.mark.parametrize(("reference", "candidate"), [("", ""), ("a b", ""), ("", "a b"), ("a b", "c d"), ("...", "!")])
def test_nothing_in_common_scores_nothing(reference, candidate):
    assert rouge(reference, candidate) == dict.fromkeys(METRICS, 0.0)


def test_scripts_without_blanks_are_compared_letter_by_letter():
    assert rouge("東京は首都です", "東京は都市です")["Rouge1"] == pytest.approx(6 / 7)
    assert rouge("die Straße", "die straße")["Rouge1"] == 1
    assert rouge("привет мир", "привет")["Rouge1"] == pytest.approx(2 / 3)


def test_scores_are_means_over_the_texts():
    assert rouge_scores([("a b", "a b"), ("a b", "c d")]) == pytest.approx(dict.fromkeys(METRICS, 0.5))
    assert rouge_scores([]) == {}
