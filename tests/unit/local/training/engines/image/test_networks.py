"""Networks that this package writes as ONNX answer as their sources do; checkpoints are read without running them."""

import dataclasses
import importlib.util
import os
import pickle

import numpy as np
import pytest

from airflow_automl.local.models import weights
from airflow_automl.local.training.engines.classification.approach import Head, Samples, open_session, score
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.image import backbone, network

needs_weights = pytest.mark.skipif(not weights.available("efficientnet-lite0"), reason="needs EfficientNet's weights")
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")


def photo():
    from PIL import Image
    from sklearn.datasets import load_sample_image

    image = load_sample_image("china.jpg")[:, 106:533]
    return np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))


@needs_weights
def test_the_backbone_recognizes_a_palace():
    state = backbone.read_state(weights.locate("efficientnet-lite0"))
    head = Head(state["_fc.weight"].T, state["_fc.bias"])

    found = network.run(open_session(backbone.build(state, head), 1), [photo()])

    assert found.shape == (1, 1000)
    assert found.sum() == pytest.approx(1, abs=1e-4)
    assert found.argmax() == 698  # ImageNet's "palace"


@needs_weights
@needs_torch
def test_the_checkpoint_is_read_as_pytorch_reads_it():
    import torch

    path = weights.locate("efficientnet-lite0")
    ours, theirs = backbone.read_state(path), torch.load(path, weights_only=True, map_location="cpu")

    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name].numpy()) for name in theirs)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm-was-done",)


@pytest.mark.parametrize("position", [0, 1, 3])
def test_a_checkpoint_that_wants_to_run_something_is_refused(tmp_path, monkeypatch, position):
    monkeypatch.chdir(tmp_path)
    parts = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}, {}, [])]
    parts[position] = pickle.dumps(Harmful(), protocol=2)
    path = tmp_path / "bad.pth"
    path.write_bytes(b"".join(parts))

    with pytest.raises(ValueError, match=r"asks for posix.mkdir, which is not allowed"):
        backbone.read_state(path)
    assert not (tmp_path / "harm-was-done").exists()


@needs_torch
@pytest.mark.parametrize("side", [28, 56])
def test_the_small_network_answers_in_onnx_as_in_pytorch(side):
    import torch

    from airflow_automl.local.training.engines.image import cnn

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 224, 224, 3), dtype="uint8")
    net = cnn._network(3, side)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
    net.eval()
    mean, deviation = np.float32([100, 120, 140]), np.float32([50, 60, 70])
    block = 224 // side
    small = images.reshape(4, side, block, side, block, 3).mean(axis=(2, 4))
    with torch.inference_mode():
        inputs = torch.from_numpy(((small - mean) / deviation).transpose(0, 3, 1, 2).astype("float32"))
        expected = torch.softmax(net(inputs), dim=1).numpy()

    found = network.run(open_session(cnn._export(net, mean, deviation, side), 1), list(images))

    assert np.allclose(found, expected, atol=1e-4)


def stripes(folder, turned):
    """Pictures with a bright side, or with a bright upper or lower half: the class is where it is."""
    random = np.random.default_rng(0)
    files, codes = [], []
    for number in range(36):
        picture = random.integers(0, 60, (224, 224, 3), dtype="uint8")
        half = slice(0, 112) if number % 2 else slice(112, 224)
        picture[(slice(None), half) if turned else half] += 150
        files.append(folder / f"{number}.npy")
        np.save(files[-1], picture)
        codes.append(number % 2)
    return Samples(files[:24], np.array(codes[:24]), files[24:], np.array(codes[24:]), ("one", "other"))


@needs_torch
def test_a_network_that_had_no_time_for_a_step_is_no_candidate():
    from airflow_automl.local.training.engines.image import cnn

    scale = np.zeros(3, "float32"), np.ones(3, "float32")
    trainer = cnn._Trainer(cnn._network(2, 28), scale, Clock(0), False)
    with pytest.raises(TimeIsUp):
        trainer.learn(np.zeros((24, 28, 28, 3), "uint8"), np.arange(24) % 2)


@needs_torch
def test_which_epoch_is_kept_does_not_depend_on_the_validation_labels(tmp_path, monkeypatch):
    from airflow_automl.local.training.engines.image import cnn

    monkeypatch.setattr(cnn, "EPOCHS", 6)
    # As if mirrored pictures were never recognized: there is no second network.
    monkeypatch.setattr(cnn, "_TURNED", -2)
    samples = stripes(tmp_path, False)
    mistaken = dataclasses.replace(samples, validation_codes=1 - samples.validation_codes)
    one, other = (cnn.Cnn().train(each, Clock(None), 1) for each in (samples, mistaken))
    assert np.array_equal(one.probabilities, other.probabilities)


@needs_torch
@pytest.mark.parametrize(("turned", "networks"), [(True, [False]), (False, [False, True])])
def test_pictures_are_mirrored_only_if_their_class_does_not_depend_on_the_direction(
    tmp_path, monkeypatch, turned, networks
):
    from airflow_automl.local.training.engines.image import cnn

    monkeypatch.setattr(cnn, "EPOCHS", 6)
    learn, trained = cnn._Trainer.learn, []

    def counted(self, *given):
        trained.append(self._mirrored)
        return learn(self, *given)

    monkeypatch.setattr(cnn._Trainer, "learn", counted)

    network = cnn.Cnn().train(stripes(tmp_path, turned), Clock(None), 1)

    assert trained == networks
    assert score(network.probabilities, np.arange(12) % 2)[0] == 1
