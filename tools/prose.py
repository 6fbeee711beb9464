"""Find phrases that are hard to read in the documentation, texts, comments and names of tests.

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
    (r"(is|are|was|were|be|been|unless) told|tells? whether", "say who does what; Return whether"),
    (r"patience|lessons? of|tellers?", "timeout, the fact itself"),
    (r"whom|somebody else('?s)?", "the role: caller, user, another task"),
    (r"looked (at|for|up once)|(be|is|are|was|were) gone", "read, checked, searched; deleted, ended"),
    (r"as (it|they) (came|come)|came? back from", "unchanged, returned"),
    (r"(?<!the )(is|are) a reason too|by itself again", "the fact itself"),
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
    "tests/**/*.py",
    "tools/*.py",
    "benchmarks/*.py",
)
_TEST = re.compile(r"\bdef test_\w+")


def problems(root: Path = ROOT) -> Iterator[str]:
    """Yield each place that has such a phrase, with what to write instead."""
    for source in _SOURCES:
        for path in sorted(set(root.glob(source)) - {Path(__file__).resolve()}):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                for found in _PATTERN.finditer(line):
                    index = next(int(name[1:]) for name, text in found.groupdict().items() if text is not None)
                    yield f"{path.relative_to(root)}:{number}: {found[0]!r}: write {PATTERNS[index][1]}"


if __name__ == "__main__":
    for problem in (found := list(problems())):
        print(problem)
    sys.exit(bool(found))
