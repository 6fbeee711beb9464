"""The code in the documentation: Python is run, DAGs and commands are parsed, requests are checked."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import shlex
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_automl import contract
from tests.docs.pages import DOCS, ROOT, Block, blocks, commands

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROLE = "arn:aws:iam::111122223333:role/AutoML"


def _ids(items: list[Any]) -> list[str]:
    return [str(item[0] if isinstance(item, tuple) and not isinstance(item, Block) else item) for item in items]


PYTHON = list(blocks("python"))
JSON = list(blocks("json"))
COMMANDS = list(commands())


def vocabulary() -> dict[str, Any]:
    """Names that a fragment of a page may use: this package's, Airflow's, and the tasks of the running example."""
    import pendulum
    from airflow import sdk

    names: dict[str, Any] = {name: getattr(sdk, name) for name in ("DAG", "Asset", "AssetWatcher", "task", "dag")}
    for module in ("operators", "sensors", "triggers", "hooks", "notifications", "contract", "retries"):
        loaded = importlib.import_module(f"airflow_automl.{module}")
        names |= {name: getattr(loaded, name) for name in loaded.__all__}
    return {**names, "timedelta": timedelta, "pendulum": pendulum, "contract": contract}


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
def test_a_page_imports_what_its_code_uses(page: str) -> None:
    imported: set[str] = set()
    for block in (block for block in PYTHON if block.page == page):
        nodes = list(ast.walk(ast.parse(block.text)))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported |= {(name.asname or name.name).partition(".")[0] for name in node.names}
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert not names & set(vocabulary()) - imported, block


def running_example(names: dict[str, Any]) -> dict[str, Any]:
    """The tasks that the fragments of the pages refer to."""
    train = names["SageMakerAutoMLJobOperator"](
        task_id="example_train", config=contract.tabular("s3://acme-ml/churn/train/", target="churn", max_runtime=60)
    )
    gate = names["SageMakerAutoMLGateOperator"](task_id="example_gate", candidate=train.best_candidate)
    deploy = names["SageMakerAutoMLDeployOperator"](
        task_id="example_deploy", candidate=train.best_candidate, job=train.job, endpoint_name="churn"
    )
    report = names["SageMakerAutoMLReportOperator"](task_id="example_report", job=train.job, path="s3://acme-ml/r/")
    evaluate, challenger = (
        names["SageMakerAutoMLEvaluateOperator"](task_id=f"example_{name}", data="s3://acme-ml/new/", **what)
        for name, what in {"evaluate": {"endpoint_name": "churn"}, "challenger": {"job": train.job}}.items()
    )
    steps = {"train": train, "gate": gate, "deploy": deploy, "report": report}
    return {**steps, "evaluate": evaluate, "challenger": challenger}


def test_there_is_code_to_test() -> None:
    assert len(PYTHON) > 10
    assert len(WHOLE) >= 2
    assert len(JSON) > 5
    assert len(COMMANDS) > 15


#: Fragments that can't run here: they call an endpoint, or load a trained model.
OUTSIDE = re.compile(r"\bboto3\b|\bruntime\.|\bartifacts\b|local\.artifacts")


@pytest.mark.parametrize("block", PYTHON, ids=_ids(PYTHON))
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG

    monkeypatch.chdir(tmp_path)

    code = compile(block.text, str(block), "exec")
    if OUTSIDE.search(block.text):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(compile(ast.Module([node], []), str(block), "exec"), {})
        return
    names = vocabulary()
    with DAG("page") as dag:
        names |= {"__name__": "page", **running_example(names)}
        exec(code, names)
    found = [value for value in names.values() if isinstance(value, DAG)]
    for each in (dag, *found):
        for task in each.tasks:
            _check_config(task)


def _check_config(task: Any) -> None:
    """A request in a page breaks no rule, once the account's part is filled in."""
    config = getattr(task, "config", None)
    if not isinstance(config, dict) or "{{" in json.dumps(config, default=str):
        return
    api = "V1" if "InputDataConfig" in config else "V2"
    if "InputDataConfig" not in config and "AutoMLJobInputDataConfig" not in config:
        return
    request = {"AutoMLJobName": "page", "RoleArn": ROLE, **config}
    request["OutputDataConfig"] = {"S3OutputPath": "s3://acme-ml/automl/", **config.get("OutputDataConfig", {})}
    errors = [str(violation) for violation in contract.check(api, request) if violation.severity == "error"]
    assert not errors


def test_the_migrated_task_requests_the_same_job(monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
    from airflow.sdk import DAG
    from botocore.stub import ANY, Stubber

    before, after, *_ = (block.text for block in PYTHON if block.page == "docs/migration.md")
    with DAG("before") as old:
        exec(before, {})
    with DAG("after") as new:
        exec(after, {})
    client = boto3.client("sagemaker", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    monkeypatch.setattr(SageMakerHook, "conn", client)
    task = old.get_task("train")
    task.wait_for_completion = False
    deploys = {"ModelDeployConfig": {"EndpointName": new.get_task("deploy").endpoint_name}}
    request = {**new.get_task("train").config, "AutoMLJobName": ANY, **deploys}
    with Stubber(client) as stubber:
        stubber.add_response("create_auto_ml_job", {"AutoMLJobArn": "arn"}, request)
        task.execute({})
        stubber.assert_no_pending_responses()


WHOLE = [
    block
    for block in PYTHON
    if (block.page in ("README.md", "docs/index.md") or block.page.startswith("docs/start/")) and "DAG(" in block.text
]


@pytest.mark.parametrize("block", WHOLE, ids=_ids(WHOLE))
def test_whole_dags_are_found_by_airflow(block: Block, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "pasted.py").write_text(block.text)
    bag = DagBag(dag_folder=str(tmp_path))
    assert not bag.import_errors
    assert len(bag.dags) == 1


@pytest.mark.parametrize("block", JSON, ids=_ids(JSON))
def test_json_is_json_and_requests_break_no_rule(block: Block) -> None:
    text = re.sub(
        r'^--8<-- "(.+)"$', lambda found: (ROOT / found[1]).read_text(), block.text.strip(), flags=re.MULTILINE
    )
    document = json.loads(text)
    if isinstance(document, dict) and {"InputDataConfig", "AutoMLJobInputDataConfig"} & set(document):
        api = "V1" if "InputDataConfig" in document else "V2"
        assert not [str(v) for v in contract.check(api, document) if v.severity == "error"]
    if isinstance(document, dict) and document.get("conn_type") == "aws":
        from airflow_automl.hooks.sagemaker_automl import automl_defaults

        automl_defaults(document["extra"], "aws_default")


def test_yaml_is_yaml() -> None:
    for block in blocks("yaml"):
        assert yaml.safe_load(block.text), str(block)


@pytest.mark.parametrize(("block", "command"), COMMANDS, ids=[f"{block}-{command[:40]}" for block, command in COMMANDS])
def test_commands_are_ones_that_exist(block: Block, command: str) -> None:
    for part in re.split(r"\s*(?:;|&&|\|\||\||&$|& )\s*", command):
        _known(re.sub(r'eval "\$\((.*)\)"', r"\1", part.strip()))


def _known(command: str) -> None:
    words = shlex.split(command)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    if not words:
        return
    program, *arguments = words
    program = program.removeprefix("autopilot/bin/")  # the environment that the install page makes
    if program == "airflow-automl":
        _automl(arguments)
    elif program == "airflow":
        from airflow.cli.cli_parser import get_parser

        get_parser().parse_args(arguments)
    elif program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in arguments if "=" not in word} <= targets
    elif program == "pip":
        for extras in re.findall(r"airflow-automl\[([\w,-]+)\]", command):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    elif program in ("python", "pytest"):
        for word in arguments:
            if re.match(r"(tools|tests|benchmarks|dags)/", word):
                assert (ROOT / word.split("::")[0]).exists(), word
        if arguments[:1] == ["-m"] and arguments[1].startswith(("tests.", "airflow_automl.")):
            assert (ROOT / (arguments[1].replace(".", "/"))).exists() or (
                ROOT / f"{arguments[1].replace('.', '/')}.py"
            ).exists()
    elif program.startswith("docker/"):
        assert (ROOT / program).exists()
    elif program == "aws":
        for path in re.findall(r"file://(\S+)", command):
            assert (ROOT / path).exists() or not path.startswith("docs/"), path
    else:
        known = {"python3.11", "docker", "set", "git", "pre-commit", "curl", "cd", "uv", "export", "zip"}
        known |= {"sed", "cat", "kill", "mkdir", "tar"}
        assert program in known, f"what is {program!r}?"


def _automl(arguments: list[str]) -> None:
    """Parse a command line of airflow-automl, without running it."""
    from airflow_automl.cli import COMMANDS as KNOWN

    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--version", action="store_true")
    subparsers = parser.add_subparsers(dest="command")
    for name, command in KNOWN.items():
        subparser = subparsers.add_parser(name)
        if name in arguments:
            importlib.import_module(command.module).add_arguments(subparser)
    try:
        parser.parse_args(arguments)
    except SystemExit as end:
        raise AssertionError(f"airflow-automl {shlex.join(arguments)} is not a command line") from end


def test_paths_of_the_repository_that_pages_name_are_there() -> None:
    """In code spans and links: what looks like a file of the project is one."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        if page.parent.name == "decisions":
            continue
        text = page.read_text()
        for path in re.findall(
            r"`((?:airflow_automl|benchmarks|dags|docker|docs|requirements|tests|tools)/[\w./-]+)`", text
        ):
            # The wheel has the example DAGs in the package, a checkout has them beside it.
            found = path.replace("airflow_automl/example_dags", "dags")
            assert (ROOT / found).exists(), f"{page.name}: {path}"
