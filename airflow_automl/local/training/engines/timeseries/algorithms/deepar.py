"""deepar: a recurrent network that says how each next value is distributed; forecasts are paths drawn from that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn
from torch.distributions import StudentT

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

_WIDTH = 40
_PATHS = 100
_ROWS = 64
"""Series that are forecast at once: each of them as many times as there are paths."""


class _Network(nn.Module):
    """Value before, value a season before and features → state → location, scale and degrees of freedom.

    :param windows: the sizes.
    """

    def __init__(self, windows: Windows) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(2 + windows.features, _WIDTH, num_layers=2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(_WIDTH, 3)

    def forward(self, inputs: torch.Tensor, state: Any = None) -> tuple[StudentT, Any]:
        """The distribution of the value of each step, and the state after the last one."""
        hidden, state = self.recurrent(inputs, state)
        freedom, location, scale = self.head(hidden).unbind(-1)
        distribution = StudentT(2.1 + nn.functional.softplus(freedom), location, 1e-3 + nn.functional.softplus(scale))
        return distribution, state


@dataclass(frozen=True)
class DeepAr:
    """A trained network.

    :param windows: its sizes.
    :param network: the network.
    """

    name: ClassVar[str] = "deepar"
    windows: Windows
    network: _Network

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        """Train on all series together: each step is predicted from the true values before it."""
        torch.manual_seed(SEED)
        windows = Windows.over(panel)
        network = _Network(windows)

        def loss(batch: Batch) -> torch.Tensor:
            values = torch.cat([batch.past, batch.future], dim=1)
            lagged = torch.cat([batch.lagged, batch.future], dim=1)[:, : values.shape[1]]
            # Here the horizon has happened, so that values of a season before are known in it too.
            inside = windows.context + windows.season
            if windows.season < windows.horizon:
                lagged = lagged.clone()
                lagged[:, inside:] = batch.future[:, : windows.horizon - windows.season]
            there = torch.cat([batch.there, torch.ones_like(batch.future)], dim=1)
            before = nn.functional.pad(values, (1, 0))[:, :-1]
            inputs = torch.cat([torch.stack([before, lagged], dim=2), batch.features], dim=2)
            distribution, _ = network(inputs)
            losses: torch.Tensor = -distribution.log_prob(values) * there
            return losses.sum() / there.sum()

        train(network, windows, panel, loss, context)
        return cls(windows, network)

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """See :class:`~airflow_automl.local.training.engines.timeseries.algorithms.base.Forecaster`."""
        torch.set_num_threads(context.threads)
        parts = [self._some(panel.of(panel.series[i : i + _ROWS]), context) for i in range(0, len(panel), _ROWS)]
        return np.concatenate(parts)

    def _some(self, panel: Panel, context: Context) -> np.ndarray:
        context.clock.check()
        batch = self.windows.last(panel)
        with torch.inference_mode():
            paths = self._draw(batch).numpy().astype("float64")
        shares = [percent / 100 for percent in panel.settings.quantiles]
        quantiles = np.quantile(paths, shares, axis=1).transpose(1, 2, 0)
        return only_usable(panel, np.concatenate([paths.mean(axis=1)[..., None], quantiles], axis=-1))

    def _draw(self, batch: Batch) -> torch.Tensor:
        """Paths through the horizon: shape (series, paths, horizon)."""
        # Seeded here, so that equal requests get equal answers.
        torch.manual_seed(SEED)
        windows = self.windows
        context = windows.context
        before = nn.functional.pad(batch.past, (1, 0))[:, :-1]
        inputs = torch.cat(
            [torch.stack([before, batch.lagged[:, :context]], dim=2), batch.features[:, :context]], dim=2
        )
        _, state = self.network(inputs)
        state = tuple(part.repeat_interleave(_PATHS, dim=1) for part in state)
        value = batch.past[:, -1].repeat_interleave(_PATHS)
        lagged = batch.lagged[:, context:].repeat_interleave(_PATHS, dim=0)
        features = batch.features[:, context:].repeat_interleave(_PATHS, dim=0)
        drawn: list[torch.Tensor] = []
        # A heavy tail must not run away with a path.
        limit = 3 * torch.cat([batch.past.abs().amax(dim=1), batch.past.new_ones(1)]).max()
        for step in range(windows.horizon):
            season = drawn[step - windows.season] if step >= windows.season else lagged[:, step]
            inputs = torch.cat([torch.stack([value, season], dim=1), features[:, step]], dim=1)[:, None]
            distribution, state = self.network(inputs, state)
            value = distribution.sample()[:, 0].clamp(-limit, limit)
            drawn.append(value)
        paths = torch.stack(drawn, dim=1).reshape(len(batch.past), _PATHS, windows.horizon)
        return paths * batch.scale[:, None, None] + batch.level[:, None, None]

    def save(self, folder: Path) -> None:
        """Write the weights."""
        save_weights(self.network, folder, self.windows, {})

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        """Read them."""
        windows, _, state = load_weights(folder)
        network = _Network(windows)
        network.load_state_dict(state)
        network.eval()
        return cls(windows, network)
