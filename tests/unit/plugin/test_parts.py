"""What pages are made of: steps, rows, links, and the manual DAG's form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_automl.contract import image_classification, tabular
from airflow_automl.contract.states import ORDER, PAIRS, end
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.links.sagemaker_automl import console_links
from airflow_automl.plugin import manual, rows
from airflow_automl.plugin.account import Source
from airflow_automl.plugin.job_view import job_view, steps, words
from airflow_automl.plugin.known_jobs import Owner, owner_of
from airflow_automl.plugin.links import Links
from tests.unit.report.samples import candidate, describe

SOURCE = Source("aws_default")


# Steps


def problem(name: str, **config: Any) -> dict[str, Any]:
    return {"AutoMLProblemTypeConfig": {f"{name}JobConfig": config}, "AutoMLProblemTypeConfigName": name}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("ENSEMBLING", problem("Tabular", Mode="ENSEMBLING")),
        ("HYPERPARAMETER_TUNING", problem("Tabular", Mode="HYPERPARAMETER_TUNING")),
        ("TimeSeriesForecasting", problem("TimeSeriesForecasting")),
        ("TextClassification", problem("TextClassification")),
        ("ImageClassification", problem("ImageClassification")),
        ("TextGeneration", problem("TextGeneration")),
    ],
)
def test_a_job_goes_through_the_steps_of_its_kind(kind: str, answer: dict[str, Any]) -> None:
    for phase in ORDER[kind]:
        found = steps(describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus=str(phase.secondary), **answer))
        now = [step for step in found if step.state == "now"]
        assert [step.label for step in now] == [words(phase.secondary)]
        at = found.index(now[0])
        assert all(step.state == "done" for step in found[:at])
        assert all(step.state == "todo" for step in found[at + 1 :])


@pytest.mark.parametrize("pair", PAIRS.values(), ids=str)
def test_every_state_of_a_job_has_steps(pair: Any) -> None:
    found = steps(describe(AutoMLJobStatus=str(pair.status), AutoMLJobSecondaryStatus=str(pair.secondary)))
    assert len(found) >= 2
    assert all(step.label for step in found)
    if pair.terminal:
        assert found[-1].state in {"good", "warning", "bad"}
        assert (
            found[-1].label == end(describe(AutoMLJobStatus=pair.status, AutoMLJobSecondaryStatus=pair.secondary)).title
        )


def test_an_unknown_status_is_shown_unchanged() -> None:
    found = steps(describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus="PonderingQuantumModels"))
    assert [(step.label, step.state) for step in found][1] == ("Pondering quantum models", "now")


def test_the_mode_that_auto_chose_is_visible_in_the_job() -> None:
    answer = problem("Tabular", Mode="AUTO")
    tuning = steps(describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus="ModelTuning", **answer))
    training = steps(describe(AutoMLJobStatus="InProgress", AutoMLJobSecondaryStatus="TrainingModels", **answer))
    assert "Feature engineering" in [step.label for step in tuning]
    assert "Pre-training" in [step.label for step in training]


# The page of a job


def test_candidates_that_failed_are_problems_and_those_given_up_for_better_ones_are_not() -> None:
    failed = [candidate(f"failed-{number}", None, number) | {"FailureReason": "no memory"} for number in range(22)]
    stopped = candidate("stopped", None, 30) | {"CandidateStatus": "Stopped", "FailureReason": "others did better"}
    best = candidate("best", 0.9, 31)
    view = job_view(
        describe(BestCandidate=best),
        [best, stopped, *failed],
        source=SOURCE,
        owner=None,
        tags={},
        written={},
        on_aws=False,
    )
    assert {each["message"] for each in view["problems"]} == {"no memory"}
    assert (len(view["problems"]), view["hidden_problems"]) == (20, 2)
    assert [row["failure"] for row in view["board"]["given_up"]] == ["others did better"]


def test_candidates_that_are_not_listed_yet_or_can_not_be_are_not_counted() -> None:
    known = {"source": SOURCE, "owner": None, "tags": {}, "written": {}, "on_aws": False}
    best = describe(BestCandidate=candidate("best", 0.9, 1))
    assert "1 of 1 candidates completed" in job_view(best, [candidate("best", 0.9, 1)], **known)["status_line"]
    for listed in (None, [], [candidate("other", 0.8, 0)]):
        view = job_view(best, listed, **known)
        assert "candidates" not in view["status_line"]
        assert view["summary"]["candidates"] is None
        assert view["board"]["rows"][0]["name"] == "best"


# Rows


def summary(name: str, **members: Any) -> dict[str, Any]:
    return {
        "AutoMLJobName": name,
        "AutoMLJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{name}",
        "AutoMLJobStatus": "Completed",
        "AutoMLJobSecondaryStatus": "Completed",
        "CreationTime": datetime(2026, 11, 21, 4, tzinfo=UTC),
        "LastModifiedTime": datetime(2026, 11, 21, 4, tzinfo=UTC),
        **members,
    }


def test_filters_narrow_by_name_status_and_problem_type() -> None:
    failed = rows.from_summary(summary("churn-1", AutoMLJobStatus="Failed"), SOURCE, None)
    assert rows.Filters("CHURN", "Failed", "unknown").takes(failed)
    assert not rows.Filters("churn", "Completed").takes(failed)
    assert not rows.Filters("sales").takes(failed)
    assert not rows.Filters(problem_type="Regression").takes(failed)


def test_pages_are_cut_and_a_page_past_the_end_is_the_last() -> None:
    all_rows = [rows.from_summary(summary(f"job-{number}"), SOURCE, None) for number in range(rows.PAGE * 2 + 1)]
    assert [len(rows.Page.of(all_rows, number).rows) for number in (1, 2, 3)] == [rows.PAGE, rows.PAGE, 1]
    assert rows.Page.of(all_rows, 99).number == 3
    assert rows.Page.of([], 5).number == 1


def test_scores_are_sorted_also_if_the_metric_of_some_is_not_known() -> None:
    seen: list[dict[str, Any]] = [{"score": 0.5}, {"score": 0.7, "objective": "AUC"}, {"score": 0.6}, {}]
    found = [rows.from_summary(summary(f"job-{at}"), SOURCE, None, each) for at, each in enumerate(seen)]
    assert [row.name for row in rows.ordered(found, "-score")] == ["job-1", "job-2", "job-0", "job-3"]


def test_a_partial_failure_shows_in_the_list() -> None:
    partial = [{"PartialFailureMessage": "no fastai"}]
    row = rows.from_summary(summary("a", PartialFailureReasons=partial), SOURCE, None)
    assert (row.reason, row.end.tone) == ("no fastai", "warning")
    assert rows.from_summary(summary("a"), SOURCE, None).end.tone == "good"


def test_a_list_distinguishes_a_job_of_definitions_only_from_one_that_trained() -> None:
    row = rows.from_summary(summary("a", AutoMLJobSecondaryStatus="CandidateDefinitionsGenerated"), SOURCE, None)
    assert row.end.title == "Candidate definitions only"


def test_a_row_shows_the_outcome_of_the_page_if_the_status_is_the_same() -> None:
    seen = {"status": "Completed", "end": {"title": "Completed, not deployed", "tone": "bad"}}
    assert rows.from_summary(summary("a"), SOURCE, None, seen).end.title == "Completed, not deployed"
    assert rows.from_summary(summary("a", AutoMLJobStatus="Failed"), SOURCE, None, seen).end.title == "Failed"


# Owners and links


def test_only_tags_of_this_package_name_an_owner() -> None:
    tags = {"airflow-automl:owner": "x", "airflow:dag_id": "d", "airflow:run_id": "r", "airflow:task_id": "t"}
    assert owner_of(tags, "job") == Owner("d", "r", "t", -1)
    assert owner_of({**tags, "airflow:map_index": "3"}, "job") == Owner("d", "r", "t", 3)
    assert owner_of({**tags, "airflow:map_index": "x"}, "job") == Owner("d", "r", "t", -1)
    assert owner_of({key: value for key, value in tags.items() if key != "airflow-automl:owner"}, "job") is None
    assert owner_of(None, "job") is None


def test_links_keep_the_path_that_airflow_is_served_at_and_quote_what_they_carry() -> None:
    links = Links("/flow/automl")
    assert links.owner(Owner("a b", "r/1+0", "t", 2)) == "/flow/dags/a%20b/runs/r%2F1%2B0/tasks/t/mapped/2"
    assert links.owner(Owner("a")) == "/flow/dags/a"
    assert links.page("job", name="x&y", region=None) == "/flow/automl/job?name=x%26y"
    assert links.about("job", Source(None), "x") == "/flow/automl/job?name=x&connection=-"


def test_the_console_is_linked_where_it_is_known() -> None:
    assert "SageMaker console" in console_links("arn:aws:sagemaker:eu-west-1:123456789012:automl-job/x", "x")
    assert console_links("arn:moon:sagemaker:eu-west-1:123456789012:automl-job/x", "x") == {}
    assert console_links("", "x") == {}


# The manual DAG's form

PARAMS: dict[str, dict[str, Any]] = {
    "data": {"type": "string", "default": "s3://x/", "title": "Data"},
    "mode": {"type": "string", "enum": ["AUTO", "ENSEMBLING"], "default": "AUTO"},
    "max_candidates": {"type": ["null", "integer"], "default": None},
    "min_score": {"type": ["null", "number"], "default": None},
    "deploy": {"type": "boolean", "default": False},
    "request": {"type": ["null", "object"], "default": None},
}


def described(request: dict[str, Any]) -> dict[str, Any]:
    """What the service answers for a request: with what it fills in."""
    channels = [
        {"ChannelType": "training", "CompressionType": "None", **channel}
        for channel in request["AutoMLJobInputDataConfig"]
    ]
    return describe(**{**request, "AutoMLJobInputDataConfig": channels})


def test_a_job_that_the_form_can_say_fills_its_fields() -> None:
    request = tabular(
        "s3://acme/train/", target="churn", problem_type="Regression", objective="RMSE", mode="AUTO", max_runtime=1800
    )
    assert manual.conf_of(described(request), Source("prod", "eu-west-1")) == {
        "connection": "prod",
        "region": "eu-west-1",
        "data": "s3://acme/train/",
        "target": "churn",
        "problem_type": "Regression",
        "objective": "RMSE",
        "mode": "AUTO",
        "max_candidates": None,
        "max_runtime_minutes": 30,
    }


@pytest.mark.parametrize(
    "request_",
    [
        tabular("s3://a/", target="y", mode="ENSEMBLING", max_runtime=60, algorithms=["xgboost"]),
        tabular("s3://a/", target="y", mode="ENSEMBLING", max_runtime=61),
        tabular("s3://a/", target="y", mode="ENSEMBLING"),
        tabular("s3://a/", target="y", mode="ENSEMBLING", max_runtime=60, validation="s3://b/"),
        image_classification("s3://a/", max_runtime=60),
    ],
)
def test_any_other_job_is_handed_over_whole(request_: dict[str, Any]) -> None:
    given = described(request_)
    conf = manual.conf_of(given, Source(None, None))
    whole = conf["request"]
    assert conf["connection"] is None  # boto3's own credentials
    assert whole["AutoMLProblemTypeConfig"] == given["AutoMLProblemTypeConfig"]
    assert whole["AutoMLJobInputDataConfig"] == given["AutoMLJobInputDataConfig"]
    assert whole["RoleArn"] == given["RoleArn"]
    assert "AutoMLJobName" not in whole


def test_fields_that_a_whole_request_replaces_are_not_shown() -> None:
    conf = {"request": {"AutoMLJobInputDataConfig": []}, "connection": "prod"}
    assert {"data", "mode", "max_candidates"}.isdisjoint(field.name for field in manual.fields(PARAMS, conf))
    sent = {"request": "{}", "min_score": ""}
    assert manual.read(PARAMS, sent) == {"request": {}, "min_score": None, "deploy": False}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "enum": ["", "AUC"], "values_display": {"": "The default"}, "default": ""},
        {"type": ["null", "string"], "enum": [None, "AUC"], "values_display": {"null": "The default"}, "default": None},
    ],
)
def test_an_empty_choice_has_a_label(schema: dict[str, Any]) -> None:
    (field,) = manual.fields({"objective": schema}, {})
    assert (field.value, field.options, field.required) == ("", (("", "The default"), ("AUC", "AUC")), False)


def test_a_form_that_is_sent_back_unchanged_says_the_same() -> None:
    conf = {"data": "s3://y/", "mode": "ENSEMBLING", "max_candidates": 5, "min_score": 0.5, "request": None}
    form = manual.fields(PARAMS, conf)
    assert {field.name: field.kind for field in form} == {
        "data": "text",
        "mode": "select",
        "max_candidates": "number",
        "min_score": "number",
        "deploy": "checkbox",
        "request": "json",
    }
    sent = {field.name: field.value for field in form if field.kind != "checkbox"}
    assert manual.read(PARAMS, sent) == {**conf, "deploy": False}


def test_fields_that_cant_be_read_are_all_named() -> None:
    with pytest.raises(AutoMLValidationError) as caught:
        manual.read(PARAMS, {"max_candidates": "many", "request": "{", "data": "s3://x/", "mode": "AUTO"})
    assert len(caught.value.violations) == 2
