import csv
import gzip
import json

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import channels, dataset
from airflow_automl.local.training.data.codec import Kind
from tests.local_s3 import BUCKET, Bucket

ROWS = 600
CHANNELS = (("in", "training"), ("val", "validation"))


def people(rows=ROWS, **columns):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "zip": [f"{value:05d}" for value in random.integers(0, 99999, rows)],
            "income": random.normal(50, 10, rows).round(2),
            "joined": pd.date_range("2020-01-01", periods=rows).astype(str),
            "churn": np.where(random.random(rows) < 0.3, "yes", "no"),
        }
    )
    return frame.assign(**columns)


def channel(uri, **more):
    source = {"S3DataType": more.pop("S3DataType", "S3Prefix"), "S3Uri": uri}
    return {"DataSource": {"S3DataSource": source}, **more}


def load(bucket: Bucket, tmp_path, inputs, mode="ENSEMBLING", target="churn", objective=None, split=None, **config):
    request = {
        "AutoMLJobInputDataConfig": inputs,
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": target, **config}},
    }
    if objective:
        request["AutoMLJobObjective"] = {"MetricName": objective}
    if split:
        request["DataSplitConfig"] = {"ValidationFraction": split}
    found = channels.resolve(bucket.store, inputs)
    return dataset.load(bucket.store, found, request, mode, tmp_path / "download")


@pytest.mark.parametrize("uri", ["in/_train", "in/_train/", "in/_tr"])
def test_what_the_request_names_is_not_hidden(bucket, uri):
    for name, body in (("part-0.csv", "a,b"), ("part-1.csv", "a,b"), ("_SUCCESS", b""), (".part-0.crc", "x")):
        bucket.put(f"in/_train/{name}", body)
    found = channels.resolve(bucket.store, [channel(f"s3://{BUCKET}/{uri}")]).training
    assert [entry.key.rpartition("/")[2] for entry in found.objects] == ["part-0.csv", "part-1.csv"]


def test_csv_under_a_prefix_is_read_typed_and_split(bucket, tmp_path):
    frame = people()
    bucket.put("in/1.csv", frame[:300])
    bucket.put("in/2.csv", frame[300:])
    bucket.put("in/_SUCCESS", b"")
    bucket.put("in/sub/", b"")
    data = load(bucket, tmp_path, [channel(f"s3://{BUCKET}/in/")])
    assert {feature.name: feature.kind for feature in data.features} == {
        "age": Kind.NUMBER,
        "zip": Kind.TEXT,
        "income": Kind.NUMBER,
        "joined": Kind.MOMENT,
    }
    assert (data.problem_type, data.objective, data.labels) == ("BinaryClassification", "F1", ("no", "yes"))
    assert (len(data.train), len(data.validation)) == (480, 120)
    share = (frame["churn"] == "yes").mean()
    assert abs((data.validation["churn"] == "yes").mean() - share) < 0.01
    assert list(data.train["zip"].str.len().unique()) == [5]
    assert not (tmp_path / "download" / "training").exists()


def test_the_split_is_the_same_every_time_and_follows_the_fraction(bucket, tmp_path):
    uri = bucket.put("in.csv", people())
    one, two = (load(bucket, tmp_path, [channel(uri)], split=0.4) for _ in range(2))
    pd.testing.assert_frame_equal(one.validation, two.validation)
    assert len(one.validation) == 240


def test_gzip_manifest_and_parquet(bucket, tmp_path):
    frame = people()
    bucket.put("gz/a.csv.gz", gzip.compress(frame.to_csv(index=False).encode()))
    bucket.put("parts/a.parquet", frame[:300])
    bucket.put("parts/b.parquet", frame[300:])
    bucket.put("parts/c.csv", "not part of the manifest")
    manifest = bucket.put("manifest.json", json.dumps([{"prefix": f"s3://{BUCKET}/parts/"}, "a.parquet", "b.parquet"]))
    packed = load(bucket, tmp_path, [channel(f"s3://{BUCKET}/gz/", CompressionType="Gzip")])
    parquet = load(
        bucket, tmp_path, [channel(manifest, S3DataType="ManifestFile", ContentType="x-application/vnd.amazon+parquet")]
    )
    assert len(packed.train) == len(parquet.train) == 480
    assert [feature.kind for feature in parquet.features] == [feature.kind for feature in packed.features]


@pytest.mark.parametrize(
    "document", ["[]", "{}", '["a"]', '[{"prefix": "s3://x/"}]', '[{"prefix": 1}, "a"]', '[{"prefix": "s3://x/"}, 7]']
)
def test_a_manifest_of_another_shape_is_named(bucket, document):
    uri = bucket.put("manifest.json", document)
    with pytest.raises(JobFailure, match=uri):
        channels.resolve(bucket.store, [channel(uri, S3DataType="ManifestFile")])


def test_a_manifest_that_lists_a_missing_object_names_it(bucket):
    uri = bucket.put("manifest.json", json.dumps([{"prefix": f"s3://{BUCKET}/parts/"}, "gone.csv"]))
    with pytest.raises(JobFailure, match=r"parts/gone\.csv"):
        channels.resolve(bucket.store, [channel(uri, S3DataType="ManifestFile")])


def test_a_prefix_without_objects_and_an_empty_object_are_named(bucket):
    with pytest.raises(JobFailure, match=f"There is no object under s3://{BUCKET}/nothing/"):
        channels.resolve(bucket.store, [channel(f"s3://{BUCKET}/nothing/")])
    uri = bucket.put("empty.csv", b"")
    with pytest.raises(JobFailure, match=rf"{uri} is empty \(training channel\)"):
        channels.resolve(bucket.store, [channel(uri)])


def test_channels_of_one_kind_twice_or_none_to_train_on(bucket):
    uri = bucket.put("in.csv", people())
    with pytest.raises(JobFailure, match="two training channels"):
        channels.resolve(bucket.store, [channel(uri), channel(uri, ChannelType="training")])
    with pytest.raises(JobFailure, match="no training channel"):
        channels.resolve(bucket.store, [channel(uri, ChannelType="validation")])


def test_metrics_are_measured_on_the_validation_channel(bucket, tmp_path):
    training = bucket.put("train.csv", people())
    validation = bucket.put("val.csv", people(50, age="40-A"))
    data = load(bucket, tmp_path, [channel(training), channel(validation, ChannelType="validation")], split=0.5)
    assert (len(data.train), len(data.validation)) == (ROWS, 50)
    # Types are judged over both channels.
    assert {f.name: f.kind for f in data.features}["age"] == Kind.TEXT


def test_a_validation_channel_with_another_header(bucket, tmp_path):
    training = bucket.put("train.csv", people())
    other = bucket.put("val.csv", people(50).drop(columns="age"))
    with pytest.raises(JobFailure, match=r"val\.csv differs from that of the training data: it lacks 'age'"):
        load(bucket, tmp_path, [channel(training), channel(other, ChannelType="validation")])


@pytest.mark.parametrize("given", [None, "BinaryClassification"])
@pytest.mark.parametrize(("kinds", "other"), [(("yes", "no"), "maybe"), ((0, 1), 2)])
def test_validation_rows_of_classes_that_training_lacks_are_left_out(bucket, tmp_path, kinds, other, given):
    def loaded(held):
        channels = [channel(bucket.put("train.csv", people(churn=np.resize(kinds, ROWS))))]
        channels.append(channel(bucket.put("val.csv", people(50, churn=held)), ChannelType="validation"))
        return load(bucket, tmp_path, channels, ProblemType=given, objective="Accuracy" if given else None)

    data = loaded(np.resize([*kinds, other, *kinds], 50))
    assert (data.problem_type, len(data.train), len(data.validation)) == ("BinaryClassification", ROWS, 40)
    assert set(data.labels) == set(data.validation["churn"]) == set(kinds)
    assert data.failures == (
        f"10 validation rows are left out: the training data lacks their class of 'churn' ('{other}').",
    )
    with pytest.raises(
        JobFailure, match=f"The training data lacks the classes of 'churn' that the validation data has: '{other}'"
    ):
        loaded([other] * 50)


@pytest.mark.parametrize(
    ("frame", "options", "reason"),
    [
        (people(499), {}, "has 499 rows; at least 500 are needed"),
        (people(), {"target": "Churn"}, "'Churn' is not in the data .* Did you mean 'churn'"),
        (people(churn="yes"), {}, "'churn' has only one class, 'yes'"),
        (people(churn=None), {}, "'churn' is missing in every row"),
        (people(), {"target": "zip"}, "too many to be classes"),
        (people(), {"target": "zip", "ProblemType": "Regression"}, "'zip' of a Regression must be numeric"),
        (people(), {"target": "age", "ProblemType": "BinaryClassification"}, "must have two classes; it has"),
        (people(income=1.0), {"target": "income", "ProblemType": "Regression"}, "'income' is always 1:"),
        (people(), {"objective": "MSE"}, "objective MSE does not fit the problem type BinaryClassification"),
        (people(), {"SampleWeightAttributeName": "w"}, "sample weight column 'w' is not in the data"),
        (people(), {"SampleWeightAttributeName": "churn"}, "can't be both the target and the sample weight"),
        (people(), {"SampleWeightAttributeName": "zip"}, None),
        (people(w=-1), {"SampleWeightAttributeName": "w"}, "'w' has no positive number"),
        (people()[["churn"]], {}, "nothing to learn from"),
    ],
)
def test_data_rules_name_the_column(bucket, tmp_path, frame, options, reason):
    uri = bucket.put("in.csv", frame)
    if reason is None:
        assert load(bucket, tmp_path, [channel(uri)], **options).weight
        return
    with pytest.raises(JobFailure, match=reason):
        load(bucket, tmp_path, [channel(uri)], **options)


@pytest.mark.parametrize(("kind", "empty"), [("training", (0, 600)), ("validation", (600, 800))])
def test_a_channel_without_any_target_is_named(bucket, tmp_path, kind, empty):
    frame = people(800)
    frame.loc[empty[0] : empty[1] - 1, "churn"] = None
    training, validation = bucket.put("in/a.csv", frame[:600]), bucket.put("val/a.csv", frame[600:])
    with pytest.raises(JobFailure, match=f"No row of the {kind} data is left: each lacks a value"):
        load(bucket, tmp_path, [channel(training), channel(validation, ChannelType="validation")])


def test_columns_separated_by_something_else_are_recognized(bucket, tmp_path):
    uri = bucket.put("in.csv", people().to_csv(index=False, sep=";"))
    with pytest.raises(JobFailure, match="seem to be separated by ';'; CSV needs commas"):
        load(bucket, tmp_path, [channel(uri)])


def test_rows_without_target_or_valid_weight_are_left_out(bucket, tmp_path):
    frame = people(w=1.5)
    frame.loc[:9, "churn"] = None
    frame.loc[10:19, "w"] = -1
    frame.loc[20:29, "w"] = None
    uri = bucket.put("in.csv", frame)
    data = load(bucket, tmp_path, [channel(uri)], SampleWeightAttributeName="w")
    assert len(data.train) + len(data.validation) == ROWS - 30
    assert "w" not in data.columns
    assert set(data.weights(data.train)) == {1.5}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["0", "1"] * 300, "BinaryClassification"),
        (["low", "mid", "high"] * 200, "MulticlassClassification"),
        ([str(value % 10) for value in range(600)], "MulticlassClassification"),
        ([str(value % 40) for value in range(600)], "Regression"),
        ([str(value) for value in range(600)], "Regression"),
        ([str(value / 10) for value in range(600)], "Regression"),
        (["2.5", "7.5"] * 300, "BinaryClassification"),
    ],
)
def test_the_problem_type_is_inferred_from_the_target(bucket, tmp_path, target, expected):
    uri = bucket.put("in.csv", people(churn=target))
    assert load(bucket, tmp_path, [channel(uri)]).problem_type == expected


def test_numeric_classes_stay_numbers_in_their_order(bucket, tmp_path):
    uri = bucket.put("in.csv", people(churn=["2", "10", "9"] * 200))
    assert load(bucket, tmp_path, [channel(uri)], ProblemType="MulticlassClassification").labels == (2, 9, 10)


def specified(bucket, tmp_path, document, mode="ENSEMBLING", **config):
    uri = bucket.put("in.csv", people(w=1))
    spec = bucket.put("spec.json", json.dumps(document))
    return load(bucket, tmp_path, [channel(uri)], mode, FeatureSpecificationS3Uri=spec, **config)


def test_a_feature_specification_chooses_columns_and_types(bucket, tmp_path):
    document = {"FeatureAttributeNames": ["zip", "age"], "FeatureDataTypes": {"age": "categorical", "zip": "numeric"}}
    data = specified(bucket, tmp_path, document)
    assert data.columns == ["age", "zip"]
    assert [(f.kind, f.role) for f in data.features] == [(Kind.NUMBER, "categorical"), (Kind.NUMBER, "numeric")]
    assert data.train["age"].map(type).eq(str).all()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "must be a JSON object"),
        ({"Columns": []}, "must be a JSON object with FeatureAttributeNames"),
        ({"FeatureAttributeNames": "age"}, "must be a list of column names"),
        ({"FeatureAttributeNames": []}, "is empty"),
        ({"FeatureAttributeNames": ["age", "age"]}, "names 'age' more than once"),
        ({"FeatureAttributeNames": ["Age"]}, "names 'Age', not in the data"),
        ({"FeatureAttributeNames": ["churn"]}, "names the target 'churn'"),
        ({"FeatureDataTypes": {"churn": "numeric"}}, "names the target 'churn'"),
        ({"FeatureDataTypes": {"w": "numeric"}}, "names the sample weight column 'w'"),
        ({"FeatureDataTypes": {"age": "integer"}}, "the type 'integer'; ENSEMBLING knows 'numeric'"),
        ({"FeatureDataTypes": {"age": "sequence"}}, "the type 'sequence'"),
        ({"FeatureDataTypes": {"age": 1}}, "must map column names to types"),
        (
            {"FeatureAttributeNames": ["age"], "FeatureDataTypes": {"zip": "text"}},
            "names 'zip', which FeatureAttributeNames does not",
        ),
        ({"FeatureDataTypes": {"churned": "text"}}, "not in the data"),
    ],
)
def test_a_wrong_feature_specification_is_explained(bucket, tmp_path, document, reason):
    with pytest.raises(JobFailure, match=reason):
        specified(bucket, tmp_path, document, SampleWeightAttributeName="w")


def test_only_tuning_knows_sequences(bucket, tmp_path):
    document = {"FeatureDataTypes": {"zip": "sequence"}}
    assert specified(bucket, tmp_path, document, "HYPERPARAMETER_TUNING").features[1].role == "sequence"


def test_a_type_that_no_value_has_is_refused(bucket, tmp_path):
    uri = bucket.put("in.csv", people(name="x"))
    spec = bucket.put("spec.json", json.dumps({"FeatureDataTypes": {"name": "numeric"}}))
    with pytest.raises(JobFailure, match="calls the column 'name' numeric, but none of its values"):
        load(bucket, tmp_path, [channel(uri)], FeatureSpecificationS3Uri=spec)


@pytest.mark.parametrize(
    "labels",
    [
        ("2024-01", "2024-02"),
        ("Mar 2024", "May 2024"),
        ("2024-01-31", "none yet"),
        ("1/2/2024", "12/31/2023"),
        ("01.02.2024", "31.12.2023"),
        ("2024-01-31", "31.12.2023"),
    ],
)
def test_classes_that_look_like_dates_keep_their_names(bucket, tmp_path, labels):
    data = load(bucket, tmp_path, [channel(bucket.put("in.csv", people(churn=np.resize(labels, ROWS))))])
    assert data.labels == labels


def test_large_whole_numbers_are_exact_labels_although_one_is_missing(bucket, tmp_path):
    ids = ["123456789012345671", "123456789012345672"]
    bucket.put("in/1.csv", people(churn=[None, *(ids[row % 2] for row in range(ROWS - 1))]))
    data = load(bucket, tmp_path, [channel(f"s3://{BUCKET}/in/")])
    assert data.labels == tuple(ids)
    assert len(data.train) + len(data.validation) == ROWS - 1


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (["1", "0"], ["0", "1"]),
        (["1.0", "0.0"], ["0.0", "1.0"]),
        (["1.0", "", "0.0"], ["0.0", "1.0"]),
        (["2.0", "10.0", "-1.0"], ["-1.0", "2.0", "10.0"]),
        (["1.0", "0.5"], ["0.5", "1.0"]),
        (["1.0", "0"], ["0", "1"]),
        (["1.0", "-1"], ["-1", "1"]),
        (["1.0", "no"], ["1.0", "no"]),
    ],
)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_labels_are_written_as_in_the_csv(bucket, tmp_path, quoting, written, labels):
    frame = people(churn=np.resize(written, ROWS))
    for part in range(2):
        bucket.put(f"in/{part}.csv", frame[part * 300 : part * 300 + 300].to_csv(index=False, quoting=quoting))
    problem = "BinaryClassification" if len(labels) == 2 else "MulticlassClassification"
    data = load(bucket, tmp_path, [channel(f"s3://{BUCKET}/in/")], ProblemType=problem)
    assert [str(label) for label in data.labels] == labels
    assert set(data.train["churn"]) == set(data.labels)


@pytest.mark.parametrize(
    ("kind", "labels"), [("int64", ["0", "1"]), ("float64", ["0.0", "1.0"]), ("Int32", ["0", "1"])]
)
def test_labels_of_parquet_are_written_as_their_type_is(bucket, tmp_path, kind, labels):
    uri = bucket.put("in.parquet", people(churn=pd.Series(np.resize([0, 1], ROWS), dtype=kind)))
    data = load(bucket, tmp_path, [channel(uri, ContentType="x-application/vnd.amazon+parquet")])
    assert [str(label) for label in data.labels] == labels


def test_rows_without_a_target_are_left_out_of_the_channel_that_they_are_in(bucket, tmp_path):
    bucket.put("in/1.csv", people(churn=["?", *["1", "2"] * 299, "1"]))
    bucket.put("val/1.csv", people(100, churn=["?", "?", *["1", "2"] * 49]))
    inputs = [channel(f"s3://{BUCKET}/{name}/", ChannelType=kind) for name, kind in CHANNELS]
    data = load(bucket, tmp_path, inputs)
    assert (len(data.train), len(data.validation), data.labels) == (ROWS - 1, 98, (1, 2))


def test_validation_rows_that_weigh_nothing_are_refused(bucket, tmp_path):
    bucket.put("in/1.csv", people(importance=1))
    bucket.put("val/1.csv", people(100, importance=0))
    inputs = [channel(f"s3://{BUCKET}/{name}/", ChannelType=kind) for name, kind in CHANNELS]
    with pytest.raises(JobFailure, match="'importance' has no positive number in the validation data"):
        load(bucket, tmp_path, inputs, SampleWeightAttributeName="importance")
