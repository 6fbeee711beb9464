"""A small convolutional network, trained from scratch with PyTorch and served as ONNX."""

from __future__ import annotations

import importlib.util
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines.classification.approach import Approach, Samples, score
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.image import pictures
from airflow_automl.local.training.engines.image.data import opened
from airflow_automl.local.training.engines.image.network import Graph, Network

if TYPE_CHECKING:
    import torch

EPOCHS = 30
SIDES = (28, 56)
"""Pixels in each direction: divisors of 224, so that shrinking is a plain mean."""

_DETAIL = 0.12
"""From this share of detail that the smaller side would lose, the larger one is taken."""

_STAGES = ((24, 1), (48, 2), (96, 2))
"""Channels and convolutions between two halvings."""

_TURNED = 0.05
"""If mirrored pictures are recognized less often by more than this, their classes depend on the direction."""

_RATE, _DECAY, _WARM_UP = 4e-3, 0.05, 0.1
_EPSILON = 1e-5


class Cnn(Approach):
    """A small convolutional network, trained from scratch."""

    name = "cnn"

    def missing(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "it needs PyTorch: run `pip install 'airflow-automl[torch]'` where the embedded Autopilot runs."
        return None

    def train(self, samples: Samples, clock: Clock, threads: int) -> Network:
        """Train; if the time is short, in fewer steps.

        If the network recognizes mirrored pictures as well, a second one learns from pictures of which half are
        mirrored. The likelier one on the validation pictures is kept. A mirrored letter or digit is another one.
        """
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(SEED)
        side = _side(samples)
        train, validation = _shrunk(samples.train, side), _shrunk(samples.validation, side)
        clock.check()
        mean = train.mean(axis=(0, 1, 2), dtype="float64").astype("float32")
        deviation = (train.std(axis=(0, 1, 2), dtype="float64") + 1.0).astype("float32")
        tried = []
        for mirrored in (False, True):
            began = time.monotonic()
            net = _network(len(samples.labels), side)
            trainer = _Trainer(net, (mean, deviation), clock, mirrored)
            epochs = trainer.learn(train, samples.train_codes)
            found = trainer.answers(validation)
            reached = score(found, samples.validation_codes)
            tried.append((reached[1], net, found, epochs, mirrored))
            turned = score(trainer.answers(validation[:, :, ::-1]), samples.validation_codes)
            if turned[0] < reached[0] - _TURNED or not clock.allows(2 * (time.monotonic() - began)):
                break
        _, net, found, epochs, mirrored = max(tried, key=lambda each: each[0])
        notes = (
            [f"The CNN was trained for {epochs} of {EPOCHS} epochs: its time limit was reached."]
            if epochs < EPOCHS
            else []
        )
        settings = {"side": side, "epochs": epochs, "mirrored": mirrored}
        return Network(found, settings, notes, _export(net, mean, deviation, side), threads)


def _shrunk(files: Any, side: int) -> np.ndarray:
    """Pictures as bytes, 28 or 56 pixels wide: all of them fit into memory."""
    block = pictures.SIZE // side
    found = np.empty((len(files), side, side, 3), dtype="uint8")
    for row, path in enumerate(files):
        found[row] = opened(path).reshape(side, block, side, block, 3).mean(axis=(1, 3)).round()
    return found


def _side(samples: Samples) -> int:
    """Return the smaller side, unless details would be lost."""
    small, large = SIDES
    some = _shrunk(samples.train[:: max(1, len(samples.train) // 64)], large).astype("float32")
    coarse = some.reshape(len(some), small, 2, small, 2, 3).mean(axis=(2, 4))
    lost = np.abs(some - coarse.repeat(2, axis=1).repeat(2, axis=2)).mean()
    return large if lost > _DETAIL * max(float(some.std(axis=(1, 2)).mean()), 1.0) else small


def _network(classes: int, side: int) -> torch.nn.Sequential:
    from torch import nn

    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, convolutions) in enumerate(_STAGES):
        for number in range(convolutions):
            stride = 2 if side == SIDES[1] and stage == number == 0 else 1
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width, eps=_EPSILON),
                nn.ReLU(),
            ]
            channels = width
        if stage < len(_STAGES) - 1:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, classes))


class _Trainer:
    def __init__(
        self, net: torch.nn.Sequential, scale: tuple[np.ndarray, np.ndarray], clock: Clock, mirrored: bool
    ) -> None:
        import torch

        self._net, self._scale, self._clock, self._mirrored = net, scale, clock, mirrored
        self._optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
        self._random = np.random.default_rng(SEED)

    def learn(self, train: np.ndarray, codes: np.ndarray) -> int:
        """Train; return the number of whole epochs.

        The last state is kept. The rate has fallen to almost nothing by then, and the one of 30 states that is best on
        few validation pictures is not as accurate as it seems.

        :raises TimeIsUp: there was not even time to begin.
        """
        batch = min(64, max(8, len(train) // 10))
        steps = -(-len(train) // batch)
        began, seconds = time.monotonic(), self._clock.left
        epoch, begun = 0, False
        while epoch < EPOCHS and not self._clock.passed:
            order = self._random.permutation(len(train))
            for number in range(steps):
                # The schedule follows the epochs or the clock, whichever is ahead.
                done = (epoch + number / steps) / EPOCHS
                if seconds:
                    done = max(done, (time.monotonic() - began) / seconds)
                if done >= 1:
                    break
                some = order[number * batch : (number + 1) * batch]
                if len(some) > 1:
                    self._step(train[some], codes[some], done)
                    begun = True
            else:
                epoch += 1
        if not begun:
            raise TimeIsUp
        self._net.eval()
        return epoch

    def _step(self, images: np.ndarray, codes: np.ndarray, done: float) -> None:
        import torch

        rate = _RATE * (done / _WARM_UP if done < _WARM_UP else 0.5 + 0.5 * math.cos(math.pi * done))
        for group in self._optimizer.param_groups:
            group["lr"] = max(rate, _RATE / 100)
        self._net.train()
        scores = self._net(self._tensor(self._moved(images)))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(codes), label_smoothing=0.05)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def _moved(self, images: np.ndarray) -> np.ndarray:
        """Return the pictures, each moved by up to a tenth, and half of them mirrored if wanted."""
        most = images.shape[1] // 10
        wide = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
        side = images.shape[1]
        found = np.empty_like(images)
        for row, (top, left) in enumerate(self._random.integers(0, 2 * most + 1, (len(images), 2))):
            found[row] = wide[row, top : top + side, left : left + side]
        if self._mirrored:
            some = self._random.random(len(found)) < 0.5
            found[some] = found[some, :, ::-1]
        return found

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        import torch

        self._net.eval()
        with torch.inference_mode():
            parts = [
                torch.softmax(self._net(self._tensor(images[start : start + 256])), dim=1)
                for start in range(0, len(images), 256)
            ]
            return np.asarray(torch.cat(parts).numpy(), dtype="float64")

    def _tensor(self, images: np.ndarray) -> torch.Tensor:
        import torch

        mean, deviation = self._scale
        return torch.from_numpy(((images.astype("float32") - mean) / deviation).transpose(0, 3, 1, 2).copy())


def _export(net: torch.nn.Sequential, mean: np.ndarray, deviation: np.ndarray, side: int) -> bytes:
    """Return the trained network as ONNX, from pictures of 224 by 224 pixels on."""
    from torch import nn

    graph = Graph("images", ["batch", pictures.SIZE, pictures.SIZE, 3])
    value = graph.node("Div", [graph.node("Sub", [graph.input, graph.constant(mean)]), graph.constant(deviation)])
    value = graph.node("Transpose", [value], {"perm": [0, 3, 1, 2]})
    block = pictures.SIZE // side
    value = graph.node("AveragePool", [value], {"kernel_shape": [block, block], "strides": [block, block]})
    layers = list(net)
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            state = {name: tensor.detach().numpy() for name, tensor in following.state_dict().items()}
            scale = state["weight"] / np.sqrt(state["running_var"] + _EPSILON)
            kernel = layer.weight.detach().numpy() * scale[:, None, None, None]
            bias = state["bias"] - state["running_mean"] * scale
            value = graph.convolution(value, kernel, bias, layer.stride[0], (1, 1, 1, 1))
        elif isinstance(layer, nn.ReLU):
            value = graph.node("Relu", [value])
        elif isinstance(layer, nn.MaxPool2d):
            value = graph.node("MaxPool", [value], {"kernel_shape": [2, 2], "strides": [2, 2]})
    last = layers[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError("the network ends with something else than a linear layer")
    features = graph.node("Flatten", [graph.node("GlobalAveragePool", [value])], {"axis": 1})
    weights, bias = last.weight.detach().numpy(), last.bias.detach().numpy()
    return graph.model(graph.classifier(features, weights.T, bias), ["batch", len(bias)])
