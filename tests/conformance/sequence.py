"""The calls: jobs of both versions and all five types, errors, lists, candidates, stops and tags.

Jobs are stopped as soon as they are described, one after the other: a run costs very little, and needs only one of
the account's slots. Nothing is left running, whatever happens in between.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from tests.conformance.data import upload
from tests.conformance.recording import Call, Normaliser, Recording, now

EXAMPLES = Path(__file__).parents[1] / "data" / "contract" / "examples.json"
TERMINAL = {"Completed", "Failed", "Stopped"}


@dataclass(frozen=True)
class Settings:
    """Where to run, and with what.

    :param role: the role that jobs get.
    :param bucket: where their data and results go.
    :param train: also let one small job train to its end.
    :param timeout: seconds to wait for a job to stop or to end.
    """

    role: str
    bucket: str
    prefix: str = "airflow-automl-conformance"
    train: bool = False
    timeout: float = 900.0


class Sequence:
    """Runs the calls and records their answers.

    :param client: boto3's ``sagemaker`` client, made without parameter validation: invalid requests are to be sent.
    :param s3: boto3's ``s3`` client.
    :param say: called with each progress message.
    """

    def __init__(self, settings: Settings, client: Any, s3: Any, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._client = client
        self._s3 = s3
        self._say = say
        self._calls: list[Call] = []
        self._created: list[str] = []
        # Job names can't be reused: each run has its own names, of equal length because of length limits.
        self._run = f"cf{int(time.time()):08x}"[-10:]
        self._normaliser = Normaliser(
            {
                f"s3://{settings.bucket}/{settings.prefix}/{self._run}/": "s3://<folder>/",
                self._run: "<run>",
                settings.role: "<role>",
            }
        )

    def record(self) -> Recording:
        """Run all calls."""
        self._say("uploading small data sets")
        self._data = upload(self._s3, self._settings.bucket, f"{self._settings.prefix}/{self._run}")
        try:
            self._jobs()
            self._names()
            self._unknown()
            self._rejected()
            self._malformed()
            if self._settings.train:
                self._trained()
        finally:
            self._clean_up()
        about = {"endpoint": urlsplit(self._client.meta.endpoint_url).hostname or "", "recorded": now()}
        return Recording(about, self._calls)

    # Making calls

    def _call(self, label: str, operation: str, **request: Any) -> dict[str, Any]:
        """Call, record, and return the answer; empty after an error."""
        status, error, message, answer = 200, "", "", {}
        try:
            answer = getattr(self._client, operation)(**request)
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
        except ClientError as failure:
            response = failure.response
            status = response["ResponseMetadata"]["HTTPStatusCode"]
            error, message = response["Error"]["Code"], response["Error"].get("Message", "")
        if "AutoMLJobArn" in answer and operation.startswith("create"):
            self._created.append(request["AutoMLJobName"])
        fields = self._normaliser.fields(answer)
        self._calls.append(Call(label, operation, status, error, self._normaliser.text(message), fields))
        return answer

    def _name(self, label: str) -> str:
        return f"{self._run}-{label}"

    # The calls

    def _jobs(self) -> None:
        for label, (api, request) in self._requests().items():
            self._say(f"job {label}")
            create = "create_auto_ml_job" if api == "V1" else "create_auto_ml_job_v2"
            name = request["AutoMLJobName"]
            tags = [{"Key": "purpose", "Value": "conformance"}, {"Key": "größe", "Value": ""}]
            created = self._call(f"{label}/create", create, **request, Tags=tags)
            self._call(f"{label}/describe", f"describe{create.removeprefix('create')}", AutoMLJobName=name)
            other = "describe_auto_ml_job_v2" if api == "V1" else "describe_auto_ml_job"
            self._call(f"{label}/describe by the other version", other, AutoMLJobName=name)
            self._tags(label, created.get("AutoMLJobArn", ""))
            self._lists(label, name)
            self._call(f"{label}/create again", create, **request)
            self._call(f"{label}/create in capitals", create, **{**request, "AutoMLJobName": name.upper()})
            self._call(f"{label}/stop", "stop_auto_ml_job", AutoMLJobName=name)
            self._wait(name)
            self._call(f"{label}/describe stopped", "describe_auto_ml_job_v2", AutoMLJobName=name)
            self._call(f"{label}/stop again", "stop_auto_ml_job", AutoMLJobName=name)
            self._call(f"{label}/create after the stop", create, **request)

    def _tags(self, label: str, arn: str) -> None:
        self._call(f"{label}/tags", "list_tags", ResourceArn=arn)
        self._call(f"{label}/add tags", "add_tags", ResourceArn=arn, Tags=[{"Key": "purpose", "Value": "changed"}])
        self._call(f"{label}/delete tags", "delete_tags", ResourceArn=arn, TagKeys=["größe", "not there"])
        self._call(f"{label}/tags left", "list_tags", ResourceArn=arn)

    def _lists(self, label: str, name: str) -> None:
        self._call(f"{label}/list", "list_auto_ml_jobs", NameContains=name)
        self._call(f"{label}/list by status", "list_auto_ml_jobs", NameContains=name, StatusEquals="InProgress")
        self._call(f"{label}/candidates", "list_candidates_for_auto_ml_job", AutoMLJobName=name)

    def _names(self) -> None:
        self._say("lists of all jobs of this run")
        for sort_by in ("Name", "CreationTime", "Status"):
            for order in ("Ascending", "Descending"):
                request = {"NameContains": self._run, "SortBy": sort_by, "SortOrder": order}
                self._call(f"list by {sort_by} {order}", "list_auto_ml_jobs", **request)
        page = self._call("list, first page", "list_auto_ml_jobs", NameContains=self._run, MaxResults=2)
        self._call(
            "list, second page",
            "list_auto_ml_jobs",
            NameContains=self._run,
            MaxResults=2,
            NextToken=page.get("NextToken", "none"),
        )
        self._call("list, page too long", "list_auto_ml_jobs", MaxResults=101)
        self._call("list, token of nobody", "list_auto_ml_jobs", NextToken="nobody")

    def _unknown(self) -> None:
        self._say("names that nothing has, and names that nothing can have")
        for operation in (
            "describe_auto_ml_job",
            "describe_auto_ml_job_v2",
            "stop_auto_ml_job",
            "list_candidates_for_auto_ml_job",
        ):
            self._call(f"unknown name/{operation}", operation, AutoMLJobName=self._name("nobody"))
            self._call(f"malformed name/{operation}", operation, AutoMLJobName="under_score")
            self._call(f"no name/{operation}", operation)

    def _rejected(self) -> None:
        """Every sample that should be rejected; where one is accepted, its job is stopped at the end."""
        samples = [sample for sample in json.loads(EXAMPLES.read_text()) if sample["expect"] == "reject"]
        self._say(f"{len(samples)} requests that break one rule each")
        for sample in samples:
            operation = "CreateAutoMLJob" if sample["api"] == "V1" else "CreateAutoMLJobV2"
            # boto3 can't write members that it does not know.
            body = json.dumps(self._at_home(sample)).encode()
            self._raw(f"rejected/{sample['rule']} {sample['id']}", operation, body)

    def _at_home(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """A sample with a name and the role of this run, unless one of them is the invalid value."""
        request = dict(sample["request"])
        if sample["field"] != "AutoMLJobName":
            request["AutoMLJobName"] = self._name(sample["id"])
        if sample["field"] != "RoleArn":
            request["RoleArn"] = self._settings.role
        return request

    def _malformed(self) -> None:
        self._say("bodies and operations that no client would send")
        bodies = {
            "no JSON": b"{",
            "a list": b"[]",
            "text for a number": b'{"MaxResults": "one"}',
            "unknown member": b'{"Unheard": 1}',
        }
        for label, body in bodies.items():
            self._raw(f"malformed/{label}", "ListAutoMLJobs", body)
        self._raw("malformed/unknown operation", "TrainAutoMLJob", b"{}")

    def _raw(self, label: str, operation: str, body: bytes) -> None:
        """Send bytes, signed with the client's credentials."""
        url = self._client.meta.endpoint_url
        headers = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        request = AWSRequest("POST", url + "/", headers=headers, data=body)
        credentials = self._client._request_signer._credentials.get_frozen_credentials()
        SigV4Auth(credentials, "sagemaker", self._client.meta.region_name).add_auth(request)
        response = URLLib3Session().send(request.prepare())
        answer = json.loads(response.content or b"{}")
        if "AutoMLJobArn" in answer:
            self._created.append(json.loads(body)["AutoMLJobName"])
        error = str(answer.get("__type", "")).rpartition("#")[2] if response.status_code >= 300 else ""
        message = str(answer.get("message") or answer.get("Message") or "") if error else ""
        self._calls.append(Call(label, operation, response.status_code, error, self._normaliser.text(message)))

    def _trained(self) -> None:
        self._say("a small job that trains to its end")
        _, request = self._requests()["V2 Tabular"]
        name = self._name("trained")
        config = {**request["AutoMLProblemTypeConfig"]["TabularJobConfig"], "Mode": "ENSEMBLING"}
        config["CompletionCriteria"] = {"MaxCandidates": 2, "MaxAutoMLJobRuntimeInSeconds": 3600}
        config.pop("CandidateGenerationConfig", None)
        whole = {**request, "AutoMLJobName": name, "AutoMLProblemTypeConfig": {"TabularJobConfig": config}}
        del whole["ModelDeployConfig"]  # otherwise an endpoint would remain
        self._call("trained/create", "create_auto_ml_job_v2", **whole)
        self._wait(name, self._settings.timeout * 6)
        self._call("trained/describe", "describe_auto_ml_job_v2", AutoMLJobName=name)
        listed = self._client.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
        self._say(f"it has {len(listed)} candidates")

    def _requests(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """One job of each kind, with all read calls about it."""
        settings, data = self._settings, self._data
        shared = {"OutputDataConfig": {"S3OutputPath": f"{data['root']}out/"}, "RoleArn": settings.role}
        limits = {"MaxRuntimePerTrainingJobInSeconds": 600, "MaxAutoMLJobRuntimeInSeconds": 1800}

        def source(kind: str, **members: Any) -> dict[str, Any]:
            return {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": data[kind]}}, **members}

        def v2(label: str, config: Mapping[str, Any], channel: dict[str, Any], **members: Any) -> tuple[str, Any]:
            return "V2", {
                "AutoMLJobName": self._name(label),
                "AutoMLJobInputDataConfig": [channel],
                "AutoMLProblemTypeConfig": dict(config),
                **shared,
                **members,
            }

        csv = {"ChannelType": "training", "ContentType": "text/csv;header=present"}
        return {
            "V1": (
                "V1",
                {
                    "AutoMLJobName": self._name("v1"),
                    "InputDataConfig": [source("tabular", TargetAttributeName="churn", **csv)],
                    "ProblemType": "BinaryClassification",
                    "AutoMLJobObjective": {"MetricName": "AUC"},
                    "AutoMLJobConfig": {
                        "CompletionCriteria": {"MaxCandidates": 5, **limits},
                        "Mode": "ENSEMBLING",
                        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost"]}]},
                        "DataSplitConfig": {"ValidationFraction": 0.25},
                        "SecurityConfig": {"EnableInterContainerTrafficEncryption": True},
                    },
                    **shared,
                },
            ),
            "V1 least": (
                "V1",
                {
                    "AutoMLJobName": self._name("v1-least"),
                    "InputDataConfig": [source("tabular", TargetAttributeName="churn")],
                    **shared,
                },
            ),
            "V2 Tabular": v2(
                "tabular",
                {
                    "TabularJobConfig": {
                        "TargetAttributeName": "churn",
                        "ProblemType": "BinaryClassification",
                        "Mode": "HYPERPARAMETER_TUNING",
                        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["xgboost"]}]},
                        "CompletionCriteria": {"MaxCandidates": 5, **limits},
                        "GenerateCandidateDefinitionsOnly": False,
                    }
                },
                source("tabular", **csv),
                AutoMLJobObjective={"MetricName": "F1"},
                DataSplitConfig={"ValidationFraction": 0.25},
                SecurityConfig={"EnableInterContainerTrafficEncryption": False},
                ModelDeployConfig={"AutoGenerateEndpointName": True},
            ),
            "V2 TimeSeriesForecasting": v2(
                "series",
                {
                    "TimeSeriesForecastingJobConfig": {
                        "ForecastFrequency": "1D",
                        "ForecastHorizon": 7,
                        "ForecastQuantiles": ["p10", "p50", "p90"],
                        "Transformations": {
                            "Filling": {"demand": {"middlefill": "zero", "backfill": "value", "backfill_value": "1"}},
                            "Aggregation": {"demand": "avg"},
                        },
                        "TimeSeriesConfig": {
                            "TargetAttributeName": "demand",
                            "TimestampAttributeName": "day",
                            "ItemIdentifierAttributeName": "item",
                        },
                        "HolidayConfig": [{"CountryCode": "US"}],
                        "CompletionCriteria": limits,
                    }
                },
                source("series", **csv),
                AutoMLJobObjective={"MetricName": "WAPE"},
            ),
            "V2 TextClassification": v2(
                "text",
                {
                    "TextClassificationJobConfig": {
                        "ContentColumn": "review",
                        "TargetLabelColumn": "mood",
                        "CompletionCriteria": {"MaxCandidates": 1, **limits},
                    }
                },
                source("text", **csv),
            ),
            "V2 ImageClassification": v2(
                "image",
                {"ImageClassificationJobConfig": {"CompletionCriteria": limits}},
                source("images", ChannelType="training", ContentType="image/png"),
                AutoMLJobObjective={"MetricName": "Accuracy"},
            ),
            "V2 TextGeneration": v2(
                "generation",
                {
                    "TextGenerationJobConfig": {
                        "BaseModelName": "Falcon7BInstruct",
                        "TextGenerationHyperParameters": {"epochCount": "1", "learningRate": "0.0001"},
                        "CompletionCriteria": limits,
                    }
                },
                source("generation", **csv),
            ),
        }

    # Waiting and cleaning up

    def _wait(self, name: str, timeout: float | None = None) -> None:
        deadline = time.monotonic() + (timeout or self._settings.timeout)
        pause = 0.1
        while self._status(name) not in TERMINAL:
            if time.monotonic() > deadline:
                self._say(f"{name} has not ended; continuing")
                return
            time.sleep(pause)
            pause = min(pause * 1.5, 15)

    def _status(self, name: str) -> str:
        try:
            return str(self._client.describe_auto_ml_job_v2(AutoMLJobName=name)["AutoMLJobStatus"])
        except ClientError:
            return "Stopped"  # it was never created

    def _clean_up(self) -> None:
        """Stop what still runs, and remove the data; jobs themselves can't be deleted."""
        for name in self._created:
            if self._status(name) not in TERMINAL:
                self._say(f"stopping {name}")
                self._client.stop_auto_ml_job(AutoMLJobName=name)
        bucket, prefix = self._settings.bucket, f"{self._settings.prefix}/{self._run}/"
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        for key in keys:
            self._s3.delete_object(Bucket=bucket, Key=key)
