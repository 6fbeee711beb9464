import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_automl.contract.documents import _ONLY_V1, _ONLY_V2
from airflow_automl.contract.metrics import OBJECTIVES, standard_metrics
from airflow_automl.contract.model import CREATE_OPERATIONS, create_shape, fields, input_shape, output_shape, shapes
from airflow_automl.contract.values import (
    FILLING_METHODS,
    MODE_ALGORITHMS,
    PROBLEM_CONFIGS,
    TIME_SERIES_ALGORITHMS,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("tool", ["service_model.py", "document_schemas.py"])
def test_generated_files_are_up_to_date(tool):
    run = subprocess.run([sys.executable, ROOT / "tools" / tool, "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_model_carries_no_documentation():
    text = (ROOT / "airflow_automl" / "contract" / "service_model.json").read_text(encoding="utf-8")
    assert '"documentation"' not in text
    assert len(text) < 40_000
    assert set(json.loads(text)) == {"version", "metadata", "operations", "shapes"}


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        (create_shape("V1"), 46),
        (create_shape("V2"), 104),
        (input_shape("DescribeAutoMLJob"), 1),
        (output_shape("DescribeAutoMLJob"), 106),
        (output_shape("DescribeAutoMLJobV2"), 169),
    ],
)
def test_fields_are_all_listed(shape, count):
    assert len(list(fields(shape))) == count


def test_stop_answers_nothing():
    assert output_shape("StopAutoMLJob") is None


def test_versions_are_distinguished_by_their_own_fields():
    members = {api: set(shapes()[create_shape(api)]["members"]) for api in CREATE_OPERATIONS}
    assert set(_ONLY_V1) == members["V1"] - members["V2"]
    assert set(_ONLY_V2) == (members["V2"] - members["V1"]) | {"AutoMLProblemTypeConfigName"}


def test_names_written_down_by_hand_are_the_models():
    def enum(name):
        return set(shapes()[name]["enum"])

    assert set(PROBLEM_CONFIGS) == set(shapes()["AutoMLProblemTypeConfig"]["members"])
    assert set(PROBLEM_CONFIGS.values()) == enum("AutoMLProblemTypeConfigName")
    assert {name for names in MODE_ALGORITHMS.values() for name in names} | set(TIME_SERIES_ALGORITHMS) == enum(
        "AutoMLAlgorithm"
    )
    assert set(MODE_ALGORITHMS) | {"AUTO"} == enum("AutoMLMode")
    assert {metric for metrics in OBJECTIVES.values() for metric in metrics} == enum("AutoMLMetricEnum")
    assert set(standard_metrics()) == enum("AutoMLMetricExtendedEnum")
    assert set(FILLING_METHODS) | {f"{method}_value" for method in FILLING_METHODS} == enum("FillingType")


def test_importing_the_contract_needs_neither_airflow_nor_aws_clients():
    code = (
        "import sys, airflow_automl.contract as contract\n"
        "for name in contract.__all__: getattr(contract, name)\n"
        "contract.check('V2', {'AutoMLJobName': 'x'})\n"
        "print([m for m in ('airflow', 'boto3', 'botocore', 'yaml', 'regex', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_public_names_are_there():
    import airflow_automl.contract as contract

    assert sorted(contract.__all__) == dir(contract)
    assert all(getattr(contract, name) for name in contract.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        contract.no_such_name  # noqa: B018
