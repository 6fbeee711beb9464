"""What ``airflow-automl prune`` makes of jobs whose output is not addressed as most are."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from airflow_automl.local import processes
from airflow_automl.local.commands import prune
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder, ServiceInfo
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.storage import s3


async def test_jobs_with_https_addresses_are_pruned_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare()
    credentials = s3.Credentials("key", "secret")
    objects = s3.SeaweedFS(folder.s3, credentials, "us-east-1")
    await objects.start()
    try:
        process = processes.holder(os.getpid())
        info = ServiceInfo(
            process.pid, process.started, "", objects.endpoint_url, "us-east-1", "1" * 12, "key", "secret", s3.BUCKET
        )
        folder.write_info(info)
        jobs = JobStore(Database(folder.database))
        for name, path in (("nowhere", "https://s3.amazonaws.com"), ("churn", "https://s3.amazonaws.com/automl/out")):
            jobs.add(name, f"arn:{name}", "V2", {"OutputDataConfig": {"S3OutputPath": path}})
            jobs.failed(name, "because")
        client = s3.client(objects.endpoint_url, credentials, "us-east-1")
        client.put_object(Bucket=s3.BUCKET, Key="out/churn/model.tar.gz", Body=b"model")
        assert prune.run(argparse.Namespace(data_dir=tmp_path, older_than=0, dry_run=False)) == 0
        assert "of 1 job" in capsys.readouterr().out
        assert "Contents" not in client.list_objects_v2(Bucket=s3.BUCKET)
    finally:
        await objects.stop()
