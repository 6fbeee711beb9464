"""``airflow-automl prune``: remove what ended jobs left behind; the API itself has no way to delete a job.

Working files and logs are in the service's data folder and belong to the service. Artefacts are in the user's bucket,
and XComs, assets and registries outside the service may name them: they are removed only on request.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_automl.contract.wording import counted
from airflow_automl.local.commands.jobs import add_data_dir, age, open_store
from airflow_automl.local.errors import JobFailure, StartupError
from airflow_automl.local.jobs.specification import output_of
from airflow_automl.local.state.folder import DataFolder, ServiceInfo, running_service
from airflow_automl.local.state.jobs import Job, JobStore
from airflow_automl.local.state.resources import ResourceStore
from airflow_automl.local.storage.client import Credentials, client, parse_uri


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    # Otherwise argparse takes -1d for an option and its message does not mention ages.
    parser._negative_number_matcher = re.compile(r"-\d")
    parser.add_argument(
        "--older-than", type=age, required=True, metavar="AGE", help="jobs that ended this long ago, such as 12h or 7d"
    )
    parser.add_argument(
        "--artefacts",
        action="store_true",
        help="also delete their models and reports from S3, after a confirmation, unless a model, a model package or "
        "an endpoint names them",
    )
    parser.add_argument("--yes", action="store_true", help="delete artefacts without a confirmation")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    add_data_dir(parser)


@dataclass(frozen=True)
class _Artefacts:
    job: str
    uri: str
    keys: list[str]
    size: int

    def __str__(self) -> str:
        return f"{self.job}: {self.uri} ({counted(len(self.keys), 'object')}, {_mebibytes(self.size)})"


def run(args: argparse.Namespace) -> int:
    """Remove working files and logs of jobs that ended long ago and, with ``--artefacts``, what they put into S3.

    The jobs stay listed, so that their names are not given twice.

    :return: 0, or 1 if the question was answered with no, or S3 refused to delete an object.
    """
    with open_store(args.data_dir) as (folder, store):
        latest, ended = time.time() - args.older_than, store.in_stage("ended")
        jobs = [job for job in ended if job.ended is not None and job.ended <= latest]
        # A job that stays may have its artefacts below those of one that goes.
        staying = {_output(job) for job in ended if job not in jobs}
        named = _named(store) | {output for output in staying if output}
        freed = [_remove_working_files(folder, store, job, named, args.dry_run) for job in jobs]
        would = "would free" if args.dry_run else "freed"
        having = counted(sum(map(bool, freed)), "job")
        print(f"{would} {_mebibytes(sum(freed))} on disk: working files and logs of {having}")
        if not args.artefacts:
            return 0
        return _prune_artefacts(running_service(args.data_dir), jobs, named, args)


def _remove_working_files(folder: DataFolder, store: JobStore, job: Job, named: set[str], dry_run: bool) -> int:
    """Remove the folder and the unpacked models of a job; return the bytes that the disk got back."""
    freed = 0
    # An endpoint may read from an unpacked model at any time.
    unpacked = [] if _is_named(job, named) else store.digests_of(job.name)
    for path in (folder.job(job.name), *(folder.models / sha256 for sha256 in unpacked)):
        before = _on_disk(path)
        if before and not dry_run:
            shutil.rmtree(path, ignore_errors=True)
        freed += before if dry_run else before - _on_disk(path)
    if freed:
        print(f"{job.name}: {_mebibytes(freed)}")
    return freed


def _on_disk(path: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def _prune_artefacts(info: ServiceInfo, jobs: list[Job], named: set[str], args: argparse.Namespace) -> int:
    objects = client(info.s3_endpoint_url, Credentials(info.access_key_id, info.secret_access_key), info.region)
    doomed = list(_unnamed(objects, jobs, named))
    if not doomed:
        print(f"no artefacts to delete in the store {info.s3_endpoint_url}")
        return 0
    print(f"artefacts in the store {info.s3_endpoint_url}:")
    for each in doomed:
        print(f"  {each}")
    total = f"{counted(sum(len(each.keys) for each in doomed), 'object')}, {_mebibytes(sum(e.size for e in doomed))}"
    if args.dry_run:
        print(f"would delete {total}")
        return 0
    print("XComs and assets of Airflow, and registries elsewhere, may still name these objects.")
    if not args.yes and not _agreed(f"Delete {total}? [y/N] "):
        print("deleted nothing")
        return 1
    refused = [error for each in doomed for error in _delete(objects, each)]
    for error in refused:
        print(f"{error['Key']}: {error['Code']}: {error.get('Message', '')}", file=sys.stderr)
    print(f"deleted {total}{f', except for {len(refused)}' if refused else ''}")
    print("The disk gets this space back when the store compacts its volumes.")
    return 1 if refused else 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise StartupError("standard input is not a terminal, so that you can't confirm. Add --yes")
    return input(question).strip().lower() in {"y", "yes"}


def _output(job: Job) -> str | None:
    try:
        return output_of(job)
    except JobFailure:
        return None  # the request names no bucket: the job failed for that, and wrote nothing


def _is_named(job: Job, named: set[str]) -> bool:
    """Return whether one of these addresses is in the output of a job, or holds it."""
    output = _output(job) or ""
    return any(uri.startswith(output) or output.startswith(f"{uri.rstrip('/')}/") for uri in named if output)


def _unnamed(objects: Any, jobs: list[Job], named: set[str]) -> Iterator[_Artefacts]:
    """Find the artefacts that no resource of the service names any more."""
    for job in jobs:
        if (output := _output(job)) is None:
            continue
        if _is_named(job, named):
            print(f"{job.name}: kept, because a model, a model package, an endpoint or a job that stays names {output}")
            continue
        location = parse_uri(output)
        pages = objects.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=location.key)
        found = [entry for page in pages for entry in page.get("Contents", ())]
        if found:
            yield _Artefacts(job.name, output, [entry["Key"] for entry in found], sum(e["Size"] for e in found))


def _named(store: JobStore) -> set[str]:
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                collect(item)
        elif isinstance(value, str) and value.startswith(("s3://", "https://")):
            try:
                found.add(parse_uri(value).uri)
            except JobFailure:
                return  # an address on the web

    resources = ResourceStore(store.database)
    for document in resources.documents("model", "model-package", "endpoint-config", "endpoint"):
        collect(document)
    for transform in resources.in_status("transform-job", "InProgress", "Stopping"):
        collect(transform.document)
    for job in store.in_stage("queued", "training", "deploying"):
        collect(job.request)
    return found


def _delete(objects: Any, artefacts: _Artefacts) -> Iterator[dict[str, Any]]:
    bucket = parse_uri(artefacts.uri).bucket
    for first in range(0, len(artefacts.keys), 1000):
        keys = [{"Key": key} for key in artefacts.keys[first : first + 1000]]
        yield from objects.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True}).get("Errors", ())


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
