"""What the pages show, and what they cost."""

from __future__ import annotations

import asyncio
import json
import math
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from airflow_automl import settings
from airflow_automl.exceptions import DOCS
from airflow_automl.naming import TaskGeneration
from airflow_automl.plugin.account import _CALLS, MOST_JOBS, Account, Source
from airflow_automl.plugin.answers import Answers
from tests.conftest import register
from tests.standin import StandIn, candidate, ends, serve
from tests.standin import connection as connection_to
from tests.unit.plugin.conftest import Browser, World, page

EXAMPLES = Path(__file__).resolve().parents[3] / "dags"

# What they show


def test_the_job_page_shows_everything(browser: Browser, world: World) -> None:
    text = browser("admin").get(world.pages()["job"]).text
    for expected in ("Training models", "Leaderboard", "Configuration", "in run", world.churn.replace("+", "&#43;")):
        assert expected in text or expected.replace("&#43;", "+") in text
    assert 'aria-current="step"' in text
    assert 'data-refresh="5"' in text
    assert "Stop…" in text


def test_the_page_of_an_ended_job_does_not_refresh(browser: Browser, world: World) -> None:
    world.sagemaker.add_job("finished", age=100)
    text = browser("admin").get(page("job", name="finished")).text
    assert "data-refresh" not in text
    assert "Stop…" not in text
    assert "is the best candidate with AUC 0.87" in text


def test_a_page_says_that_the_prices_are_wrong_and_shows_the_rest(
    browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AUTOML__PRICES", '{"default": -1}')
    world.sagemaker.add_job("costly", age=100)
    wrong = browser("admin").get(page("job", name="costly")).text
    assert "The cost is unknown" in wrong
    assert "is the best candidate" in wrong


def test_a_mapped_task_shows_its_jobs_and_each_instance_its_own(browser: Browser, world: World) -> None:
    admin = browser("admin")
    about = {"dag_id": "countries", "run_id": world.countries, "task_id": "train"}
    whole = admin.get(page("task-instance", **about, map_index="-1")).text
    assert "train[0]" in whole
    assert "train[1]" in whole
    first, second = (admin.get(page("task-instance", **about, map_index=index)).text for index in "01")
    assert "Leaderboard" in first
    assert "Leaderboard" in second
    assert first != second


def test_a_task_without_a_job_says_so(browser: Browser, world: World) -> None:
    answer = browser("admin").get(page("task-instance", dag_id="churn", run_id=world.churn, task_id="other"))
    assert answer.status_code == 200
    assert "No AutoML jobs" in answer.text


def test_the_list_is_narrowed_and_says_of_how_many(browser: Browser, world: World) -> None:
    admin = browser("admin")
    assert admin.get(page("jobs", search=world.running)).text.count('class="name"') == 1
    assert "No job fits" in admin.get(page("jobs", search="nothing-like-this")).text
    running = admin.get(page("jobs", status="InProgress", problem_type="unknown")).text
    assert world.foreign in running
    assert world.running not in running


@pytest.mark.parametrize(
    ("status", "secondary", "title"),
    [
        ("Completed", "Completed", "Completed"),
        ("Completed", "MaxAutoMLJobRuntimeReached", "Completed at the runtime limit"),
        ("Completed", "ExplainabilityError", "Completed with warnings"),
        ("Completed", "CandidateDefinitionsGenerated", "Candidate definitions only"),
        ("Failed", "Failed", "Failed"),
        ("Stopped", "Stopped", "Stopped"),
        ("Stopping", "Stopping", "Stopping"),
        ("InProgress", "SomethingNew", "In progress"),
    ],
)
def test_every_end_has_a_page(browser: Browser, world: World, status: str, secondary: str, title: str) -> None:
    name = f"{status}-{secondary}"[:32]
    world.sagemaker.add_job(name, ((0.0, status, secondary),), age=60)
    answer = browser("admin").get(page("job", name=name))
    assert answer.status_code == 200
    assert f'<span class="badge">{title}</span>' in answer.text


def test_the_absence_of_a_job_is_reported(browser: Browser, world: World) -> None:
    answer = browser("admin").get(page("job", name="nobody"))
    assert answer.status_code == 404
    assert "There is no such job" in answer.text
    assert f'href="{DOCS}/troubleshooting.md#automljobnotfound"' in answer.text


def test_v1_jobs_have_a_page(browser: Browser, world: World) -> None:
    world.sagemaker.add_job("old-one", api="V1", age=60)
    assert "is the best candidate" in browser("admin").get(page("job", name="old-one")).text


# What they cost


@pytest.fixture
def crowded(pages: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """An account with more jobs than the list holds, behind the connection ``crowded``."""
    with serve() as stand_in:
        for number in range(MOST_JOBS + 20):
            stand_in.add_job(f"job-{number:04}", age=100_000 - number)
        monkeypatch.setenv("AIRFLOW_CONN_CROWDED", connection_to(stand_in.url))
        yield stand_in


def test_a_thousand_jobs_cost_ten_calls_once_and_none_per_row(
    browser: Browser, crowded: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is, the list is not read again.
    monkeypatch.setattr("airflow_automl.plugin.account._LIST", math.inf)
    admin = browser("admin")
    first = admin.get(page("jobs", connection="crowded"))
    assert first.text.count('class="name"') == 50
    assert "job-1019" in first.text
    assert dict(crowded.calls) == {"ListAutoMLJobs": MOST_JOBS // 100}
    for number in ("2", "20"):
        assert f"Page {number} of 20" in admin.get(page("jobs", connection="crowded", page=number)).text
    assert "Page 20 of 20" in admin.get(page("jobs", connection="crowded", page="99")).text
    assert dict(crowded.calls) == {"ListAutoMLJobs": MOST_JOBS // 100}


def test_older_jobs_are_found_by_name(browser: Browser, crowded: StandIn) -> None:
    admin = browser("admin")
    assert "newest 1000" in admin.get(page("jobs", connection="crowded")).text
    assert "job-0003" in admin.get(page("jobs", connection="crowded", search="job-0003")).text


async def test_a_list_that_is_known_is_kept_up_with_one_call(
    browser: Browser, crowded: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_automl.plugin.account._LIST", -1.0)
    account, source = Account(Answers(timeout=600.0)), Source("crowded")
    await account.jobs(source)
    crowded.calls.clear()
    crowded.add_job("brand-new", ends("Failed", "Failed", 0.0))
    jobs = await account.jobs(source)
    assert jobs.rows[0]["AutoMLJobName"] == "brand-new"
    assert len(jobs.rows) == MOST_JOBS
    assert dict(crowded.calls) == {"ListAutoMLJobs": 1}
    account.answers.close()


def test_a_connections_proxy_and_the_pages_own_timeouts_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = {"https": "http://proxy.example:3128"}
    extra = {"region_name": "us-east-1", "config_kwargs": {"proxies": proxies, "read_timeout": 60}}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_PROXIED", json.dumps(connection))
    config = Account()._hook(Source("proxied")).conn.meta.config
    assert config.proxies == proxies
    assert config.read_timeout == 2


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """An endpoint that takes connections and does not answer until it is closed, behind the connection ``hanging``."""
    monkeypatch.setitem(_CALLS, "read_timeout", 600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_HANGING", connection_to(f"http://127.0.0.1:{server.getsockname()[1]}"))
        yield server


def test_a_connection_that_is_not_there_is_named(browser: Browser, world: World) -> None:
    admin = browser("admin")
    for address in (page("jobs", connection="not_defined"), page("job", name="x", connection="not_defined")):
        text = admin.get(address).text
        assert "No such connection" in text
        assert "SageMaker does not answer" not in text


def test_pages_that_are_not_there_lead_back_to_the_jobs(browser: Browser) -> None:
    answer = browser("admin").get("/automl/nowhere/at/all")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert 'href="/automl/jobs"' in answer.text


@pytest.mark.parametrize("connection", ["dead", "hanging"])
def test_an_endpoint_that_does_not_answer_gives_a_page_that_says_so(
    browser: Browser, pages: Any, hanging: socket.socket, connection: str
) -> None:
    pages.state.account = Account(Answers(timeout=0.5))
    admin = browser("admin")
    listed = admin.get(page("jobs", connection=connection))
    assert listed.status_code == 200
    assert "SageMaker does not answer" in listed.text
    job = admin.get(page("job", name="x", connection=connection))
    assert job.status_code == 503
    assert "SageMaker does not answer" in job.text


async def test_a_page_that_waits_holds_up_no_other(
    application: Any, browser: Browser, world: World, hanging: socket.socket
) -> None:
    """The page that waits is opened first, and waits until the endpoint is closed."""
    cookies = dict(browser("admin").cookies)
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080", cookies=cookies) as client:
        waiting = asyncio.ensure_future(client.get(page("job", name="x", connection="hanging")))
        others = [await client.get(address) for address in ("/automl/jobs", "/api/v2/monitor/health")]
        assert [other.status_code for other in others] == [200, 200]
        assert not waiting.done()
        hanging.close()
        assert (await waiting).status_code == 503


def test_the_xcoms_of_a_task_are_shown_if_the_service_is_unreachable(
    browser: Browser, pages: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection_to("http://127.0.0.1:9"))
    admin = browser("admin")
    for kind in ("dag", "run", "task", "task-instance"):
        text = admin.get(world.pages()[kind]).text
        assert world.running in text
        assert "SageMaker does not answer" in text


def test_airflows_other_processes_load_next_to_nothing() -> None:
    code = (
        "import sys, airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        "from airflow_automl.plugin import AutoMLPlugin\n"
        "plugin = AutoMLPlugin()\n"
        "assert len(plugin.external_views) == 5\n"
        "print(' '.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"airflow_automl", "airflow_automl.compat", "airflow_automl.plugin"}


def test_airflow_finds_the_plugin_and_takes_its_views(application: Any, browser: Browser) -> None:
    answer = browser("admin").get("/api/v2/plugins")
    assert answer.status_code == 200
    plugin = next(each for each in answer.json()["plugins"] if each["name"] == "airflow_automl")
    assert {view["destination"] for view in plugin["external_views"]} == {
        "nav",
        "dag",
        "dag_run",
        "task",
        "task_instance",
    }
    assert [app["url_prefix"] for app in plugin["fastapi_apps"]] == ["/automl"]


def test_earlier_jobs_of_a_task_are_found_by_their_names(browser: Browser, world: World) -> None:
    generation = TaskGeneration(settings.deployment(), "churn", world.churn, "train", -1, "then")
    earlier = generation.job_name("request", 2)
    world.sagemaker.add_job(earlier, ends("Failed", "Failed"), age=500)
    text = browser("admin").get(world.pages()["task-instance"]).text
    assert earlier in text.partition("Earlier jobs of this task")[2]


def test_a_candidate_shows_its_hyperparameters_and_steps_and_two_are_compared(browser: Browser, world: World) -> None:
    job = world.sagemaker.add_job("compared", age=100)
    job.candidates = [
        candidate("compared") | {"CandidateName": name, "CandidateSteps": [step]}
        for name, step in (
            (each, {"CandidateStepType": "AWS::SageMaker::TrainingJob", "CandidateStepName": f"train-{each}"})
            for each in ("XGBoost-1", "LightGBM-2", "CatBoost-3")
        )
    ]
    admin = browser("admin")
    one = admin.get(page("candidates", name="compared", candidate="XGBoost-1")).text
    assert "train-XGBoost-1" in one
    assert "eta" in one
    assert "LightGBM" not in one
    both = admin.get(page("candidates", name="compared", candidate="XGBoost-1") + "&candidate=LightGBM-2").text
    assert both.count('<th scope="col">') >= 2
    assert '<tr class="differs"><th scope="row">Algorithm' in both
    world.sagemaker.faults.deny = frozenset({"DescribeTrainingJob"})
    refused = admin.get(page("candidates", name="compared", candidate="CatBoost-3")).text
    world.sagemaker.faults.deny = frozenset()
    assert "does not return the hyperparameters" in refused


def test_the_list_sorts_by_any_column_and_knows_the_score_of_a_job_that_was_opened(
    browser: Browser, world: World
) -> None:
    for name, age in (("sorted-a", 90), ("sorted-b", 95)):
        world.sagemaker.add_job(name, age=age)
    admin = browser("admin")
    assert "0.87" not in admin.get(page("jobs", search="sorted-")).text
    admin.get(page("job", name="sorted-b"))
    text = admin.get(page("jobs", search="sorted-", sort="-score")).text
    assert text.index("sorted-b") < text.index("sorted-a")
    assert "0.87" in text
    assert "s3://data/train/" in text
    assert 'aria-sort="descending"' in text
    by_name = admin.get(page("jobs", search="sorted-", sort="job")).text
    assert by_name.index(">sorted-a") < by_name.index(">sorted-b")
    assert admin.get(page("jobs", sort="nonsense")).status_code == 400


def test_train_again_trains_in_the_account_and_region_of_the_job(
    browser: Browser, pages: Any, run_dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    dag = runpy.run_path(str(EXAMPLES / "manual_automl.py"))["dag"]
    dag.dag_id = pages.state.manual_dag = f"manual_{uuid4().hex}"
    register(dag)
    with serve() as elsewhere:
        monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", connection_to(elsewhere.url))
        elsewhere.add_job("theirs", age=60, RoleArn="arn:aws:iam::123456789012:role/theirs")
        admin, about = browser("admin"), {"connection": "elsewhere", "region": "eu-west-1"}
        assert "Train again" in admin.get(page("job", name="theirs", **about)).text
        form = admin.get(page("start", name="theirs", **about)).text
        names = re.findall(r'<(?:input|select|textarea)[^>]* name="(\w+)"', form)
        assert {"data", "target", "mode", "max_candidates"}.isdisjoint(names)
        sent = {
            name: unescape(value) for name, value in re.findall(r'<input[^>]* name="(\w+)"[^>]* value="([^"]*)"', form)
        }
        sent |= {
            name: unescape(text)
            for name, text in re.findall(r'<textarea[^>]* name="(\w+)"[^>]*>(.*?)</textarea>', form, re.S)
        }
        answer = admin.post("/automl/start", data={**sent, "api_version": "V2"})
        assert (answer.status_code, "Started" in answer.text) == (200, True), answer.text
        with create_session(scoped=False) as session:
            conf = session.query(DagRun.conf).filter(DagRun.dag_id == dag.dag_id).scalar()
        run_dag(dag.partial_subset("train", include_upstream=True), run_conf=conf)
        (again,) = (job for job in elsewhere.jobs.values() if job.name != "theirs")
        assert again.request["RoleArn"] == "arn:aws:iam::123456789012:role/theirs"
        assert elsewhere.regions == {"eu-west-1"}
    train, own = dag.get_task("train"), {"params": {**conf, "connection": None}}  # boto3's own credentials
    assert train.render_template(train.aws_conn_id, own, dag.get_template_env()) is None
