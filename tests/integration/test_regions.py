"""Clients of several regions: each reads ARNs of its own region."""

from __future__ import annotations

from pathlib import Path

import boto3

from tests.service.running import request, scripted_service


def test_arns_carry_the_region_of_the_client(tmp_path: Path) -> None:
    with scripted_service(tmp_path / "data", max_jobs=0) as service:
        here, there = (
            boto3.client(
                "sagemaker",
                region,
                endpoint_url=service.url,
                aws_access_key_id=service.info.access_key_id,
                aws_secret_access_key=service.info.secret_access_key,
            )
            for region in ("us-east-1", "eu-central-1")
        )
        arn = there.create_auto_ml_job_v2(**request("job", "wait"), Tags=[{"Key": "k", "Value": "v"}])["AutoMLJobArn"]
        assert arn == "arn:aws:sagemaker:eu-central-1:123456789012:automl-job/job"
        assert there.describe_auto_ml_job_v2(AutoMLJobName="job")["AutoMLJobArn"] == arn
        assert there.list_auto_ml_jobs()["AutoMLJobSummaries"][0]["AutoMLJobArn"] == arn
        assert there.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
        own = here.describe_auto_ml_job_v2(AutoMLJobName="job")["AutoMLJobArn"]
        assert own == "arn:aws:sagemaker:us-east-1:123456789012:automl-job/job"
        group = there.create_model_package_group(ModelPackageGroupName="g")["ModelPackageGroupArn"]
        assert there.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"] == group
        there.add_tags(ResourceArn=group, Tags=[{"Key": "a", "Value": "b"}])
        assert here.list_tags(ResourceArn=group.replace("eu-central-1", "us-east-1"))["Tags"]
