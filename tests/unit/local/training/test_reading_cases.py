"""Common kinds of files: endpoint, transform and loader read the same values in them as training."""

from __future__ import annotations

import csv as csv_module
import datetime as dt
import decimal
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.errors import JobFailure, cause
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.training.data import channels
from airflow_automl.local.training.engines import metrics
from tests.local_s3 import Bucket, bucket, s3_endpoint
from tests.unit.local.training import reading

__all__ = ["bucket", "s3_endpoint"]

CASES = Path(__file__).parents[3] / "data" / "reading"
MODES = ("ENSEMBLING", "HYPERPARAMETER_TUNING")


def case(name: str) -> str:
    return (CASES / f"{name}_a.csv").read_text()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "target", "types"),
    [
        ("01_blank_0", "y", None),
        ("02_qall_0", "churn", None),
        ("02_qall_1", "churn", None),
        ("04_fcat_0", "y", {"store": "categorical", "opened": "categorical"}),
        ("04_fcat_0", "y", {"store": "text", "opened": "text"}),
        ("04_fcat_0", "y", {"store": "categorical", "opened": "datetime"}),
        ("05_cat_0", "y", {"cohort": "categorical"}),
        ("06_idx_0", "churn", None),
        ("06_sp_0", "churn", None),
        ("09_js_0", "y", None),
        ("11_blankcell_0", "y", None),
        ("11_blankcell_1", "y", None),
        ("13c_lt_0", "churn", None),
        ("19_infx_0", "y", None),
        ("24_dt_0", "y", None),
        ("25_th_0", "y", None),
        ("27_sn_0", "y", {"amount": "numeric"}),
    ],
)
def test_rows_of_the_training_file_get_the_predictions_of_training(
    bucket: Bucket, tmp_path: Path, name: str, target: str, types: dict[str, str] | None, mode: str
) -> None:
    text = case(name)
    header, rows = reading.rows_of(text)
    place = [cell.strip() for cell in header].index(target)
    with_target = [row for row in rows if row[place].strip()]
    data = reading.load(bucket, tmp_path, {"a.csv": text.encode()}, mode, target, types)
    reading.check(reading.Served(data), header, with_target)


def rows(count: int = 600) -> list[list[str]]:
    """Rows with a number, a word and a target."""
    return [[str(row % 17), ("red", "blue", "green")[row % 3], str(row % 7 + row / 1000)] for row in range(count)]


def csv(table: list[list[str]], header: list[str] | None = None) -> bytes:
    return reading.written([header or ["a", "b", "y"], *table]).encode()


def checked(bucket: Bucket, folder: Path, table: list[list[str]], header: list[str] | None = None, **more: Any) -> Any:
    """The data of one file, whose rows get the same predictions in every way."""
    data = reading.load(bucket, folder, {"a.csv": csv(table, header)}, **more)
    reading.check(reading.Served(data), header or ["a", "b", "y"], table, more.pop("without", ()))
    return data


def test_two_digit_years_are_of_this_century(bucket: Bucket, tmp_path: Path) -> None:
    data = reading.load(bucket, tmp_path, {"a.csv": case("24_dt_0").encode()})
    assert set(data.train["d"].dt.year) == {2023}
    assert set(data.train["d"].dt.month) == set(range(1, 13))


def test_numbers_with_thousands_separators_are_read_if_the_column_is_declared_numeric(
    bucket: Bucket, tmp_path: Path
) -> None:
    data = reading.load(bucket, tmp_path, {"a.csv": case("27_sn_0").encode()}, types={"amount": "numeric"})
    assert data.train["amount"].tolist() == data.train["y"].tolist()
    assert not data.failures


def test_values_that_do_not_fit_the_given_type_are_missing_and_counted(bucket: Bucket, tmp_path: Path) -> None:
    table = rows()
    for row in range(0, 600, 50):
        table[row][0] = "many"
    data = checked(bucket, tmp_path, table, types={"a": "numeric"})
    assert data.failures == (
        "12 of 600 values of the column 'a' can't be read as numbers and count as missing: 'many' in 12 rows (first in "
        "row 1).",
    )
    table = rows()
    table[5][0] = "many"
    data = checked(bucket, tmp_path, table, types={"a": "numeric"})
    assert not data.failures
    assert "'many' in 1 rows (first in row 6)" in data.notes[0]


def test_an_all_text_table_has_as_many_answers_as_rows(bucket: Bucket, tmp_path: Path) -> None:
    checked(bucket, tmp_path, [[("x", "y", "z")[row % 3], *entry[1:]] for row, entry in enumerate(rows())])


def test_a_repeated_header_is_omitted_and_noted(bucket: Bucket, tmp_path: Path) -> None:
    body = csv(rows(300)) + csv(rows(300))
    data = reading.load(bucket, tmp_path, {"a.csv": body, "b.csv": csv(rows(100))})
    assert len(data.train) + len(data.validation) == 700
    assert data.train["a"].dtype == "float64"
    assert "in/a.csv is repeated among its rows" in data.notes[0]
    assert len(reading.Served(data).transform(body)) == 600


def test_ids_that_grow_beyond_the_sniffed_part_stay_apart(bucket: Bucket, tmp_path: Path) -> None:
    table = [[str(row), "x" * 20, "1"] for row in range(9000)]
    for row in range(8000, 9000):
        table[row][0] = str(12345678901234567 + row % 3)
    data = checked(bucket, tmp_path, [[a, b, str(row % 5)] for row, (a, b, _) in enumerate(table)], without=("pandas",))
    assert data.train["a"].nunique() > 6000
    assert {str(12345678901234567 + row) for row in range(3)} < set(data.train["a"])
    ids = reading.load(
        bucket, tmp_path, {"a.csv": csv([[str(row), "x", table[-1 - row % 3][0]] for row in range(600)])}
    )
    assert ids.labels == tuple(str(12345678901234567 + row) for row in range(3))


def test_quotes_that_spark_escapes_by_backslashes_are_quotes(bucket: Bucket, tmp_path: Path) -> None:
    body = case("22_bs_0").encode()
    data = reading.load(bucket, tmp_path, {"a.csv": body})
    assert data.train["note"].str.match(r'model "\w+" \w+').all()
    served = reading.Served(data)
    assert data.escaped
    assert sorted(served.invoke(body)) == served.expected
    assert sorted(served.transform(body)) == served.expected
    header, table = reading.rows_of(body.decode().replace('\\"', '""'))
    reading.check(served, header, table)


def test_infinite_numbers_are_missing_and_noted(bucket: Bucket, tmp_path: Path) -> None:
    table = rows()
    for row in (3, 4):
        table[row][0], table[row + 10][2] = "inf", "-Infinity"
    data = reading.load(bucket, tmp_path, {"a.csv": csv(table)})
    assert data.train["a"].isna().sum() + data.validation["a"].isna().sum() == 2
    assert len(data.train) + len(data.validation) == 598
    notes = " ".join(data.notes)
    assert "2 of 600 values of the column 'a' can't be read as numbers" in notes
    assert "2 of 600 values of the column 'y'" in notes
    assert "2 rows have no value in the target 'y'" in notes


def test_texts_may_be_long(bucket: Bucket, tmp_path: Path) -> None:
    checked(
        bucket,
        tmp_path,
        [["word " * (40_000 if row == 599 else 5) + str(row), *entry[1:]] for row, entry in enumerate(rows())],
    )


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    when = pd.date_range("2024-01-01", periods=600, freq="37min") + pd.Timedelta(123, "ns")
    return pd.DataFrame(
        {
            "when": when,
            "zone": when.tz_localize("Europe/Berlin"),
            "day": when.date,
            "truth": random.random(600) < 0.5,
            "whole": pd.array([None, *range(599)], dtype="Int64"),
            "small": random.random(600).astype("float32"),
            "money": [decimal.Decimal(int(value)) / 100 for value in random.integers(0, 999, 600)],
            "name": pd.Categorical(random.choice(["1.0", "NA", "x"], 600)),
            "number text": [f"{value:.2f}" for value in random.random(600)],
            "y": random.random(600),
        }
    )


def test_parquet_is_served_as_it_was_trained(bucket: Bucket, tmp_path: Path) -> None:
    table = frame()
    data = reading.load(bucket, tmp_path, {"a.parquet": parquet(table)}, channel={"ContentType": channels.PARQUET})
    served = reading.Served(data)
    again = pd.read_parquet(io.BytesIO(parquet(table)))
    assert sorted(served.predictor.predict(again)) == served.expected
    text = again.drop(columns=["y"])
    assert sorted(served.invoke(text.to_csv(index=False))) == served.expected
    plain = [[None if pd.isna(value) else value for value in row] for row in text.astype(object).to_numpy().tolist()]
    numbers: Any = lambda value: float(value) if isinstance(value, decimal.Decimal) else str(value)  # noqa: E731
    body = json.dumps({"columns": list(text), "data": plain}, default=numbers)
    assert sorted(served.invoke(body, "application/json")) == served.expected


def test_dates_in_texts_of_parquet_are_dates(bucket: Bucket, tmp_path: Path) -> None:
    table = frame()[["y"]].assign(day=frame()["when"].dt.strftime("%Y-%m-%d"), kind=frame()["when"].dt.day.astype(str))
    table["day"] = table["day"].where(table.index % 9 > 0, None)
    data = reading.load(bucket, tmp_path, {"a.parquet": parquet(table)}, channel={"ContentType": channels.PARQUET})
    assert data.train["day"].dtype == "datetime64[ns]"
    assert data.train["kind"].dtype == object
    served = reading.Served(data)
    assert sorted(served.load(table)) == sorted(served.invoke(table.to_csv(index=False))) == served.expected


def test_a_few_values_that_are_no_dates_are_missing_and_noted(bucket: Bucket, tmp_path: Path) -> None:
    table = [[f"2024-{row % 12 + 1:02}-{row % 28 + 1:02}", *entry[1:]] for row, entry in enumerate(rows())]
    table[5][0], table[90][0], table[91][0] = "unknown", "0000-00-00", ""
    data = checked(bucket, tmp_path, table)
    assert data.train["a"].dtype == "datetime64[ns]"
    assert data.notes == (
        "1 of 600 values of the column 'a' can't be read as dates between 1678 and 2262 and count as missing: "
        "'unknown' in 1 rows (first in row 6).",
    )


def test_numbers_of_32_bits_are_the_same_in_their_short_and_long_spelling(bucket: Bucket, tmp_path: Path) -> None:
    table = frame()[["small", "y"]].iloc[:600]
    data = reading.load(bucket, tmp_path, {"a.parquet": parquet(table)}, channel={"ContentType": channels.PARQUET})
    served = reading.Served(data)
    short, long = (
        [{"small": str(value)} for value in table["small"].to_numpy()],
        [{"small": float(value)} for value in table["small"]],
    )
    assert short[0] != {"small": str(long[0]["small"])}
    for body in (short, long):
        assert sorted(served.invoke(json.dumps(body), "application/json")) == served.expected
    with pytest.raises(PayloadError, match="Row 2: the column 'small' takes a number, not half of a character"):
        served.invoke('[{"small": 1}, {"small": "\\ud800"}]', "application/json")


@pytest.mark.parametrize("values", [[[1, 2]], [b"\x00"], [dt.time(1, 2)], [dt.timedelta(1)], [{"a": 1}]])
def test_a_parquet_column_that_cannot_be_used_is_left_out(bucket: Bucket, tmp_path: Path, values: list[Any]) -> None:
    table = frame().assign(odd=pd.Series(values * 600, dtype=object))
    given = {"files": {"a.parquet": parquet(table)}, "channel": {"ContentType": channels.PARQUET}}
    chosen = reading.load(bucket, tmp_path, features=["small", "name"], **given)
    assert (chosen.columns, chosen.failures) == (["small", "name"], ())
    data = reading.load(bucket, tmp_path, **given)
    assert data.columns == [name for name in frame() if name != "y"]
    (failure,) = data.failures
    assert failure.startswith("The column 'odd' is left out: the type ")
    served = reading.Served(data)
    assert sorted(served.load(pd.read_parquet(io.BytesIO(parquet(table))))) == served.expected
    for more in ({"features": ["odd"]}, {"target": "odd"}, {"SampleWeightAttributeName": "odd"}):
        with pytest.raises(JobFailure, match=r"'odd' can't be used"):
            reading.load(bucket, tmp_path, **given, **more)


def test_a_validation_channel_may_have_other_spellings_and_another_order(bucket: Bucket, tmp_path: Path) -> None:
    table = rows()
    other = [[b, y, f"{a}.0" if row % 2 else f" {a}"] for row, (a, b, y) in enumerate(table[:50])]
    data = reading.load(bucket, tmp_path, {"a.csv": csv(table)}, validation=csv(other, [" b", "y", "a "]))
    assert data.validation["a"].tolist() == data.train["a"].tolist()[:50]
    served = reading.Served(data)
    assert sorted(served.invoke(csv(table)) + served.invoke(csv(other, [" b", "y", "a "]))) == served.expected


def test_labels_that_differ_by_blanks_are_one_class_and_noted(bucket: Bucket, tmp_path: Path) -> None:
    labels = (" yes", "yes ", "yes", "no")
    table = [[a, b, labels[row % 4]] for row, (a, b, _) in enumerate(rows())]
    data = checked(bucket, tmp_path, table)
    assert data.labels == ("no", "yes")
    assert "The labels ' yes', 'yes ' of 'y' count as the ones without blanks around them." in data.notes


def test_labels_that_differ_by_case_are_separate_classes_and_noted(bucket: Bucket, tmp_path: Path) -> None:
    labels = ("Yes", "yes", "yes ", "no")
    table = [[a, b, labels[row % 4]] for row, (a, b, _) in enumerate(rows())]
    data = checked(bucket, tmp_path, table)
    assert data.labels == ("Yes", "no", "yes")
    assert "The labels 'yes ' of 'y' count as the ones without blanks around them." in data.notes
    assert "The labels 'Yes', 'yes' differ by case or blanks only, and count as different classes." in data.notes


@pytest.mark.parametrize(
    ("problem", "reason"),
    [("Regression", "must be numeric; 'unknown' in 3 rows"), (None, "3 are not, such as 'unknown'")],
)
def test_words_in_a_numeric_target_are_named(bucket: Bucket, tmp_path: Path, problem: str | None, reason: str) -> None:
    table = [[a, b, str(row / 7)] for row, (a, b, _) in enumerate(rows())]
    for row in (4, 5, 6):
        table[row][2] = "unknown"
    with pytest.raises(JobFailure, match=f"{reason}.*first in row 5"):
        reading.load(bucket, tmp_path, {"a.csv": csv(table)}, ProblemType=problem)


@pytest.mark.parametrize("decimal_comma", [False, True])
def test_columns_separated_by_semicolons_are_recognized(bucket: Bucket, tmp_path: Path, decimal_comma: bool) -> None:
    body = "\n".join(["a;b;y", *(f"{row},5;x;1" if decimal_comma else f"{row};x;1" for row in range(600))])
    with pytest.raises(JobFailure, match=r"seem to be separated by ';'; CSV needs commas.* decimal comma"):
        reading.load(bucket, tmp_path, {"a.csv": body.encode()})


def test_marker_files_of_spark_and_others_are_ignored_and_noted(bucket: Bucket, tmp_path: Path) -> None:
    files = {
        "part-0.csv": csv(rows()),
        "part-1.csv": b"",
        "part-2.csv": b"\n",
        ".part-0.csv.crc": b"crc\x00",
        "_committed_123": b"{}",
        "_SUCCESS": b"",
        ".DS_Store": b"\x00\x01",
        "part-0.csv.crc": b"\x00",
        ".ipynb_checkpoints/part-0-checkpoint.csv": csv(rows()),
        "_temporary/0/part-3.csv": csv(rows()),
    }
    data = reading.load(bucket, tmp_path, files)
    assert len(data.train) + len(data.validation) == 600
    assert "left out of the training data" in data.notes[0]


def test_a_date_with_an_ambiguous_order_of_day_and_month_is_noted(bucket: Bucket, tmp_path: Path) -> None:
    table = [[f"{row % 12 + 1:02d}/{row % 11 + 1:02d}/2024", b, y] for row, (a, b, y) in enumerate(rows())]
    data = checked(bucket, tmp_path, table)
    assert "the month is taken to be first" in data.notes[0]


@pytest.mark.parametrize(("word", "kind"), [("n.a.", "number"), ("12-A", "text")])
def test_a_few_words_among_numbers_are_missing_and_those_with_digits_are_codes(
    bucket: Bucket, tmp_path: Path, word: str, kind: str
) -> None:
    table = [[str(row), *entry[1:]] for row, entry in enumerate(rows())]
    table[9][0] = word
    data = checked(bucket, tmp_path, table)
    assert data.features[0].kind == kind
    note = {
        "number": f"1 of 600 values of the column 'a' can't be read as numbers and count as missing: '{word}'",
        "text": f"Nearly all values of 'a' are numbers, but '{word}' is not: the column is read as text",
    }
    assert note[kind] in data.notes[0]


def test_f1_finds_the_threshold_of_rare_classes() -> None:
    random = np.random.default_rng(0)
    truth = random.random(100_000) < 0.001
    positive = np.where(truth, random.uniform(0.002, 0.004, len(truth)), random.uniform(0, 0.0025, len(truth)))
    probabilities = np.column_stack([1 - positive, positive])
    threshold = metrics.decide("F1", truth.astype(int), probabilities)
    found = metrics.scores("BinaryClassification", truth.astype(int), probabilities, (0, 1), None, threshold)
    assert found["F1"] > 0.8
    assert 0.002 < threshold < 0.0026  # type: ignore[operator]


def test_a_librarys_stack_trace_is_not_a_reason() -> None:
    said = (
        "[05:43:28] /workspace/src/data/data.cc:1461: Check failed: valid: Label contains NaN, infinity or a value too "
        "large.\nStack trace:\n  [bt] (0) /usr/lib/libxgboost.so(+0x22dcbc) [0x7fa3c6cfdcbc]\n"
    )
    reason = cause(RuntimeError(said))
    assert reason == (
        "RuntimeError said 'Check failed: valid: Label contains NaN, infinity or a value too large'; the job's log has "
        "the details"
    )
    assert cause(JobFailure("The column 'a' is empty.")) == "The column 'a' is empty."


@pytest.mark.parametrize("quoting", [csv_module.QUOTE_MINIMAL, csv_module.QUOTE_ALL])
def test_quotes_that_are_escaped_at_the_end_of_values_only_are_quotes(
    bucket: Bucket, tmp_path: Path, quoting: Any
) -> None:
    table = [[f'{row % 5} "', word, target] for row, (_, word, target) in enumerate(rows())]
    body = reading.written([["a", "b", "y"], *table], quoting).replace('""', '\\"').encode()
    data = reading.load(bucket, tmp_path, {"a.csv": body})
    served = reading.Served(data)
    assert set(data.train["a"]) == {f'{row} "' for row in range(5)}
    assert sorted(served.invoke(body)) == sorted(served.transform(body)) == served.expected
    reading.check(served, ["a", "b", "y"], table)


def test_backslashes_at_the_end_of_quoted_values_are_backslashes(bucket: Bucket, tmp_path: Path) -> None:
    table = [[f"C:\\{row % 5}\\", word, target] for row, (_, word, target) in enumerate(rows())]
    body = reading.written([["a", "b", "y"], *table], csv_module.QUOTE_ALL).encode()
    data = reading.load(bucket, tmp_path, {"a.csv": body})
    assert not data.escaped
    reading.check(reading.Served(data), ["a", "b", "y"], table)


def test_each_file_of_a_prefix_may_escape_quotes_in_its_way(bucket: Bucket, tmp_path: Path) -> None:
    header, escaped = b"a,b,y\n", "".join(f'"say \\"{row}\\" now",x,{row}\n' for row in range(600)).encode()
    spark = "".join(f'"5 \\", {row}",x,{row}\n' for row in range(10)).encode()
    plain = "".join(f'"C:\\","D:\\",{row}\n' for row in range(10)).encode()
    # This one is a table in both readings.
    either = "".join(f'"C:\\\\",x,{row}\n' for row in range(10)).encode()
    files = {f"{number}.csv": header + body for number, body in enumerate((escaped, spark, plain, either))}
    data = reading.load(bucket, tmp_path, files)
    served = reading.Served(data)
    assert {"C:\\", 'say "7" now', '5 ", 7'} <= set(data.train["a"]) | set(data.validation["a"])
    assert sorted(value for body in files.values() for value in served.invoke(body)) == served.expected
    assert sorted(value for body in files.values() for value in served.transform(body)) == served.expected


def test_the_escapes_of_a_validation_channel_are_those_of_the_training_channel(bucket: Bucket, tmp_path: Path) -> None:
    header = b"text,label\n"
    training = "".join(f'"say \\"{row}\\"",{"ab"[row % 2]}\n' for row in range(60)).encode()
    # A table in both readings.
    validation = "".join(f'"C:\\\\{row}\\\\",{"ab"[row % 2]}\n' for row in range(20)).encode()
    samples = reading.load_texts(bucket, tmp_path, {"a.csv": header + training}, header + validation)
    assert samples.validation[3] == "C:\\\\3\\"
    served = reading.Served.of_texts(samples)
    assert sorted(served.invoke(header + training) + served.invoke(header + validation)) == served.expected


def test_a_body_may_double_quotes_where_the_training_data_escapes_them(bucket: Bucket, tmp_path: Path) -> None:
    table = [[f'{row}\\" {word}', word, target] for row, (_, word, target) in enumerate(rows())]
    header = ["a", "b", "y"]
    escaped = ",".join(header) + "\n"
    escaped += "".join('"' + a.replace("\\", "\\\\").replace('"', '\\"') + f'",{b},{y}\n' for a, b, y in table)
    data = reading.load(bucket, tmp_path, {"a.csv": escaped.encode()})
    assert data.escaped
    served = reading.Served(data)
    assert sorted(served.invoke(escaped)) == sorted(served.transform(escaped.encode())) == served.expected
    reading.check(served, header, table)


@pytest.mark.parametrize("quoting", [csv_module.QUOTE_MINIMAL, csv_module.QUOTE_ALL])
def test_a_byte_order_mark_before_a_row_is_not_part_of_its_value(bucket: Bucket, tmp_path: Path, quoting: Any) -> None:
    mark, header = "\ufeff", ["a", "b", "y"]
    table = [[f"{word}, {row % 5}", str(row % 9), target] for row, (_, word, target) in enumerate(rows())]
    parts = [reading.written([header, *table[start : start + 200]], quoting) for start in (0, 200)]
    # Files that were joined: the later ones brought their marks along, without a header.
    joined = parts[1] + mark + reading.written(table[400:], quoting)
    data = reading.load(bucket, tmp_path, {"a.csv": (mark + parts[0]).encode(), "b.csv": (mark + joined).encode()})
    served = reading.Served(data)
    whole = mark + reading.written([header, *table[:300]], quoting) + mark + reading.written(table[300:], quoting)
    assert sorted(served.invoke(whole)) == sorted(served.transform(whole.encode())) == served.expected
    bare = [row[:2] for row in table]
    bodies = (mark + reading.written(bare, quoting)).encode()
    assert sorted(served.invoke(bodies)) == sorted(served.transform(bodies)) == served.expected
    reading.check(served, header, table)
    marked = [[mark + cell for cell in row] for row in bare]
    assert sorted(served.invoke(json.dumps(marked), "application/json")) == served.expected
    assert sorted(served.load(pd.DataFrame(marked, columns=[mark + "a", "b"]))) == served.expected


def test_a_quote_inside_a_value_that_is_not_quoted_is_a_quote(bucket: Bucket, tmp_path: Path) -> None:
    body = "a,b,y\n" + "".join(f'{row % 9}" pipe,x"y"z,{row}\n' for row in range(600))
    data = reading.load(bucket, tmp_path, {"a.csv": body.encode()})
    served = reading.Served(data)
    assert set(data.train["a"]) == {f'{row}" pipe' for row in range(9)}
    assert sorted(served.invoke(body)) == sorted(served.transform(body.encode())) == served.expected


@pytest.mark.parametrize(
    ("values", "kind", "missing"),
    [
        (["\u22125", "6", "+7.5"], "number", 0),
        (["#DIV/0!", "1", "\u2014", "#N/A N/A"], "number", 450),
        (["-nan", "1", "1.#IND"], "number", 400),
        (["inf", "-inf"], "number", 600),
        (["\u00a05", "6\u202f"], "number", 0),
        (["1\u00a0234", "12"], "text", 0),
        (["\u200ba", "a"], "text", 0),
        (["1.234,56", "12,5"], "text", 0),
    ],
)
def test_values_as_spreadsheets_write_them_are_read_the_same_everywhere(
    bucket: Bucket, tmp_path: Path, values: list[str], kind: str, missing: int
) -> None:
    table = [[values[row % len(values)], *entry[1:]] for row, entry in enumerate(rows())]
    data = checked(bucket, tmp_path, table)
    assert data.features[0].kind == kind
    assert data.train["a"].isna().sum() + data.validation["a"].isna().sum() == missing
    assert any("look like numbers with separators" in note for note in data.notes) == (
        kind == "text" and missing == 0 and values[0][0].isdigit()
    )


@pytest.mark.parametrize("separated", ["1,234", "1 234", "1'234", "1\u00a0234", "1\u202f234"])
def test_numbers_may_have_thousands_separators_if_the_column_is_declared_numeric(
    bucket: Bucket, tmp_path: Path, separated: str
) -> None:
    table = [[separated if row % 2 else "-5", *entry[1:]] for row, entry in enumerate(rows())]
    data = checked(bucket, tmp_path, table, types={"a": "numeric"})
    assert set(data.train["a"]) == {1234.0, -5.0}


@pytest.mark.parametrize("before", ["\n\n", "  \n", "\ufeff\n \t\n"])
def test_blank_lines_before_the_header_are_not_rows(bucket: Bucket, tmp_path: Path, before: str) -> None:
    body = before.encode() + csv(rows())
    served = reading.Served(reading.load(bucket, tmp_path, {"a.csv": body}))
    for given in (body, before.encode() + csv([row[:2] for row in rows()], ["a", "b"]).partition(b"\n")[2]):
        assert sorted(served.invoke(given)) == sorted(served.transform(given)) == served.expected


@pytest.mark.parametrize("values", [(" ", "7", " "), ("b", "a", " a ")])
def test_rows_of_a_single_column_may_be_blank_or_its_name(
    bucket: Bucket, tmp_path: Path, values: tuple[str, ...]
) -> None:
    table = [[values[row % len(values)], str(row / 7)] for row in range(600)]
    data = reading.load(bucket, tmp_path, {"a.csv": csv(table, ["a", "y"])})
    reading.check(reading.Served(data), ["a", "y"], table)


@pytest.mark.parametrize("name", ["__validation__", "target", "index"])
def test_no_name_of_a_column_is_taken(bucket: Bucket, tmp_path: Path, name: str) -> None:
    data = checked(bucket, tmp_path, rows(), [name, "b", "y"])
    assert data.columns == [name, "b"]


@pytest.mark.parametrize("header", [["a", "b", "y"], ["", " b", "y"]])
def test_a_header_that_is_repeated_in_a_body_is_not_a_row(bucket: Bucket, tmp_path: Path, header: list[str]) -> None:
    body = csv(rows(300), header) + b"\xef\xbb\xbf" + csv(rows(300), header)
    served = reading.Served(reading.load(bucket, tmp_path, {"a.csv": body}))
    assert len(served.expected) == 600
    assert sorted(served.invoke(body)) == sorted(served.transform(body)) == served.expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sep=;\na;b\n", "begins with Excel's line 'sep='"),
        ('\ufeff[{"a": 1}]', "is not CSV: it is JSON"),
        ("\n<!DOCTYPE html>", "is not CSV: it is HTML, which may be an error page"),
        ("Report\n1,2\n", "The first row must name the columns"),
    ],
)
def test_a_file_that_is_not_csv_is_named(bucket: Bucket, tmp_path: Path, body: str, reason: str) -> None:
    with pytest.raises(JobFailure, match=reason.replace("[", r"\[")):
        reading.load(bucket, tmp_path, {"a.csv": body.encode()})


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_the_ends_of_lines_may_be_those_of_other_systems(bucket: Bucket, tmp_path: Path, end: str) -> None:
    body = csv(rows()).decode().replace("\n", end)
    data = reading.load(bucket, tmp_path, {"a.csv": body.encode()})
    served = reading.Served(data)
    assert sorted(served.invoke(body)) == sorted(served.transform(body.encode())) == served.expected


def test_a_repeated_header_with_a_byte_order_mark_is_left_out(bucket: Bucket, tmp_path: Path) -> None:
    table = rows()
    body = csv(table[:300]) + b"\xef\xbb\xbf" + csv(table[300:])
    data = reading.load(bucket, tmp_path, {"a.csv": body})
    assert "repeated among its rows" in data.notes[0]
    reading.check(reading.Served(data), ["a", "b", "y"], table)
