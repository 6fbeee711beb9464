"""cnn-qr and deepar: networks that are trained on all series together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from torch.distributions import StudentT

from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED, Context, Forecaster, usable
from airflow_automl.local.training.engines.timeseries.algorithms.windows import (
    Batch,
    Windows,
    load_weights,
    save_weights,
    train,
)
from airflow_automl.local.training.engines.timeseries.panel import Panel

_DECILES = tuple(range(10, 100, 10))
_CNN_WIDTH = 32
_CNN_LAYERS = 5
_LSTM_WIDTH = 40
_PATHS = 100


class _Cnn(nn.Module):
    """Causal dilated convolutions over the context; each step of the horizon is decoded from their last state.

    :param windows: the sizes.
    :param outputs: number of quantiles.
    """

    def __init__(self, windows: Windows, outputs: int) -> None:
        super().__init__()
        self._context = windows.context
        inputs = 3 + windows.features
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs if layer == 0 else _CNN_WIDTH, _CNN_WIDTH, 2, dilation=2**layer)
            for layer in range(_CNN_LAYERS)
        )
        self.state = nn.Sequential(nn.Linear(2 * _CNN_WIDTH, _CNN_WIDTH), nn.GELU())
        self.decoder = nn.Sequential(
            nn.Linear(_CNN_WIDTH + windows.features + 2, 2 * _CNN_WIDTH),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(2 * _CNN_WIDTH, outputs),
        )
        self.horizon = nn.Parameter(torch.linspace(0, 1, windows.horizon)[:, None], requires_grad=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the quantiles of the scaled values: shape (windows, horizon, outputs)."""
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


class _Lstm(nn.Module):
    """Value before, value a season before and features → state → location, scale and degrees of freedom.

    :param windows: the sizes.
    """

    def __init__(self, windows: Windows) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(2 + windows.features, _LSTM_WIDTH, num_layers=2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(_LSTM_WIDTH, 3)

    def forward(self, inputs: torch.Tensor, state: Any = None) -> tuple[StudentT, Any]:
        """Return the distribution of the value of each step, and the state after the last one."""
        hidden, state = self.recurrent(inputs, state)
        freedom, location, scale = self.head(hidden).unbind(-1)
        distribution = StudentT(2.1 + nn.functional.softplus(freedom), location, 1e-3 + nn.functional.softplus(scale))
        return distribution, state


@dataclass(frozen=True)
class _Neural(Forecaster):
    """A trained network.

    :param windows: its sizes.
    :param quantiles: in percent: the job's, and the deciles, which the mean of cnn-qr is made of.
    """

    rows: ClassVar[int]
    """Series that are forecast at once."""

    windows: Windows
    quantiles: tuple[int, ...]
    network: nn.Module

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        torch.manual_seed(SEED)
        windows = Windows.over(panel)
        quantiles = tuple(sorted({*panel.settings.quantiles, *_DECILES}))
        model = cls(windows, quantiles, cls.build(windows, quantiles))
        train(model.network, windows, panel, model.loss, context)
        return model

    @classmethod
    @abstractmethod
    def build(cls, windows: Windows, quantiles: Sequence[int]) -> nn.Module:
        """Return the untrained network."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Return what training minimizes."""

    @abstractmethod
    def answer(self, batch: Batch, quantiles: Sequence[int]) -> np.ndarray:
        """Return the mean and the quantiles of the scaled values: shape (series, horizon, 1 + quantiles)."""

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        torch.set_num_threads(context.threads)
        found = []
        for begin in range(0, len(panel), self.rows):
            context.clock.check()
            batch = self.windows.last(panel.of(panel.series[begin : begin + self.rows]))
            with torch.inference_mode():
                answer = self.answer(batch, panel.settings.quantiles)
            found.append(answer * batch.scale[:, None, None] + batch.level[:, None, None])
        # A constant or very short series can't be forecast this way.
        useless = np.array([not usable(series) for series in panel.series])
        return np.where(useless[:, None, None], np.nan, np.concatenate(found))

    def save(self, folder: Path) -> None:
        save_weights(self.network, folder, self.windows, {"quantiles": self.quantiles})

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        windows, more, state = load_weights(folder)
        quantiles = tuple(more.get("quantiles", ()))
        network = cls.build(windows, quantiles)
        network.load_state_dict(state)
        return cls(windows, quantiles, network.eval())


class CnnQr(_Neural):
    """Reads the past and answers the quantiles of all steps at once."""

    name = "cnn-qr"
    rows = 256

    @classmethod
    def build(cls, windows: Windows, quantiles: Sequence[int]) -> nn.Module:
        return _Cnn(windows, len(quantiles))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean pinball loss of all quantiles."""
        shares = torch.tensor(self.quantiles) / 100
        difference = batch.future[..., None] - self.network(batch)
        return torch.maximum(shares * difference, (shares - 1) * difference).mean()

    def answer(self, batch: Batch, quantiles: Sequence[int]) -> np.ndarray:
        """Return the quantiles in ascending order; the mean is that of the deciles."""
        found = np.sort(self.network(batch).numpy().astype("float64"), axis=-1)
        deciles, wanted = ([self.quantiles.index(each) for each in part] for part in (_DECILES, quantiles))
        return np.concatenate([found[..., deciles].mean(axis=-1, keepdims=True), found[..., wanted]], axis=-1)


class DeepAr(_Neural):
    """Predicts the distribution of each next value; forecasts are paths drawn from it."""

    name = "deepar"
    rows = 64

    @classmethod
    def build(cls, windows: Windows, quantiles: Sequence[int]) -> nn.Module:
        return _Lstm(windows)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the negative log likelihood: each step is predicted from the true values before it."""
        windows = self.windows
        values = torch.cat([batch.past, batch.future], dim=1)
        lagged = torch.cat([batch.lagged, batch.future], dim=1)[:, : values.shape[1]]
        # In training, the horizon's own values are known, and so are those of a season before.
        inside = windows.context + windows.season
        if windows.season < windows.horizon:
            lagged = lagged.clone()
            lagged[:, inside:] = batch.future[:, : windows.horizon - windows.season]
        there = torch.cat([batch.there, torch.ones_like(batch.future)], dim=1)
        before = nn.functional.pad(values, (1, 0))[:, :-1]
        inputs = torch.cat([torch.stack([before, lagged], dim=2), batch.features], dim=2)
        distribution, _ = self.network(inputs)
        losses: torch.Tensor = -distribution.log_prob(values) * there
        return losses.sum() / there.sum()

    def answer(self, batch: Batch, quantiles: Sequence[int]) -> np.ndarray:
        """Return the mean and the quantiles of paths through the horizon."""
        paths = self._draw(batch).numpy().astype("float64")
        found = np.quantile(paths, [percent / 100 for percent in quantiles], axis=1).transpose(1, 2, 0)
        return np.concatenate([paths.mean(axis=1)[..., None], found], axis=-1)

    def _draw(self, batch: Batch) -> torch.Tensor:
        # Seeded here, so that equal requests get equal answers.
        torch.manual_seed(SEED)
        windows = self.windows
        context = windows.context
        before = nn.functional.pad(batch.past, (1, 0))[:, :-1]
        past = torch.stack([before, batch.lagged[:, :context]], dim=2)
        _, state = self.network(torch.cat([past, batch.features[:, :context]], dim=2))
        state = tuple(part.repeat_interleave(_PATHS, dim=1) for part in state)
        value = batch.past[:, -1].repeat_interleave(_PATHS)
        lagged = batch.lagged[:, context:].repeat_interleave(_PATHS, dim=0)
        features = batch.features[:, context:].repeat_interleave(_PATHS, dim=0)
        drawn: list[torch.Tensor] = []
        # The heavy tail of the distribution must not make a path diverge.
        limit = 3 * torch.cat([batch.past.abs().amax(dim=1), batch.past.new_ones(1)]).max()
        for step in range(windows.horizon):
            season = drawn[step - windows.season] if step >= windows.season else lagged[:, step]
            inputs = torch.cat([torch.stack([value, season], dim=1), features[:, step]], dim=1)[:, None]
            distribution, state = self.network(inputs, state)
            value = distribution.sample()[:, 0].clamp(-limit, limit)
            drawn.append(value)
        return torch.stack(drawn, dim=1).reshape(len(batch.past), _PATHS, windows.horizon)
