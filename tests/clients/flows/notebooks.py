"""The calls of six public Autopilot notebooks, from upload to prediction: `notebooks.py NAME FOLDER`.

AWS's notebooks wait a minute between two polls and plot the results. The order of the calls is the same here.
"""

import io
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import boto3
import pandas
import sagemaker
from botocore.exceptions import ClientError
from sagemaker import AutoML
from sagemaker.deserializers import CSVDeserializer
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer

name, folder = sys.argv[1], Path(sys.argv[2])
bucket, prefix = "automl", f"notebooks/{name}"
session = sagemaker.Session(default_bucket=bucket)
role = session.expand_role("AutoMLExecutionRole")
sm, s3 = boto3.client("sagemaker"), boto3.client("s3")


def upload(file: str, frame: pandas.DataFrame | None = None, header: bool = True) -> str:
    path = folder / file
    if frame is not None:
        path = Path(file)
        frame.to_csv(path, index=False, header=header)
    return str(session.upload_data(str(path), bucket, f"{prefix}/{Path(file).stem}"))


def create(uri: str, target: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Create a V1 job and poll it until it ends."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
    channel = {"DataSource": source, "TargetAttributeName": target, **more.pop("Channel", {})}
    sm.create_auto_ml_job(
        AutoMLJobName=name,
        InputDataConfig=[channel],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/{prefix}/output"},
        AutoMLJobConfig=config,
        RoleArn=role,
        **more,
    )
    return ended(lambda: sm.describe_auto_ml_job(AutoMLJobName=name), "AutoMLJobStatus")


def ended(describe: Any, status: str) -> dict[str, Any]:
    while (found := describe())[status] not in ("Failed", "Completed", "Stopped"):
        time.sleep(1)
    assert found[status] == "Completed", found
    return dict(found)


def list_candidates() -> list[dict[str, Any]]:
    """List the candidates, and describe each of their steps."""
    found = sm.list_candidates_for_auto_ml_job(AutoMLJobName=name, SortBy="FinalObjectiveMetricValue")["Candidates"]
    for candidate in found:
        for step in candidate["CandidateSteps"]:
            kind = step["CandidateStepType"].rpartition("::")[2].removesuffix("Job")
            call = getattr(sm, f"describe_{kind.lower()}_job")
            status = call(**{f"{kind}JobName": step["CandidateStepName"]})[f"{kind}JobStatus"]
            assert status in ("Completed", candidate["CandidateStatus"]), (candidate, step)
    return list(found)


def deploy(containers: list[dict[str, Any]], model: str, **variant: Any) -> str:
    sm.create_model(ModelName=model, Containers=containers, ExecutionRoleArn=role)
    variant = {"VariantName": "main", "ModelName": model, **variant}
    sm.create_endpoint_config(EndpointConfigName=f"epc-{model}", ProductionVariants=[variant])
    sm.create_endpoint(EndpointName=f"ep-{model}", EndpointConfigName=f"epc-{model}")
    sm.get_waiter("endpoint_in_service").wait(EndpointName=f"ep-{model}", WaiterConfig={"Delay": 1})
    return f"ep-{model}"


def clean(model: str) -> None:
    sm.delete_endpoint(EndpointName=f"ep-{model}")
    sm.delete_endpoint_config(EndpointConfigName=f"epc-{model}")
    sm.delete_model(ModelName=model)


def read(uri: str, key: str) -> pandas.DataFrame:
    parts = urlparse(uri)
    body = s3.get_object(Bucket=parts.netloc, Key=f"{parts.path.strip('/')}/{key}")["Body"].read()
    return pandas.read_csv(io.BytesIO(body), header=None)


def rows(frame: pandas.DataFrame) -> str:
    return str(frame.to_csv(index=False, header=False))


def customer_churn() -> None:
    """All with boto3: the job, its notebooks and candidates, an endpoint and its accuracy."""
    data = pandas.read_csv(folder / "churn.csv")
    train, test = data.iloc[:900], data.iloc[900:]
    job = create(upload("train.csv", train), "churn", {**TUNING, "CompletionCriteria": {"MaxCandidates": 2}})
    for artefact in job["AutoMLJobArtifacts"].values():
        s3.head_object(Bucket=bucket, Key=urlparse(artefact).path[1:])
    found = list_candidates()
    assert len(found) == 2
    assert all(each["InferenceContainers"][1]["Image"] for each in found)
    best = job["BestCandidate"]
    endpoint = deploy(best["InferenceContainers"], name, InstanceType="ml.m5.2xlarge", InitialInstanceCount=1)
    predictor = Predictor(endpoint, session, CSVSerializer(), CSVDeserializer())
    predicted = [row[0] for row in predictor.predict(rows(test.drop(columns="churn")))]
    assert sum(a == b for a, b in zip(predicted, test["churn"], strict=True)) > 0.7 * len(test)
    clean(name)


def california_housing() -> None:
    """A regression; the SDK takes over the job for a batch transform of single records."""
    data = pandas.read_csv(folder / "diamonds.csv")
    job = create(upload("train.csv", data.iloc[:700]), "price", {**TUNING, "CompletionCriteria": {"MaxCandidates": 1}})
    for artefact in job["AutoMLJobArtifacts"].values():
        session.download_data("downloads", bucket, urlparse(artefact).path[1:])
        assert list(Path("downloads").glob("*.ipynb"))
    list_candidates()
    best = job["BestCandidate"]
    model = AutoML.attach(name, session).create_model(f"{best['CandidateName']}-model", session, best)
    transformer = model.transformer(
        1, "ml.m5.xlarge", "SingleRecord", "Line", f"s3://{bucket}/{prefix}/results/{best['CandidateName']}/",
        env={"SAGEMAKER_MODEL_SERVER_TIMEOUT": "100", "SAGEMAKER_MODEL_SERVER_WORKERS": "1"},
    )  # fmt: skip
    test = data.iloc[700:]
    transformer.transform(
        upload("test.csv", test.drop(columns="price"), header=False), content_type="text/csv", split_type="Line",
        wait=False, model_client_config={"InvocationsTimeoutInSeconds": 80, "InvocationsMaxRetries": 1},
    )  # fmt: skip
    ended(lambda: sm.describe_transform_job(TransformJobName=transformer._current_job_name), "TransformJobStatus")
    predicted = read(transformer.output_path, "test.csv.out")[0]
    assert len(predicted) == len(test)
    assert predicted.corr(test["price"].reset_index(drop=True)) > 0.9


def time_series() -> None:
    """A forecast of the second version: filled series and quantiles, from an endpoint and from a batch transform."""
    given = f"{prefix}/train/demand.csv"
    upload("demand.csv")
    s3.copy({"Bucket": bucket, "Key": f"{prefix}/demand/demand.csv"}, bucket, given)
    columns = {"TargetAttributeName": "sold", "TimestampAttributeName": "month", "ItemIdentifierAttributeName": "item"}
    sm.create_auto_ml_job_v2(
        AutoMLJobName=name,
        AutoMLJobInputDataConfig=[
            {
                "ChannelType": "training",
                "ContentType": "text/csv;header=present",
                "CompressionType": "None",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{prefix}/train/"}},
            }
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/{prefix}/output"},
        AutoMLProblemTypeConfig={
            "TimeSeriesForecastingJobConfig": {
                "ForecastFrequency": "M",
                "ForecastHorizon": 4,
                "ForecastQuantiles": ["p50", "p60", "p70", "p80", "p90"],
                "Transformations": {"Filling": {"sold": {"middlefill": "zero", "backfill": "zero"}}},
                "TimeSeriesConfig": {**columns, "GroupingAttributeNames": ["place"]},
                "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 120},
            }
        },
        AutoMLJobObjective={"MetricName": "AverageWeightedQuantileLoss"},
        RoleArn=role,
    )
    job = ended(lambda: sm.describe_auto_ml_job_v2(AutoMLJobName=name), "AutoMLJobStatus")
    list_candidates()
    containers = job["BestCandidate"]["InferenceContainers"]
    endpoint = deploy(containers, name, InstanceType="ml.m5.2xlarge", InitialInstanceCount=1)
    answer = boto3.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=(folder / "demand.csv").read_text(), ContentType="text/csv"
    )
    forecast = pandas.read_csv(answer["Body"])
    assert len(forecast) == 2 * 4, forecast
    s3.copy({"Bucket": bucket, "Key": given}, bucket, f"{prefix}/input/demand.csv")
    sm.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        MaxPayloadInMB=0,
        ModelClientConfig={"InvocationsTimeoutInSeconds": 3600},
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{prefix}/input/"}},
            "ContentType": "text/csv",
            "SplitType": "None",
        },
        TransformOutput={"S3OutputPath": f"s3://{bucket}/{prefix}/transformed/", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.12xlarge", "InstanceCount": 1},
    )
    ended(lambda: sm.describe_transform_job(TransformJobName=name), "TransformJobStatus")
    assert len(read(f"s3://{bucket}/{prefix}/transformed", "demand.csv.out")) == 1 + len(forecast)
    clean(name)


def serverless() -> None:
    """A candidate behind a serverless endpoint. AWS's has one endpoint per container; here they are one model."""
    data = pandas.read_csv(folder / "churn.csv")
    job = create(
        upload("raw.csv", data),
        "churn",
        {**TUNING, "CompletionCriteria": {"MaxCandidates": 1, "MaxAutoMLJobRuntimeInSeconds": 300}},
        ProblemType="BinaryClassification",
        AutoMLJobObjective={"MetricName": "F1"},
        Tags=[{"Key": "Project", "Value": "serverless"}],
    )
    containers = job["BestCandidate"]["InferenceContainers"]
    assert len(containers) == 3
    for place, container in enumerate(containers):
        assert s3.head_object(Bucket=bucket, Key=urlparse(container["ModelDataUrl"]).path[1:])["ContentLength"]
        answer = ""
        try:
            sm.create_model(ModelName=f"part-{place}", ExecutionRoleArn=role, Containers=[container])
        except ClientError as refused:
            answer = str(refused)
        assert "Give all of the candidate's InferenceContainers" in answer, answer
    endpoint = deploy(containers, name, ServerlessConfig={"MemorySizeInMB": 2048, "MaxConcurrency": 10})
    predictor = Predictor(endpoint, session, CSVSerializer(), CSVDeserializer())
    assert predictor.predict(rows(data.drop(columns="churn").head(1)))[0][0] in ("Yes", "No")
    clean(name)


def churn_with_evaluation() -> None:
    """All with the SDK: a batch transform of each of the best candidates, and an endpoint for one of them."""
    data = pandas.read_csv(folder / "churn.csv")
    test = data.iloc[900:].drop(columns="churn")
    automl = AutoML(role, "churn", base_job_name=name, sagemaker_session=session, max_candidates=2, **TUNED)
    automl.fit(upload("train.csv", data.iloc[:900]), job_name=name, wait=False, logs=False)
    ended(automl.describe_auto_ml_job, "AutoMLJobStatus")
    list_candidates()
    found = automl.list_candidates(sort_by="FinalObjectiveMetricValue", sort_order="Descending", max_results=2)
    given = upload("test.csv", test, header=False)
    transformers = []
    for candidate in found:
        model = automl.create_model(
            candidate["CandidateName"], session, candidate, inference_response_keys=["probability", "predicted_label"]
        )
        output = f"s3://{bucket}/{prefix}/results/{candidate['CandidateName']}/"
        transformers.append(model.transformer(1, "ml.m5.xlarge", assemble_with="Line", output_path=output))
        transformers[-1].transform(given, split_type="Line", content_type="text/csv", wait=False)
        time.sleep(1)  # the SDK names transform jobs by the time
    for each in transformers:
        ended(lambda job=each._current_job_name: sm.describe_transform_job(TransformJobName=job), "TransformJobStatus")
    predicted = [read(each.output_path, "test.csv.out") for each in transformers]
    assert all(len(each) == len(test) and each[0].between(0, 1).all() for each in predicted)
    predictor = automl.deploy(
        1, "ml.m5.2xlarge", candidate=found[0], inference_response_keys=["probability", "predicted_label"],
        predictor_cls=Predictor, serializer=CSVSerializer(), deserializer=CSVDeserializer(),
    )  # fmt: skip
    answer = pandas.DataFrame(predictor.predict(rows(test)))
    assert set(answer[1]) <= {"Yes", "No"}
    assert (answer[0].astype(float) - predicted[0][0]).abs().max() < 1e-4
    predictor.delete_endpoint()


def abalone_parquet() -> None:
    """Training data in Parquet, which CSV rows are predicted from."""
    data = pandas.read_csv(folder / "diamonds.csv")
    parquet = {"Channel": {"ContentType": "x-application/vnd.amazon+parquet", "CompressionType": "None"}}
    criteria = {"CompletionCriteria": {"MaxCandidates": 1}}
    job = create(upload("diamonds.parquet"), "price", {**TUNING, **criteria}, **parquet)
    list_candidates()
    endpoint = deploy(
        job["BestCandidate"]["InferenceContainers"], name, InstanceType="ml.m5.large", InitialInstanceCount=1
    )
    predictor = Predictor(endpoint, session, CSVSerializer(), CSVDeserializer())
    assert len(predictor.predict(rows(data.drop(columns="price").head(5)))) == 5
    clean(name)


TUNING = {"Mode": "HYPERPARAMETER_TUNING"}
TUNED = {"mode": "HYPERPARAMETER_TUNING", "problem_type": "BinaryClassification", "job_objective": {"MetricName": "F1"}}
globals()[name.replace("-", "_")]()
