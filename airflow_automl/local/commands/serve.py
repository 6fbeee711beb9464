"""``airflow-automl local``: serve the embedded Autopilot."""

from __future__ import annotations

import argparse
import configparser
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httptools  # noqa: F401 - a missing extra is reported before anything starts
import uvicorn  # noqa: F401
import uvloop  # noqa: F401

from airflow_automl.local import processes
from airflow_automl.local.errors import StartupError
from airflow_automl.local.jobs.specification import read_size
from airflow_automl.local.server import check_exposure, is_loopback, serve
from airflow_automl.local.service import Settings, check_cluster
from airflow_automl.local.storage.client import Credentials
from airflow_automl.local.storage.s3 import weed_binary

#: Jobs at once by default on Ray, which queues those that do not fit.
_ON_RAY = 100
#: Hosts that stand for every address of this machine.
_ANY = ("0.0.0.0", "::")  # noqa: S104


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    cores = _at_once()
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s); others need credentials")
    add("--port", type=_port, default=4566, help="port to listen on (default: %(default)s); 0 chooses a free one")
    add("--data-dir", type=Path, default=Path(".automl"), help="folder of database and objects (default: %(default)s)")
    add("--s3-endpoint", metavar="URL", help="your own S3 store, instead of the embedded one")
    add(
        "--executor",
        choices=("local", "ray"),
        default="local",
        help="where jobs train (default: this machine); ray is experimental",
    )
    add("--ray-address", type=_address, metavar="URL", help="Jobs API of the Ray cluster, such as http://head:8265")
    add("--executor-file", type=Path, metavar="FILE", help="TOML: cores, memory and GPUs of jobs by problem type")
    add("--max-jobs", type=_count, metavar="N", help=f"jobs that train at once (default: {cores}; on Ray {_ON_RAY})")
    add(
        "--trials-per-job",
        type=_count,
        default=1,
        metavar="N",
        help="tuning trials of one job that run at once (default: 1): processes here, tasks on several nodes of Ray",
    )
    add("--quota", type=_count, metavar="N", help="return ResourceLimitExceeded if N jobs are unfinished")
    add(
        "--job-memory", type=_size, metavar="SIZE", help="memory of a job, such as 8G (default: an equal share of 90%%)"
    )
    add("--serving-memory", "--model-memory", type=_size, metavar="SIZE", help="memory of all models (default: half)")
    add("--region", type=_region, default="us-east-1", help="AWS region of all ARNs (default: %(default)s)")
    add("--account", type=_account, default="123456789012", help="AWS account of all ARNs (default: %(default)s)")
    add("--model-dir", type=Path, metavar="DIR", help="folder of weights and base models (default: $AUTOML_MODEL_DIR)")
    add("--access-key", metavar="KEY", help="require requests signed with this access key")
    add("--secret-key", metavar="SECRET", help="secret of the access key; other users see it in the process list")
    add("--credentials-file", type=Path, metavar="FILE", help="read both keys from an AWS credentials file's [default]")
    add("--check", action="store_true", help="check the Ray cluster for a service with these options, and exit")
    add("--log-level", default="info", choices=("debug", "info", "warning", "error"), help="(default: %(default)s)")


def _at_once() -> int:
    return max(1, processes.available_cores() // 2)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, or check.

    :return: 0; 1 if a check found a problem.
    """
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
    ray = args.executor == "ray"
    if ray != bool(args.ray_address):
        raise StartupError("--executor ray and --ray-address must be given together")
    if args.check and not ray:
        raise StartupError("--check is not valid without --executor ray: it checks a Ray cluster. Add --ray-address")
    if ray and args.s3_endpoint is None and not _reached(args.host, args.ray_address):
        raise StartupError(
            f"--host {args.host} is not valid for --executor ray: the nodes can't reach the S3 store there. Name the "
            "address of this machine in the cluster's network, or your own store with --s3-endpoint"
        )
    settings = Settings(
        data_dir=args.data_dir,
        s3_endpoint=args.s3_endpoint,
        ray=args.ray_address or None,
        executor_file=args.executor_file,
        store_host=args.host if ray else "127.0.0.1",
        max_jobs=args.max_jobs if args.max_jobs is not None else _ON_RAY if ray else _at_once(),
        trials_per_job=max(1, args.trials_per_job),
        quota=args.quota,
        job_memory=args.job_memory,
        serving_memory=args.serving_memory,
        credentials=credentials,
        region=args.region,
        account=args.account,
        model_dir=args.model_dir,
    )
    if args.check:
        return _check(settings)
    serve(settings, args.host, args.port, lambda url: print(f"ready {url}", flush=True))
    return 0


def _check(settings: Settings) -> int:
    problems = 0
    for check, message, advice in check_cluster(settings):
        problems += bool(advice)
        print(f"{'PROBLEM' if advice else 'ok':7} {check:9}  {message}", flush=True)
        if advice:
            print(f"{'':17}  → {advice}", flush=True)
    print(f"\n{problems} {'problem' if problems == 1 else 'problems'}")
    return int(problems > 0)


def _reached(host: str, ray: str) -> bool:
    """Return whether nodes can reach what listens on a host; a cluster on loopback may be this machine's own."""
    return host not in _ANY and (not is_loopback(host) or is_loopback(urlsplit(ray).hostname or ""))


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


def _address(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise argparse.ArgumentTypeError(f"received {text!r}; must be an address such as http://head:8265")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"received {text!r}; must be a whole number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"received {text!r}; must be a whole number, 0 or more")
    return int(text)


def _region(text: str) -> str:
    # What botocore takes, in lower case as ARNs have it.
    if not re.fullmatch(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"received {text!r}; must be a region such as us-east-1")
    return text


def _account(text: str) -> str:
    if len(text) != 12 or not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"received {text!r}; must be 12 digits")
    return text


def _size(text: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
