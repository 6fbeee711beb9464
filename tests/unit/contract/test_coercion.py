import copy
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_automl.contract.coercion import coerce
from airflow_automl.contract.model import CREATE_OPERATIONS, create_shape
from tests.unit.contract import strategies
from tests.unit.contract.samples import v1, v2
from tests.unit.contract.strategies import SETTINGS


def criteria(value):
    return v2(config={"CompletionCriteria": {"MaxCandidates": value}})


def max_candidates(request):
    return request["AutoMLProblemTypeConfig"]["TabularJobConfig"]["CompletionCriteria"]["MaxCandidates"]


@pytest.mark.parametrize(("given_", "expected"), [("5", 5), (" 5 ", 5), ("+5", 5), ("-5", -5), ("5.0", 5), ("5.", 5)])
def test_integers_are_put_back(given_, expected):
    put_back = max_candidates(coerce("V2", criteria(given_)))
    assert put_back == expected
    assert type(put_back) is int


@pytest.mark.parametrize(
    "value", ["5.5", "five", "1e3", "0x5", "\N{ARABIC-INDIC DIGIT FIVE}", 5, 5.0, True, [5], "9" * 30]
)
def test_a_value_that_is_not_an_integer_is_left_to_the_check(value):
    assert (
        max_candidates(coerce("V2", criteria(value))) is value or max_candidates(coerce("V2", criteria(value))) == value
    )


@pytest.mark.parametrize(("given_", "expected"), [("0.2", 0.2), ("1", 1.0), ("2e-1", 0.2)])
def test_numbers_are_put_back(given_, expected):
    assert coerce("V2", v2(DataSplitConfig={"ValidationFraction": given_}))["DataSplitConfig"] == {
        "ValidationFraction": expected
    }


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "1e999", "a half"])
def test_a_value_that_is_not_a_finite_number_is_left_to_the_check(value):
    request = v1(AutoMLJobConfig={"DataSplitConfig": {"ValidationFraction": value}})
    assert coerce("V1", request) == request


@pytest.mark.parametrize(
    ("given_", "expected"), [("True", True), ("false", False), (" TRUE ", True), ("yes", "yes"), ("1", "1")]
)
def test_booleans_are_put_back(given_, expected):
    assert coerce("V1", v1(GenerateCandidateDefinitionsOnly=given_))["GenerateCandidateDefinitionsOnly"] == expected


@pytest.mark.parametrize("nothing", [None, "", " ", "None", "none", "null"])
def test_an_optional_member_that_rendered_to_nothing_is_left_out(nothing):
    request = criteria(nothing) | {"DataSplitConfig": {"ValidationFraction": nothing}}
    put_back = coerce("V2", request)
    assert put_back["AutoMLProblemTypeConfig"]["TabularJobConfig"]["CompletionCriteria"] == {}
    assert put_back["DataSplitConfig"] == {}
    assert coerce("V1", v1(ProblemType=nothing, GenerateCandidateDefinitionsOnly=nothing)) == v1()


def test_optional_text_and_structures_that_rendered_to_nothing_are_left_out():
    request = v2(SecurityConfig={"VolumeKmsKeyId": None, "VpcConfig": "None"}, ModelDeployConfig={"EndpointName": ""})
    put_back = coerce("V2", request)
    assert put_back["SecurityConfig"] == put_back["ModelDeployConfig"] == {}


def test_text_that_the_service_accepts_is_kept():
    request = v2(SecurityConfig={"VolumeKmsKeyId": ""}, ModelDeployConfig={"EndpointName": "None"})
    assert coerce("V2", request) == request


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_a_required_member_that_rendered_to_nothing_is_left_for_the_check(nothing):
    request = v2(Tags=[{"Key": "team", "Value": nothing}])
    assert coerce("V2", request) == request


def test_strings_stay_strings():
    request = v2("generation", {"TextGenerationHyperParameters": {"epochCount": "3"}}, AutoMLJobName="1", Unknown="5")
    assert coerce("V2", request) == request


@pytest.mark.parametrize("given_", [7, 7.5, True])
def test_a_number_becomes_the_string_that_it_was(given_):
    assert coerce("V2", {"AutoMLJobName": given_}) == {"AutoMLJobName": str(given_)}


@pytest.mark.parametrize("given_", ['{"VolumeKmsKeyId": "k"}', "{'VolumeKmsKeyId': 'k'}"])
def test_a_template_of_a_whole_object_is_read(given_):
    assert coerce("V2", {"SecurityConfig": given_, "Tags": '[{"Key": "a", "Value": 1}]'}) == {
        "SecurityConfig": {"VolumeKmsKeyId": "k"},
        "Tags": [{"Key": "a", "Value": "1"}],
    }


@pytest.mark.parametrize("text", ["not an object", "{[]: 1}", "[" * 5000])
def test_text_that_is_not_an_object_is_left_to_the_check(text):
    assert coerce("V2", {"SecurityConfig": text}) == {"SecurityConfig": text}


def test_the_request_is_not_changed():
    request = criteria("5")
    before = copy.deepcopy(request)
    coerce("V2", request)
    assert request == before


@pytest.mark.parametrize("api", tuple(CREATE_OPERATIONS))
class TestAnyRequest:
    @SETTINGS
    @given(data=st.data())
    def test_valid_ones_stay_as_they_are(self, api, data):
        request = data.draw(strategies.valid(create_shape(api)))
        assert coerce(api, request) == request

    @SETTINGS
    @given(data=st.data())
    def test_valid_values_are_converted_from_strings(self, api, data):
        request = data.draw(strategies.valid(create_shape(api)))
        assert coerce(api, _stringified(request)) == request

    @SETTINGS
    @given(request=strategies.ANY_JSON)
    def test_nothing_makes_it_raise(self, api, request):
        coerce(api, request)


def _stringified(value):
    if isinstance(value, dict):
        return {key: _stringified(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_stringified(item) for item in value]
    # Templates render integers of any size, but no service counts beyond 64 bits.
    return value if isinstance(value, int) and abs(value) >= 10**18 else str(value)


def test_numbers_of_databases_and_of_numpy_become_numbers_that_json_knows():
    five = pytest.importorskip("numpy").int64(5)
    coerced = coerce("V2", criteria(five) | {"DataSplitConfig": {"ValidationFraction": Decimal("0.2")}})
    assert max_candidates(json.loads(json.dumps(coerced))) == 5
    assert coerced["DataSplitConfig"] == {"ValidationFraction": 0.2}
