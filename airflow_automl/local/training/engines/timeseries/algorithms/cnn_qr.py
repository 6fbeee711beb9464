"""cnn-qr: a convolutional network that reads the past and answers the quantiles of all steps at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED, Context
from airflow_automl.local.training.engines.timeseries.algorithms.windows import (
    Batch,
    Windows,
    load_weights,
    only_usable,
    save_weights,
    train,
)
from airflow_automl.local.training.engines.timeseries.panel import Panel

_WIDTH = 32
_LAYERS = 5
_DECILES = tuple(range(10, 100, 10))
_ROWS = 256
"""Series that are forecast at once."""


class _Network(nn.Module):
    """Causal dilated convolutions over the context; each step of the horizon is decoded from their last state.

    :param windows: the sizes.
    :param outputs: how many quantiles there are.
    """

    def __init__(self, windows: Windows, outputs: int) -> None:
        super().__init__()
        self._context = windows.context
        inputs = 3 + windows.features
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs if layer == 0 else _WIDTH, _WIDTH, 2, dilation=2**layer) for layer in range(_LAYERS)
        )
        self.state = nn.Sequential(nn.Linear(2 * _WIDTH, _WIDTH), nn.GELU())
        self.decoder = nn.Sequential(
            nn.Linear(_WIDTH + windows.features + 2, 2 * _WIDTH),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(2 * _WIDTH, outputs),
        )
        self.horizon = nn.Parameter(torch.linspace(0, 1, windows.horizon)[:, None], requires_grad=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The quantiles of the scaled values: shape (windows, horizon, outputs)."""
        past = torch.stack([batch.past, batch.there, batch.lagged[:, : self._context]], dim=2)
        hidden = torch.cat([past, batch.features[:, : self._context]], dim=2).transpose(1, 2)
        for layer, convolution in enumerate(self.convolutions):
            padded = nn.functional.pad(hidden, (2**layer, 0))
            found = nn.functional.gelu(convolution(padded))
            hidden = found if layer == 0 else hidden + found
        state = self.state(torch.cat([hidden[:, :, -1], hidden.mean(dim=2)], dim=1))
        ahead = batch.features[:, self._context :]
        steps = ahead.shape[1]
        parts = [
            state[:, None].expand(-1, steps, -1),
            ahead,
            batch.lagged[:, self._context :, None],
            self.horizon[None].expand(len(state), -1, -1),
        ]
        answer: torch.Tensor = self.decoder(torch.cat(parts, dim=2))
        return answer


@dataclass(frozen=True)
class CnnQr:
    """A trained network.

    :param windows: its sizes.
    :param quantiles: what it answers, in percent: the job's, and the deciles, which the mean is made of.
    :param network: the network.
    """

    name: ClassVar[str] = "cnn-qr"
    windows: Windows
    quantiles: tuple[int, ...]
    network: _Network

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        """Train on all series together."""
        torch.manual_seed(SEED)
        windows = Windows.over(panel)
        quantiles = tuple(sorted({*panel.settings.quantiles, *_DECILES}))
        network = _Network(windows, len(quantiles))
        shares = torch.tensor(quantiles) / 100

        def loss(batch: Batch) -> torch.Tensor:
            difference = batch.future[..., None] - network(batch)
            return torch.maximum(shares * difference, (shares - 1) * difference).mean()

        train(network, windows, panel, loss, context)
        return cls(windows, quantiles, network)

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """See :class:`~airflow_automl.local.training.engines.timeseries.algorithms.base.Forecaster`."""
        torch.set_num_threads(context.threads)
        parts = [self._some(panel.of(panel.series[i : i + _ROWS]), context) for i in range(0, len(panel), _ROWS)]
        return np.concatenate(parts)

    def _some(self, panel: Panel, context: Context) -> np.ndarray:
        context.clock.check()
        batch = self.windows.last(panel)
        with torch.inference_mode():
            scaled = self.network(batch) * batch.scale[:, None, None] + batch.level[:, None, None]
        answer = np.sort(scaled.numpy().astype("float64"), axis=-1)
        mean = answer[..., self._places(_DECILES)].mean(axis=-1, keepdims=True)
        found = np.concatenate([mean, answer[..., self._places(panel.settings.quantiles)]], axis=-1)
        return only_usable(panel, found)

    def _places(self, wanted: Sequence[int]) -> list[int]:
        return [self.quantiles.index(percent) for percent in wanted]

    def save(self, folder: Path) -> None:
        """Write the weights."""
        save_weights(self.network, folder, self.windows, {"quantiles": self.quantiles})

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        """Read them."""
        windows, more, state = load_weights(folder)
        quantiles = tuple(more["quantiles"])
        network = _Network(windows, len(quantiles))
        network.load_state_dict(state)
        network.eval()
        return cls(windows, quantiles, network)
