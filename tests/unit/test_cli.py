import subprocess
import sys

import pytest

from airflow_automl import cli
from airflow_automl.exceptions import DOCS


def test_a_command_that_fails_says_where_its_error_is_explained(tmp_path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["env", "--data-dir", str(tmp_path)]) == 1
    message, link = capsys.readouterr().err.splitlines()
    assert message.startswith("airflow-automl env: no service runs on the data folder")
    assert link == f"What to do: {DOCS}/troubleshooting.md#starting-the-embedded-autopilot"


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    code = (
        "import sys, airflow_automl.cli as cli, types\n"
        "run = lambda args: [print('x' * 100) for _ in range(10_000)] and 0\n"
        "sys.modules['long'] = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)\n"
        "cli.COMMANDS['jobs'] = cli.Command('long', '')\n"
        "sys.exit(cli.main(['jobs']))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader = subprocess.run(["head", "-n", "1"], stdin=writer.stdout, capture_output=True, check=True)
    writer.stdout.close()
    _, errors = writer.communicate(timeout=60)
    assert reader.stdout == b"x" * 100 + b"\n"
    assert (errors, writer.returncode) == (b"", 141)
