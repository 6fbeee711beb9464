"""``airflow-automl prune``: remove what old jobs left on disk; the API itself has no way to delete a job."""

from __future__ import annotations

import argparse
import re
import shutil
import time
from pathlib import Path
from typing import Any

from airflow_automl.local.commands.jobs import add_data_dir, open_store
from airflow_automl.local.errors import JobFailure
from airflow_automl.local.jobs.specification import output_of
from airflow_automl.local.state.folder import DataFolder, ServiceInfo, running_service
from airflow_automl.local.state.jobs import Job, JobStore
from airflow_automl.local.state.resources import ResourceStore
from airflow_automl.local.storage.client import Credentials, client, parse_uri

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--older-than", type=_age, required=True, metavar="AGE", help="jobs that ended before, such as 12h or 7d"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    add_data_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Remove objects, logs and unpacked models of jobs that ended long ago.

    The jobs stay listed, so that their names are not given twice. Jobs whose artefacts a model refers to are kept.
    """
    with open_store(args.data_dir) as (folder, store):
        return _prune(folder, store, running_service(args.data_dir), args.older_than, args.dry_run)


def _prune(folder: DataFolder, store: JobStore, info: ServiceInfo, older_than: float, dry_run: bool) -> int:
    objects = client(info.s3_endpoint_url, Credentials(info.access_key_id, info.secret_access_key), info.region)
    wanted = _model_data(ResourceStore(store.database))
    removed = size = 0
    for job in store.in_stage("ended"):
        if job.ended is None or job.ended > time.time() - older_than:
            continue
        try:
            output = output_of(job)
        except JobFailure:
            # It named no bucket, failed for that, and wrote nothing.
            continue
        if any(uri.startswith(output) for uri in wanted):
            print(f"{job.name}: kept, a model uses its artefacts")
            continue
        freed = _remove(objects, folder, store, job, output, dry_run)
        if freed:
            print(f"{job.name}: {freed / 2**20:.1f} MiB")
            removed += 1
            size += freed
    would = "would free" if dry_run else "freed"
    print(f"{would} {size / 2**20:.1f} MiB of {removed} job{'' if removed == 1 else 's'}")
    return 0


def _model_data(resources: ResourceStore) -> set[str]:
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)
        elif isinstance(value, str) and value.startswith("s3://"):
            found.add(value)

    for document in resources.documents("model", "model-package", "endpoint"):
        collect(document)
    return found


def _remove(objects: Any, folder: DataFolder, store: JobStore, job: Job, output: str, dry_run: bool) -> int:
    location = parse_uri(output)
    freed = 0
    for listed in objects.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key):
        contents = listed.get("Contents", [])
        freed += sum(entry["Size"] for entry in contents)
        if contents and not dry_run:
            keys = [{"Key": entry["Key"]} for entry in contents]
            objects.delete_objects(Bucket=location.bucket, Delete={"Objects": keys, "Quiet": True})
    paths = [folder.job(job.name), *(folder.models / sha256 for sha256 in store.digests_of(job.name))]
    for path in paths:
        freed += _size(path)
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True)
    return freed


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d+)([mhdw])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"received {text!r}; must be a number and m, h, d or w, such as 7d")
    return int(match[1]) * _UNITS[match[2]]
