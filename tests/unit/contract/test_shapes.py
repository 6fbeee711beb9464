from datetime import UTC, datetime
from decimal import Decimal

import pytest

from airflow_automl.contract.model import create_shape, shapes
from airflow_automl.contract.shapes import check_shape
from tests.unit.contract.samples import ROLE, TAB, v1, v2

SHAPES = {
    "Text": {"type": "string", "min": 2, "max": 4, "pattern": "[a-z]+"},
    "Only": {"type": "string", "enum": ["a", "b"]},
    "Whole": {"type": "integer", "min": 1, "max": 5},
    "Open": {"type": "long", "min": 0},
    "Part": {"type": "double", "min": 0, "max": 1},
    "Flag": {"type": "boolean"},
    "When": {"type": "timestamp"},
    "Bytes": {"type": "blob"},
    "Items": {"type": "list", "member": {"shape": "Text"}, "min": 1, "max": 2},
    "Table": {"type": "map", "key": {"shape": "Only"}, "value": {"shape": "Whole"}, "max": 1},
    "Choice": {"type": "structure", "union": True, "members": {"A": {"shape": "Flag"}, "B": {"shape": "Flag"}}},
    "Root": {
        "type": "structure",
        "required": ["Name"],
        "members": {
            "Name": {"shape": "Text"},
            "Child": {"shape": "Root"},
            "Items": {"shape": "Items"},
            "Table": {"shape": "Table"},
            "Choice": {"shape": "Choice"},
        },
    },
}


def paths(shape, value, path=""):
    found = check_shape(SHAPES, shape, value, path)
    assert {entry.rule for entry in found} <= {"shape"}
    assert {entry.severity for entry in found} <= {"error"}
    return [entry.path for entry in found]


def message(shape, value):
    (found,) = check_shape(SHAPES, shape, value, "X")
    return found.message


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("Text", "ab"),
        ("Only", "a"),
        ("Whole", 5),
        ("Open", 10**30),
        ("Part", 0),
        ("Part", 1.0),
        ("Part", Decimal("0.5")),
        ("Flag", False),
        ("When", datetime(2026, 1, 1, tzinfo=UTC)),
        ("When", 1.5),
        ("When", "2026-01-01T00:00:00+00:00"),
        ("Bytes", b"x"),
        ("Items", ("ab",)),
        ("Table", {"a": 1}),
        ("Choice", {"A": True}),
    ],
)
def test_valid_values(shape, value):
    assert paths(shape, value) == []


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("Text", "a"),
        ("Text", "abcde"),
        ("Text", "AB"),
        ("Text", "ab\n"),
        ("Text", None),
        ("Text", b"ab"),
        ("Only", "c"),
        ("Only", "A"),
        ("Whole", 0),
        ("Whole", 6),
        ("Whole", True),
        ("Whole", 1.0),
        ("Whole", "1"),
        ("Part", 1.5),
        ("Part", True),
        ("Part", float("nan")),
        ("Part", float("-inf")),
        ("Part", Decimal("NaN")),
        ("Part", Decimal("sNaN")),
        ("Flag", 1),
        ("Flag", "true"),
        ("When", "yesterday"),
        ("When", True),
        ("When", float("nan")),
        ("When", 10**400),
        ("Bytes", 7),
        ("Items", []),
        ("Items", ["ab"] * 3),
        ("Items", "ab"),
        ("Items", {"ab"}),
        ("Table", [("a", 1)]),
        ("Table", {"a": 1, "b": 2}),
        ("Choice", {}),
        ("Choice", {"A": True, "B": True}),
    ],
)
def test_invalid_values(shape, value):
    assert paths(shape, value, "X") == ["X"]


class TestPaths:
    def test_a_missing_member_is_reported_where_it_would_be(self):
        assert paths("Root", {}) == ["Name"]
        assert paths("Root", {"Name": "ab", "Child": {}}) == ["Child.Name"]

    def test_an_unknown_member_is_reported_where_it_is(self):
        assert paths("Root", {"Name": "ab", "Nmae": 1}) == ["Nmae"]
        assert paths("Root", {"Name": "ab", 7: 1}) == ["7"]

    def test_entries_are_counted_from_zero(self):
        assert paths("Root", {"Name": "ab", "Items": ["ab", "A"]}) == ["Items[1]"]

    def test_keys_and_values_of_maps(self):
        assert paths("Table", {"c": 1}) == ["c"]
        assert paths("Table", {"a": 9}, "T") == ["T.a"]
        assert paths("Table", {7: 1}, "T") == ["T.7"]
        assert paths("Table", {"c.d e": 9}, "T") == ["T.c.d e", "T.c.d e"]

    def test_a_union_is_reported_at_its_own_path_and_its_unknown_member_at_that_ones(self):
        assert paths("Choice", {"C": 1}, "U") == ["U", "U.C"]
        assert paths("Choice", {"A": True, "C": 1}, "U") == ["U", "U.C"]

    def test_the_given_path_comes_first(self):
        assert paths("Root", {}, "Deep.Down") == ["Deep.Down.Name"]


class TestMessages:
    @pytest.mark.parametrize(
        ("shape", "value", "expected"),
        [
            ("Text", "a", "received 'a'; has 1 character, must have 2 to 4"),
            ("Text", 7, "received an integer (7); must be a string"),
            ("Flag", "true", "received a string ('true'); must be a boolean (true or false)"),
            ("Flag", None, "received null; must be a boolean (true or false); leave the field out instead"),
            ("Only", "c", "received 'c'; must be a or b"),
            ("Whole", 6, "received 6; must be 1 to 5"),
            ("Open", -1, "received -1; must be at least 0"),
            ("Items", [], "received 0 entries; must have 1 to 2"),
            ("Part", float("nan"), "received nan; must be a finite number"),
            ("Choice", {}, "received none; exactly one of A or B must be given"),
        ],
    )
    def test_they_say_what_was_received_and_what_is_valid(self, shape, value, expected):
        assert message(shape, value) == expected

    def test_long_values_are_shortened(self):
        assert len(message("Only", "x" * 10_000)) < 200

    def test_a_value_that_is_too_long_and_invalid_is_reported_once(self):
        assert message("Text", "ABCDE") == "received 'ABCDE'; has 5 characters, must have 2 to 4"

    def test_numbers_that_python_refuses_to_print(self):
        assert "bits" in message("Whole", 10**5000)

    def test_an_unknown_field_is_put_right(self):
        def unknown(request, api="V2"):
            return check_shape(shapes(), create_shape(api), request)[0].message

        assert unknown(v2(AutoMLJobname="x")) == "unknown field; did you mean AutoMLJobName?"
        assert unknown(v2(RoleARN="x")) == "unknown field; did you mean RoleArn?"
        assert unknown(v2(OutputConfig={})) == "unknown field; did you mean OutputDataConfig?"
        assert unknown(v2(ValidationFraction=0.2)) == "unknown field; it belongs in DataSplitConfig"
        assert unknown(v2("time_series", {"Mode": "AUTO"})) == f"unknown field; it belongs in {TAB}"
        assert unknown(v2(OutputDataConfig={"S3OutputPath": "s3://b/o", "Zone": 1})) == (
            "unknown field; valid here: KmsKeyId, S3OutputPath"
        )


def test_deep_nesting_is_named_not_followed():
    value = {"Name": "ab"}
    for _ in range(5000):
        value = {"Name": "ab", "Child": value}
    found = paths("Root", value)
    assert len(found) == 2
    assert {path.count("Child") for path in found} == {64, 65}


def test_a_role_that_is_too_short_is_shown_the_form():
    request = v1(RoleArn=ROLE[:20])
    (found,) = check_shape(shapes(), create_shape("V1"), request)
    assert found.path == "RoleArn"
    assert "arn:aws:iam::123456789012:role/AutoML" in found.message
