"""A full Airflow with users, scripted jobs, and a browser that records its errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_automl.demo.stack import Stack, parse_environment
from tests.airflow_rest import Rest
from tests.service.running import RunningService, scripted_service

USERS = {"grace": "admin", "ruth": "viewer", "nick": ""}
DAGS = Path(__file__).with_name("dags")
EXAMPLES = Path(__file__).resolve().parents[2] / "dags"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Airflow:
    """A running Airflow, its API, and the service that its connection leads to."""

    def __init__(self, url: str, service: RunningService) -> None:
        self.url, self.service = url, service
        self.api = Rest(url, {"username": "grace", "password": "grace"})

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Start a run; return its id."""
        self.api.ask("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
        run = self.api.ask("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run.json()["dag_run_id"])

    def job(self, dag_id: str, run_id: str, map_index: int = -1) -> str:
        """Wait until a run's task ``train`` has submitted its job; return the job's name."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/train/xcomEntries/job"

        def name() -> str | None:
            answer = self.api.send("GET", path, params={"deserialize": False, "map_index": map_index})
            if answer.status_code != 200:
                return None
            value = answer.json()["value"]
            return str((json.loads(value) if isinstance(value, str) else value)["name"])

        return str(until(name))

    def state(self, dag_id: str, run_id: str) -> str:
        """The state of a run."""
        return str(self.api.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])


def until(what: Callable[[], Any], seconds: float = 900.0) -> Any:
    """Poll until the answer is truthy."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)
    return answer


@contextmanager
def running_airflow(folder: Path) -> Iterator[Airflow]:
    """All of Airflow with this project's plugin, users of several roles, and a service with a scripted trainer."""
    dags = folder / "dags"
    shutil.copytree(DAGS, dags)
    shutil.copy(EXAMPLES / "manual_automl.py", dags)
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in USERS}))
    with scripted_service(folder / "autopilot", max_jobs=6) as service, Stack(folder / "stack") as stack:
        stack.use_airflow(
            dags,
            {
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
                # On a busy machine the API server is slow; tasks must not fail because of that.
                "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",
                "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            },
        )
        printed = subprocess.run(
            [sys.executable, "-m", "airflow_automl.cli", "env", "--data-dir", str(folder / "autopilot")],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        stack.environment.update(parse_environment(printed))
        stack.run_airflow("db-migrate", "db", "migrate")
        stack.start_airflow()
        yield Airflow(stack.url, service)


class Watched:
    """A browser tab that records every console error and every request to another address.

    :param page: Playwright's page.
    :param url: Airflow's address; requests to other addresses are recorded.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != urlsplit(self.url).netloc:
            self.foreign.append(request.url)

    def log_in(self, name: str) -> None:
        """Log in through the form."""
        self.page.goto(f"{self.url}/auth/login/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(name)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/auth/" not in url)

    def open(self, path: str) -> Any:
        """Open a page of Airflow; return the frame that contains this package's page."""
        self.page.goto(f"{self.url}{path}")
        return self.page.frame_locator("iframe[title=AutoML]")
