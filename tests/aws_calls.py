"""Records which AWS operations the Airflow side calls while the tests run, and refuses one that no policy allows.

A call is the Airflow side's if its client carries the hook's user agent, or is asynchronous: the tests' own clients
are plain boto3. ``pytest --record-aws-calls`` adds what was called to ``tests/data/aws_calls.json``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.iam import CALLS

RECORD = Path(__file__).parent / "data" / "aws_calls.json"
KNOWN = frozenset((call.service, call.operation) for call in CALLS)
made: set[tuple[str, str]] = set()


class CallWithoutPolicy(AssertionError):
    """The code calls an operation that docs/policies/airflow.json does not allow."""


def _note(service: str, operation: str) -> None:
    made.add((service, operation))
    if (service, operation) not in KNOWN:
        raise CallWithoutPolicy(f"{service} {operation} is in no policy: add it to CALLS in tools/iam.py, and run that")


def _wrap(method: Callable[..., Any], *, ours: Callable[[Any], bool]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, operation_name: str, api_params: Any) -> Any:
        if ours(self):
            _note(self.meta.service_model.service_name, operation_name)
        return method(self, operation_name, api_params)

    return call


def _of_a_hook(client: Any) -> bool:
    return "Airflow" in (client.meta.config.user_agent_extra or "")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-aws-calls", action="store_true", help=f"add the AWS calls that are made to {RECORD}")


def pytest_configure(config: pytest.Config) -> None:
    from aiobotocore.client import AioBaseClient
    from botocore.client import BaseClient

    BaseClient._make_api_call = _wrap(BaseClient._make_api_call, ours=_of_a_hook)
    AioBaseClient._make_api_call = _wrap(AioBaseClient._make_api_call, ours=lambda client: True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--record-aws-calls"):
        before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        seen = made | {(service, operation) for service, names in before.items() for operation in names} & KNOWN
        calls: dict[str, list[str]] = {}
        for service, operation in sorted(seen):
            calls.setdefault(service, []).append(operation)
        RECORD.write_text(json.dumps(calls, indent=2) + "\n")
