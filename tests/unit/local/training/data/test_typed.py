"""Types found while reading equal those found value by value."""

import random

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import typed
from airflow_automl.local.training.data.codec import Kind, decide

ROWS = 3000
LATE = 2500


def write(tmp_path, columns, name="data.csv", quoted=False):
    """A CSV file; a column is a function of the row's number."""
    quote = '"{}"'.format if quoted else str
    lines = [",".join(columns)]
    lines += [",".join(quote(make(row)) for make in columns.values()) for row in range(ROWS)]
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path, f"s3://b/{name}"


def late(usual, last):
    return lambda row: last if row == LATE else usual(row)


COLUMNS = {
    "whole": str,
    "missing": lambda row: "" if row % 3 else str(row),
    "float": lambda row: f"{row / 7:.3f}",
    "late_float": late(str, "0.5"),
    "late_text": late(str, "many"),
    "late_code": late(lambda row: str(10000 + row), "00501"),
    "late_signed_code": late(lambda row: str(10000 + row), "-00501"),
    "late_float_code": late(lambda row: f"{row}.0", "00501"),
    "late_long": late(str, "1234567890123456789"),
    "late_question": late(str, "?"),
    "late_nothing": late(str, "None"),
    "zero": lambda row: "0" if row % 2 else "0.25",
    "code": lambda row: f"{row:05d}",
    "empty": lambda row: "",
    "late_first": late(lambda row: "", "7"),
    "day": lambda row: f"2020-01-{row % 28 + 1:02d}",
    "late_hour": late(lambda row: f"2020-01-{row % 28 + 1:02d}", "2020-01-01 05:00:00"),
    "utc": lambda row: f"2020-01-{row % 28 + 1:02d}T10:00:00Z",
    "late_no_date": late(lambda row: f"2020-01-{row % 28 + 1:02d}", "2020-13-45"),
    "european": lambda row: f"{row % 28 + 1}.1.2020",
    "spaced": lambda row: f" {row}",
    "infinite": late(lambda row: f"{row}.5", "inf"),
    "truth": lambda row: str(row % 2 == 0),
    "word": lambda row: random.Random(row).choice(["red", "02 blue", "NA"]),
}


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("chosen", [*COLUMNS, "all"])
def test_typed_columns_equal_columns_read_from_strings(tmp_path, chosen, quoted):
    columns = COLUMNS if chosen == "all" else {"other": str, chosen: COLUMNS[chosen], "last": lambda row: "x"}
    file = write(tmp_path, columns, quoted=quoted)
    [found] = typed.read([[file]], [])
    [strings] = typed.read([[file]], [], strings=True)
    for name in columns:
        codec = decide(name, strings.column(name))
        assert decide(name, found.column(name)) == codec
        one, two = codec.read(found.column(name)), codec.read(strings.column(name))
        assert pd.Series(one.values).equals(pd.Series(two.values))
        assert one.lost.tolist() == two.lost.tolist()


def test_plain_numbers_and_dates_are_never_strings(tmp_path):
    [found] = typed.read(
        [[write(tmp_path, {name: COLUMNS[name] for name in ("whole", "float", "day", "utc", "word")})]], []
    )
    kinds = [str(field.type) for field in found.schema]
    assert kinds == ["double", "double", "timestamp[us]", "timestamp[us, tz=UTC]", "string"]


def test_types_are_judged_over_all_files_of_all_groups(tmp_path):
    first = write(tmp_path, {"a": str, "b": str, "c": str}, "1.csv")
    second = write(tmp_path, {"c": lambda row: f"{row}.5", "a": late(str, "x"), "b": str}, "2.csv")
    third = write(tmp_path, {"a": str, "b": late(str, "07"), "c": str}, "3.csv")
    training, validation = typed.read([[first, second], [third]], [])
    assert training.schema == validation.schema
    assert [str(field.type) for field in training.schema] == ["string", "string", "double"]
    assert (training.num_rows, validation.num_rows) == (2 * ROWS, ROWS)
    assert training.column("a")[ROWS + LATE].as_py() == "x"
    assert validation.column("b")[LATE].as_py() == "07"
    assert training.column("c")[ROWS].as_py() == 0.5


def test_a_file_that_is_not_a_table_is_refused_with_the_same_message(tmp_path):
    path, uri = write(tmp_path, {"a": str, "b": str})
    path.write_text(path.read_text() + "1,2,3\n")
    with pytest.raises(JobFailure, match=f"row {ROWS + 2} has 3 values where the header has 2 columns"):
        typed.read([[(path, uri)]], [])
    path.write_bytes(b"a,b\n" + b"1,x\n" * 100_000 + b"2,\xff\n")
    with pytest.raises(JobFailure, match="not UTF-8 text in the column 'b'"):
        typed.read([[(path, uri)]], [])
    other = write(tmp_path, {"a": str, "c": str}, "other.csv")
    with pytest.raises(JobFailure, match="differs from that of the training data: it lacks 'b'"):
        typed.read([[write(tmp_path, {"a": str, "b": str})], [other]], [])


def test_a_header_alone_has_no_rows(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b\n")
    assert typed.read([[(path, "s3://b/data.csv")]], [])[0].num_rows == 0


def test_columns_of_codes_are_found_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(typed, "_SCAN", 1000)
    file = write(tmp_path, {"a": str, "b": late(str, "012"), "c": lambda row: "0" if row % 5 else "0.5"})
    [found] = typed.read([[file]], [])
    assert [str(field.type) for field in found.schema] == ["double", "string", "double"]
    assert decide("b", found.column("b")).kind == Kind.TEXT
    assert pa.csv.read_csv(file[0]).column("a").cast(pa.float64()).equals(found.column("a"))
