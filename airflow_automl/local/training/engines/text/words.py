"""Words of any script."""

from __future__ import annotations

import unicodedata

import regex

MAX_CHARACTERS = 50_000
"""What is read of a text."""

# Scripts without spaces between words give one token for each character; pairs of tokens then stand for words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々"
_TOKEN = regex.compile(
    rf"[{_UNSPACED}]\p{{M}}*"
    rf"|[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}_]--[{_UNSPACED}]]*"
    r"|\p{Extended_Pictographic}",
    regex.V1,
)


def words(text: str) -> list[str]:
    """The words of a text, without case, in their order.

    :param text: of any length; at most the first 50,000 characters are read.
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold()
    found: list[str] = _TOKEN.findall(plain)
    return found
