"""A PostgreSQL server for tests: a cluster in a temporary folder, on a free port of loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.demo.stack import free_port

#: PostgreSQL refuses to run as root.
_ACCOUNT = "postgres"


def _binaries() -> Path:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    if not versions and not on_path:
        pytest.skip("PostgreSQL's server is not installed (Debian: postgresql)")
    return versions[-1] if versions else Path(str(on_path)).parent


def _owner() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        pytest.skip(f"PostgreSQL does not run as root, and there is no account {_ACCOUNT}")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server until the block ends; yield the SQLAlchemy URL of an empty database."""
    pytest.importorskip("psycopg2")
    pytest.importorskip("asyncpg")
    binaries, owner = _binaries(), _owner()
    # Not below pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="airflow-automl-postgres-"))
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    try:
        initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "airflow", "-A", "trust", "--no-sync"]
        done = subprocess.run(initdb, capture_output=True, text=True, check=False, cwd=folder, **owner)
        assert done.returncode == 0, done.stdout + done.stderr
        port = free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "port": port,
            "fsync": "off",
            "max_connections": 300,
        }
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    str(binaries / "postgres"),
                    *("-D", str(folder / "data")),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                **owner,
            )
        try:
            _create_database(port, server, folder / "log")
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/airflow"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _create_database(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, log.read_text()
        try:
            connection = psycopg2.connect(host="127.0.0.1", port=port, user="airflow", dbname="postgres")
            break
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE airflow")
    connection.close()
