"""The evaluation of an endpoint, or of a candidate by batch transform, on labelled rows of every problem type."""

from __future__ import annotations

import builtins
import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.contract import metrics
from airflow_automl.evaluation import live as live_module
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators import SageMakerAutoMLEvaluateOperator
from airflow_automl.version_tags import TAG_JOB
from tests.hosting import HostingStandIn
from tests.local_s3 import BUCKET, Bucket, bucket, s3_endpoint
from tests.unit.operators.conftest import make_candidate, put_live
from tests.unit.operators.test_endpoint_scoring import JOB
from tests.unit.operators.test_gate import decide

__all__ = ["bucket", "s3_endpoint"]

Serve = Callable[..., HostingStandIn]


@pytest.fixture
def serve(hosting: HostingStandIn) -> Serve:
    """Let an endpoint serve a candidate of a job with a given problem."""

    def deploy(problem: dict[str, Any], objective: str | None = None, response: str = "") -> Any:
        hosting.jobs["churn-5a8e"] = {**JOB, "AutoMLProblemTypeConfig": problem}
        if objective:
            hosting.jobs["churn-5a8e"]["AutoMLJobObjective"] = {"MetricName": objective}
        put_live(hosting, response=response)
        return hosting

    return deploy


def evaluate(context: dict[str, Any], data: Any, **settings: Any) -> Any:
    operator = SageMakerAutoMLEvaluateOperator(
        task_id="evaluate", data=str(data), **{"endpoint_name": "churn", **settings}
    )
    return operator.execute(context)


BINARY = {"TabularJobConfig": {"TargetAttributeName": "churn", "ProblemType": "BinaryClassification"}}


@pytest.fixture
def churn(tmp_path: Path) -> str:
    rows = "".join(f"{number / 200},{'Yes' if number % 5 or number > 160 else 'No'}\n" for number in range(200))
    (tmp_path / "rows.csv").write_text(f"risk,churn\n{rows}")
    return str(tmp_path)


def test_the_evaluation_reads_like_a_candidate(serve: Serve, context: dict[str, Any], churn: str) -> None:
    hosting = serve(BINARY, "AUC", response="predicted_label,probability,probabilities,labels")
    hosting.predict = lambda body: "".join(
        f"{'Yes' if float(line) >= 0.5 else 'No'},0.9,\"[{1 - float(line)}, {float(line)}]\",\"['No', 'Yes']\"\n"
        for line in body.splitlines()
    )
    found = evaluate(context, churn)

    assert found["rows"] == 200
    assert found["CandidateName"] == "churn-WeightedEnsemble-L2"
    assert metrics.objective_name(found) == "AUC"
    values = metrics.candidate_metrics(found)
    assert {"AUC", "Accuracy", "F1", "LogLoss", "Precision", "Recall", "BalancedAccuracy"} == set(values)
    low, high = found["intervals"]["AUC"]
    assert low < values["AUC"] < high
    assert found["confusion_matrix"]["labels"] == ["No", "Yes"]
    assert sum(map(sum, found["confusion_matrix"]["counts"])) == 200
    assert found["deployed_metrics"]["AUC"] == 0.85
    assert found["complete"]
    json.dumps(found)
    again = evaluate(context, churn)
    assert {key: again[key] for key in again if key != "evaluated_at"} == {
        key: found[key] for key in found if key != "evaluated_at"
    }


def test_a_sample_is_the_same_for_the_same_seed(serve: Serve, context: dict[str, Any], churn: str) -> None:
    hosting = serve(BINARY, "Accuracy")
    hosting.predict = lambda body: "Yes\n" * len(body.splitlines())
    for seed in (0, 0, 1):
        assert evaluate(context, churn, max_rows=20, seed=seed)["rows"] == 20
    first, second, other = (call["Body"] for call in hosting.made("InvokeEndpoint"))
    assert first == second != other


def test_an_endpoint_that_does_not_exist_yet_has_no_evaluation(
    hosting: HostingStandIn, context: dict[str, Any]
) -> None:
    assert evaluate(context, "s3://acme-ml/none/") is None


def test_parquet(serve: Serve, context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.5, None, 2.0], "when": [None, "a", "b"], "churn": ["Yes", "No", None]})
    frame.to_parquet(tmp_path / "rows.parquet")
    hosting = serve(BINARY, "Accuracy")
    hosting.predict = lambda body: "Yes\n" * len(body.splitlines())
    assert metrics.candidate_metrics(evaluate(context, tmp_path))["Accuracy"] == 0.5
    (call,) = hosting.made("InvokeEndpoint")
    assert sorted(call["Body"].splitlines()) == [",a", "1.5,"]
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(AutoMLValidationError, match="is Parquet, which needs pyarrow: run pip install pyarrow"):
        evaluate(context, tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage that is not deflate", "is neither Parquet nor CSV in UTF-8"),
        (b"PAR1 no footer", "is damaged Parquet"),
        (b"risk,churn\n\n0.1,Yes\n0.2,Yes,No\n", "line 4 of .* has 3 values, its header 2"),
        (b"risk\n0.1\n", "has no column 'churn'; it has: risk"),
    ],
)
def test_unreadable_data_is_reported_with_its_address(
    serve: Serve, context: dict[str, Any], tmp_path: Path, content: bytes, reason: str
) -> None:
    serve(BINARY)
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(AutoMLValidationError, match=f"data: .*{reason}"):
        evaluate(context, tmp_path)


def test_an_invalid_manifest_is_reported_with_its_line(serve: Serve, context: dict[str, Any], tmp_path: Path) -> None:
    serve({"ImageClassificationJobConfig": {}})
    (tmp_path / "train.manifest").write_text('{"label-metadata": {"class-name": "cat"}, "source-ref": "x"}\n{"a": \n')
    with pytest.raises(AutoMLValidationError, match=r"line 2 of .*train.manifest is not a JSON object"):
        evaluate(context, tmp_path / "train.manifest")


def test_regressions_and_several_classes(serve: Serve, context: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n" + "".join(f"{n},{n + n % 3}\n" for n in range(30)))
    hosting = serve({"TabularJobConfig": {"TargetAttributeName": "y", "ProblemType": "Regression"}}, "RMSE")
    hosting.predict = lambda body: body
    found = evaluate(context, tmp_path)
    assert metrics.candidate_metrics(found)["MAE"] == 1.0
    assert found["confusion_matrix"] is None
    kind = {"TabularJobConfig": {"TargetAttributeName": "y", "ProblemType": "MulticlassClassification"}}
    hosting.jobs["churn-5a8e"] |= {"AutoMLProblemTypeConfig": kind, "AutoMLJobObjective": {"MetricName": "F1macro"}}
    (tmp_path / "rows.csv").write_text("x,y\na,a\nb,b\n")
    assert metrics.objective_name(evaluate(context, tmp_path)) == "F1macro"


def test_texts_may_be_long(serve: Serve, context: dict[str, Any], tmp_path: Path) -> None:
    hosting = serve({"TextClassificationJobConfig": {"ContentColumn": "text", "TargetLabelColumn": "label"}})
    hosting.predict = lambda body: "good\n" * len(body.splitlines())
    (tmp_path / "rows.csv").write_text(f"text,label\n{'x' * 200_000},good\nshort,bad\n")
    assert metrics.candidate_metrics(evaluate(context, tmp_path))["Accuracy"] == 0.5


def test_of_texts_only_the_text_is_sent(serve: Serve, context: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('id,text,topic\n1,"late, again",bill\n2,thanks,other\n')
    hosting = serve(
        {"TextClassificationJobConfig": {"TargetLabelColumn": "topic", "ContentColumn": "text"}}, "Accuracy"
    )
    hosting.predict = lambda body: "bill\n" * len(body.splitlines())
    assert metrics.candidate_metrics(evaluate(context, tmp_path))["Accuracy"] == 0.5
    assert sorted(hosting.made("InvokeEndpoint")[0]["Body"].splitlines()) == ['"late, again"', "thanks"]


@pytest.mark.parametrize("layout", ["folders", "manifest"])
def test_images(serve: Serve, context: dict[str, Any], tmp_path: Path, layout: str) -> None:
    for name in ("cat/1.png", "cat/2.PNG", "dog/deep/3.jpg", "dog/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"picture of a {name.partition('/')[0]}")
    lines = [
        json.dumps({"source-ref": f"file://{tmp_path}/{name}", "label-metadata": {"class-name": name[:3]}})
        for name in ("cat/1.png", "cat/2.PNG", "dog/deep/3.jpg")
    ]
    (tmp_path / "images.manifest").write_text("\n".join(lines))
    data = tmp_path if layout == "folders" else tmp_path / "images.manifest"
    hosting = serve({"ImageClassificationJobConfig": {}}, "Accuracy")
    hosting.predict = lambda body: f"{body.split()[-1]}\n"
    found = evaluate(context, data)
    assert (found["rows"], found["unit"]) == (3, "images")
    assert metrics.candidate_metrics(found)["Accuracy"] == 1.0
    assert found["confusion_matrix"] == {"labels": ["cat", "dog"], "counts": [[2, 0], [0, 1]]}


SERIES = {
    "TimeSeriesForecastingJobConfig": {
        "ForecastFrequency": "1D",
        "ForecastHorizon": 2,
        "TimeSeriesConfig": {
            "TargetAttributeName": "sold",
            "TimestampAttributeName": "day",
            "ItemIdentifierAttributeName": "item",
        },
    }
}


def test_series_are_judged_by_the_values_that_have_come_since(
    serve: Serve, context: dict[str, Any], tmp_path: Path
) -> None:
    sizes = {"a": 1, "b": 10}
    rows = [f"{item},2026-01-{day:02},{day * sizes[item]},{day % 2}" for item in sizes for day in range(1, 21)]
    rows += ["a,2026-01-21,nan,0", "b,2026-01-21, ,0"]  # not known yet
    (tmp_path / "rows.csv").write_text("item,day,sold,promotion\n" + "\n".join(rows) + "\n")
    hosting = serve(SERIES, "MAPE")

    def forecast(body: str) -> str:
        last = {row["item"]: float(row["sold"]) for row in csv.DictReader(io.StringIO(body)) if row["sold"]}
        steps = [(item, day, value) for item, value in last.items() for day in (19, 20)]
        lines = (f"{item},2026-01-{day} 00:00:00,{v},{v},{v},{v}\n" for item, day, v in steps)
        return "item,day,p10,p50,p90,mean\n" + "".join(lines)

    hosting.predict = forecast
    found = evaluate(context, tmp_path)
    (call,) = hosting.made("InvokeEndpoint")
    asked = list(csv.DictReader(io.StringIO(call["Body"])))
    assert len(asked) == 42
    assert [row["sold"] for row in asked if row["day"] >= "2026-01-19"] == [""] * 6
    assert asked[-1]["promotion"] == "0"
    values = metrics.candidate_metrics(found)
    assert (found["rows"], found["unit"], metrics.objective_name(found)) == (2, "series", "MAPE")
    assert values["MAPE"] == pytest.approx((1 / 19 + 2 / 20) / 2)
    assert values["WAPE"] == values["AverageWeightedQuantileLoss"] == pytest.approx(33 / (39 * 11))
    # Last week again is wrong by seven days' growth.
    assert values["MASE"] == pytest.approx((1 / 7 + 2 / 7) / 2)


def test_series_that_are_no_longer_than_a_season_are_scaled_by_their_steps(
    serve: Serve, context: dict[str, Any], tmp_path: Path
) -> None:
    rows = "".join(f"a,2026-01-{day:02},{day}\n" for day in range(1, 7))
    (tmp_path / "rows.csv").write_text(f"item,day,sold\n{rows}")
    hosting = serve(SERIES, "MASE")
    answers = "".join(f"a,2026-01-{day:02} 00:00:00,4,4,4,4\n" for day in (5, 6))
    hosting.predict = lambda body: f"item,day,p10,p50,p90,mean\n{answers}"
    assert metrics.candidate_metrics(evaluate(context, tmp_path))["MASE"] == pytest.approx((1 + 2) / 2)


def test_generated_texts_are_compared_by_rouge(serve: Serve, context: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("input,output\nWho?,the small cat\nWhat?,\n")
    hosting = serve({"TextGenerationJobConfig": {}})
    hosting.predict = lambda body: json.dumps([{"generated_text": "the cat"}])
    found = evaluate(context, tmp_path)
    asked = json.loads(hosting.made("InvokeEndpoint")[0]["Body"])
    assert asked == {"inputs": "Who?", "parameters": {"max_new_tokens": 256}}
    assert (metrics.objective_name(found), found["rows"]) == ("RougeL", 1)
    assert metrics.candidate_metrics(found)["Rouge1"] == pytest.approx(0.8)


def test_no_more_tokens_are_requested_than_the_container_can_answer(
    serve: Serve, context: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("input,output\nWho?,the small cat\n")
    hosting = serve({"TextGenerationJobConfig": {}})
    hosting.predict = lambda body: json.dumps([{"generated_text": "the cat"}])
    (model,) = hosting.models.values()
    model["PrimaryContainer"]["Environment"]["MAX_TOTAL_TOKENS"] = "128"
    evaluate(context, tmp_path)
    assert json.loads(hosting.made("InvokeEndpoint")[0]["Body"])["parameters"] == {"max_new_tokens": 64}


def test_without_probabilities_another_metric_replaces_the_objective_and_a_gate_does_not_compare(
    serve: Serve, context: dict[str, Any], churn: str
) -> None:
    hosting = serve(BINARY, "AUC")
    hosting.predict = lambda body: "Yes\n" * len(body.splitlines())
    found = evaluate(context, churn)
    assert metrics.objective_name(found) == "Accuracy"
    challenger = {**found, "FinalAutoMLJobObjectiveMetric": {"MetricName": "AUC", "Value": 0.6}}
    decision = decide(context, champion="churn", evaluation=challenger, champion_evaluation=found)
    assert decision["passed"]
    assert "its evaluation has no AUC; deploy it with response=" in decision["reason"]
    hosting.calls.clear()
    decision = decide(context, champion="churn", champion_evaluation=found, evaluation=found, metric="Accuracy")
    assert decision["champion"]["gain"] == 0
    assert not hosting.calls


def test_an_evaluation_ends_at_its_time_limit_with_the_answered_rows(
    serve: Serve, context: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any
) -> None:
    (tmp_path / "rows.csv").write_text("input,output\n" + "q,a\n" * 9)
    hosting = serve({"TextGenerationJobConfig": {}})
    hosting.predict = lambda body: json.dumps({"generated_text": "a"})
    clock = iter(range(100))
    monkeypatch.setattr(live_module, "monotonic", lambda: float(next(clock)))
    found = evaluate(context, tmp_path, max_seconds=3.5)
    assert (found["rows"], found["complete"]) == (4, False)
    assert "max_seconds (3.5) was reached" in capsys.readouterr().out + caplog.text
    assert evaluate(context, tmp_path, max_seconds=None)["complete"]


def test_a_variant_is_called_by_its_name(serve: Serve, context: dict[str, Any], churn: str) -> None:
    hosting = serve(BINARY, "Accuracy")
    hosting.predict = lambda body: "Yes\n" * len(body.splitlines())
    (config,) = hosting.configs.values()
    config["ProductionVariants"].append({**config["ProductionVariants"][0], "VariantName": "challenger"})
    assert evaluate(context, churn, variant="challenger")["variant"] == "challenger"
    assert hosting.made("InvokeEndpoint")[0]["TargetVariant"] == "challenger"
    with pytest.raises(AutoMLValidationError, match="has no 'x'; it has: AllTraffic, challenger"):
        evaluate(context, churn, variant="x")
    del config["ProductionVariants"][1]["ModelName"]
    with pytest.raises(AutoMLValidationError, match="variant challenger of endpoint churn serves inference components"):
        evaluate(context, churn, variant="challenger")


def test_without_a_job_the_target_must_be_named(serve: Serve, context: dict[str, Any], churn: str) -> None:
    hosting = serve(BINARY, "Accuracy")
    hosting.predict = lambda body: "Yes\n" * len(body.splitlines())
    for tags in hosting.tags.values():
        tags.pop(TAG_JOB, None)
    with pytest.raises(AutoMLValidationError, match="its problem type and target are not known"):
        evaluate(context, churn)
    assert evaluate(context, churn, target="churn")["rows"] == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint_name": None}, "endpoint_name, candidate, job: none is given"),
        ({"candidate": {}}, "endpoint_name: a candidate is given too"),
        ({"wait_for_completion": False}, "wait_for_completion: is False"),
        ({"confidence": 95}, "confidence: is 95"),
    ],
)
def test_arguments_that_contradict(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AutoMLValidationError, match=message):
        SageMakerAutoMLEvaluateOperator(task_id="evaluate", data="s3://b/d/", **{"endpoint_name": "churn", **settings})


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_candidate_is_evaluated_by_batch_transform(
    hosting: HostingStandIn,
    bucket: Bucket,
    context: dict[str, Any],
    job: dict[str, Any],
    run_task: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    deferrable: bool,
) -> None:
    from airflow_automl.hooks.storage import Storage

    @contextmanager
    def reaching(self: Any, service: str = "sagemaker") -> Iterator[Any]:
        yield bucket.client

    hosting.jobs["churn-5a8e"] = {**JOB, "AutoMLProblemTypeConfig": BINARY, "AutoMLJobObjective": {"MetricName": "AUC"}}
    original = type(hosting).CreateTransformJob

    def transform(self: Any, request: dict[str, Any]) -> Any:
        # Meanwhile, a user clears another task of the run.
        context["dag_run"].clear_number += 1
        source = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        assert (request["TransformInput"]["SplitType"], request["TransformOutput"]["AssembleWith"]) == ("None", "None")
        for key in bucket.keys():  # noqa: SIM118 - not a mapping
            if f"s3://{BUCKET}/{key}".startswith(source):
                body = bucket.read(f"s3://{BUCKET}/{key}").decode()
                rows = [f'Yes,{risk},"[{1 - float(risk)}, {risk}]"' for risk in body.split()]
                answer = "".join(f"{row},\"['No', 'Yes']\"\n" for row in rows)
                out = request["TransformOutput"]["S3OutputPath"] + key.rpartition("/")[2] + ".out"
                bucket.put(out.removeprefix(f"s3://{BUCKET}/"), answer)
        return original(self, request)

    monkeypatch.setattr(type(hosting), "CreateTransformJob", transform)
    real = Storage.__init__

    def storage(self: Any, hook: Any, conn_id: Any = None) -> None:
        real(self, hook, conn_id)
        self._hook = type("Reaching", (), {"reaching_aws": reaching})()

    monkeypatch.setattr(Storage, "__init__", storage)
    data = bucket.put("labelled/rows.csv", "risk,churn\n0.9,Yes\n0.4,Yes\n0.6,No\n0.1,No\n")
    job["output"] = {"S3OutputPath": f"s3://{BUCKET}/out/"}
    found = run_task(
        lambda: SageMakerAutoMLEvaluateOperator(
            task_id="evaluate",
            data=data,
            candidate=make_candidate(),
            job=job,
            poll_interval=0.01,
            deferrable=deferrable,
        )
    )
    assert metrics.candidate_metrics(found)["AUC"] == 0.75
    assert (found["rows"], found["CandidateName"]) == (4, "churn-WeightedEnsemble-L2")
    assert not hosting.models
