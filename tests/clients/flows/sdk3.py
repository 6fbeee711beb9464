"""SageMaker SDK 3 (sagemaker-core): AutoMLJobV2 from upload to prediction, as resources."""

import sys
from pathlib import Path

import boto3
from sagemaker.core.resources import AutoMLJobV2, Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import (
    AutoMLDataSource,
    AutoMLJobChannel,
    AutoMLJobCompletionCriteria,
    AutoMLJobObjective,
    AutoMLOutputDataConfig,
    AutoMLProblemTypeConfig,
    AutoMLS3DataSource,
    ContainerDefinition,
    ProductionVariant,
    TabularJobConfig,
)

role = "arn:aws:iam::123456789012:role/AutoMLExecutionRole"
boto3.client("s3").upload_file(sys.argv[1], "automl", "sdk3/train.csv")
source = AutoMLDataSource(
    s3_data_source=AutoMLS3DataSource(s3_data_type="S3Prefix", s3_uri="s3://automl/sdk3/train.csv")
)
job = AutoMLJobV2.create(
    auto_ml_job_name="sdk3-job",
    auto_ml_job_input_data_config=[
        AutoMLJobChannel(channel_type="training", content_type="text/csv;header=present", data_source=source)
    ],
    output_data_config=AutoMLOutputDataConfig(s3_output_path="s3://automl/sdk3/out"),
    auto_ml_problem_type_config=AutoMLProblemTypeConfig(
        tabular_job_config=TabularJobConfig(
            target_attribute_name="target",
            mode="HYPERPARAMETER_TUNING",
            problem_type="BinaryClassification",
            completion_criteria=AutoMLJobCompletionCriteria(max_candidates=1),
        )
    ),
    auto_ml_job_objective=AutoMLJobObjective(metric_name="F1"),
    role_arn=role,
)
job.wait(poll=1)
assert job.auto_ml_job_status == "Completed", job
assert AutoMLJobV2.get("sdk3-job").best_candidate.candidate_name == job.best_candidate.candidate_name
containers = [
    ContainerDefinition(image=each.image, model_data_url=each.model_data_url, environment=each.environment)
    for each in job.best_candidate.inference_containers
]
Model.create(model_name="sdk3-model", containers=containers, execution_role_arn=role)
EndpointConfig.create(
    endpoint_config_name="sdk3-config",
    production_variants=[
        ProductionVariant(
            variant_name="all", model_name="sdk3-model", instance_type="ml.m5.large", initial_instance_count=1
        )
    ],
)
endpoint = Endpoint.create(endpoint_name="sdk3-endpoint", endpoint_config_name="sdk3-config")
endpoint.wait_for_status("InService", poll=1)
with Path(sys.argv[1]).open() as file:
    rows = "".join(line.rpartition(",")[0] + "\n" for line in list(file)[1:4])
answer = endpoint.invoke(body=rows, content_type="text/csv")
assert len(answer.body.read().split()) == 3, answer
endpoint.delete()
