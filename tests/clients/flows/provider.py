"""The amazon provider's operators in one DAG: bucket, AutoML job, model, endpoint, transform, and their deletion."""

import json
import os
import sys
from datetime import timedelta
from pathlib import Path

variables = os.environ
extra = {
    "region_name": variables["AWS_DEFAULT_REGION"],
    "endpoint_url": variables["AWS_ENDPOINT_URL"],
    "service_config": {
        "s3": {"endpoint_url": variables["AWS_ENDPOINT_URL_S3"]},
        "sts": {"endpoint_url": variables["AWS_ENDPOINT_URL"]},
        "iam": {"endpoint_url": variables["AWS_ENDPOINT_URL"]},
    },
    # AssumeRole gives the session its keys.
    "role_arn": "arn:aws:iam::123456789012:role/AutoMLExecutionRole",
}
variables["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(
    {
        "conn_type": "aws",
        "login": variables["AWS_ACCESS_KEY_ID"],
        "password": variables["AWS_SECRET_ACCESS_KEY"],
        "extra": extra,
    }
)
for name in [name for name in variables if name.startswith("AWS_")]:
    del variables[name]

from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook  # noqa: E402
from airflow.providers.amazon.aws.operators.s3 import (  # noqa: E402
    S3CreateBucketOperator,
    S3CreateObjectOperator,
    S3DeleteBucketOperator,
    S3ListOperator,
)
from airflow.providers.amazon.aws.operators.sagemaker import (  # noqa: E402
    SageMakerAutoMLOperator,
    SageMakerDeleteModelOperator,
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
    SageMakerTransformOperator,
)

role, bucket = extra["role_arn"], "provider-client"
given = Path(sys.argv[1]).read_text()
rows = "".join(line.rpartition(",")[0] + "\n" for line in given.splitlines()[1:4])
hook = SageMakerHook("aws_default")
assert hook.expand_role("AutoMLExecutionRole") == role

S3CreateBucketOperator(task_id="bucket", bucket_name=bucket).execute({})
for key, text in (("in/train.csv", given), ("rows/rows.csv", rows)):
    S3CreateObjectOperator(task_id="put", s3_bucket=bucket, s3_key=key, data=text, encrypt=True).execute({})
assert S3ListOperator(task_id="list", bucket=bucket, prefix="in/").execute({}) == ["in/train.csv"]
best = SageMakerAutoMLOperator(
    task_id="train",
    job_name="provider",
    s3_input=f"s3://{bucket}/in/",
    target_attribute="target",
    s3_output=f"s3://{bucket}/out/",
    role_arn=role,
    extras={
        "ProblemType": "BinaryClassification",
        "AutoMLJobObjective": {"MetricName": "F1"},
        "AutoMLJobConfig": {"Mode": "HYPERPARAMETER_TUNING", "CompletionCriteria": {"MaxCandidates": 1}},
    },
    check_interval=2,
).execute({})
SageMakerModelOperator(
    task_id="model",
    config={"ModelName": "provider", "ExecutionRoleArn": role, "Containers": best["InferenceContainers"]},
).execute({})
variant = {"VariantName": "all", "ModelName": "provider", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
SageMakerEndpointConfigOperator(
    task_id="config", config={"EndpointConfigName": "provider", "ProductionVariants": [variant]}
).execute({})
SageMakerEndpointOperator(
    task_id="endpoint",
    config={"EndpointName": "provider", "EndpointConfigName": "provider"},
    check_interval=1,
    wait_for_completion=True,
).execute({})
runtime = hook.get_session().client("sagemaker-runtime", endpoint_url=extra["endpoint_url"])
answer = runtime.invoke_endpoint(EndpointName="provider", ContentType="text/csv", Body=rows)["Body"].read()
assert len(answer.split()) == 3, answer
SageMakerTransformOperator(
    task_id="transform",
    config={
        "TransformJobName": "provider",
        "ModelName": "provider",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/rows/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/transformed/", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
    check_interval=1,
    max_ingestion_time=int(timedelta(minutes=5).total_seconds()),
).execute({})
assert S3ListOperator(task_id="list", bucket=bucket, prefix="transformed/").execute({})
hook.conn.delete_endpoint(EndpointName="provider")
SageMakerDeleteModelOperator(task_id="away", config={"ModelName": "provider"}).execute({})
S3DeleteBucketOperator(task_id="empty", bucket_name=bucket, force_delete=True).execute({})
