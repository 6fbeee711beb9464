"""Every example DAG is documented, tagged, has titled parameters, and loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.compat import AIRFLOW

DAGS = Path(__file__).resolve().parents[2] / "dags"
#: Airflow itself loads boto3 for an asset whose address begins with s3://.
HEAVY = ["airflow_automl.hooks.sagemaker_automl", "aiobotocore", "pandas", "numpy", "pyarrow"]
_PARSE = """
import json, logging, runpy, sys
from airflow.sdk import DAG
dags = {}
for name in sys.argv[1:]:
    dags[name] = [value for value in runpy.run_path(name).values() if isinstance(value, DAG)]
    for dag in dags[name]:
        params = {key: dag.params.get_param(key).schema.get("title") for key in dag.params}
        # Airflow's form asks for what may not be null, and takes "" for no answer: its button stays grey.
        unanswered = [
            key
            for key in dag.params
            if dag.params[key] in (None, "") and "null" not in dag.params.get_param(key).schema["type"]
        ]
        said = [name, dag.dag_id, dag.doc_md, dag.description, sorted(dag.tags), params, unanswered]
        print("parsed", json.dumps(said))
modules = sorted(sys.modules)

from airflow_automl.operators import SageMakerAutoMLJobOperator
from airflow_automl.operators._job_request import api_of, complete

def configs(dag, task):
    given = task.expand_input.value["config"] if task.is_mapped else task.config
    context = {"params": dag.params.dump(), "run_id": "manual", "ds_nodash": "20261128"}
    if hasattr(given, "operator"):  # what a function makes of the form
        make = given.operator.python_callable
        make.__globals__["get_current_context"] = lambda: context
        made = make()
    else:
        made = task.render_template(given, context, dag.get_template_env())
    return made if isinstance(made, list) else [made]

requests = {}
defaults = {"role_arn": "arn:aws:iam::123456789012:role/automl", "output_path": "s3://acme-ml/automl/"}
for dag in (dag for found in dags.values() for dag in found):
    for task in dag.tasks:
        if issubclass(task.operator_class if task.is_mapped else type(task), SageMakerAutoMLJobOperator):
            requests[dag.dag_id] = [
                complete(api_of(config, None), config, defaults=defaults, max_runtime=None, log=logging.getLogger())
                for config in configs(dag, task)
            ]
print("parsed", json.dumps(requests))
print("parsed", json.dumps(modules))
"""


@pytest.fixture(scope="module")
def parsed() -> tuple[list[list[object]], set[str], dict[str, list[Any]]]:
    """All example DAGs, parsed in one process of their own."""
    needs_3_1 = {"human_approval"}
    files = sorted(str(path) for path in DAGS.glob("*.py") if AIRFLOW >= (3, 1) or path.stem not in needs_3_1)
    done = subprocess.run([sys.executable, "-c", _PARSE, *files], capture_output=True, text=True, check=True)
    found = [line.removeprefix("parsed ") for line in done.stdout.splitlines() if line.startswith("parsed ")]
    *dags, requests, modules = [json.loads(line) for line in found]
    assert len(dags) >= len(files)
    return dags, set(modules), requests


def test_each_explains_itself(parsed: Any) -> None:
    for name, dag_id, doc, description, tags, params, unanswered in parsed[0]:
        assert Path(str(name)).stem == dag_id
        assert len(str(doc or "")) > 60, name
        assert description, name
        assert {"automl", "example"} <= set(tags), name
        assert params, name
        assert all(params.values()), (name, params)
        assert not unanswered, (name, unanswered)


def test_none_loads_anything_heavy(parsed: Any) -> None:
    assert parsed[1] & set(HEAVY) == set()


def test_the_defaults_of_each_form_make_a_valid_request(parsed: Any) -> None:
    dags, _, requests = parsed
    trains_nothing = {"batch_scoring", "deploy_on_new_model"}
    assert set(requests) == {dag_id for _, dag_id, *_ in dags} - trains_nothing
    for dag_id, made in requests.items():
        assert made, dag_id
        assert "null" not in json.dumps(made), dag_id
