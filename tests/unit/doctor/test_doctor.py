"""What the doctor finds in accounts that are ready, and in those that are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.cli import main
from airflow_automl.contract import tabular
from airflow_automl.demo.stack import free_port
from airflow_automl.doctor.findings import Findings
from airflow_automl.exceptions import DOCS
from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
from tests.unit.doctor.account import ROLE, Account, serve

Connect = Callable[..., None]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with serve() as account:
        # Only the address distinguishes the stand-in from AWS.
        monkeypatch.setattr(SageMakerAutoMLHook, "is_aws", property(lambda _: True))
        yield account


@pytest.fixture
def connect(account: Account, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Set the connection; parameters replace what its extra says."""

    def set_connection(**extra: Any) -> None:
        for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        whole = {
            "region_name": "us-east-1",
            "endpoint_url": account.url,
            "service_config": {"sts": {"endpoint_url": account.url}, "s3": {"endpoint_url": account.url}},
            "config_kwargs": {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}},
            "automl": {"role_arn": ROLE, "output_path": "s3://acme-ml/automl/"},
            **extra,
        }
        connection = {"conn_type": "aws", "login": "test", "password": "hunter2-secret", "extra": whole}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))

    set_connection()
    return set_connection


@pytest.fixture
def doctor(connect: Connect, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, list[str]]]]:
    """Run it; return its exit code, and status and message by check."""

    def run(*arguments: str) -> tuple[int, dict[str, list[str]]]:
        code = main(["doctor", "--json", *arguments])
        document = json.loads(capsys.readouterr().out)
        assert document["ready"] is (code == 0)
        found: dict[str, list[str]] = {}
        for each in document["findings"]:
            assert bool(each["advice"]) or each["status"] != "problem"
            found.setdefault(each["check"], []).append(f"{each['status']}: {each['message']}")
        return code, found

    return run


Doctor = Callable[..., tuple[int, dict[str, list[str]]]]


def test_an_account_that_is_ready(account: Account, doctor: Doctor) -> None:
    code, found = doctor("--also", "deploy", "--also", "transform", "--also", "register")
    assert code == 0
    assert {status.partition(":")[0] for statuses in found.values() for status in statuses} == {"ok"}
    assert list(found) == [
        *("connection", "region", "credentials", "service", "role", "output", "quota"),
        *("to train", "to deploy", "to register", "to transform", "pass role", "role's data"),
    ]
    assert found["quota"] == ["ok: Maximum number of concurrent AutoML Jobs: 4"]
    assert account.uploads == set()
    here = "arn:aws:sagemaker:us-east-1:123456789012"
    assert (
        account.caller,
        "sagemaker:CreateAutoMLJobV2",
        f"{here}:automl-job/airflow-automl-doctor",
    ) in account.simulated
    assert (account.caller, "sagemaker:ListAutoMLJobs", "*") in account.simulated
    assert (account.caller, "iam:PassRole", ROLE) in account.simulated
    assert (ROLE, "s3:PutObject", "arn:aws:s3:::acme-ml/automl/x") in account.simulated


@pytest.mark.parametrize(
    ("task", "denied"),
    [
        ("deploy", "sagemaker:ListModelPackages *"),
        ("deploy", "sagemaker:DescribeModelPackage *"),
        ("deploy", "sagemaker:ListTags *:model/*"),
        ("transform", "sagemaker:ListTags *:transform-job/*"),
    ],
)
def test_what_a_task_reads_before_it_deletes_or_stops_is_checked_too(
    account: Account, doctor: Doctor, task: str, denied: str
) -> None:
    account.denied = [denied]
    code, found = doctor("--also", task)
    assert code == 1
    assert denied.split()[0] in found[f"to {task}"][0]


def test_the_printed_lines_of_the_doctor(
    account: Account, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    account.roles.clear()
    account.refused = {"servicequotas:ListServiceQuotas"}
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM role         there is no role arn:aws:iam::123456789012:role/AutoML\n" in printed
    assert f"→ create it as {DOCS}/aws.md says, or correct its ARN\n" in printed
    assert "?       quota        servicequotas:ListServiceQuotas is not allowed\n" in printed
    assert printed.endswith("1 problem, 1 could not be checked\n")
    assert "hunter2" not in printed


@pytest.mark.parametrize(
    ("change", "check", "finding"),
    [
        ({"roles": {"AutoML": {"Statement": []}}}, "role", "does not let sagemaker.amazonaws.com assume it"),
        ({"buckets": {}}, "output", "there is no bucket acme-ml"),
        ({"buckets": {"acme-ml": "eu-west-1"}}, "output", "is in eu-west-1, the job would run in us-east-1"),
        ({"refused": {"s3:ListBucket"}}, "output", "the caller may not see bucket acme-ml (403)"),
        ({"quotas": {"AutoML jobs": 0.0}}, "quota", "AutoML jobs: 0"),
        ({"denied": ["sagemaker:CreateAutoMLJobV2 *"]}, "to train", "sagemaker:CreateAutoMLJobV2 on automl-job/*"),
        ({"denied": ["iam:PassRole *"]}, "pass role", f"the caller may not pass {ROLE}"),
        ({"denied": ["s3:PutObject *"]}, "role's data", "the role may not do s3:PutObject on arn:aws:s3:::acme-ml/aut"),
        ({"refused": {"sagemaker:ListAutoMLJobs"}}, "service", "ListAutoMLJobs answered AccessDenied"),
        ({"refused": {"sts:GetCallerIdentity"}}, "credentials", "AccessDenied"),
        (
            {"caller": "arn:aws:iam::999999999999:user/x"},
            "role",
            "is of account 123456789012, the caller of 999999999999",
        ),
    ],
)
def test_each_problem_is_reported(
    account: Account, doctor: Doctor, change: dict[str, Any], check: str, finding: str
) -> None:
    vars(account).update(change)
    code, found = doctor()
    assert code == 1
    assert any(each.startswith("problem: ") and finding in each for each in found[check]), found


@pytest.mark.parametrize(
    ("refused", "check"),
    [
        ("iam:GetRole", "role"),
        ("iam:SimulatePrincipalPolicy", "to train"),
        ("iam:SimulatePrincipalPolicy", "pass role"),
        ("servicequotas:ListServiceQuotas", "quota"),
        ("s3:PutObject", "output"),
    ],
)
def test_a_check_without_permission_is_not_a_problem(
    account: Account, doctor: Doctor, refused: str, check: str
) -> None:
    account.refused = {refused}
    code, found = doctor()
    assert code == 0
    assert found[check] == [f"could not check: {refused} is not allowed"]


@pytest.mark.parametrize(
    ("extra", "check", "finding"),
    [
        ({"automl": {"role": "x"}}, "connection", "automl.role is unknown; did you mean role_arn?"),
        ({"autoML": {"role_arn": ROLE}}, "connection", "autoML is unknown; did you mean automl?"),
        ({"automl": {"output_path": "s3://acme-ml/"}}, "role", "neither the connection nor a request names the role"),
        ({"automl": {"role_arn": ROLE}}, "output", "neither the connection nor a request says where results go"),
        (
            {"automl": {"role_arn": "AutoML", "output_path": "s3://acme-ml/"}},
            "role",
            "'AutoML' is not the ARN of a role",
        ),
        ({"region_name": None}, "connection", "region_name: is not set"),
    ],
)
def test_connections_that_lack_something(
    connect: Connect, doctor: Doctor, extra: dict[str, Any], check: str, finding: str
) -> None:
    connect(**extra)
    code, found = doctor()
    assert code == 1
    assert any(each.startswith("problem: ") and finding in each for each in found[check]), found


def test_no_connection_at_all(doctor: Doctor) -> None:
    code, found = doctor("--conn-id", "nowhere")
    assert code == 1
    assert list(found) == ["connection"]
    assert "nowhere can't be read" in found["connection"][0]


def test_sessions_are_judged_by_the_role_that_they_assumed(account: Account, doctor: Doctor) -> None:
    account.caller = "arn:aws:sts::123456789012:assumed-role/Airflow/session"
    account.roles["Airflow"] = {}
    assert doctor()[0] == 0
    assert {source for source, *_ in account.simulated} == {"arn:aws:iam::123456789012:role/Airflow", ROLE}
    account.simulated.clear()
    account.refused = {"iam:GetRole"}
    assert doctor()[0] == 0
    assert {source for source, *_ in account.simulated} == {"arn:aws:iam::123456789012:role/Airflow", ROLE}


def test_the_root_user_may_do_everything(account: Account, doctor: Doctor) -> None:
    account.caller = "arn:aws:iam::123456789012:root"
    code, found = doctor()
    assert code == 0
    assert "fewer permissions" in found["to train"][0]


def test_a_request_brings_its_data_its_role_and_its_keys(account: Account, doctor: Doctor, tmp_path: Path) -> None:
    request = tabular("s3://acme-ml/churn/train/", target="churn", problem_type="Regression", objective="MSE")
    request |= {"OutputDataConfig": {"S3OutputPath": "s3://acme-ml/o/", "KmsKeyId": "good"}}
    request |= {"SecurityConfig": {"VolumeKmsKeyId": "old"}}
    (tmp_path / "job.json").write_text(json.dumps(request))
    code, found = doctor("--config", str(tmp_path / "job.json"))
    assert code == 1
    assert found["config"] == ["ok: a valid request for CreateAutoMLJobV2"]
    assert found["input"] == ["ok: s3://acme-ml/churn/train/ has data that the caller can read"]
    assert found["key"] == ["ok: good is enabled", "problem: old is PendingDeletion"]
    assert (ROLE, "s3:GetObject", "arn:aws:s3:::acme-ml/churn/train/x") in account.simulated

    account.objects.clear()
    request["SecurityConfig"]["VolumeKmsKeyId"] = "lost"
    request["AutoMLJobObjective"]["MetricName"] = "F1"
    (tmp_path / "job.json").write_text(json.dumps(request))
    code, found = doctor("--config", str(tmp_path / "job.json"))
    assert found["input"] == ["problem: there is no data at s3://acme-ml/churn/train/"]
    assert "problem: there is no key lost in this region" in found["key"]
    assert found["config"][0].startswith("problem: AutoMLJobObjective")


@pytest.mark.parametrize("bucket", ["{{ var.value.bucket }}", "{% if x %}a{% else %}b{% endif %}"])
def test_no_bucket_is_asked_for_before_its_template_is_rendered(
    account: Account, doctor: Doctor, tmp_path: Path, bucket: str
) -> None:
    request = tabular(f"s3://{bucket}/train/", target="churn", output=f"s3://{bucket}/o/")
    (tmp_path / "job.json").write_text(json.dumps(request))
    _, found = doctor("--config", str(tmp_path / "job.json"))
    assert not {"input", "output", "role's data"} & found.keys()


def test_a_file_that_cannot_be_read(connect: Connect, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", "/nowhere.json"]) == 2
    assert "/nowhere.json" in capsys.readouterr().err


def test_a_missing_endpoint_is_reported_soon_and_with_the_right_hint(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    connect(endpoint_url=dead, service_config={}, config_kwargs={})
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert f'Could not connect to the endpoint URL: "{dead}/"' in printed
    assert "credentials" not in printed


def test_findings_are_shown_while_other_checks_still_run() -> None:
    shown: list[str] = []
    findings = Findings(lambda finding: shown.append(finding.check))
    findings.ok("connection", "there")
    assert shown == ["connection"]
