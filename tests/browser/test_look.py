"""Every page and every report in both themes: axe-core finds no violation of WCAG 2.1 AA; live pages, the leaderboard.

axe-core comes from npm, at the version in ``tests/browser/package.json``; without npm these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_automl.operators import SageMakerAutoMLJobOperator
from airflow_automl.report import build, render
from tests.browser.conftest import Live, add_tuned, page
from tests.browser.stack import CHROMIUM, EXAMPLES
from tests.conftest import register
from tests.standin import ENDLESS, ends
from tests.unit.plugin.conftest import CONFIG
from tests.unit.plugin.test_tabs import after_training, tab  # noqa: F401
from tests.unit.report.samples import candidate, describe

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

THEMES = ("light", "dark")
WIDTHS = (1440, 1024, 390)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
CUT = "[...document.querySelectorAll('.scroll:has(.jobs)')].some((each) => each.scrollWidth > each.clientWidth)"
INSIGHTS = {
    "confusion_matrix": {"labels": ["No", "Yes"], "rows": [[761, 67], [144, 155]]},
    "roc": {"fpr": [0.0, 0.1, 0.4, 1.0], "tpr": [0.0, 0.6, 0.9, 1.0]},
    "feature_importance": {"tenure": 0.4, "charges": 0.1},
}


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).with_name(name), folder)
    done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm does not bring axe-core: {done.stderr[-200:]}")
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shown(
    live: Live,
    after_training: dict[str, str],  # noqa: F811
    run_dag: Any,
) -> dict[str, str]:
    """The addresses of all kinds of pages, with jobs of every outcome, and tabs of every kind of task."""
    with DAG("refused", schedule=None) as refused:
        SageMakerAutoMLJobOperator(task_id="train", config={**CONFIG, "RoleArn": "nobody", "AutoMLJobObjective": {}})
    refused_id = str(run_dag(refused).run_id)
    from airflow.dag_processing.dagbag import DagBag

    register(DagBag(dag_folder=str(EXAMPLES / "manual_automl.py")).dags["manual_automl"])
    service = live.service
    add_tuned(service, "tuned", 120, given_up=37)
    service.add_job("broken", ends("Failed", "Failed"), age=300, FailureReason="The column 'y' is not in the data.")
    service.add_job("was-ended", ends("Stopped", "Stopped"), age=300)
    service.add_job("in-line", ((0.0, "InProgress", "Starting"),), age=30)
    chosen = "&".join(f"candidate={each['CandidateName']}" for each in service.jobs["tuned"].candidates[:2])
    return live.world.pages() | {
        "tuned": page("job", name="tuned"),
        "broken": page("job", name="broken"),
        "stopped": page("job", name="was-ended"),
        "queued": page("job", name="in-line"),
        "compare": f"{page('candidates', name='tuned')}&{chosen}",
        "error": page("job", name="nobody"),
        "nowhere": "/automl/nowhere",
        "tab-refused": tab("refused", refused_id, "train"),
        "tab-gate-rejected": tab("after_rejected", after_training["rejected"], "gate"),
        "tab-skipped": tab("after_rejected", after_training["rejected"], "deploy"),
        **{
            f"tab-{task_id}": tab("after_accepted", after_training["accepted"], task_id)
            for task_id in ("gate", "deploy", "transform", "register", "aside")
        },
    }


def open_page(live: Live, chromium: Any, theme: str = "light", width: int = 1440, **options: Any) -> Any:
    context = chromium.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme, **options)
    live.log_in(context)
    opened = context.new_page()
    opened.set_default_timeout(120_000)
    return opened


def violations(opened: Any, axe: str) -> list[str]:
    opened.evaluate(axe)
    found = opened.evaluate("rules => axe.run({runOnly: rules})", RULES)["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for each in found for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(
    live: Live, chromium: Any, axe: str, shown: dict[str, str], theme: str, width: int
) -> None:
    # The pages' Content-Security-Policy forbids the evaluation of scripts, also for axe-core.
    opened = open_page(live, chromium, theme, width, bypass_csp=True)
    problems = []
    for name, address in shown.items():
        opened.goto(live.url + address)
        opened.wait_for_load_state("load")
        problems += [f"{name}: {each}" for each in violations(opened, axe)]
        if opened.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            problems.append(f"{name}: wider than the window")
        if opened.evaluate(CUT):
            problems.append(f"{name}: columns of the list of jobs are out of sight")
        if folder := os.environ.get("AUTOML_SCREENSHOTS"):
            opened.screenshot(path=Path(folder, f"{name}-{theme}-{width}.png"), full_page=True)
    opened.context.close()
    assert problems == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("kind", ["whole", "failed"])
def test_every_report_is_accessible(chromium: Any, axe: str, tmp_path: Path, theme: str, kind: str) -> None:
    rows = [candidate(f"c-{number}", 0.7 + number / 100, number) for number in range(5)]
    document = (
        build(describe(BestCandidate=rows[-1]), rows, insights=INSIGHTS)
        if kind == "whole"
        else build(describe(AutoMLJobStatus="Failed", FailureReason="No column."), [])
    )
    (tmp_path / "report.html").write_text(render(document))
    context = chromium.new_context(color_scheme=theme, bypass_csp=True)
    opened = context.new_page()
    opened.goto((tmp_path / "report.html").as_uri())
    found = violations(opened, axe)
    context.close()
    assert found == []


def test_a_tab_updates_itself_from_no_job_or_no_answer_to_a_job_to_its_end(live: Live, chromium: Any) -> None:
    service, opened = live.service, open_page(live, chromium)
    address = page("job", name="late-comer")
    opened.goto(live.url + address)
    assert opened.get_by_role("heading", level=1).inner_text() == "There is no such job"
    service.faults.errors = 1.0
    away = opened.context.new_page()
    away.goto(live.url + page("job", name="came-back"))
    assert away.get_by_role("heading", level=1).inner_text() == "SageMaker does not answer"
    service.faults.errors = 0.0
    for tab_, name in ((opened, "late-comer"), (away, "came-back")):
        tab_.evaluate("window.notReloaded = true")
        service.add_job(name, ENDLESS)
    for tab_, name in ((opened, "late-comer"), (away, "came-back")):
        tab_.locator(".verdict.running").wait_for()
        service.jobs[name].script = ends("Completed", "Completed")
        tab_.locator(".verdict.good").wait_for()
        assert tab_.evaluate("window.notReloaded") is True
    opened.context.close()


def test_the_leaderboard_sorts_filters_chooses_columns_turns_pages_and_compares(
    live: Live, chromium: Any, shown: dict[str, str]
) -> None:
    opened = open_page(live, chromium)
    opened.goto(live.url + shown["tuned"])
    board = opened.get_by_role("region", name="Leaderboard").get_by_role("row")
    assert board.count() == 51
    names = opened.locator("#live-board .board tbody tr:visible td.name a")
    best = names.first.inner_text()
    assert not best.startswith("tuned")
    opened.get_by_role("button", name="F1", exact=True).click()
    assert opened.locator("th[aria-sort=descending]").inner_text().startswith("F1")
    values = [
        float(each) for each in opened.locator("#live-board tbody tr:visible td:nth-child(7)").all_inner_texts()[:50]
    ]
    assert values == sorted(values, reverse=True)
    opened.get_by_role("button", name="Next").click()
    opened.get_by_text("Page 2 of 3").wait_for()
    opened.get_by_label("Filter").fill("catboost")
    opened.get_by_text("30 of 120 candidates").wait_for()
    opened.get_by_text("Columns").click()
    latency = opened.locator("#live-board th[data-metric=InferenceLatency]").first
    assert latency.is_hidden()
    opened.get_by_label("InferenceLatency (ms)").check()
    assert latency.is_visible()
    for number in (0, 1):
        opened.locator("#live-board tbody tr:visible input[name=candidate]").nth(number).check()
    names.first.click()
    drawer = opened.get_by_role("dialog")
    drawer.get_by_text("Hyperparameters").wait_for()
    drawer.get_by_role("button", name="Close").click()
    opened.get_by_role("button", name="Compare").click()
    opened.get_by_role("heading", name="2 candidates").wait_for()
    opened.context.close()


def test_without_javascript_the_leaderboard_reads_and_compares(
    live: Live, chromium: Any, shown: dict[str, str]
) -> None:
    opened = open_page(live, chromium, java_script_enabled=False)
    opened.goto(live.url + shown["tuned"])
    assert opened.get_by_role("region", name="Leaderboard").get_by_role("row").count() == 121
    for number in (0, 3):
        opened.locator("#live-board input[name=candidate]").nth(number).check()
    opened.get_by_role("button", name="Compare").click()
    opened.get_by_role("heading", name="2 candidates").wait_for()
    opened.context.close()
