"""Notebooks of jobs that define candidates and train none; their code is run, cell by cell, as a kernel would."""

import html
import io
import json
import os
import re
from contextlib import redirect_stdout
from types import SimpleNamespace

import boto3
import nbformat
import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from airflow_automl import __version__
from airflow_automl.contract import check
from airflow_automl.local.training import main as trainer
from airflow_automl.local.training.data import channels
from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines.tabular.ensembling import engine
from airflow_automl.local.training.engines.tabular.notebooks import definitions, escape, findings
from airflow_automl.local.training.engines.tabular.notebooks import table as markdown
from airflow_automl.local.training.engines.tabular.notebooks import value as literal
from tests.local_s3 import BUCKET, Bucket
from tests.unit.local.training import running as training


def table(rows=600):
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "index": np.arange(rows),
            "amount": random.normal(size=rows),
            "often missing": np.where(random.random(rows) < 0.5, None, "x"),
            "same": 1,
            "na|me <b>`": random.choice(["a", "b"], rows),
            "bought": random.choice(["no", "yes"], rows, p=[0.97, 0.03]),
        }
    )


@pytest.fixture
def environment(bucket: Bucket, monkeypatch):
    """The environment as a trainer, or a kernel of the user's, has it."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": bucket.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        **{name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")},
        "ARROW_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }.items():
        monkeypatch.setenv(name, value)


def notebooks(bucket: Bucket, folder):
    """Both notebooks of a job that only defines its candidates."""
    assert trainer.train(folder), training.events(folder)[-1]
    found = training.events(folder)
    assert found[-1]["secondary"] == "CandidateDefinitionsGenerated"
    assert training.phases(found) == ["Starting", "AnalyzingData"]
    assert not training.candidates(found)
    locations = next(event["artifacts"] for event in found if event["event"] == "artifacts")
    assert all(f"out/{folder.name}/sagemaker-automl-candidates/pr-1-" in uri for uri in locations.values())
    made = {name: nbformat.reads(bucket.read(uri).decode(), as_version=4) for name, uri in locations.items()}
    return made["DataExplorationNotebookLocation"], made["CandidateDefinitionNotebookLocation"]


def sources(notebook, kind="code"):
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def job(bucket: Bucket, tmp_path, name, **config):
    uri = bucket.put("in/train.csv", table())
    config = {"TargetAttributeName": "bought", "GenerateCandidateDefinitionsOnly": True, **config}
    more = {"OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"}, "RoleArn": "arn:aws:iam::123456789012:role/a"}
    return training.write_job(tmp_path / name, uri, config, request=more)


def test_the_exploration_runs_from_top_to_bottom(bucket, tmp_path, environment):
    exploring, _ = notebooks(bucket, job(bucket, tmp_path, "explore", Mode="ENSEMBLING"))
    scope = {}
    for source in sources(exploring):
        with redirect_stdout(io.StringIO()):
            exec(compile(source, "cell", "exec"), scope)
    assert len(scope["frame"]) == 600
    assert str(scope["kinds"]["amount"]) == "number"
    words = "\n".join(sources(exploring, "markdown"))
    for finding in (
        "**often missing** is missing in",
        "**same** is always the same",
        "**index** counts the rows",
        "The class **yes** makes up",
    ):
        assert finding in words
    assert "na\\|me &lt;b>\\`" in words


def test_columns_that_the_job_leaves_out_are_not_read_again(bucket, tmp_path, environment):
    folder = job(bucket, tmp_path, "odd", Mode="ENSEMBLING")
    uri = bucket.put("odd/train.parquet", table().assign(odd=[[1, 2]] * 600))
    spec = json.loads((folder / "spec.json").read_text())
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    spec["request"]["AutoMLJobInputDataConfig"] = [{"DataSource": source, "ContentType": channels.PARQUET}]
    (folder / "spec.json").write_text(json.dumps(spec))
    exploring, _ = notebooks(bucket, folder)
    scope = {}
    for cell in sources(exploring):
        with redirect_stdout(io.StringIO()):
            exec(compile(cell, "cell", "exec"), scope)
    assert list(scope["frame"]) == list(table())


def test_the_notebooks_say_what_they_import_and_run_with_that(bucket, tmp_path, environment):
    exploring, defining = notebooks(bucket, job(bucket, tmp_path, "alone", Mode="HYPERPARAMETER_TUNING"))
    assert f"pip install airflow-automl=={__version__} pandas pyarrow boto3" in exploring.cells[0].source
    assert "pip install boto3" in defining.cells[0].source
    learners = ["autogluon", "optuna", "sklearn", "scipy", "xgboost", "lightgbm", "catboost"]
    run = "import sys, json\nfor cell in json.loads(sys.argv[1]): exec(cell, globals())\n"
    done = training.run_without([*training.ELSEWHERE, *learners], run, json.dumps(sources(exploring)))
    assert done.stdout == "600 rows, 6 columns\n", done.stderr
    # Its other cells ask the service: they run in the test below.
    hidden = [*training.ELSEWHERE, *learners, "airflow_automl", "pandas", "numpy", "pyarrow"]
    done = training.run_without(hidden, run, json.dumps(sources(defining)[:1]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("mode", "algorithms"),
    [
        ("ENSEMBLING", {"catboost", "extra-trees", "lightgbm", "linear-learner", "randomforest", "xgboost"}),
        ("HYPERPARAMETER_TUNING", {"xgboost", "linear-learner", "mlp"}),
    ],
)
def test_the_definitions_submit_what_is_selected(bucket, tmp_path, environment, monkeypatch, mode, algorithms):
    _, defining = notebooks(bucket, job(bucket, tmp_path, "define", Mode=mode))
    scope = {}
    made, submit, wait, candidates = sources(defining)
    exec(made, scope)
    assert set(scope["SELECTED"]) - {"nn-torch", "fastai"} == algorithms
    scope["SELECTED"] = ["xgboost"]
    calls = []

    class Service:
        def create_auto_ml_job_v2(self, **request):
            calls.append(request)

    monkeypatch.setattr(boto3, "client", lambda name: Service())
    exec(submit, scope)
    assert [violation for violation in check("V2", calls[0]) if violation.severity == "error"] == []
    config = calls[0]["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    assert config["CandidateGenerationConfig"]["AlgorithmsConfig"] == [{"AutoMLAlgorithms": ["xgboost"]}]
    assert (config["Mode"], config["ProblemType"]) == (mode, "BinaryClassification")
    assert "GenerateCandidateDefinitionsOnly" not in config
    compile(wait, "cell", "exec")
    compile(candidates, "cell", "exec")
    rows = [row.split(" | ") for row in sources(defining, "markdown")[1].splitlines() if "{" in row]
    assert all(isinstance(json.loads(row[1].removesuffix(" |").replace("\\", "")), dict) for row in rows)


def test_the_definitions_of_an_ensemble_are_those_of_its_plan():
    rows = pd.DataFrame({"a": np.arange(1500.0), "y": np.arange(1500.0)})
    data = TabularDataset(
        rows[300:].reset_index(drop=True), rows[:300], (Codec("a", Kind.NUMBER),), "y", None, "Regression", "MSE", ()
    )
    spec = SimpleNamespace(request={"AutoMLJobInputDataConfig": [{}]}, threads=2, memory_limit=None)
    course = SimpleNamespace(run=SimpleNamespace(spec=spec), criteria={}, for_training=lambda: None)
    found = definitions(course, data, "ENSEMBLING", ("lightgbm", "xgboost", "linear-learner"))
    crossed = engine.arrange(course, data)
    assert (crossed.crossed, len(crossed.train)) == (True, 1500)
    plan = engine.plan_for(course, crossed, ("lightgbm", "xgboost", "linear-learner"))
    assert [sum(entry["settings"].get("level") == level for entry in found) for level in (None, 2)] == [
        sum(map(len, level.values())) for level in plan.levels
    ]


def test_texts_are_shown_as_they_are_written():
    given = ["*a_b*", "~~x~~", "R&amp;D", "a\r\nb", "<b>", "[a](b)", "a|b", "\\", "Price ($)", "Cost ($)"]
    made = MarkdownIt().enable(["table", "strikethrough"]).render(markdown(["text"], [[text] for text in given]))
    assert re.findall("<td>(.*)</td>", made) == [html.escape(" ".join(text.split())) for text in given]
    assert escape("Price ($)") == "Price (\\$)"


def test_notes_and_settings_are_not_cut_off():
    note = "12 of 600 values of the column 'a' can't be read as numbers and count as missing: 'many' in 12 rows."
    data = SimpleNamespace(columns=["index"], features=(), notes=(note,), classification=False)
    assert note in findings(table(), data)
    assert escape("x" * 100) == f"{'x' * 79}…"


def test_values_survive_as_python_source():
    nasty = {"a": "\"'\\\n{}", "b": [None, True, 1.5]}
    assert eval(literal(nasty), {"json": json}) == nasty
