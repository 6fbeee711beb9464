"""Every example DAG is documented, tagged, has titled parameters, and loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_automl.compat import AIRFLOW

DAGS = Path(__file__).resolve().parents[2] / "dags"
#: Airflow itself loads boto3 for an asset whose address begins with s3://.
HEAVY = ["airflow_automl.hooks.sagemaker_automl", "aiobotocore", "pandas", "numpy", "pyarrow"]
_PARSE = """
import json, runpy, sys
from airflow.sdk import DAG
for name in sys.argv[1:]:
    found = [value for value in runpy.run_path(name).values() if isinstance(value, DAG)]
    for dag in found:
        params = {key: dag.params.get_param(key).schema.get("title") for key in dag.params}
        # Airflow's form asks for what may not be null, and takes "" for no answer: its button stays grey.
        unanswered = [
            key
            for key in dag.params
            if dag.params[key] in (None, "") and "null" not in dag.params.get_param(key).schema["type"]
        ]
        said = [name, dag.dag_id, dag.doc_md, dag.description, sorted(dag.tags), params, unanswered]
        print("parsed", json.dumps(said))
print("parsed", json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def parsed() -> tuple[list[list[object]], set[str]]:
    """All example DAGs, parsed in one process of their own."""
    needs_3_1 = {"human_approval"}
    files = sorted(str(path) for path in DAGS.glob("*.py") if AIRFLOW >= (3, 1) or path.stem not in needs_3_1)
    done = subprocess.run([sys.executable, "-c", _PARSE, *files], capture_output=True, text=True, check=True)
    found = [line.removeprefix("parsed ") for line in done.stdout.splitlines() if line.startswith("parsed ")]
    *dags, modules = [json.loads(line) for line in found]
    assert len(dags) >= len(files)
    return dags, set(modules)


def test_each_explains_itself(parsed: tuple[list[list[object]], set[str]]) -> None:
    for name, dag_id, doc, description, tags, params, unanswered in parsed[0]:
        assert Path(str(name)).stem == dag_id
        assert len(str(doc or "")) > 60, name
        assert description, name
        assert {"automl", "example"} <= set(tags), name  # type: ignore[arg-type]
        assert params, name
        assert all(params.values()), (name, params)  # type: ignore[attr-defined]
        assert not unanswered, (name, unanswered)


def test_none_loads_anything_heavy(parsed: tuple[list[list[object]], set[str]]) -> None:
    assert parsed[1] & set(HEAVY) == set()
