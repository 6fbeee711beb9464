"""Channels of images become pictures on disk, with their labels."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.image import data
from tests.unit.local.training.engines.classifying import channel


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(file, "PNG")
    return file.getvalue()


def load(bucket, folder, *channels, **request):
    told = []
    run = SimpleNamespace(
        store=bucket.store,
        spec=SimpleNamespace(request={"AutoMLJobInputDataConfig": list(channels), **request}),
        events=SimpleNamespace(partial_failure=lambda message, kind: told.append((kind, message))),
    )
    return data.load(run, folder / "pictures"), told


def put(bucket, prefix, **counts):
    for label, count in counts.items():
        for number in range(count):
            bucket.put(f"{prefix}/{label}/{number}.png", png((number, 0, 255)))
    return f"s3://learning-data/{prefix}/"


def test_a_fifth_of_each_class_validates(bucket, tmp_path):
    samples, told = load(bucket, tmp_path, channel(put(bucket, "in", cat=10, dog=5)))

    assert samples.labels == ("cat", "dog")
    assert sorted(samples.validation_codes.tolist()) == [0, 0, 1]
    assert len(samples.train) == 12
    assert samples.own
    assert not told
    assert data.opened(samples.train[0]).shape == (224, 224, 3)
    assert not list(tmp_path.rglob("*.raw"))


def test_a_validation_fraction_is_followed(bucket, tmp_path):
    uri = put(bucket, "in", cat=10, dog=10)

    samples, _ = load(bucket, tmp_path, channel(uri), DataSplitConfig={"ValidationFraction": 0.5})

    assert len(samples.validation) == len(samples.train) == 10


def test_a_validation_channel_validates(bucket, tmp_path):
    channels = channel(put(bucket, "a", cat=3, dog=3)), channel(put(bucket, "b", dog=2), "validation")

    samples, _ = load(bucket, tmp_path, *channels)

    assert len(samples.train) == 6
    assert samples.validation_codes.tolist() == [1, 1]
    assert not samples.own


def test_samples_of_a_class_that_only_validation_has_are_left_out(bucket, tmp_path):
    training, validation = channel(put(bucket, "a", cat=3, dog=3)), put(bucket, "b", cow=2, dog=1)
    samples, _ = load(bucket, tmp_path, training, channel(validation, "validation"))
    assert samples.validation_codes.tolist() == [1]
    assert len(samples.validation) == 1
    assert "2 validation images are left out: they are of the classes 'cow'" in " ".join(samples.notes)
    channels = training, channel(put(bucket, "c", cow=2), "validation")

    with pytest.raises(JobFailure, match="'cow', which the training data lack"):
        load(bucket, tmp_path / "again", *channels)


def test_a_class_that_lost_all_its_images_is_named(bucket, tmp_path):
    uri = put(bucket, "in", cat=4, dog=4)
    bucket.put("in/cow/1.png", b"moo")

    samples, ((kind, message),) = load(bucket, tmp_path, channel(uri))

    assert samples.labels == ("cat", "dog")
    assert kind == "Candidate"
    assert "it is neither PNG nor JPEG" in message
    assert "nothing is left of the class 'cow'" in message
    assert message in samples.notes


def test_equal_images_do_not_both_train_and_validate(bucket, tmp_path):
    uri = put(bucket, "in", cat=6, dog=6)
    for number in range(6):
        bucket.put(f"in/cat/again-{number}.png", png((number, 0, 254)))
        bucket.put(f"in/dog/again-{number}.png", png((number, 0, 254)))
    lines = [
        {"source-ref": each.object.uri, "label-metadata": {"class-name": each.label}}
        for each in data.find(bucket.store, channel(uri))
    ]
    manifest = bucket.put("m.jsonl", "\n".join(json.dumps(line) for line in lines * 2))

    for given in (channel(uri), channel(manifest, data_type="AugmentedManifestFile")):
        samples, _ = load(bucket, tmp_path / given["DataSource"]["S3DataSource"]["S3DataType"], given)
        train, validation = ({path.read_bytes() for path in part} for part in (samples.train, samples.validation))
        assert validation
        assert not train & validation
        assert " images are copies of others" in samples.notes[-1]


def test_the_training_images_decide_how_bright_16_bits_of_grey_are(bucket, tmp_path):
    def grey(value):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8), value, dtype="uint16")).save(file, "PNG")
        return file.getvalue()

    for number in range(4):
        bucket.put(f"a/dark/{number}.png", grey(400 + number))
        bucket.put(f"a/light/{number}.png", grey(4000 + number))
    bucket.put("b/dark/1.png", grey(400))
    bucket.put("b/light/1.png", grey(60_000))
    channels = (channel(f"s3://learning-data/{key}/", kind) for key, kind in (("a", "training"), ("b", "validation")))

    samples, _ = load(bucket, tmp_path, *channels)

    assert samples.bits == 12
    assert [data.opened(path)[5, 5].tolist() for path in samples.validation] == [[25] * 3, [255] * 3]
    assert {int(data.opened(path)[5, 5, 0]) for path in samples.train} == {25, 249}


def test_a_manifest_chooses_images(bucket, tmp_path):
    put(bucket, "in", cat=4, dog=4, cow=4)
    keys = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(3)]
    uri = bucket.put("m.json", json.dumps([{"prefix": "s3://learning-data/in/"}, *keys]))

    samples, _ = load(bucket, tmp_path, channel(uri, data_type="ManifestFile"))

    assert samples.labels == ("cat", "dog")
    assert len(samples.train) + len(samples.validation) == 6


@pytest.mark.parametrize(
    ("kinds", "reason"), [(("training", "training"), "two training channels"), (("validation",), "no training channel")]
)
def test_one_training_channel_is_needed(bucket, tmp_path, kinds, reason):
    uri = put(bucket, "in", cat=2, dog=2)

    with pytest.raises(JobFailure, match=reason):
        load(bucket, tmp_path, *(channel(uri, kind) for kind in kinds))
