"""The AutoML pages in a full Airflow, in headless Chromium, with logins and running jobs.

With ``AUTOML_SCREENSHOTS=FOLDER`` the screenshots are kept there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser.stack import CHROMIUM, Airflow, Watched, running_airflow, until

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

#: Milliseconds; long, because other tests may run at the same time.
PATIENCE = 180_000

#: Errors that this package's pages do not cause: Airflow gives every plugin's frame this sandbox.
AIRFLOWS_OWN = re.compile(r"allow-scripts and allow-same-origin")


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    with running_airflow(tmp_path_factory.mktemp("pages")) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(airflow: Airflow, chromium: Any) -> Watched:
    """An administrator's tab."""
    return open_tab(airflow, chromium, "grace")


@pytest.fixture(autouse=True)
def nothing_to_complain_of(tab: Watched) -> Iterator[None]:
    """After every test: no error in the console, and no request to another address."""
    yield
    complaints = [each for each in tab.complaints if not AIRFLOWS_OWN.search(each)]
    tab.complaints.clear()
    assert complaints == []
    assert tab.foreign == []


def open_tab(airflow: Airflow, chromium: Any, user: str) -> Watched:
    page = chromium.new_context(viewport={"width": 1440, "height": 1000}, color_scheme="light").new_page()
    page.set_default_timeout(PATIENCE)
    watched = Watched(page, airflow.url)
    watched.log_in(user)
    return watched


@pytest.fixture
def shot(tab: Watched, tmp_path: Path) -> Any:
    """Take a screenshot; an empty page would be a small file."""
    folder = Path(os.environ.get("AUTOML_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str) -> None:
        path = folder / f"{name}.png"
        tab.page.screenshot(path=path)
        assert path.stat().st_size > 20_000

    return take


def task_tab(dag_id: str, run_id: str, mapped: str = "") -> str:
    return f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/train{mapped}/plugin/automl-task-instance"


@pytest.fixture(scope="module")
def training(airflow: Airflow) -> tuple[str, str]:
    """A run whose job trains until the test releases it: the run's id, and the job's name."""
    run_id = airflow.trigger("churn_models")
    return run_id, airflow.job("churn_models", run_id)


def test_a_task_shows_its_job_and_the_job_grows_before_ones_eyes(
    airflow: Airflow, tab: Watched, training: tuple[str, str], shot: Any
) -> None:
    run_id, name = training
    frame = tab.open(task_tab("churn_models", run_id))
    playwright.expect(frame.locator('[aria-current="step"]')).to_have_text("Training models")
    playwright.expect(frame.get_by_role("status")).to_contain_text("4 of 5 candidates")
    assert frame.get_by_role("heading", level=1).inner_text() == name
    board = frame.get_by_role("region", name="Leaderboard")
    assert board.get_by_role("row").count() == 6
    assert "0.83" in board.get_by_role("row").nth(1).inner_text()
    shot("task-training")

    inner = next(each for each in tab.page.frames if "/automl/" in each.url)
    inner.evaluate("window.notReloaded = true")
    (airflow.service.data_dir / "jobs" / name / "go").touch()
    playwright.expect(frame.locator(".verdict .badge")).to_have_text("Completed")
    playwright.expect(board.get_by_role("row").nth(1)).to_contain_text("0.91")
    playwright.expect(frame.get_by_role("link", name="Stop…")).to_have_count(0)
    assert inner.evaluate("window.notReloaded") is True
    shot("task-completed")
    until(lambda: airflow.state("churn_models", run_id) == "success")


def test_a_mapped_task_shows_all_its_jobs_and_each_instance_its_own(airflow: Airflow, tab: Watched, shot: Any) -> None:
    run_id = airflow.trigger("models_by_country")
    names = [airflow.job("models_by_country", run_id, index) for index in (0, 1)]
    for index, name in enumerate(names):
        frame = tab.open(task_tab("models_by_country", run_id, f"/mapped/{index}"))
        playwright.expect(frame.get_by_role("heading", level=1)).to_have_text(name)
    playwright.expect(frame.locator(".problems")).to_contain_text("no ExplainabilityError")
    playwright.expect(frame.locator(".verdict .badge")).to_contain_text("warning")
    shot("task-warnings")
    frame = tab.open(f"/dags/models_by_country/runs/{quote(run_id, safe='')}/plugin/automl-dag-run")
    for name in names:
        frame.get_by_role("link", name=name).wait_for()


def test_dag_and_task_have_a_tab_too(tab: Watched, training: tuple[str, str]) -> None:
    for path in ("/dags/churn_models/plugin/automl-dag", "/dags/churn_models/tasks/train/plugin/automl-task"):
        tab.open(path).get_by_role("link", name=training[1]).wait_for()


def test_a_failed_job_says_why(airflow: Airflow, tab: Watched, shot: Any) -> None:
    run_id = airflow.trigger("churn_models", script="phases,candidate-70,failed")
    airflow.job("churn_models", run_id)
    frame = tab.open(task_tab("churn_models", run_id))
    playwright.expect(frame.locator(".verdict .badge")).to_have_text("Failed")
    assert "The column 'target' is not in the data" in frame.locator(".verdict").inner_text()
    shot("task-failed")


def test_the_navigation_leads_to_the_jobs_by_keyboard_alone(tab: Watched, training: tuple[str, str], shot: Any) -> None:
    tab.page.goto(tab.url)
    tab.page.get_by_role("link", name="AutoML").first.click()
    frame = tab.page.frame_locator("iframe[title=AutoML]")
    frame.get_by_role("link", name=training[1]).wait_for()
    shot("jobs")
    search = frame.get_by_label("Search")
    search.focus()
    tab.page.keyboard.type(training[1][:12])
    tab.page.keyboard.press("Enter")
    playwright.expect(frame.locator("td.name")).to_have_count(1)
    frame.get_by_label("Status").select_option("Failed")
    frame.get_by_text("No job fits").wait_for()
    frame.get_by_role("link", name=re.compile("Show all")).press("Enter")
    frame.get_by_role("link", name=training[1]).press("Enter")
    frame.get_by_role("heading", name="Leaderboard").wait_for()


def test_links_leave_the_frame(tab: Watched, training: tuple[str, str]) -> None:
    frame = tab.open("/plugin/automl")
    frame.get_by_role("row", name=re.compile(training[1])).get_by_role("link", name="churn_models").click()
    tab.page.wait_for_url(re.compile(r"/dags/churn_models/runs/.*/tasks/train"))


def test_the_pages_follow_airflows_theme(tab: Watched, training: tuple[str, str], shot: Any) -> None:
    frame = tab.open(task_tab("churn_models", training[0]))
    root = frame.locator("html")
    playwright.expect(root).to_have_attribute("data-theme", "light")
    light = frame.locator(".verdict").evaluate("each => getComputedStyle(each).backgroundColor")
    tab.page.evaluate("document.documentElement.className = 'dark'")
    playwright.expect(root).to_have_attribute("data-theme", "dark")
    assert frame.locator(".verdict").evaluate("each => getComputedStyle(each).backgroundColor") != light
    tab.page.evaluate("localStorage.setItem('theme', 'dark')")
    frame = tab.open(task_tab("churn_models", training[0]))
    frame.get_by_role("heading", name="Leaderboard").wait_for()
    shot("task-dark")
    tab.page.evaluate("localStorage.setItem('theme', 'light')")


def test_stopping_asks_for_confirmation_and_stops(airflow: Airflow, tab: Watched, shot: Any) -> None:
    run_id = airflow.trigger("churn_models")
    name = airflow.job("churn_models", run_id)
    frame = tab.open(task_tab("churn_models", run_id))
    frame.get_by_role("link", name="Stop…").click()
    frame.get_by_role("link", name="Let it run").click()
    frame.get_by_role("link", name="Stop…").click()
    frame.get_by_role("heading", name=f"Stop {name}?").wait_for()
    shot("stop")
    frame.get_by_role("button", name="Stop the job").click()
    playwright.expect(frame.locator(".verdict .badge")).to_have_text("Stopped")
    assert airflow.service.client().describe_auto_ml_job_v2(AutoMLJobName=name)["AutoMLJobStatus"] == "Stopped"
    until(lambda: airflow.state("churn_models", run_id) == "failed")


def test_training_again_fills_in_the_manual_dags_form(
    airflow: Airflow, tab: Watched, training: tuple[str, str], shot: Any
) -> None:
    airflow.api.ask("PATCH", "/dags/manual_automl", json={"is_paused": True})
    frame = tab.open(task_tab("churn_models", training[0]))
    frame.get_by_role("link", name="Train again…").click()
    assert frame.get_by_label("Training data").input_value().startswith("s3://automl/script/phases")
    assert frame.get_by_label("Target").input_value() == "y"
    assert frame.get_by_label("Longest run of the job").input_value() == "60"
    frame.get_by_label("Most candidates").fill("0")
    shot("start")
    frame.get_by_role("button", name="Start").click()
    frame.get_by_role("alert").wait_for()  # the DAG's params do not allow this number
    assert tab.complaints, "the browser notes the refusal"
    tab.complaints.clear()
    frame.get_by_label("Most candidates").fill("3")
    frame.get_by_role("button", name="Start").click()
    frame.get_by_role("heading", name="Started").wait_for()
    runs = airflow.api.get("/dags/manual_automl/dagRuns")["dag_runs"]
    assert [run["conf"]["max_candidates"] for run in runs] == [3]
    assert runs[0]["conf"]["target"] == "y"
    assert runs[0]["triggering_user_name"] == "grace"


def test_each_user_sees_only_permitted_pages(airflow: Airflow, chromium: Any, training: tuple[str, str]) -> None:
    viewer = open_tab(airflow, chromium, "ruth")
    frame = viewer.open(task_tab("churn_models", training[0]))
    frame.get_by_role("heading", name="Leaderboard").wait_for()
    assert frame.get_by_role("link", name="Train again…").count() == 0
    nobody = open_tab(airflow, chromium, "nick")
    nobody.page.goto(f"{airflow.url}/automl/job?name={training[1]}")
    nobody.page.get_by_role("heading", name="Access denied").wait_for()
    assert training[1] not in nobody.page.content()
    stranger = chromium.new_context().new_page()
    assert stranger.goto(f"{airflow.url}/automl/jobs").status == 401
    stranger.get_by_role("link", name="Log in").wait_for()


def test_without_javascript_the_pages_work_and_renew_themselves(
    airflow: Airflow, chromium: Any, tab: Watched, training: tuple[str, str]
) -> None:
    state = tab.page.context.storage_state()
    page = chromium.new_context(java_script_enabled=False, storage_state=state).new_page()
    page.goto(f"{airflow.url}/automl/jobs?search={training[1]}")
    assert '<noscript><meta http-equiv="refresh"' in page.content() or page.locator("meta[http-equiv=refresh]").count()
    page.get_by_role("link", name=training[1]).click()
    page.get_by_role("heading", name="Leaderboard").wait_for()


def test_screen_readers_find_their_way(airflow: Airflow, tab: Watched, training: tuple[str, str]) -> None:
    name = training[1]
    for path in ("jobs", f"job?name={name}", f"stop?name={name}", f"start?name={name}", "dag?dag_id=churn_models"):
        tab.page.goto(f"{airflow.url}/automl/{path}")
        assert tab.page.get_by_role("heading", level=1).count() == 1, path
        assert tab.page.locator("html").get_attribute("lang") == "en"
        assert tab.page.get_by_role("main").count() == 1
        assert tab.page.locator("th:not([scope])").count() == 0, path
        unnamed = tab.page.locator("input:not([type=hidden]), select, textarea").evaluate_all(
            "all => all.filter(each => !each.labels.length && !each.ariaLabel).length"
        )
        assert unnamed == 0, path
        empty = tab.page.locator("a, button").evaluate_all("all => all.filter(each => !each.textContent.trim()).length")
        assert empty == 0, path
