import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from airflow_automl.local.training.data.codec import Codec, Kind, decide
from airflow_automl.local.training.data.values import Refused, Unusable, arrow


def column(*values):
    return pa.chunked_array([pa.array(values, pa.string())])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "-2", "30"), Kind.NUMBER),
        (("1", None, "3"), Kind.NUMBER),
        (("1", "2.5"), Kind.NUMBER),
        (("1e5", " 2 "), Kind.NUMBER),
        (("1", "?", "None"), Kind.NUMBER),
        ((None, None), Kind.NUMBER),
        (("a", "b"), Kind.TEXT),
        (("01000", "90210"), Kind.TEXT),
        (("90210", "10001", "00501"), Kind.TEXT),
        (("0", "0.5"), Kind.NUMBER),
        (("1.5", "2.5", "007"), Kind.NUMBER),
        ([*map(str, range(40)), "n.a.", "unknown"], Kind.NUMBER),
        ([*map(str, range(19)), "n.a.", "unknown"], Kind.TEXT),
        ([*map(str, range(250, 300)), "250.83", "V57"], Kind.TEXT),
        ([f"{code:03}" for code in range(40)] + ["other"], Kind.TEXT),
        ([f"{code:03}" for code in range(40)] + ["other", "0.5"], Kind.NUMBER),
        (("1e-05", "007"), Kind.NUMBER),
        (("0.25", "12345678901234567890"), Kind.TEXT),
        (("01.11", "10.20", "62.01"), Kind.TEXT),
        (("008.45", "250.10", "250.1"), Kind.TEXT),
        ([f"{year}-{(year + 1) % 100:02}" for year in range(2001, 2012)], Kind.TEXT),
        (("1e5", "007", "12"), Kind.TEXT),
        (("007", "12.0"), Kind.TEXT),
        (("0", "10"), Kind.NUMBER),
        (("-0.5", "0.25"), Kind.NUMBER),
        (("12345678901234567890", "1"), Kind.TEXT),
        (("2020-01-31", "2020-02-01"), Kind.MOMENT),
        (("2020-01-31T10:00:00.123Z", "2020-02-01T00:00:00Z"), Kind.MOMENT),
        (("1/31/2020", "2/1/2020"), Kind.MOMENT),
        (("31/1/2020", "1/2/2020"), Kind.MOMENT),
        (("31.01.2020", "01.02.2020"), Kind.MOMENT),
        (("2020-13-45", "2020-01-01"), Kind.TEXT),
        (("true", "false"), Kind.BOOLEAN),
        (("1,234", "5"), Kind.TEXT),
        (("?", "?"), Kind.TEXT),
        (("2020-01-31", "inf"), Kind.TEXT),
    ],
)
def test_the_narrowest_type_that_fits_all_values(values, kind):
    assert decide("c", column(*values)).kind == kind


def read(*values, role="auto", trained=None):
    codec = decide("c", column(*(trained or values)), role)
    return [None if value is None or value != value else value for value in codec.read(column(*values)).values.tolist()]


def test_text_in_the_last_of_many_rows_makes_the_column_text():
    codec = decide("c", column(*["7"] * 200_000, "seven"))
    assert codec.kind == Kind.TEXT
    assert codec.read(column("7")).values.tolist() == ["7"]


def test_codes_keep_their_zeros():
    assert read("01000", "90210") == ["01000", "90210"]


def test_spellings_of_missing_numbers_are_missing():
    assert read("1", "?", "-", " None ", " ", " NA", "") == [1, None, None, None, None, None, None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("31/1/2020", "1/2/2020"), ["2020-01-31", "2020-02-01"]),
        (("11/07/23", "25/12/23"), ["2023-07-11", "2023-12-25"]),
        (("11/07/23", "12/25/23"), ["2023-11-07", "2023-12-25"]),
        (("31.01.99", "01.02.68"), ["1999-01-31", "2068-02-01"]),
        (("31-12-2020 5:30 PM", "1-1-2021 12:00 AM"), ["2020-12-31T17:30", "2021-01-01T00:00"]),
        (("2020-01-31T10:00:00+02:00", "2020-01-31 10:00Z"), ["2020-01-31T08:00", "2020-01-31T10:00"]),
        (("2020-01-31", "-", "None"), ["2020-01-31", None, None]),
        (("2020-01-31", "9999-12-31"), ["2020-01-31", None]),
    ],
)
def test_dates_are_read_in_the_order_that_fits_all_of_them(values, expected):
    found = decide("c", column(*values)).read(column(*values)).values
    assert found.tolist() == pd.to_datetime(expected, format="ISO8601").to_numpy("datetime64[ns]").tolist()


@pytest.mark.parametrize(
    "values",
    [
        ("1.10.12", "2.4.11"),
        [f"{major}.{minor}.2024" for major in range(1, 4) for minor in range(1, 60)],
        [f"1.{minor}.{1000 + 97 * minor}" for minor in range(1, 13)] + ["beta"] * 20,
        [f"10.{month}.{build}" for month in (10, 11, 12) for build in range(10, 31)] + ["10.15.7"],
        [f"2024-{part:02}" for part in range(1, 60)],
        [f"2024-{part:03}" for part in range(1, 13)],
        [f"MAR-{part}" for part in range(1001, 1060)],
        [f"{day}-{serial}" for day in range(10, 25) for serial in (1, 2)],
        ["2024-01-31"] * 3 + ["n.a.", "unknown"],
        ["may", "june", "march 5"],
    ],
)
def test_versions_and_part_numbers_are_not_dates(values):
    assert decide("c", column(*values)).kind == Kind.TEXT
    plain = [f"202401{day:02}" for day in range(1, 29)]
    assert decide("c", column(*plain)).kind == Kind.NUMBER


DAYS = [dt.date(2024, month, day) for month in range(1, 13) for day in range(1, 29)]


@pytest.mark.parametrize(
    "form",
    [
        *("%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%A, %B %d, %Y", "%Y-%b-%d", "%d%b%Y", "%d-%b-%y", "%Y%m%dT000000"),
        *("%m/%d/%Y", "%d.%m.%Y", "%m/%d/%y", "%Y-%m-%d 00:00", "%b %d, %Y, 12:00 AM"),
    ],
)
@pytest.mark.parametrize("odd", [(), ("unknown",), ("2024-02-30", "0000-00-00", "00/00/0000")])
def test_dates_of_all_spellings_are_dates_although_a_few_values_are_none(form, odd):
    texts = [day.strftime(form) for day in DAYS]
    codec = Codec.from_json(decide("c", column(*texts, *odd)).as_json())
    assert codec.moment
    reading = codec.read(column(*texts, *odd))
    assert reading.values.astype("datetime64[D]").tolist() == [*DAYS, *[None] * len(odd)]
    assert reading.lost.tolist() == ([len(DAYS)] if odd else [])
    if odd:
        assert codec.read(column("never seen")).lost.tolist() == [0]
    else:
        with pytest.raises(Refused, match="the column 'c' takes a date, not 'never seen'"):
            codec.read(column("never seen"))


def test_american_dates_with_slashes_may_stand_beside_european_ones_with_dots():
    texts = column(*[day.strftime(form) for day in DAYS for form in ("%m/%d/%Y", "%d.%m.%Y")])
    found = decide("c", texts).read(texts)
    assert found.values.astype("datetime64[D]").tolist() == [day for day in DAYS for _ in range(2)]


def test_months_are_dates():
    for values in (["2023-12", "2024-01"], ["Dec 2023", "January 2024"]):
        found = decide("c", column(*values)).read(column(*values)).values
        assert found.astype("datetime64[D]").tolist() == [dt.date(2023, 12, 1), dt.date(2024, 1, 1)]


def test_dates_in_numbers_of_a_category_have_one_spelling_and_other_texts_stay():
    texts = column("3/31/2024", "31.03.2024", "0000-00-00", "2024-03", "5 Mar 2024")
    expected = ["2024-03-31", "2024-03-31", None, "2024-03", "5 Mar 2024"]
    assert decide("c", texts, "categorical").read(texts).values.tolist() == expected
    texts = column(*[day.strftime("%m/%d/%Y") for day in DAYS], "unknown")
    assert decide("c", texts, "categorical").kind == Kind.TEXT


@pytest.mark.parametrize(
    ("written", "carriers"),
    [
        (("1.0", "9.90"), ([1, 9.9], ["1", "9.90"], [1.0, "9.9"])),
        (("1", "1e300"), ([1, 1e300], ["1.0", "1e300"])),
        (
            ("2024-01-05", "2024-02-01"),
            ([dt.date(2024, 1, 5), dt.date(2024, 2, 1)], ["2024-01-05 00:00", "2024-02-01"]),
        ),
        (("true", "false"), ([True, False], ["TRUE", "false"], [1, 0], ["1", "0"])),
        (("00501", "90210"), ([501, 90210], ["00501", "90210"], [501.0, 90210.0], ["501.0", "90210.0"])),
        (("1234567890123456789", "7"), ([1234567890123456789, 7], ["1234567890123456789", "7.0"])),
        (("abc", "1.10"), (["abc", "1.10"], [" abc", "1.10 "])),
    ],
)
def test_a_category_is_the_same_in_every_type(written, carriers):
    codec = Codec.from_json(decide("c", column(*written), "categorical").as_json())
    expected = codec.read(column(*written)).values.tolist()
    for values in carriers:
        assert codec.read(arrow(values)).values.tolist() == expected


@pytest.mark.parametrize("whole", ["250", "250.0"])
def test_a_float_among_texts_is_written_as_training_writes_it(whole):
    codec = Codec.from_json(decide("c", column(whole, "250.83", "V57")).as_json())
    assert codec.take([250.0, 250.83, "V57", None]).tolist() == [whole, "250.83", "V57", None]


def test_values_that_training_refuses_are_refused_and_values_that_it_reads_as_missing_are_missing():
    numbers, given = decide("c", column("1", "2")), decide("c", column("1", "x"), "numeric")
    with pytest.raises(Refused, match="the column 'c' takes a number, not 'x'"):
        numbers.read(column("1", "x"))
    reading = given.read(column("1", "x", "1,234.5", "inf"))
    assert reading.lost.tolist() == [1, 3]
    assert [str(value) for value in reading.values] == ["1.0", "nan", "1234.5", "nan"]
    for values in (column("1", "inf", "1e39", "-1.797e308", "1e38"), arrow([1, np.inf, 1e39, -1.797e308, 1e38])):
        assert numbers.read(values).lost.tolist() == [1, 2, 3]
    for zeros in (column("-0", "\u22120.0"), arrow([-0.0, 0.0])):
        assert [str(value) for value in numbers.read(zeros).values] == ["0.0", "0.0"]


@pytest.mark.parametrize(
    "empty", [column("", "NA"), column("inf", ""), pa.chunked_array([pa.nulls(2)]), arrow([np.nan])]
)
def test_a_column_without_a_value_in_training_refuses_none_later(empty):
    codec = Codec.from_json(decide("c", empty).as_json())
    assert np.isnan(codec.take(["x", None, "2024-01-01", dt.datetime(2024, 1, 1), "nan"])).all()
    assert codec.take([1.5, "2"]).tolist() == [1.5, 2]


@pytest.mark.parametrize(
    ("values", "role", "kind", "expected"),
    [
        (pa.array([True, None]), "auto", Kind.BOOLEAN, ["True", None]),
        (pa.array([True, False]), "numeric", Kind.NUMBER, [1, 0]),
        (pa.array([1, 2], pa.int8()), "auto", Kind.NUMBER, [1, 2]),
        (pa.array(["1", "2.50"]), "text", Kind.NUMBER, ["1", "2.5"]),
        (pa.array(["a"]).dictionary_encode(), "auto", Kind.TEXT, ["a"]),
        (pa.array([dt.date(2020, 1, 2)]), "auto", Kind.MOMENT, [1577923200 * 10**9]),
        (pa.array([1], pa.timestamp("ns")), "auto", Kind.MOMENT, [0]),
        (pa.array([2**60]), "auto", Kind.TEXT, [str(2**60)]),
    ],
)
def test_parquet_columns_keep_the_type_their_writer_chose(values, role, kind, expected):
    codec = decide("c", pa.chunked_array([values]), role)
    assert (codec.kind, codec.read(pa.chunked_array([values])).values.tolist()) == (kind, expected)


def test_names_of_32_bit_floats_are_the_same_in_their_short_and_long_spelling():
    values = pa.chunked_array([pa.array([0.1, 2], pa.float32())])
    codec = decide("c", values, "categorical")
    for carrier in (values, column("0.1", "2.0"), arrow([0.10000000149011612, 2])):
        assert codec.read(carrier).values.tolist() == ["0.1", "2"]


def test_a_date_with_a_zone_whose_name_only_some_machines_know_is_not_read():
    texts = column("Wed Jan 01 10:00:00 UTC 2020", "Wed Jan 01 10:00:00 CET 2020", "Monday 2020")
    reading = decide("c", texts, "datetime").read(texts)
    assert reading.lost.tolist() == [1, 2]
    assert str(reading.values[0]) == "2020-01-01T10:00:00.000000000"


def test_nested_parquet_columns_are_not_usable():
    with pytest.raises(Unusable, match="list"):
        decide("c", pa.chunked_array([pa.array([[1], [2]])]))


@pytest.mark.parametrize(
    ("trained", "values"),
    [
        (("true", "false", "?"), [True, "?", None, False]),
        (("00501", "90210"), [501, "90210", 90210.0, None]),
        (("1", "2.5", "x"), [1, 2.5, "x", float("nan")]),
        (("1", "0"), [True, 1, 0.5, "0", None]),
        (("2024-01-05", "x"), [dt.date(2024, 1, 5), "x", pd.NaT]),
    ],
)
def test_a_value_is_read_independently_of_the_other_values(trained, values):
    codec = decide("c", column(*trained))
    alone = [codec.take([value])[0] for value in values]
    together = codec.take(values).tolist()
    assert [None if one != one else one for one in together] == [None if one != one else one for one in alone]
    assert codec.take(pd.Series(values, dtype=object)).tolist()[:1] == alone[:1]


@pytest.mark.parametrize("role", ["auto", "numeric"])
@pytest.mark.parametrize("truths", [None, ("no", "yes")])
def test_many_numbers_are_read_as_each_alone(role, truths):
    numbers = ["1", "-0", "+5", "1.", ".5", "1e5", "1e-400", "007", "0.1", "9007199254740993", "4.9e-324", " 5", "\t7"]
    gone = ["", None, "NaN", "?", "-", "inf", "-Infinity", "1e400", "-1e400"]
    other = [
        "nAn",
        "nan(a)",
        "0x1p3",
        "1_0",
        "\u0661",
        "\u22125",
        "yes",
        "True",
        "x",
        "1,234",
        "1,23",
        "1.2.3",
        "1 234",
    ]
    codec = Codec("a", Kind.NUMBER, role=role, truths=truths)

    def outcome(values):
        try:
            found = codec.read(column(*values))
        except Refused as refused:
            return f"{refused.row}: {refused}"
        return [repr(value) for value in found.values.tolist()], found.lost.tolist()

    for spelling in (*numbers, *gone, *other):
        alone = outcome([spelling])
        expected = alone
        if not isinstance(alone, str):
            expected = alone[0] * 300, list(range(300)) if alone[1] else []
        assert outcome([spelling] * 300) == expected, spelling
