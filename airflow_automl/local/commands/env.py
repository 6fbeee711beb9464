"""``airflow-automl env``: what a shell or an Airflow needs to use the running service."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time

from airflow_automl.cli import exemptions
from airflow_automl.local.commands.jobs import add_data_dir
from airflow_automl.local.errors import StartupError
from airflow_automl.local.state.folder import ServiceInfo, running_service


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_data_dir(parser)
    parser.add_argument(
        "--wait",
        nargs="?",
        type=float,
        const=60.0,
        default=0.0,
        metavar="SECONDS",
        help="wait until the service is ready, for at most so many seconds (default: %(const)g)",
    )


def run(args: argparse.Namespace) -> int:
    """Print ``KEY=value`` lines, quoted for a shell: ``set -a; eval "$(airflow-automl env --wait)"``.

    :raises StartupError: no service runs on the folder.
    """
    deadline = time.monotonic() + args.wait
    waiting = False
    while True:
        try:
            info = running_service(args.data_dir)
        except StartupError:
            if time.monotonic() >= deadline:
                raise
            if not waiting:
                print(f"waiting for the service on {args.data_dir}", file=sys.stderr)
                waiting = True
            time.sleep(0.1)
        else:
            break
    for key, value in variables(info).items():
        print(f"{key}={shlex.quote(value)}")
    return 0


def variables(info: ServiceInfo) -> dict[str, str]:
    """The environment of a client of this service."""
    return {
        "AWS_ENDPOINT_URL": info.endpoint_url,
        "AWS_ENDPOINT_URL_S3": info.s3_endpoint_url,
        "AWS_DEFAULT_REGION": info.region,
        "AWS_ACCESS_KEY_ID": info.access_key_id,
        "AWS_SECRET_ACCESS_KEY": info.secret_access_key,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection(info), separators=(",", ":")),
        **exemptions(),
    }


def connection(info: ServiceInfo) -> dict[str, object]:
    """The Airflow connection, with an address for each AWS service and defaults for AutoML jobs."""
    own = {"endpoint_url": info.endpoint_url}
    return {
        "conn_type": "aws",
        "login": info.access_key_id,
        "password": info.secret_access_key,
        "extra": {
            "region_name": info.region,
            "endpoint_url": info.endpoint_url,
            "service_config": {
                "s3": {"endpoint_url": info.s3_endpoint_url},
                # The amazon provider calls STS at the general endpoint_url only if it is also given for STS.
                **dict.fromkeys(("sagemaker", "sagemaker-runtime", "sts", "iam", "kms", "logs"), own),
            },
            "automl": {"role_arn": info.role_arn, "output_path": f"s3://{info.bucket}/output/"},
        },
    }
