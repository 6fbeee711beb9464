import datetime as dt

import pyarrow as pa
import pytest

from airflow_automl.local.training.data.types import Kind, infer, kind_of


def column(*values):
    return pa.chunked_array([pa.array(values, pa.string())])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("1", "-2", "30"), Kind.INTEGER),
        (("1", None, "3"), Kind.INTEGER),
        (("1", "2.5"), Kind.FLOAT),
        (("1e5", " 2 "), Kind.FLOAT),
        (("1", "?", "None"), Kind.INTEGER),
        ((None, None), Kind.FLOAT),
        (("a", "b"), Kind.TEXT),
        (("01000", "90210"), Kind.TEXT),
        (("90210", "10001", "00501"), Kind.TEXT),
        (("0", "0.5"), Kind.FLOAT),
        (("0", "10"), Kind.INTEGER),
        (("-0.5", "0.25"), Kind.FLOAT),
        (("12345678901234567890", "1"), Kind.TEXT),
        (("2020-01-31", "2020-02-01"), Kind.DATETIME),
        (("2020-01-31T10:00:00.123Z", "2020-02-01T00:00:00Z"), Kind.DATETIME),
        (("1/31/2020", "2/1/2020"), Kind.DATETIME),
        (("31/1/2020", "1/2/2020"), Kind.DAY_FIRST),
        (("31.01.2020", "01.02.2020"), Kind.DAY_FIRST),
        (("2020-13-45", "2020-01-01"), Kind.TEXT),
        (("true", "false"), Kind.TEXT),
        (("1,234", "5"), Kind.TEXT),
        (("?", "?"), Kind.TEXT),
    ],
)
def test_the_narrowest_type_that_fits_all_values(values, kind):
    assert infer(column(*values))[1] == kind


def test_text_in_the_last_of_many_rows_makes_the_column_text():
    values, kind = infer(column(*["7"] * 200_000, "seven"))
    assert kind == Kind.TEXT
    assert values[0].as_py() == "7"


def test_codes_keep_their_zeros():
    assert infer(column("01000", "90210"))[0].to_pylist() == ["01000", "90210"]


def test_spellings_of_missing_numbers_are_missing():
    assert infer(column("1", "?", "-", "None"))[0].to_pylist() == [1, None, None, None]


def test_day_first_dates_are_read_as_such():
    assert infer(column("31/1/2020", "1/2/2020"))[0].to_pylist() == [dt.datetime(2020, 1, 31), dt.datetime(2020, 2, 1)]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([True, None]), Kind.TEXT, ["True", None]),
        (pa.array([1, 2], pa.int8()), Kind.INTEGER, [1, 2]),
        (pa.array(["1", "2"]), Kind.TEXT, ["1", "2"]),
        (pa.array(["a"]).dictionary_encode(), Kind.TEXT, ["a"]),
        (pa.array([dt.date(2020, 1, 2)]), Kind.DATETIME, [dt.datetime(2020, 1, 2)]),
    ],
)
def test_parquet_columns_keep_the_type_their_writer_chose(values, kind, expected):
    found, found_kind = kind_of(pa.chunked_array([values]))
    assert (found_kind, found.to_pylist()) == (kind, expected)


def test_nested_parquet_columns_are_not_usable():
    assert kind_of(pa.chunked_array([pa.array([[1], [2]])])) is None
