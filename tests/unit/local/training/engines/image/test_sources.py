"""The images of a channel, and their labels: folders, ManifestFile, AugmentedManifestFile (R21, R22)."""

import json

import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.image import data
from tests.unit.local.training.engines.classifying import channel


def found(bucket, uri, data_type="S3Prefix"):
    return {(each.object.uri, each.label) for each in data.find(bucket.store, channel(uri, data_type=data_type))}


def test_every_folder_is_a_class(bucket):
    uris = [
        (bucket.put("pets/cat/1.png", b"x"), "cat"),
        (bucket.put("pets/cat/deeper/2.jpg", b"x"), "cat"),
        (bucket.put("pets/dog/noext", b"x"), "dog"),
        (bucket.put("pets/dog/_DSC0001.JPG", b"x"), "dog"),
    ]
    for key in ("pets/.ipynb_checkpoints/1.png", "pets/cat/.thumbs/1.png", "pets/cat/._1.png", "pets/cat/_SUCCESS"):
        bucket.put(key, b"x")
    for key in ("pets/README.md", "pets/cat/", "pets/cat/.DS_Store", "pets/dog/Thumbs.db", "pets-old/cow/1.png"):
        bucket.put(key, b"x")

    assert found(bucket, "s3://learning-data/pets") == set(uris)
    assert found(bucket, "s3://learning-data/pets/") == set(uris)


def test_an_image_outside_of_a_class_is_named(bucket):
    bucket.put("pets/cat/1.png", b"x")
    bucket.put("pets/lost.JPG", b"x")

    with pytest.raises(JobFailure, match=r"s3://learning-data/pets/lost.JPG is in no folder of a class"):
        found(bucket, "s3://learning-data/pets/")


def test_a_channel_without_images_fails_with_the_reason(bucket):
    with pytest.raises(JobFailure, match="There is no image at s3://learning-data/none"):
        found(bucket, "s3://learning-data/none/")


def test_a_manifest_lists_images_below_a_prefix(bucket):
    uri = bucket.put("m.json", json.dumps([{"prefix": "s3://learning-data/pets/"}, "cat/1.png", "dog/a/2.png"]))

    assert found(bucket, uri, "ManifestFile") == {
        ("s3://learning-data/pets/cat/1.png", "cat"),
        ("s3://learning-data/pets/dog/a/2.png", "dog"),
    }


def test_the_prefix_of_a_manifest_may_be_the_class(bucket):
    uri = bucket.put("m.json", json.dumps([{"prefix": "s3://learning-data/pets/cat/"}, "1.png"]))

    assert found(bucket, uri, "ManifestFile") == {("s3://learning-data/pets/cat/1.png", "cat")}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({}, "must be a list"),
        ([], "must be a list"),
        ([{"prefix": "s3://learning-data/"}], "lists no objects"),
        ([{"prefix": "s3://learning-data/"}, 3], "must be a list"),
        ([{"prefix": "s3://learning-data/"}, "1.png"], "is in no folder"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(bucket, manifest, reason):
    uri = bucket.put("m.json", json.dumps(manifest))

    with pytest.raises(JobFailure, match=reason):
        found(bucket, uri, "ManifestFile")


def test_an_augmented_manifest_has_the_labels(bucket):
    lines = [
        {"source-ref": "s3://elsewhere/a.png", "label-metadata": {"class-name": "cat"}},
        {"source-ref": "s3://elsewhere/b.png", "pet": 1, "pet-metadata": {"class-name": "dog", "confidence": 0.9}},
    ]
    uri = bucket.put("m.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n\n")

    assert found(bucket, uri, "AugmentedManifestFile") == {
        ("s3://elsewhere/a.png", "cat"),
        ("s3://elsewhere/b.png", "dog"),
    }


def test_labels_of_an_augmented_manifest_may_hold_line_separators_of_unicode(bucket):
    record = {"source-ref": "s3://elsewhere/a.png", "label-metadata": {"class-name": "cat\u2028dog"}}
    uri = bucket.put("m.jsonl", f"{json.dumps(record, ensure_ascii=False)}\r\n".encode())

    assert found(bucket, uri, "AugmentedManifestFile") == {("s3://elsewhere/a.png", "cat\u2028dog")}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Line 2 of .* is not JSON"),
        ("[]", "Line 2 of .* has no source-ref"),
        ('{"source-ref": "s3://b/k"}', "Line 2 of .* has no class-name"),
        (
            '{"source-ref": "s3://b/k", "a-metadata": {"class-name": "x"}, "b-metadata": {"class-name": "y"}}',
            "several classes, in 'a-metadata', 'b-metadata'",
        ),
        ('{"source-ref": "nowhere", "a-metadata": {"class-name": "x"}}', "not an address in S3"),
    ],
)
def test_a_record_of_another_shape_is_named(bucket, line, reason):
    good = '{"source-ref": "s3://b/k", "a-metadata": {"class-name": "x"}}'
    uri = bucket.put("m.jsonl", f"{good}\n{line}\n")

    with pytest.raises(JobFailure, match=reason):
        found(bucket, uri, "AugmentedManifestFile")
