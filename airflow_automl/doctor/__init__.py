"""``airflow-automl doctor``: is this account ready for its first AutoML job?"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from airflow_automl.doctor.findings import Finding, Status
from airflow_automl.exceptions import AutoMLValidationError

__all__ = ["Finding", "Status", "add_arguments", "run"]

_MARKS = {Status.OK: "ok      ", Status.PROBLEM: "PROBLEM ", Status.UNKNOWN: "?       "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("--conn-id", default="aws_default", help="the Airflow connection to use (default: %(default)s)")
    parser.add_argument("--region", help="the AWS region; by default that of the connection")
    parser.add_argument(
        "--config", metavar="FILE", help="an operator's config, as JSON or YAML: its data, role and keys are looked at"
    )
    parser.add_argument(
        "--also",
        action="append",
        choices=("deploy", "transform", "register"),
        default=[],
        help="what is to be done after training: may the caller do that too?",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Look at everything that can be looked at, and print what was found.

    :param args: ``conn_id``, ``region``, ``config``, ``also``, ``json``.
    :return: 0 if nothing is wrong (checks that the account does not allow included), 1 if something is, 2 if the file
        can't be read.
    """
    from airflow_automl.doctor.checks import examine

    config: dict[str, Any] | None = None
    if args.config:
        from airflow_automl.operators._request import read_config

        try:
            config = read_config(args.config, ["."])
        except AutoMLValidationError as error:
            print(f"airflow-automl doctor: {error}", file=sys.stderr)
            return 2
    # Airflow and its hooks log to standard output, which is ours; what matters is in the findings.
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            findings = examine(args.conn_id, args.region, config, frozenset(args.also))
    finally:
        logging.disable(logging.NOTSET)
    wrong = any(finding.status is Status.PROBLEM for finding in findings)
    if args.json:
        listed = [finding.as_dict() for finding in findings]
        print(json.dumps({"schema_version": 1, "ready": not wrong, "findings": listed}, indent=2))
    else:
        _print(findings)
    return int(wrong)


def _print(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{_MARKS[finding.status]}{finding.check:{width}}  {finding.message}")
        if finding.advice:
            print(f"{'':{width + 8}}  → {finding.advice}")
    count = {status: sum(finding.status is status for finding in findings) for status in Status}
    unknown = f", {count[Status.UNKNOWN]} could not be checked" if count[Status.UNKNOWN] else ""
    print(f"\n{count[Status.OK]} ok, {count[Status.PROBLEM]} to mend{unknown}")
