"""The IAM policies of the documentation against the calls of the code."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import Session

from tests.aws_calls import KNOWN, RECORD, CallWithoutPolicy, _note
from tools import iam

PACKAGE = iam.ROOT / "airflow_automl"
#: The only modules that call AWS; all others go through these.
CALLERS = (
    *("hooks", "triggers", "sensors", "operators", "links", "notifications", "report", "plugin", "doctor"),
    "waiting.py",
)
#: Names in the code that are also the name of an operation's method, but mean something else.
OTHER_WORDS = frozenset(
    {"create_job", "describe_job", "list_jobs", "stop_job", "search", "verify", "sign", "create_app"}
)
#: Objects are read and written through Airflow's object storage, which names no operation.
BY_STORAGE = "s3"


@cache
def operations(service: str) -> frozenset[str]:
    """All operations of a service."""
    return frozenset(Session().get_service_model(service).operation_names)


def methods() -> dict[str, set[str]]:
    """The services that have a method of a name."""
    found: dict[str, set[str]] = {}
    for service in iam.PREFIXES:
        for operation in operations(service):
            found.setdefault(xform_name(operation), set()).add(service)
    return found


def named() -> Iterator[str]:
    """The names of operations' methods that the callers' source has."""
    known = methods()
    for folder in CALLERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")) or [PACKAGE / folder]:
            for node in ast.walk(ast.parse(path.read_text())):
                word = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
                if isinstance(word, str) and known.get(word, {BY_STORAGE}) != {BY_STORAGE} and word not in OTHER_WORDS:
                    yield word


def test_the_policy_allows_every_operation_that_the_source_names_and_no_other() -> None:
    stored = {xform_name(call.operation) for call in iam.CALLS if call.service == BY_STORAGE}
    allowed = {xform_name(call.operation) for call in iam.CALLS if call.service != BY_STORAGE}
    assert allowed == set(named()) - stored


def test_every_call_of_the_policy_was_seen_while_the_tests_ran_and_the_reverse() -> None:
    recorded = {(service, name) for service, names in json.loads(RECORD.read_text()).items() for name in names}
    assert recorded <= KNOWN
    never = {call for call in KNOWN - recorded if call[0] != BY_STORAGE}
    assert not never, "no test makes these calls: pytest tests/unit tests/integration --record-aws-calls"


def test_a_call_that_no_policy_allows_fails_the_test_that_makes_it() -> None:
    with pytest.raises(CallWithoutPolicy, match="sagemaker DeleteDomain is in no policy"):
        _note("sagemaker", "DeleteDomain")


def test_operations_and_their_services_exist() -> None:
    for call in iam.CALLS:
        assert call.operation in operations(call.service), call


def test_the_page_and_the_policies_are_current() -> None:
    done = subprocess.run(
        [sys.executable, iam.ROOT / "tools" / "iam.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}run: python tools/iam.py"


@pytest.mark.parametrize("path", sorted(iam.POLICIES.glob("*.json")), ids=lambda path: path.stem)
def test_policies_are_narrow(path: Path) -> None:
    policy = json.loads(path.read_text())
    assert policy["Version"] == "2012-10-17"
    assert len(path.read_text().replace(" ", "").replace("\n", "")) <= 6144, "longer than a managed policy may be"
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if action.endswith(":*") or action == "*"]
        if "Resource" in statement and "*" in statement["Resource"]:
            # IAM has no resource types for these.
            assert all(
                action.split(":")[1].startswith(("List", "Describe"))
                or action in ("ecr:GetAuthorizationToken", "cloudwatch:PutMetricData", "sts:GetCallerIdentity")
                or action.startswith("ec2:")
                for action in actions
            ), statement["Sid"]
        if "iam:PassRole" in actions:
            assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
            assert all(resource.startswith("arn:aws:iam::") for resource in statement["Resource"])
