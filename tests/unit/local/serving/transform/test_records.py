"""Batch transform's records: paths, payloads, joins."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from airflow_automl.local.serving.transform import json_path
from airflow_automl.local.serving.transform.json_path import PathError
from airflow_automl.local.serving.transform.records import (
    Processing,
    RecordError,
    answers,
    batches,
    begin,
    blocks,
    records,
)

RECORD: Any = {"id": 7, "features": [1, 2, 3], "nested": {"a b": "x"}}


@pytest.mark.parametrize(
    ("path", "record", "expected"),
    [
        ("$", RECORD, RECORD),
        ("$.id", RECORD, 7),
        ("$['id']", RECORD, 7),
        ("$.nested['a b']", RECORD, "x"),
        ("$['id','features']", RECORD, {"id": 7, "features": [1, 2, 3]}),
        ("$.features[1:]", RECORD, [2, 3]),
        ("$.features[:-1]", RECORD, [1, 2]),
        ("$.features[0,-1]", RECORD, [1, 3]),
        ("$[-1]", ["a", "b"], "b"),
        ("$[*]", ["a", "b"], ["a", "b"]),
    ],
)
def test_paths_select_what_they_name(path: str, record: Any, expected: Any) -> None:
    assert json_path.parse(path)(record) == expected


@pytest.mark.parametrize("path", ["", "id", "$[", "$[a]", "$..a", "$.a[?(@.b)]", "$[1:2:3]"])
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(PathError):
        json_path.parse(path)


@pytest.mark.parametrize("path", ["$.missing", "$.id[0]", "$.features[9]", "$.features['a']", "$[0]"])
def test_a_path_that_is_not_in_a_record_says_so(path: str) -> None:
    with pytest.raises(PathError, match="not in a record"):
        json_path.parse(path)(RECORD)


def processing(content: str = "text/csv", accept: str | None = None, **given: str) -> Processing:
    output = {"S3OutputPath": "s3://b/", **({"Accept": accept} if accept else {})}
    return Processing.of(
        {"TransformInput": {"ContentType": content}, "TransformOutput": output, "DataProcessing": given}
    )


def cut(data: bytes, how: Processing, limit: int = 0, single: bool = False, fill: int = 0) -> list[bytes]:
    names = ["a", "b"] if how.header else []
    top, found = begin(blocks(io.BytesIO(data), how, limit, lambda: fill or 1 << 20), names, how)
    most = (lambda: fill) if fill else None
    return [payload for _, payload in batches(found, limit, single=single, top=top, processing=how, fill=most)]


def test_records_fill_payloads_up_to_their_limit() -> None:
    assert cut(b"1,2\n3,4\r\n\n5,6", processing()) == [b"1,2\n3,4\n5,6\n"]
    assert cut(b"1,2\n3,4\n5,6", processing(), limit=8) == [b"1,2\n3,4\n", b"5,6\n"]
    assert cut(b"1,2\n3,4\n", processing(), single=True) == [b"1,2\n", b"3,4\n"]
    with pytest.raises(RecordError, match="MaxPayloadInMB"):
        cut(b"1,2,3,4,5,6\n", processing(), limit=8)
    # A payload may be filled less, but a record that is allowed is taken.
    filtered = processing(InputFilter="$[:]")
    assert cut(b"1,2\n3,4\n5,6,7,8,9\n", filtered, limit=12, fill=4) == [b"1,2\n", b"3,4\n", b"5,6,7,8,9\n"]
    assert cut(b"1,2\n3,4\n5,6", filtered, limit=8, fill=100) == [b"1,2\n3,4\n", b"5,6\n"]


def test_rows_of_tables_are_sent_in_blocks_as_they_are() -> None:
    assert cut(b"1,2\r\n\n3,4\n5,6\n7,8", processing(), fill=12) == [b"1,2\r\n\n3,4\n", b"5,6\n7,8"]
    assert cut(b"1,2\n3,4\n5,6,7,8,9\n", processing(), limit=12, fill=4) == [b"1,2\n", b"3,4\n", b"5,6,7,8,9\n"]
    assert cut(b'1,"x\ny"\n2,"z"\n', processing(), fill=8) == [b'1,"x\ny"\n', b'2,"z"\n']
    assert cut(b"1,2\r3,4\r5,6", processing(), fill=8) == [b"1,2\r3,4\r", b"5,6"]
    assert cut(b"[1]\n[2]\n[3]", processing("application/jsonlines"), fill=8) == [b"[1]\n[2]\n", b"[3]"]
    header = processing("text/csv;header=present")
    assert cut(b"\na,b\n1,2\n3,4\n5,6", header, fill=9) == [b"a,b\n1,2\n", b"a,b\n3,4\n5,6"]
    # With its header, a block may be too long for one payload.
    assert cut(b"a,b\n1,2\n3,4\n5,6\n", header, limit=8, fill=8) == [b"a,b\n1,2\n", b"a,b\n3,4\n", b"a,b\n5,6\n"]
    with pytest.raises(RecordError, match="a record has more than 8 bytes; MaxPayloadInMB allows 8"):
        cut(b"1,2,3,4,5,6\n", processing(), limit=8, fill=8)
    # The model says what is wrong with an object without records.
    assert cut(b"\r\n\n", processing(), fill=8) == cut(b"", processing("application/jsonlines"), fill=8) == [b" \n"]
    assert cut(b"a,b\n", header, fill=8) == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("quote", [b"", b'"'])
def test_blocks_have_all_records_wherever_they_are_cut(end: bytes, quote: bytes) -> None:
    inner = b"x\n,y" if quote else b"x"
    rows = [b"%d,%b%b%b" % (number, quote, inner * (number % 5), quote) for number in range(20)]
    how = processing()
    for size in range(1, 40):
        found = list(blocks(io.BytesIO(end.join(rows)), how, size=lambda size=size: size))
        assert [row for block in found for row in records(block, how)] == rows, size


def test_a_header_goes_before_every_payload() -> None:
    how = processing("text/csv; header=present")
    assert cut(b"a,b\n1,2\n3,4\n", how, single=True) == [b"a,b\n1,2\n", b"a,b\n3,4\n"]


def test_a_repeated_header_is_not_a_record() -> None:
    assert cut(b"a,b\n1,2\na,b\n3,4\n", processing("text/csv;header=present")) == [b"a,b\n1,2\n3,4\n"]


def test_a_value_in_quotes_may_span_lines() -> None:
    assert cut(b'1,"x\ny"\n2,z\n', processing(), single=True) == [b'1,"x\ny"\n', b"2,z\n"]


def test_the_first_record_is_a_header_if_it_names_the_models_columns() -> None:
    def begun(text: bytes, names: list[str], how: Processing) -> tuple[bytes | None, list[bytes]]:
        top, found = begin(iter([text]), names, how)
        return top, [row for block in found for row in records(block, how)]

    assert begun(b" b,a,target\n1,2,3", ["a", "b"], processing()) == (b" b,a,target", [b"1,2,3"])
    assert begun(b"1,2\n3,4", ["a", "b"], processing()) == (None, [b"1,2", b"3,4"])
    assert begun(b"a,b", ["a", "b"], processing("text/csv;header=absent")) == (None, [b"a,b"])
    assert begun(b"id,a,b", ["a", "b"], processing(InputFilter="$[1:]")) == (b"id,a,b", [])
    assert begun(b" \na,b\n1,2", ["a", "b"], processing()) == (b"a,b", [b"1,2"])
    # In a single column, a line of blanks is a missing value.
    assert begun(b" \n1\n ", ["a"], processing()) == (None, [b" ", b"1", b" "])
    assert begun(b" \na\n1\n ", ["a"], processing()) == (b"a", [b"1", b" "])
    with pytest.raises(RecordError, match="The header lacks 'b'"):
        begun(b"a,c", ["a", "b"], processing("text/csv;header=present"))


def test_an_input_filter_takes_columns_away() -> None:
    assert cut(b'id,"x, y",2\n', processing(InputFilter="$[1:]")) == [b'"x, y",2\n']


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\rb", 'say "a"\n', ""])
def test_filters_and_joins_keep_line_breaks_inside_values(text: str) -> None:
    record = b'1,"%b",2' % text.replace('"', '""').encode()
    for made, expected in (
        (processing(InputFilter="$[1:]").payload(record), [text, "2"]),
        (processing(JoinSource="Input", OutputFilter="$[1,-1]").finish(record, b"yes"), [text, "yes"]),
    ):
        assert list(csv.reader(io.StringIO(made.decode(), newline=""))) == [expected]


def test_csv_is_joined_as_columns_and_filtered() -> None:
    assert processing(JoinSource="Input").finish(b"id,1", b"yes,0.9") == b"id,1,yes,0.9"
    how = processing(JoinSource="Input", OutputFilter="$[0,-1]")
    assert how.finish(b"id,1", b"yes,0.9") == b"id,0.9"


def test_json_is_joined_under_a_name_of_its_own() -> None:
    how = processing("application/jsonlines", JoinSource="Input")
    assert json.loads(how.finish(b'{"a":1}', b'{"p":2}')) == {"a": 1, "SageMakerOutput": {"p": 2}}
    assert json.loads(how.finish(b"[1]", b"2")) == {"SageMakerInput": [1], "SageMakerOutput": 2}


def test_csv_and_json_are_not_joined() -> None:
    with pytest.raises(RecordError, match="both must be CSV"):
        processing("text/csv", "application/json", JoinSource="Input").finish(b"1", b"{}")


def test_an_answer_may_have_a_line_break_in_quotes() -> None:
    assert answers(b'"a\nb",0.5\nc,0.5\n', [b"1", b"2"], "text/csv") == [b'"a\nb",0.5', b"c,0.5"]


def test_answers_are_counted() -> None:
    assert answers(b"a\nb\n", [b"1", b"2"], "text/csv") == [b"a", b"b"]
    assert answers(b'{"predictions":[{"p":1},{"p":2}]}', [b"1", b"2"], "application/json") == [b'{"p": 1}', b'{"p": 2}']
    with pytest.raises(RecordError, match="1 answers to 2 records"):
        answers(b"a\n", [b"1", b"2"], "text/csv")
