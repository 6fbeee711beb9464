"""``airflow-automl doctor``: is this account ready for its first AutoML job?"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
from typing import Any, TextIO

from airflow_automl.doctor.findings import Finding, Status
from airflow_automl.exceptions import AutoMLValidationError

__all__ = ["Finding", "Status", "add_arguments", "run"]

_WIDTH = len("permissions")
_MARKS = {Status.OK: "ok      ", Status.PROBLEM: "PROBLEM ", Status.UNKNOWN: "?       "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("--conn-id", default="aws_default", help="the Airflow connection to use (default: %(default)s)")
    parser.add_argument("--region", help="the AWS region; by default that of the connection")
    parser.add_argument(
        "--config", metavar="FILE", help="an operator's config, as JSON or YAML: its data, role and keys are checked"
    )
    parser.add_argument(
        "--also",
        action="append",
        choices=("deploy", "transform", "register"),
        default=[],
        help="also check the permissions for this, which comes after training",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked, and print the findings.

    :param args: ``conn_id``, ``region``, ``config``, ``also``, ``json``.
    :return: 0 if nothing is wrong (checks that the account does not allow included), 1 if something is, 2 if the file
        can't be read.
    """
    from airflow_automl.doctor.checks import examine

    config: dict[str, Any] | None = None
    if args.config:
        from airflow_automl.operators._job_request import read_config

        try:
            config = read_config(args.config, ["."])
        except AutoMLValidationError as error:
            print(f"airflow-automl doctor: {error}", file=sys.stderr)
            return 2
    # Airflow and its hooks log to standard output, where the findings belong.
    output = sys.stdout
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            show = (lambda finding: None) if args.json else lambda finding: _print(finding, output)
            findings = examine(args.conn_id, args.region, config, frozenset(args.also), show)
    finally:
        logging.disable(logging.NOTSET)
    count = {status: sum(finding.status is status for finding in findings) for status in Status}
    problems = count[Status.PROBLEM]
    if args.json:
        listed = [finding.as_dict() for finding in findings]
        print(json.dumps({"schema_version": 1, "ready": not problems, "findings": listed}, indent=2))
    else:
        unknown = f", {count[Status.UNKNOWN]} could not be checked" if count[Status.UNKNOWN] else ""
        print(f"\n{count[Status.OK]} ok, {problems} {'problem' if problems == 1 else 'problems'}{unknown}")
    return int(problems > 0)


def _print(finding: Finding, output: TextIO) -> None:
    print(f"{_MARKS[finding.status]}{finding.check:{_WIDTH}}  {finding.message}", file=output, flush=True)
    if finding.advice:
        print(f"{'':{_WIDTH + 8}}  → {finding.advice}", file=output, flush=True)
