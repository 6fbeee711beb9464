import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_automl.contract import builders
from airflow_automl.contract.checking import check
from airflow_automl.contract.documents import api_version
from airflow_automl.contract.model import CREATE_OPERATIONS, create_shape, shapes
from airflow_automl.contract.rules import RULES
from airflow_automl.contract.shapes import check_shape
from airflow_automl.contract.violations import Violation
from tests.unit.contract import strategies
from tests.unit.contract.samples import EXAMPLES, v1, v2
from tests.unit.contract.strategies import SETTINGS

APIS = tuple(CREATE_OPERATIONS)


@pytest.mark.parametrize("example", EXAMPLES, ids=[entry["id"] for entry in EXAMPLES])
def test_samples_get_their_verdict(example):
    broken = [found for found in check(example["api"], example["request"]) if found.severity == "error"]
    if example["expect"] == "accept":
        assert broken == []
        return
    ends = tuple(example.get("field_any", ()))
    matching = [
        found
        for found in broken
        if found.rule == example["rule"] and (found.path == example["field"] or (ends and found.path.endswith(ends)))
    ]
    assert matching, broken


@pytest.mark.parametrize("example", EXAMPLES, ids=[entry["id"] for entry in EXAMPLES])
def test_the_version_follows_from_the_request(example):
    assert api_version(example["request"]) == example["api"]


@pytest.mark.parametrize("example", EXAMPLES, ids=[entry["id"] for entry in EXAMPLES])
def test_messages_are_one_line_and_say_what_was_received(example):
    for found in check(example["api"], example["request"]):
        assert "\n" not in str(found)
        assert str(found).startswith(f"{found.path}: ")
        assert str(found).endswith(f"[{found.rule}]")
        assert max(len(quoted) for quoted in ["", *re.findall(r"'[^']*'", found.message)]) <= 90


def test_errors_come_before_warnings():
    severities = [found.severity for found in check("V1", {"AutoMLJobName": "bad_name", "ProblemType": "Regression"})]
    assert severities == sorted(severities, key=["error", "warning"].index)
    assert set(severities) == {"error", "warning"}


def test_all_violations_are_found_at_once():
    request = v2(Tags=[{"Key": "a", "Value": "1"}] * 2, ModelDeployConfig={}, DataSplitConfig={"ValidationFraction": 0})
    del request["RoleArn"]
    assert {(found.rule, found.path) for found in check("V2", request) if found.severity == "error"} == {
        ("shape", "RoleArn"),
        ("R32", "Tags[1].Key"),
        ("R34", "ModelDeployConfig.EndpointName"),
        ("R68", "DataSplitConfig.ValidationFraction"),
    }


def test_the_request_is_not_changed():
    request = v1(Tags=[{"Key": "a", "Value": "1"}])
    before = repr(request)
    check("V1", request)
    assert repr(request) == before


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match=r"'V1' .* or 'V2'"):
        check("V3", {})  # type: ignore[arg-type]


@pytest.mark.parametrize("request_", [None, [], "request", 7, True, {}, {"": None}, {1: 2, None: 3}])
@pytest.mark.parametrize("api", APIS)
def test_a_value_that_is_not_a_request_is_named(api, request_):
    found = check(api, request_)
    assert found
    assert all(isinstance(entry, Violation) for entry in found)


def test_a_violation_of_the_whole_request_has_a_readable_message():
    assert str(check("V2", [])[0]) == "request: received a list; must be an object [shape]"


@pytest.mark.parametrize("api", APIS)
@SETTINGS
@given(data=st.data())
def test_requests_made_from_the_model_pass_the_shape_check(api, data):
    shape = create_shape(api)
    assert check_shape(shapes(), shape, data.draw(strategies.valid(shape))) == []


@pytest.mark.parametrize("api", APIS)
@SETTINGS
@given(data=st.data())
def test_one_fault_is_found_where_it_is(api, data):
    shape = create_shape(api)
    request = data.draw(strategies.valid(shape))
    fault = data.draw(st.sampled_from(strategies.faults(shape, request)))
    found = [entry for entry in check(api, fault.apply(request)) if entry.severity == "error"]
    assert any(entry.rule == "shape" and entry.path == fault.path for entry in found), (fault, found)


@pytest.mark.parametrize("api", APIS)
@SETTINGS
@given(request=strategies.ANY_JSON)
def test_nothing_makes_the_check_raise(api, request):
    check(api, request)


@SETTINGS
@given(data=st.data(), example=st.sampled_from(EXAMPLES), replacement=strategies.ANY_JSON)
def test_nothing_inside_a_request_makes_the_check_raise(data, example, replacement):
    keys = data.draw(st.sampled_from(list(strategies.places(example["request"]))))
    request = strategies.replaced(example["request"], keys, replacement)
    for api in APIS:
        check(api, request)


def test_odd_objects_are_named_too():
    class Odd:
        def __repr__(self):
            raise RuntimeError("no")

    for odd in (Odd(), object(), {1, 2}, b"x", 10**5000, range(3)):
        request = v2(AutoMLJobName=odd, DataSplitConfig={"ValidationFraction": odd})
        assert {"AutoMLJobName", "DataSplitConfig.ValidationFraction"} <= {found.path for found in check("V2", request)}


def test_every_rule_has_a_number_and_a_purpose():
    for rule in RULES:
        assert re.fullmatch(r"[RC]\d+", rule.number)
        assert rule.find.__doc__
    assert len({rule.find for rule in RULES}) == len(RULES)


def test_requests_of_the_builders_have_no_violations():
    request = builders.tabular(
        "s3://acme-ml/churn/train/",
        target="churn",
        problem_type="BinaryClassification",
        objective="AUC",
        mode="ENSEMBLING",
        max_runtime=7200,
        name="churn",
        output="s3://acme-ml/out/",
        role="arn:aws:iam::123456789012:role/AutoML",
    )
    assert check("V2", request) == []
