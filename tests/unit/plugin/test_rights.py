"""Permissions to read and act; text that a page must never show; forms that other sites send."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from airflow_automl.naming import TaskGeneration
from airflow_automl.plugin.known_jobs import KnownJobs
from tests.standin import ENDLESS
from tests.unit.plugin.conftest import SECRET, Browser, World, page

KINDS = ("jobs", "job", "dag", "run", "task", "task-instance", "stop", "start", "report", "candidates")


def token(text: str) -> str:
    found = re.search(r'name="(?:about_)?token" value="([^"]+)"', text)
    assert found, text
    return found[1]


@pytest.fixture
def only_countries(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the DAG ``countries`` is visible: the simple auth manager does not distinguish DAGs."""
    from airflow.api_fastapi.app import get_auth_manager

    manager = get_auth_manager()
    allowed = manager.is_authorized_dag

    def is_authorized_dag(**kwargs: Any) -> bool:
        return kwargs["details"].id == "countries" and bool(allowed(**kwargs))

    monkeypatch.setattr(manager, "is_authorized_dag", is_authorized_dag)


# Seeing


def test_every_route_demands_a_user(browser: Browser, pages: Any) -> None:
    nobody = browser(None)
    routes = [route for route in pages.routes if isinstance(route, APIRoute) and "static" not in route.path]
    assert {route.path.strip("/") for route in routes} == set(KINDS)
    for route in routes:
        for method in route.methods:
            answer = nobody.request(method, f"/automl{route.path}")
            assert answer.status_code == 401, (method, route.path)
            assert "You are not logged in" in answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_without_rights_sees_nothing(browser: Browser, world: World, kind: str) -> None:
    answer = browser("none").get(world.pages()[kind])
    assert answer.status_code == 403
    assert world.running not in answer.text


@pytest.mark.parametrize("kind", ["job", "dag", "run", "task", "task-instance", "stop", "start"])
def test_the_right_to_another_dag_is_not_enough(
    browser: Browser, world: World, kind: str, only_countries: None
) -> None:
    answer = browser("user").get(world.pages()[kind])
    assert answer.status_code == 403
    assert "Candidates" not in answer.text


@pytest.mark.parametrize("kind", ["jobs", "job", "dag", "run", "task", "task-instance"])
def test_a_viewer_of_the_dag_sees_its_job(browser: Browser, world: World, kind: str) -> None:
    answer = browser("viewer").get(world.pages()[kind])
    assert answer.status_code == 200
    assert world.running in answer.text
    assert world.foreign not in answer.text


def test_the_list_shows_each_user_their_own(browser: Browser, world: World, only_countries: None) -> None:
    seen = browser("viewer").get("/automl/jobs").text
    assert world.running not in seen
    assert world.foreign not in seen
    assert seen.count('class="name"') == 2


def test_a_job_of_no_dag_needs_the_right_to_the_connection(browser: Browser, world: World) -> None:
    address = page("job", name=world.foreign)
    assert [browser(role).get(address).status_code for role in ("viewer", "user", "op", "admin")] == [
        403,
        403,
        200,
        200,
    ]
    assert world.foreign in browser("op").get("/automl/jobs").text


def test_no_call_is_made_through_a_connection_that_the_user_may_not_use(browser: Browser, world: World) -> None:
    before = sum(world.sagemaker.calls.values())
    for kind in ("jobs", "job"):
        assert browser("user").get(page(kind, name=world.running, connection="secret_one")).status_code == 403
    assert sum(world.sagemaker.calls.values()) == before


def test_tags_that_cant_be_read_give_no_right(browser: Browser, world: World) -> None:
    world.sagemaker.faults.forbid_tags = True
    try:
        assert browser("user").get(page("job", name=world.foreign)).status_code == 403
        # Airflow itself knows whose this is.
        assert browser("user").get(page("job", name=world.running)).status_code == 200
    finally:
        world.sagemaker.faults.forbid_tags = False


# Doing


def test_a_viewer_can_neither_stop_nor_start(browser: Browser, world: World) -> None:
    viewer = browser("viewer")
    text = viewer.get(world.pages()["job"]).text
    assert "Stop…" not in text
    assert viewer.get(world.pages()["stop"]).status_code == 403
    proof = token(browser("user").get(world.pages()["stop"]).text)
    sent = {"name": world.running, "connection": "aws_default", "token": proof}
    assert viewer.post("/automl/stop", data=sent).status_code == 403
    assert world.sagemaker.jobs[world.running].stopped is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_form_that_another_site_sends_is_refused(browser: Browser, world: World, origin: str) -> None:
    user = browser("user")
    sent = {"name": world.running, "connection": "aws_default"}
    proof = token(user.get(world.pages()["stop"]).text)
    for headers in ({"origin": origin}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        assert user.post("/automl/stop", data={**sent, "token": proof}, headers=headers).status_code == 403
    assert user.post("/automl/stop", data={**sent, "token": "made-up"}).status_code == 403
    assert user.post("/automl/stop", data=sent).status_code == 400
    assert world.sagemaker.jobs[world.running].stopped is None


def test_a_form_for_another_job_or_user_or_action_is_refused(browser: Browser, world: World) -> None:
    world.sagemaker.add_job("bystander", ENDLESS)
    op, admin = browser("op"), browser("admin")
    sent = {"name": "bystander", "connection": "aws_default"}
    other_job = token(op.get(page("stop", name=world.foreign)).text)
    other_user = token(admin.get(page("stop", name="bystander")).text)
    for proof in (other_job, other_user):
        assert op.post("/automl/stop", data={**sent, "token": proof}).status_code == 403
    assert world.sagemaker.jobs["bystander"].stopped is None
    own = token(op.get(page("stop", name="bystander")).text)
    answer = op.post("/automl/stop", data={**sent, "token": own}, headers={"origin": "http://localhost:8080"})
    assert answer.status_code == 303
    assert world.sagemaker.jobs["bystander"].stopped is not None
    assert "Stopp" in op.get(answer.headers["location"]).text


def test_the_manual_dag_is_offered_only_where_it_is(browser: Browser, world: World) -> None:
    admin = browser("admin")
    assert "Train again" not in admin.get(world.pages()["job"]).text
    assert admin.get(world.pages()["start"]).status_code == 403


# What pages say


def test_every_page_has_a_policy_and_runs_nothing_inline(browser: Browser, world: World) -> None:
    admin = browser("admin")
    for address in (*world.pages().values(), page("job", name="no-such-job"), page("job")):
        answer = admin.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"\son[a-z]+=|javascript:|\sstyle=|<style", answer.text), address
        assert re.findall(r"<script[^>]*>", answer.text) == [
            '<script src="/automl/static/pages.js">',
            '<script src="/automl/static/board.js" defer>',
        ]
        # Only links that a user clicks lead to other sites.
        assert not re.search(r'<(?!a\s)[^>]*\s(?:src|href)="(?:https?:)?//', answer.text)


def test_names_and_reasons_are_data(browser: Browser, world: World) -> None:
    attack = "</td><script>alert(1)</script><img src=x onerror=alert(2)>"
    world.sagemaker.add_job(
        "attacked",
        ((0.0, "Failed", "Failed"),),
        FailureReason=attack,
        BestCandidate={"CandidateName": attack, "CandidateStatus": attack, "ObjectiveStatus": "x"},
        PartialFailureReasons=[{"PartialFailureMessage": attack}],
    )
    admin = browser("admin")
    for address in (page("job", name="attacked"), page("jobs", search=attack), page("dag", dag_id=attack)):
        text = admin.get(address).text
        assert "<script>alert" not in text
        assert "<img" not in text
    assert "&lt;script&gt;alert" in admin.get(page("job", name="attacked")).text


def test_the_connections_secrets_reach_no_page(browser: Browser, world: World) -> None:
    admin = browser("admin")
    for address in (*world.pages().values(), page("jobs", connection="dead"), page("job", name="x", connection="gone")):
        assert SECRET not in admin.get(address).text


# What an attacker tries


def made_up(world: World, user: Any, name: str, **job: Any) -> None:
    """Write an XCom ``job`` about another user's job, as any user with the role *user* may."""
    known = world.sagemaker.jobs[name]
    value = {"schema_version": 1, "name": name, "arn": known.arn, "status": "InProgress", "tags": {}, **job}
    address = f"/api/v2/dags/countries/dagRuns/{world.countries}/taskInstances/train/xcomEntries"
    for index in (0, 1):
        answer = user.patch(f"{address}/job?map_index={index}", json={"value": value, "map_index": index})
        assert answer.status_code == 200, answer.text


@pytest.fixture
def restored_xcoms(world: World) -> Iterator[None]:
    """Put back what the jobs' tasks pushed themselves."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    def documents(session: Any) -> Any:
        return session.query(XComModel).filter(XComModel.key == "job")

    with create_session() as session:
        before = {(row.run_id, row.map_index): row.value for row in documents(session)}
    yield
    with create_session() as session:
        for row in documents(session):
            row.value = before[(row.run_id, row.map_index)]


@pytest.mark.parametrize("tags_forbidden", [False, True])
def test_a_made_up_xcom_gives_no_right(
    browser: Browser, pages: Any, world: World, restored_xcoms: None, tags_forbidden: bool
) -> None:
    user = browser("user")
    target = f"victim-{tags_forbidden}".lower()
    world.sagemaker.add_job(target, ENDLESS)
    assert user.get(page("job", name=target)).status_code == 403
    made_up(world, user, target)
    pages.state.known = KnownJobs()  # which polls every few seconds
    world.sagemaker.faults.forbid_tags = tags_forbidden
    try:
        assert user.get(page("job", name=target)).status_code == (200 if tags_forbidden else 403)
        assert target not in user.get("/automl/jobs").text
        assert user.get(page("stop", name=target)).status_code == 403
        proof = token(browser("op").get(page("stop", name=target)).text)
        sent = {"name": target, "connection": "aws_default", "token": proof}
        assert user.post("/automl/stop", data=sent).status_code == 403
        assert world.sagemaker.jobs[target].stopped is None
    finally:
        world.sagemaker.faults.forbid_tags = False


def test_the_job_of_another_airflow_with_a_dag_of_the_same_name_is_not_this_ones(
    browser: Browser, pages: Any, world: World, restored_xcoms: None
) -> None:
    user = browser("user")
    theirs = TaskGeneration("https://other.example", "countries", world.countries, "train", 0)
    target = theirs.job_name("request", 1)
    world.sagemaker.add_job(target, ENDLESS).tags = theirs.tags("request", 1)
    made_up(world, user, target)
    pages.state.known = KnownJobs()  # which polls every few seconds
    assert user.get(page("job", name=target)).status_code == 403
    assert user.get(page("stop", name=target)).status_code == 403


def test_a_made_up_xcom_breaks_no_page(browser: Browser, pages: Any, world: World, restored_xcoms: None) -> None:
    admin, user, target = browser("admin"), browser("user"), "victim-of-nonsense"
    world.sagemaker.add_job(target, ENDLESS)
    for nonsense in (7, "x", [1], {"x": 1}, [{"at": "", "status": ""}], {"title": 1, "tone": []}):
        keys = ("tags", "end", "timeline", "score", "objective", "problem_type", "partial_failures", "created", "cost")
        made_up(world, user, target, **dict.fromkeys((*keys, "target", "data"), nonsense))
        pages.state.known = KnownJobs()  # which polls every few seconds
        addresses = [page("jobs", sort=sort) for sort in ("score", "type", "created", "status")]
        tabs = [page("job", name=target), page("dag", dag_id="countries"), page("jobs", problem_type="x")]
        for address in (*addresses, *tabs):
            assert admin.get(address).status_code == 200, (nonsense, address)


def test_a_made_up_xcom_neither_hides_nor_shows_what_its_tags_claim(
    browser: Browser, world: World, restored_xcoms: None, only_countries: None
) -> None:
    user = browser("user")
    made_up(world, user, world.running)
    assert user.get(page("job", name=world.running)).status_code == 403
    assert world.running not in user.get("/automl/jobs").text


@pytest.mark.parametrize(
    ("headers", "action", "hours", "reason"),
    [
        ({"origin": "http://evil.example"}, "start", 0, "Another site sent this form"),
        ({"sec-fetch-site": "cross-site"}, "start", 0, "Another site sent this form"),
        ({}, None, 0, "too old or was not sent from this page"),
        ({}, "stop", 0, "made for another user or another job"),
        ({}, "start", 13, "too old or was not sent from this page"),
        ({}, "start", 11, "Airflow does not have it"),
    ],
)
def test_a_form_to_start_the_manual_dag_is_checked_like_one_to_stop(
    browser: Browser,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    action: str | None,
    hours: int,
    reason: str,
) -> None:
    from itsdangerous import TimestampSigner

    from airflow_automl.plugin.actions import _serializer

    user = browser("user")
    arn = world.sagemaker.jobs[world.running].arn
    with monkeypatch.context() as patch:
        now = TimestampSigner.get_timestamp
        patch.setattr(TimestampSigner, "get_timestamp", lambda self: now(self) - hours * 3600)
        proof = str(_serializer().dumps(["the user", action, arn, "aws_default"])) if action else "made-up"
    sent = {"about_name": world.running, "about_connection": "aws_default", "about_token": proof}
    answer = user.post("/automl/start", data=sent, headers=headers)
    assert answer.status_code == 403
    assert reason in answer.text


# Bounds


def test_a_region_that_aws_does_not_have_is_refused_before_any_client_is_made(browser: Browser, pages: Any) -> None:
    answer = browser("admin").get(page("jobs", region="eu-nowhere-1"))
    assert answer.status_code == 400
    assert "eu-nowhere-1" in answer.text
    assert not pages.state.account._hooks


def test_the_clients_that_are_kept_are_bounded(sagemaker: Any) -> None:
    from airflow_automl.plugin import account as module

    account = module.Account()
    account._renewed = lambda source, known: module._Known(source.region, 0, 1e18)  # type: ignore[method-assign]
    for number in range(3 * module.MOST_HOOKS):
        assert account._hook(module.Source(region=str(number))) == str(number)
    assert len(account._hooks) == module.MOST_HOOKS
    account.answers.close()


@pytest.mark.parametrize("index", ["--3", "3-", "1e3", "9" * 30, "٣"])
def test_a_map_index_that_is_none_is_a_bad_request(browser: Browser, world: World, index: str) -> None:
    address = page("task-instance", dag_id="churn", run_id=world.churn, task_id="train", map_index=index)
    assert browser("admin").get(address).status_code == 400


def test_an_unforeseen_error_has_the_headers_of_all_pages(
    browser: Browser, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.plugin import known_jobs

    def fail(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(known_jobs, "job_records", fail)
    with TestClient(application, base_url="http://localhost:8080", raise_server_exceptions=False) as client:
        client.cookies = browser("admin").cookies
        answer = client.get(page("dag", dag_id="churn"))
    assert answer.status_code == 500
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", ["jobs", "job", "dag", "task-instance"])
def test_text_that_postgresql_refuses_is_a_bad_request(browser: Browser, kind: str) -> None:
    names = {"connection": "a\0", "name": "a\0", "dag_id": "a\0", "run_id": "r", "task_id": "t"}
    assert browser("admin").get(page(kind, **names)).status_code == 400
