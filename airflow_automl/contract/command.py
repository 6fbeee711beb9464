"""``airflow-automl check``: hold a request in a file against the API, without any call."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_automl.contract.checking import check
from airflow_automl.contract.documents import api_version
from airflow_automl.contract.files import parse_json, parse_yaml
from airflow_automl.contract.model import CREATE_OPERATIONS
from airflow_automl.contract.violations import Violation, errors, warnings
from airflow_automl.contract.wording import counted
from airflow_automl.exceptions import DOCS

_TEMPLATE = re.compile(r"\{\{.*\}\}|\{%.*%\}", re.DOTALL)
#: What an operator fills in if its config does not have it.
_FROM_OPERATOR = ("AutoMLJobName", "OutputDataConfig", "OutputDataConfig.S3OutputPath", "RoleArn")


class _Unreadable(Exception):
    """The file is not there, or is neither JSON nor YAML."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("file", metavar="FILE", help="the request, as JSON or YAML; - reads standard input")
    parser.add_argument(
        "--api",
        choices=tuple(CREATE_OPERATIONS),
        help="V1 is CreateAutoMLJob, V2 is CreateAutoMLJobV2; by default inferred from the request's fields",
    )
    parser.add_argument(
        "--config",
        action="store_true",
        help="the file is an operator's config: name, output and role may be missing, the operator fills them in",
    )


def run(args: argparse.Namespace) -> int:
    """Print every violation, one a line.

    :param args: ``file``, ``api``, ``config``.
    :return: 0 if there are no errors (warnings are allowed), 1 if there are, 2 if the file can't be read.
    """
    try:
        request = _read(args.file)
    except _Unreadable as error:
        print(f"airflow-automl check: {error}", file=sys.stderr)
        return 2
    api = args.api or (api_version(request) if isinstance(request, Mapping) else "V2")
    violations = check(api, request)
    if args.config:
        violations = [found for found in violations if not _filled_in(found, request)]
    templated = set(_templates(request))
    judged = [found for found in violations if found.path not in templated]
    for violation in judged:
        print(f"{violation.severity:<8} {violation}")
    if templated:
        print(f"note     {counted(len(templated), 'templated value')} not checked: {', '.join(sorted(templated))}")
    if judged:
        print(f"What to do: {DOCS}/reference/rules.md", file=sys.stderr)
    broken = errors(judged)
    print(
        f"{args.file}: {CREATE_OPERATIONS[api]} request with {counted(len(broken), 'error')} "
        f"and {counted(len(warnings(judged)), 'warning')}"
    )
    return 1 if broken else 0


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(f"can't read {file}: {error}") from error
    if not file.endswith((".yaml", ".yml")):
        try:
            return parse_json(text)
        except (ValueError, RecursionError) as error:
            if file.endswith(".json"):
                raise _Unreadable(f"{file} is not JSON: {error}") from error
    try:
        return parse_yaml(text)
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"{file} is neither JSON nor YAML: {error}") from error


def _filled_in(violation: Violation, request: Any) -> bool:
    """Return whether the operator fills in what is missing."""
    if violation.path not in _FROM_OPERATOR or not isinstance(request, Mapping):
        return False
    value: Any = request
    for name in violation.path.split("."):
        if not isinstance(value, Mapping):
            return False
        if name not in value:
            return True
        value = value[name]
    return False


def _templates(value: Any, path: str = "") -> Iterator[str]:
    """Find the strings that are templates."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _templates(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _templates(item, f"{path}[{index}]")
    elif isinstance(value, str) and _TEMPLATE.search(value):
        yield path
