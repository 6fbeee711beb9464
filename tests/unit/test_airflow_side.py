"""Names, ends, links, retries, settings, XComs, lazy imports, and what Airflow discovers of the package."""

from __future__ import annotations

import importlib
import json
import logging
import pickle
import re
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_automl import exceptions, settings, xcom
from airflow_automl.contract import documents, states
from airflow_automl.ends import TransitionLog, judge, watched
from airflow_automl.get_provider_info import get_provider_info
from airflow_automl.links.sagemaker_automl import console_links
from airflow_automl.naming import TRY_TAG, TaskGeneration, adopted_since, derive_name, digest, tag_value
from airflow_automl.operators import SageMakerAutoMLStopOperator
from airflow_automl.operators._base import AutoMLBaseOperator
from airflow_automl.operators._job_request import complete, read_config
from airflow_automl.retries import automl_retry_policy
from airflow_automl.triggers.payload import EventStatus, end_event, validate_event
from tests.airflows import since
from tests.standin import candidate

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}")
PACKAGES = ("operators", "sensors", "triggers", "hooks", "links")


class TestNames:
    @pytest.mark.parametrize(
        ("dag", "task"),
        [("churn", "train"), ("", ""), ("ключ", "задача"), ("_._", "a__b--c"), ("d" * 250, "t" * 250), ("a.b", "g.t")],
    )
    def test_every_name_is_one_that_the_service_takes(self, dag: str, task: str) -> None:
        assert NAME.fullmatch(derive_name(dag, digest(1), digest(2), task))

    def test_the_first_ten_characters_distinguish_jobs(self) -> None:
        names = [TaskGeneration("", "churn", "run", "train", -1).job_name("request", number) for number in range(2000)]
        assert len(set(names)) == 2000
        assert len({name[:10] for name in names}) > 1990
        assert all(name.startswith("chur-") for name in names)

    def test_only_names_of_the_same_task_instance_share_its_digest(self) -> None:
        generation = TaskGeneration("https://airflow", "churn", "manual__1", "train", -1, "2026-11-21", (0, 2))
        assert re.fullmatch(rf"chur-[a-z2-7]{{7}}-{generation.task_digest}-train", generation.job_name("r", 1))
        same = [{"run_started": "2026-11-22"}, {"clears": (1, 2)}, {"clears": (0, 3)}]
        names = {generation.job_name("r", 1), generation.job_name("r", 2), generation.job_name("q", 1)}
        for change in same:
            other = replace(generation, **change)
            assert other.task_digest == generation.task_digest
            names.add(other.job_name("r", 1))
        assert len(names) == 6
        for field in ("deployment", "dag_id", "run_id", "task_id"):
            assert replace(generation, **{field: "other"}).task_digest != generation.task_digest
        assert replace(generation, map_index=0).task_digest != generation.task_digest

    def test_tags_are_such_as_the_service_takes(self) -> None:
        tags = TaskGeneration("", "d", "manual__2026-01-01T00:00:00+00:00", "t|*é", 3).tags("request", 1)
        assert tags["airflow:run_id"] == "manual__2026-01-01T00:00:00+00:00"
        assert tags["airflow:task_id"] == "t__é"
        assert tags["airflow:map_index"] == "3"
        assert len(tag_value("x" * 999)) == 256
        assert tag_value("a\tb\nc d\N{NO-BREAK SPACE}é²,") == "a_b_c d\N{NO-BREAK SPACE}é²_"
        assert not adopted_since({TRY_TAG: "²"}, 1)


class TestEnds:
    @pytest.mark.parametrize("pair", [pair for pair in states.PAIRS.values() if pair.terminal])
    def test_every_terminal_pair_is_judged(self, pair: states.Pair) -> None:
        best = {} if pair.best_candidate is states.Expectation.ABSENT else {"BestCandidate": candidate("j")}
        describe = {
            "AutoMLJobName": "j",
            "AutoMLJobStatus": pair.status.value,
            "AutoMLJobSecondaryStatus": pair.secondary.value,
            **best,
        }
        bad = pair.status != "Completed" or pair.secondary == "ModelDeploymentError"
        if bad:
            with pytest.raises(exceptions.AutoMLTerminalError, match="AutoML job j"):
                judge(describe)
        else:
            judge(describe)

    def test_a_failure_says_why(self) -> None:
        describe = {
            "AutoMLJobName": "j",
            "AutoMLJobStatus": "Failed",
            "FailureReason": "column y is missing",
            "PartialFailureReasons": [{"PartialFailureMessage": "no report"}],
        }
        with pytest.raises(exceptions.AutoMLJobFailed, match=r"column y is missing \(partial failures: no report\)"):
            judge(describe)

    def test_each_change_is_logged_once(self) -> None:
        lines: list[str] = []

        class Log:
            def info(self, message: str, *args: Any) -> None:
                lines.append(message % args)

        notice = TransitionLog(Log())  # type: ignore[arg-type]
        for secondary in ("Starting", "Starting", "Odd", "Odd", "Starting"):
            notice({"AutoMLJobName": "j", "AutoMLJobStatus": "InProgress", "AutoMLJobSecondaryStatus": secondary})
        assert [line for line in lines if line.startswith("AutoML job")] == [
            "AutoML job j: In progress (InProgress/Starting)",
            "AutoML job j: In progress (InProgress/Odd)",
            "AutoML job j: In progress (InProgress/Starting)",
        ]

    def test_the_timeline_says_when_each_change_was(self) -> None:
        def answer(secondary: str, at: int, **more: Any) -> dict[str, Any]:
            moment = datetime(2026, 1, 1, 0, 0, at, tzinfo=UTC)
            return {
                "AutoMLJobStatus": "InProgress",
                "AutoMLJobSecondaryStatus": secondary,
                **more,
                "LastModifiedTime": moment,
            }

        first = watched([], answer("Starting", 1))
        notice = TransitionLog(logging.getLogger("unheard"), first)
        for secondary, at in (("Starting", 2), ("AnalyzingData", 5), ("AnalyzingData", 9), ("TrainingModels", 3)):
            notice(answer(secondary, at))
        ended = watched(notice.timeline, {**answer("Completed", 50), "AutoMLJobStatus": "Completed", "EndTime": 4e9})
        assert json.loads(json.dumps(ended)) == [
            {"at": "2026-01-01T00:00:01+00:00", "status": "InProgress", "secondary_status": "Starting"},
            {"at": "2026-01-01T00:00:05+00:00", "status": "InProgress", "secondary_status": "AnalyzingData"},
            # Never before the one that was seen earlier, whatever a lagging list says.
            {"at": "2026-01-01T00:00:05+00:00", "status": "InProgress", "secondary_status": "TrainingModels"},
            {"at": "2096-10-02T07:06:40+00:00", "status": "Completed", "secondary_status": "Completed"},
        ]
        assert documents.job({}, timeline=ended)["timeline"] == ended


class TestEvents:
    def test_an_event_survives_its_way(self) -> None:
        describe = {"AutoMLJobName": "j", "AutoMLJobStatus": "Completed", "AutoMLJobSecondaryStatus": "Completed"}
        payload = json.loads(json.dumps(end_event(describe).payload()))
        event = validate_event(payload)
        assert (event.status, event.job_name, event.job) == (EventStatus.COMPLETED, "j", describe)

    def test_an_event_of_an_older_or_newer_release_is_understood(self) -> None:
        event = validate_event({"status": "timeout", "job_name": "j", "novelty": 1})
        assert event.status is EventStatus.TIMEOUT

    @pytest.mark.parametrize(
        "event",
        [
            None,
            "done",
            {},
            {"status": "great", "job_name": "j"},
            {"status": "completed", "job_name": "j"},
            {"status": "timeout"},
            {"status": "failed", "job_name": "j", "job": "x"},
        ],
    )
    def test_a_value_that_is_not_an_event_is_refused(self, event: Any) -> None:
        with pytest.raises(exceptions.InvalidTriggerEvent):
            validate_event(event)


class TestConfig:
    def test_a_missing_file_is_reported_with_the_searched_folders(self, tmp_path: Path) -> None:
        with pytest.raises(exceptions.AutoMLValidationError, match=re.escape(str(tmp_path / "a.json"))):
            read_config("a.json", [tmp_path])

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("a.json", '{"Mode": "AUTO", "Tags": [{"Key": "a", "Key": "b"}]}'),
            ("a.yaml", "Mode: AUTO\nTags:\n  - {Key: a, Key: b}\n"),
        ],
    )
    def test_a_key_that_a_file_says_twice_is_refused(self, file: str, content: str, tmp_path: Path) -> None:
        (tmp_path / file).write_text(content)
        with pytest.raises(exceptions.AutoMLValidationError, match="the key 'Key' is given twice"):
            read_config(file, [tmp_path])

    def test_yaml_may_override_what_it_merges(self, tmp_path: Path) -> None:
        # Keys as in requests: PyYAML 6.0.4 overrides none of one letter.
        text = "x: &x {Mode: AUTO, RoleArn: r}\ny: &y {<<: *x, Mode: ENSEMBLING}\n<<: *y\nRoleArn: s\n"
        (tmp_path / "a.yaml").write_text(text)
        config = read_config("a.yaml", [tmp_path])
        assert (config["Mode"], config["RoleArn"]) == ("ENSEMBLING", "s")

    @pytest.mark.parametrize("text", ["s3://bucket/config", "{'a': ", "request.txt"])
    def test_text_that_is_not_a_config_is_refused(self, text: str, tmp_path: Path) -> None:
        with pytest.raises(exceptions.AutoMLValidationError, match="config"):
            read_config(text, [tmp_path])

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        for name in ("a.json", "a.yaml"):
            (tmp_path / name).write_text("{a: [")
            with pytest.raises(exceptions.AutoMLValidationError, match="can't be parsed"):
                read_config(name, [tmp_path])

    def test_a_config_that_a_template_rendered_to_text_is_parsed(self, tmp_path: Path) -> None:
        assert read_config("{'a': True}", [tmp_path]) == read_config('{"a": true}', [tmp_path]) == {"a": True}

    def test_a_job_without_a_limit_is_warned_about(self) -> None:
        from tests.unit.operators.test_job import V1

        warnings: list[str] = []

        class Log:
            def warning(self, message: str, *args: Any) -> None:
                warnings.append(message % args)

        config = {key: value for key, value in V1.items() if key != "AutoMLJobConfig"}
        complete("V1", config, defaults={}, max_runtime=None, log=Log())  # type: ignore[arg-type]
        assert any("MaxAutoMLJobRuntimeInSeconds" in warning for warning in warnings)


class TestSettings:
    def test_an_option_that_is_not_a_number_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__AUTOML__POLL_INTERVAL", "often")
        with pytest.raises(exceptions.AutoMLValidationError, match="often"):
            settings.poll_interval()

    def test_an_option_that_does_not_exist_is_named_with_the_closest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__AUTOML__MAX_RUN_TIME", "7200")
        for read in (settings.max_runtime, settings.manual_dag, settings.deployment):
            with pytest.raises(exceptions.AutoMLValidationError, match=r"max_run_time is unknown; did you mean max_ru"):
                read()

    def test_all_documented_options_are_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = get_provider_info()["config"]["automl"]["options"]
        assert set(options) == set(settings.OPTIONS)
        for option in options:
            monkeypatch.setenv(f"AIRFLOW__AUTOML__{option.upper()}", "7")
        assert settings.max_runtime() == timedelta(seconds=7)

    def test_defaults_are_those_that_are_documented(self) -> None:
        options = get_provider_info()["config"]["automl"]["options"]
        assert settings.poll_interval() == float(options["poll_interval"]["default"])
        assert settings.max_calls_per_second() == float(options["max_calls_per_second"]["default"])
        assert settings.max_runtime() is None


class TestLinks:
    def test_links_lead_to_the_jobs_region(self) -> None:
        def links(partition: str, region: str) -> dict[str, str]:
            return console_links(f"arn:{partition}:sagemaker:{region}:123456789012:automl-job/x", "abcdefghijklm")

        console, logs = links("aws", "eu-west-1").values()
        assert console.startswith("https://eu-west-1.console.aws.amazon.com/sagemaker/")
        assert logs.endswith("logStreamNameFilter$3Dabcdefghij")
        assert links("aws-cn", "cn-north-1")["SageMaker console"].startswith("https://cn-north-1.console.amazonaws.cn/")
        assert links("aws-iso", "x") == {}


class TestRetries:
    @pytest.mark.parametrize(
        ("error", "action"),
        [
            (exceptions.AutoMLThrottled("x"), "retry"),
            (exceptions.AutoMLQuotaExceeded("x"), "retry"),
            (exceptions.AutoMLTransientError("x"), "retry"),
            (exceptions.AutoMLJobFailed("x"), "fail"),
            (exceptions.AutoMLValidationError("x", []), "fail"),
            (exceptions.AutoMLAccessDenied("x"), "fail"),
            (RuntimeError("x"), "default"),
        ],
    )
    def test_each_error_has_its_answer(self, error: Exception, action: str) -> None:
        assert automl_retry_policy().evaluate(error, 1, 3).action.value == action

    @since(3, 3, "no retry policies that are serialized")
    def test_a_policy_survives_serialization(self) -> None:
        from airflow.sdk import ExceptionRetryPolicy

        again = ExceptionRetryPolicy.deserialize(json.loads(json.dumps(automl_retry_policy().serialize())))
        assert again.evaluate(exceptions.AutoMLJobStopped("x"), 1, 3).action.value == "fail"

    @pytest.mark.parametrize("name", exceptions.__all__)
    def test_errors_survive_pickling(self, name: str) -> None:
        cls = getattr(exceptions, name)
        error = cls("subject", ["a"]) if name == "AutoMLValidationError" else cls("why")
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.__notes__) == (str(error), error.__notes__)
        assert again.__notes__ == [f"What to do: {exceptions.DOCS}/troubleshooting.md#{name.lower()}"]


class TestGuides:
    """Airflow's web interface shows no notes of exceptions: the task's log has them as lines of its own."""

    @pytest.mark.parametrize("resumed", [False, True])
    def test_a_task_logs_once_where_its_error_is_explained(
        self, resumed: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        class Base(AutoMLBaseOperator):
            def execute(self, context: Any) -> None:
                raise exceptions.AutoMLJobFailed("out of memory")

        class Task(Base):
            def execute(self, context: Any) -> None:
                super().execute(context)

        operator = Task(task_id="task")
        with pytest.raises(exceptions.AutoMLJobFailed, match="out of memory"):
            operator.resume_execution("execute", None, {}) if resumed else operator.execute({})
        link = f"AutoMLJobFailed: What to do: {exceptions.DOCS}/troubleshooting.md#automljobfailed"
        # Some Airflows log to both, some to one of them.
        assert {text.count(link) for text in (capsys.readouterr().out, caplog.text)} - {0} == {1}

    def test_the_traceback_of_an_import_error_says_where_it_is_explained(self) -> None:
        with pytest.raises(exceptions.AutoMLValidationError) as caught:
            SageMakerAutoMLStopOperator(task_id="stop", job_name="j", timeout="soon")
        shown = "".join(traceback.format_exception(caught.value))
        assert "'soon' is not valid for timeout" in shown
        assert f"What to do: {exceptions.DOCS}/troubleshooting.md#automlvalidationerror" in shown


class TestXComs:
    def test_a_document_names_its_job(self) -> None:
        assert xcom.job_name({"name": "j"}) == "j"
        assert xcom.job_name(None) is xcom.job_name("None") is None
        with pytest.raises(exceptions.AutoMLValidationError):
            xcom.job_name({"Name": "j"})


class TestPackage:
    @pytest.mark.parametrize("package", PACKAGES)
    def test_all_exported_names_can_be_imported(self, package: str) -> None:
        module = importlib.import_module(f"airflow_automl.{package}")
        for name in module.__all__:
            assert getattr(module, name).__name__ == name
        with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
            module.Nothing  # noqa: B018

    def test_airflow_discovers_the_package_and_every_module_that_it_names(self) -> None:
        info = get_provider_info()
        assert info["package-name"] == "airflow-automl"
        modules = [
            module
            for kind in ("operators", "sensors", "hooks", "triggers")
            for group in info[kind]
            for module in group["python-modules"]
        ]
        for module in modules:
            importlib.import_module(module)
        for path in [*info["extra-links"], *info["notifications"]]:
            module, _, name = path.rpartition(".")
            assert getattr(importlib.import_module(module), name)

    def test_the_description_is_one_that_airflow_accepts(self) -> None:
        import airflow
        import jsonschema

        schema = json.loads(Path(airflow.__path__[0], "provider_info.schema.json").read_text())
        jsonschema.validate(get_provider_info(), schema)
