import json

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.models import payloads
from airflow_automl.local.models.artifacts import answer_of
from airflow_automl.local.training.data.codec import Codec, Kind

FEATURES = (
    Codec("age", Kind.NUMBER),
    Codec("zip", Kind.TEXT),
    Codec("income", Kind.NUMBER),
    Codec("joined", Kind.MOMENT),
)


def frame(*arguments):
    return pd.DataFrame(payloads.decode(*arguments))


def decode(body, kind="text/csv"):
    return frame(body if isinstance(body, bytes) else body.encode(), kind, FEATURES, "churn")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("40,01000,2.5,2020-01-31\n", "text/csv"),
        ("40,01000,2.5,2020-01-31", "text/csv; charset=utf-8"),
        ("age,zip,income,joined\n40,01000,2.5,2020-01-31\n", "text/csv;header=present"),
        ("joined,income,zip,age\n2020-01-31,2.5,01000,40\n", "text/csv"),
        ('{"age": 40, "zip": "01000", "income": 2.5, "joined": "2020-01-31", "churn": "no"}', "application/json"),
        ('[40, "01000", 2.5, "2020-01-31"]', "application/json"),
        ('{"instances": [{"features": [40, "01000", 2.5, "2020-01-31"]}]}', "application/json"),
        ('[["40", "01000", "2.5", "2020-01-31"]]', "application/json"),
        ('{"features": [40, "01000", 2.5, "2020-01-31"]}\n\n', "application/jsonlines"),
        ('[40, "01000", 2.5, "2020-01-31"]', "application/x-jsonlines"),
    ],
)
def test_one_row_in_every_format(body, kind):
    rows = decode(body, kind)
    assert rows.iloc[0].tolist() == [40, "01000", 2.5, pd.Timestamp("2020-01-31")]
    assert rows.dtypes.astype(str).tolist() == ["float64", "object", "float64", "datetime64[ns]"]


def test_missing_values_are_missing():
    rows = decode(",NA,null,\n1,x,2,2020-01-01\n")
    assert rows.iloc[0].isna().all()
    assert decode("[[null, null, null, null]]", "application/json").iloc[0].isna().all()


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"\xff\xfe1", "text/csv", r"not UTF-8 text \(byte offset 0\)"),
        (b"", "text/csv", "The body is empty"),
        (b" \n", "text/csv", "The body is empty"),
        (b"age,zip,income,joined\n", "text/csv", "has no rows"),
        (
            b"1,2,3",
            "text/csv",
            "Row 1 has 3 values; the model takes 4, in this order: 'age', 'zip', 'income', 'joined'",
        ),
        (b"1,2,3,2020-01-01\n1,2,3,2020-01-01,no", "text/csv", "Row 2 has 5 values.*Leave out the target 'churn'"),
        (b"old,2,3,2020-01-01", "text/csv", "Row 1: the column 'age' takes a number, not 'old'"),
        (b"1,2,3,tomorrow", "text/csv", "Row 1: the column 'joined' takes a date, not 'tomorrow'"),
        (b'1,"2', "text/csv", "Row 1 has 2 values"),
        (b"{", "application/json", "not JSON"),
        (b"[" * 100_000, "application/json", "not JSON: maximum recursion depth"),
        (b"age,zip,income,joined,age\n1,2,3,,5\n", "text/csv", "have the column 'age' more than once"),
        (
            b'{"columns": ["age", "zip", "income", "joined", "age"], "data": [[1, "2", 3, null, 5]]}',
            "application/json",
            "have the column 'age' more than once",
        ),
        (b"7", "application/json", "must be a row"),
        (b"[]", "application/json", "has no rows"),
        (b'[{"age": 1}]', "application/json", "Row 1 lacks 'zip', 'income', 'joined'; use null"),
        (b'[[1, "2", 3, null], 7]', "application/json", "Row 2 must be an object or a list"),
        (b'{"age": [1], "zip": 1, "income": 1, "joined": 1}', "application/json", "'age' takes a number"),
        (b"[1]\n{", "application/jsonlines", "Line 2 is not JSON"),
        (b"1,2,3,4", "image/png", "can't read the content type image/png"),
    ],
)
def test_payloads_that_the_model_refuses_get_the_reason(body, kind, reason):
    with pytest.raises(payloads.PayloadError, match=reason):
        decode(body, kind)


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ('"one, two"\nthree\n', "text/csv", ["one, two", "three"]),
        ("text\none\n", "text/csv", ["one"]),
        ("text\n", "text/csv", ["text"]),
        ('"two\nlines"\n""\n', "text/csv", ["two\nlines", None]),
        ('["one", "two"]', "application/json", ["one", "two"]),
        ('"one"', "application/json", ["one"]),
        ('{"instances": ["one", {"text": "two"}, ["three"]]}', "application/json", ["one", "two", "three"]),
        ('{"text": "one"}', "application/json", ["one"]),
        ('"one"\n{"text": "two"}\n', "application/jsonlines", ["one", "two"]),
    ],
)
def test_where_there_is_one_column_a_bare_value_is_a_row(body, kind, expected):
    rows = frame(body.encode(), kind, [Codec("text", Kind.TEXT)], "label")

    assert rows["text"].tolist() == expected


def test_an_unquoted_comma_in_the_only_column_is_explained():
    with pytest.raises(payloads.PayloadError, match=r"has 2 values.* Put values that have commas into double quotes"):
        frame(b"Hello, world", "text/csv", [Codec("text", Kind.TEXT)], "label")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "text/csv"),
        ("*/*", "text/csv"),
        ("application/json", "application/json"),
        ("image/png, application/jsonlines;q=0.5", "application/jsonlines"),
    ],
)
def test_the_response_type_follows_the_accept_header(accept, expected):
    assert payloads.negotiate(accept) == expected


def test_an_accept_header_that_nothing_fits_is_refused():
    with pytest.raises(payloads.PayloadError, match="can't answer image/png"):
        payloads.negotiate("image/png")


SCORES = np.array([[0.9, 0.1], [0.3, 0.7]])


def test_csv_has_lists_in_autopilots_form():
    body, kind = payloads.encode(answer_of(SCORES, ("no", "yes")), payloads.KEYS, "text/csv")
    assert kind == "text/csv; charset=utf-8"
    assert body.decode() == "no,0.9,\"[0.9, 0.1]\",\"['no', 'yes']\"\nyes,0.7,\"[0.3, 0.7]\",\"['no', 'yes']\"\n"


def test_probability_is_of_the_predicted_or_of_the_positive_class():
    keys = ("probability",)
    assert payloads.encode(answer_of(SCORES, (0, 1)), keys, "text/csv")[0] == b"0.9\n0.7\n"
    assert payloads.encode(answer_of(SCORES, (0, 1), positive_probability=True), keys, "text/csv")[0] == b"0.1\n0.7\n"


def test_the_threshold_decides():
    assert answer_of(SCORES, ("no", "yes"), threshold=0.05)["predicted_label"] == ["yes", "yes"]


def test_json_and_json_lines():
    answer = answer_of(SCORES, (0, 1))
    document = json.loads(payloads.encode(answer, ("predicted_label", "labels"), "application/json")[0])
    assert document == {
        "predictions": [{"predicted_label": "0", "labels": ["0", "1"]}, {"predicted_label": "1", "labels": ["0", "1"]}]
    }
    lines = payloads.encode(answer_of(np.array([1.5, 2.0]), ()), ("predicted_label",), "application/jsonlines")[0]
    assert lines == b'{"predicted_label": 1.5}\n{"predicted_label": 2.0}\n'


def test_response_keys_are_those_of_the_environment():
    environment = {"SAGEMAKER_INFERENCE_OUTPUT": "labels, probability"}
    assert payloads.response_keys(environment, regression=False) == ("labels", "probability")
    assert payloads.response_keys({}, regression=False) == ("predicted_label",)
    with pytest.raises(
        payloads.PayloadError, match="asks for 'labels', 'probability'; this model answers 'predicted_label'"
    ):
        payloads.response_keys(environment, regression=True)
    with pytest.raises(payloads.PayloadError, match="asks for 'score'"):
        payloads.response_keys({"SAGEMAKER_INFERENCE_OUTPUT": "score"}, regression=False)


@pytest.mark.parametrize(
    ("order", "text", "date"),
    [
        ("dmy", "05/03/2024", "2024-03-05"),
        ("dmy", "05.03.24", "2024-03-05"),
        ("dmy", "2024-03-05", "2024-03-05"),
        ("mdy", "05/03/2024", "2024-05-03"),
    ],
)
def test_dates_are_read_as_in_training(order, text, date):
    (read,) = frame(text.encode(), "text/csv", (Codec("joined", Kind.MOMENT, order=order),))["joined"]
    assert read == pd.Timestamp(date)


@pytest.mark.parametrize("missing", ["?", "-", ".", "NONE", "Null", "NA", "", " ", " ? ", '"?"', '""', "inf"])
def test_numbers_that_training_takes_for_missing_are_missing(missing):
    assert decode(f"{missing},x,{missing},2020-01-01")[["age", "income"]].isna().all(axis=None)


def test_numbers_beyond_what_a_float_holds_are_missing_in_every_layout():
    assert decode("1e19,x,1,2020-01-01")["age"].tolist() == [1e19]
    digits = "9" * 400
    assert decode(f'[[{digits}, "x", 1, "2020-01-01"]]', "application/json")["age"].isna().all()
    assert decode(f"{digits},x,1,2020-01-01")["age"].isna().all()


def test_json_rows_with_their_columns_beside_them_are_read_by_name():
    names = ["joined", "income", "extra", "zip", "age"]
    body = {"columns": names, "index": [0], "data": [["2020-01-31", 2.5, 1, "01000", 40]]}
    rows = decode(json.dumps(body), "application/json")
    assert rows.iloc[0].tolist() == [40, "01000", 2.5, pd.Timestamp("2020-01-31")]
    with pytest.raises(payloads.PayloadError, match="The columns lack 'zip'"):
        decode(json.dumps({"columns": ["age", "income", "joined"], "data": [[1, 2, None]]}), "application/json")


def test_not_a_number_is_missing_in_every_column():
    rows = decode('[[NaN, NaN, NaN, NaN], [1, "x", 2, "2020-01-01"]]', "application/json")
    assert rows.iloc[0].isna().all()


def test_a_line_separator_in_a_text_does_not_end_a_json_line():
    rows = frame('{"t": "a\u2028b"}\n'.encode(), "application/jsonlines", [Codec("t", Kind.TEXT)])
    assert rows["t"].tolist() == ["a\u2028b"]


def test_a_header_may_have_blanks_other_columns_and_columns_without_a_name():
    features = (Codec("Unnamed: 0", Kind.NUMBER), Codec("age", Kind.NUMBER))
    rows = frame(b" age,churn,\n40,no,7\n", "text/csv", features)
    assert rows.to_numpy().tolist() == [[7, 40]]
    assert frame(b'{"": 7, " age": 40}', "application/json", features).to_numpy().tolist() == [[7, 40]]
    with pytest.raises(payloads.PayloadError, match="The header lacks 'age'"):
        frame(b"Age,Unnamed: 0\n40,7\n", "text/csv;header=present", features)


def test_a_text_may_be_longer_than_pythons_limit_for_csv():
    text = "word " * 50_000
    rows = frame(f"{text}\n".encode(), "text/csv", [Codec("text", Kind.TEXT)])
    assert rows["text"].tolist() == [text.strip()]
