"""The ``airflow-automl`` command line: one module per subcommand, imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from airflow_automl import __version__
from airflow_automl.exceptions import AutoMLError


class Command(NamedTuple):
    """A subcommand: its module has ``add_arguments(parser)`` and ``run(args) -> int``."""

    module: str
    help: str
    extra: str = "local"


COMMANDS = {
    "local": Command("airflow_automl.local.commands.serve", "serve the embedded Autopilot"),
    "env": Command("airflow_automl.local.commands.env", "print the Airflow connection and variables for clients"),
    "jobs": Command("airflow_automl.local.commands.jobs", "list the jobs of the embedded Autopilot"),
    "logs": Command("airflow_automl.local.commands.logs", "show the training log of one of its jobs"),
    "prune": Command("airflow_automl.local.commands.prune", "remove files of its old jobs; artefacts on request"),
    "check": Command("airflow_automl.contract.command", "validate a CreateAutoMLJob(V2) request in a file"),
    "doctor": Command("airflow_automl.doctor", "check whether this account is ready for its first job"),
    "demo": Command("airflow_automl.demo", "train, judge, deploy and report a model, end to end", "demo"),
}


#: Where the service and its store listen.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def exemptions() -> dict[str, str]:
    """Return the variables with which a proxy is not asked for addresses of this machine; none without a proxy."""
    if not any(value and name.lower() in ("http_proxy", "all_proxy") for name, value in os.environ.items()):
        return {}
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    names = [name.strip() for name in given.split(",") if name.strip()]
    # Libraries read one of the two spellings first. A single asterisk exempts all addresses.
    exempt = ["*"] if "*" in names else dict.fromkeys([*names, *_LOOPBACK])
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(exempt))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    :param argv: arguments without the program's name; those of the process by default.
    :return: the exit code: 0 for success, 1 for failure, 2 for wrong usage.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    code: object = 1
    try:
        code = _run(arguments)
        return code
    except SystemExit as end:
        code = end.code
        raise
    finally:
        if code and "env" in arguments[:1]:
            # `eval` of nothing would succeed, and the next command would go to the real AWS.
            print("false # airflow-automl env has failed")


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="airflow-automl", description="Amazon SageMaker Autopilot for Apache Airflow")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((argument for argument in arguments if argument in COMMANDS), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        if name == chosen:
            module = _load(name, command)
            if module is None:
                return 1
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    os.environ.update(exemptions())
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except AutoMLError as error:
        print(f"airflow-automl {args.command}: {error}", *error.__notes__, sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Python would write the rest again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _load(name: str, command: Command):  # type: ignore[no-untyped-def]
    try:
        return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("airflow_automl"):
            raise
        print(
            f"airflow-automl {name}: the Python package {error.name!r} is missing; "
            f"install the extra that brings it: pip install 'airflow-automl[{command.extra}]'",
            file=sys.stderr,
        )
        return None


if __name__ == "__main__":
    sys.exit(main())
