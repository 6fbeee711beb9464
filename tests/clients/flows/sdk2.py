"""SageMaker SDK 2: AutoML and AutoMLV2 from upload to prediction."""

import sys

import boto3
import pandas
import sagemaker
from sagemaker.automl.automl import AutoML, AutoMLInput
from sagemaker.automl.automlv2 import AutoMLDataChannel, AutoMLTabularConfig, AutoMLV2
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer
from sagemaker.session import Session

data = pandas.read_csv(sys.argv[1])
session = Session(boto3.Session(), default_bucket="automl")
role = "AutoMLExecutionRole"
assert session.expand_role(role).endswith(f":role/{role}")
train = session.upload_data(sys.argv[1], "automl", "sdk2/train")
rows = data.drop(columns="target").head(3)

# Version 1, with the trainer's log.
automl = AutoML(
    role, "target", output_path="s3://automl/sdk2/out", sagemaker_session=session, mode="HYPERPARAMETER_TUNING",
    problem_type="BinaryClassification", job_objective={"MetricName": "AUC"}, max_candidates=2,
)  # fmt: skip
automl.fit(AutoMLInput(train, "target"), job_name="sdk2-v1", wait=True, logs=True)
assert automl.describe_auto_ml_job()["AutoMLJobStatus"] == "Completed"
assert len(automl.list_candidates()) == 2
best = automl.best_candidate()

# The steps of a candidate.
steps = sagemaker.CandidateEstimator(best, session).get_steps()
assert len(steps) == 2, steps
last = steps[-1].description
assert last["TrainingJobStatus"] == "Completed", last
assert last["HyperParameters"], last
assert last["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == train

# An endpoint with labels and probabilities, and a batch transform.
predictor = automl.deploy(
    1, "ml.m5.large", serializer=CSVSerializer(), endpoint_name="sdk2-v1", predictor_cls=Predictor,
    inference_response_keys=["predicted_label", "probability"],
)  # fmt: skip
answer = predictor.predict(rows.to_csv(index=False, header=False)).decode().split()
assert len(answer) == 3, answer
assert "," in answer[0], answer
predictor.delete_endpoint()
model = automl.create_model("sdk2-transform", session, best, inference_response_keys=["predicted_label"])
transformer = model.transformer(1, "ml.m5.large", assemble_with="Line", output_path="s3://automl/sdk2/transform")
session.upload_string_as_file_body(rows.to_csv(index=False, header=False), "automl", "sdk2/rows.csv")
transformer.transform("s3://automl/sdk2/rows.csv", content_type="text/csv", split_type="Line", job_name="sdk2-rows")
transformer.wait(logs=False)
assert len(session.read_s3_file("automl", "sdk2/transform/rows.csv.out").split()) == 3

# Version 2.
second = AutoMLV2(
    AutoMLTabularConfig("target", mode="HYPERPARAMETER_TUNING", max_candidates=1, problem_type="BinaryClassification"),
    base_job_name="sdk2", output_path="s3://automl/sdk2/out", sagemaker_session=session, role=role,
    job_objective={"MetricName": "F1"},
)  # fmt: skip
second.fit(
    AutoMLDataChannel("S3Prefix", train, channel_type="training", content_type="text/csv;header=present"),
    job_name="sdk2-v2",
    wait=True,
)
assert second.describe_auto_ml_job()["AutoMLJobStatus"] == "Completed"
predictor = second.deploy(
    1, "ml.m5.large", endpoint_name="sdk2-v2", serializer=CSVSerializer(), predictor_cls=Predictor
)
assert len(predictor.predict(rows.to_csv(index=False, header=False)).decode().split()) == 3
predictor.delete_endpoint()
