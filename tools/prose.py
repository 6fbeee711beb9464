"""Find phrases that readers stumble over, in the documentation and in the package's texts and comments.

python tools/prose.py    # prints each place and what to write instead; the exit code is 1 if there is one
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Pattern, and what to write instead.
PATTERNS = (
    (r"anew", "again, or: from the beginning"),
    (r"bears?|bearing", "have, carry"),
    (r"hand(s|ed|ing)? on", "pass"),
    (r"(told|tells?) apart", "distinguish"),
    (r"go(es|ing)? on", "continue"),
    (r"comes? to rest", "stop"),
    (r"by choice", "the parameter that chooses it"),
    (r"as (it|they) stands?", "unchanged"),
    (r"(?<!here )(is|are|was|were) no (?!longer|more|need|\w+er\b)\w+", "is not a …"),
    (r"leaves? (it|them) away|left away", "omit"),
    (r"stumbl(e|es|ed)", "fail"),
    (r"to mend|mends?", "fix"),
    (r"heeds?|sightings?", "the event itself"),
    (r"nobody's", "say what happens"),
    (r"in vain|for want of", "the fact itself"),
    (r"(is|are|was|were|be|been|unless) told", "say who does what"),
    (r"nothing of|tells? of", "does not mention, mention"),
    (r"of (yours|ours|theirs)|(none|one) of ours", "your, our, their own"),
    (r"obeys?", "follow, apply"),
    (r"for good|at hand|once more", "the fact itself; again"),
    (r"(?<![\"'])just now", "at the moment"),
    (r"leaves? \w+ away", "omit"),
    (r"See the base class\.|Nothing\.", "say what it returns"),
)
_PATTERN = re.compile("|".join(rf"(?P<p{index}>\b(?:{pattern}))(?!\w)" for index, (pattern, _) in enumerate(PATTERNS)))
_SOURCES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/**/*.md",
    "airflow_automl/**/*.py",
    "airflow_automl/**/*.html",
    "dags/*.py",
)


def problems(root: Path = ROOT) -> Iterator[str]:
    """Yield each place that has such a phrase, with what to write instead."""
    for source in _SOURCES:
        for path in sorted(root.glob(source)):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                for found in _PATTERN.finditer(line):
                    index = next(int(name[1:]) for name, text in found.groupdict().items() if text is not None)
                    yield f"{path.relative_to(root)}:{number}: {found[0]!r}: write {PATTERNS[index][1]}"


if __name__ == "__main__":
    for problem in (found := list(problems())):
        print(problem)
    sys.exit(bool(found))
