"""``airflow-automl local``: serve the embedded Autopilot."""

from __future__ import annotations

import argparse
import configparser
import logging
import sys
import time
from pathlib import Path
from typing import Any

import httptools  # noqa: F401 - a missing extra is told before anything starts
import uvicorn  # noqa: F401
import uvloop  # noqa: F401

from airflow_automl.local import processes
from airflow_automl.local.errors import StartupError
from airflow_automl.local.server import check_exposure, serve
from airflow_automl.local.service import Settings
from airflow_automl.local.storage.client import Credentials
from airflow_automl.local.storage.s3 import weed_binary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    cores = max(1, processes.available_cores() // 2)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s); others need credentials")
    add("--port", type=_port, default=4566, help="port to listen on (default: %(default)s); 0 takes a free one")
    add("--data-dir", type=Path, default=Path(".automl"), help="folder of all state (default: %(default)s)")
    add("--s3-endpoint", metavar="URL", help="an S3 store of your own, instead of the one that is started")
    add("--max-jobs", type=_count, default=cores, metavar="N", help="jobs that train at once (default: %(default)s)")
    add("--quota", type=_count, metavar="N", help="answer ResourceLimitExceeded beyond N unfinished jobs")
    add("--job-memory", type=_size, metavar="SIZE", help="memory of one job, such as 8G (default: its share of 90%%)")
    add("--serving-memory", "--model-memory", type=_size, metavar="SIZE", help="of all models (default: half of all)")
    add("--region", default="us-east-1", help="AWS region of all ARNs (default: %(default)s)")
    add("--account", type=_account, default="123456789012", help="AWS account of all ARNs (default: %(default)s)")
    add("--model-dir", type=Path, metavar="DIR", help="folder of weights and base models (default: $AUTOML_MODEL_DIR)")
    add("--access-key", metavar="KEY", help="demand requests signed with this access key")
    add("--secret-key", metavar="SECRET", help="its secret; other users of this machine can see it here")
    add("--credentials-file", type=Path, metavar="FILE", help="the same from the [default] part of an AWS file")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"), help="(default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    logging.basicConfig(
        level=args.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
    for noisy in ("botocore", "boto3", "urllib3", "werkzeug", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    credentials = _credentials(args)
    check_exposure(args.host, credentials is not None)
    if args.s3_endpoint is None:
        weed_binary()
    settings = Settings(
        data_dir=args.data_dir,
        s3_endpoint=args.s3_endpoint,
        max_jobs=args.max_jobs,
        quota=args.quota,
        job_memory=args.job_memory,
        serving_memory=args.serving_memory,
        credentials=credentials,
        region=args.region,
        account=args.account,
        model_dir=args.model_dir,
    )
    serve(settings, args.host, args.port, lambda url: print(f"ready {url}", flush=True))
    return 0


def _credentials(args: argparse.Namespace) -> Credentials | None:
    if args.credentials_file is not None:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(args.credentials_file.read_text())
            section: Any = parser["default"]
            return Credentials(section["aws_access_key_id"], section["aws_secret_access_key"])
        except (OSError, configparser.Error, KeyError) as error:
            raise StartupError(
                f"{args.credentials_file} can't be used ({error}); it must have a [default] part with "
                "aws_access_key_id and aws_secret_access_key"
            ) from error
    if (args.access_key is None) != (args.secret_key is None):
        raise StartupError("--access-key and --secret-key must be given together")
    return None if args.access_key is None else Credentials(args.access_key, args.secret_key)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"received {text}; must be 0 to 65535")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"received {text}; must be 0 or more")
    return value


def _account(text: str) -> str:
    if len(text) != 12 or not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"received {text!r}; must be 12 digits")
    return text


def _size(text: str) -> int:
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in units else (text, "")
    try:
        value = int(float(number) * units.get(unit, 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"received {text!r}; must be a size such as 800M or 8G") from None
    if value < 2**20:
        raise argparse.ArgumentTypeError(f"received {text!r}; must be at least 1M")
    return value
