"""What the two neural networks share: windows of series, features of time, training within a time limit."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from airflow_automl.local.training.engines.course import TimeIsUp
from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED, Context
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

log = logging.getLogger(__name__)

_DAY = 86_400.0
_MAX_CONTEXT = 168
_BATCH = 64
_STEPS = 500
_RATE = 2e-3
_WARM_UP = 20
_FILE = "weights.npz"

#: Unit → seconds of a step, about.
_UNITS = {"min": 60.0, "H": 3600.0, "D": _DAY, "W": 7 * _DAY, "M": 30.4375 * _DAY, "Y": 365.25 * _DAY}
_CYCLES = (3600.0, _DAY, 7 * _DAY, 30.4375 * _DAY, 365.25 * _DAY)
"""Cycles whose phase may be an input of a network, in seconds."""


class Batch(NamedTuple):
    """Windows side by side.

    :param past: scaled values of the context, shape (windows, context); 0 before a series begins.
    :param there: 1 where the context is inside the series.
    :param lagged: scaled values one season before each step of context and horizon, if they are known.
    :param features: of time and of the panel, shape (windows, context + horizon, features).
    :param future: scaled values of the horizon.
    :param level: what was subtracted from the values.
    :param scale: what they were divided by; both with all digits, which a series far from zero needs.
    """

    past: torch.Tensor
    there: torch.Tensor
    lagged: torch.Tensor
    features: torch.Tensor
    future: torch.Tensor
    level: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Windows:
    """Cuts windows out of series.

    :param horizon: steps to forecast.
    :param context: steps that a network sees before them.
    :param season: how far back the lagged values are.
    :param extra: how many features the panel has.
    :param cycles: whose phase is a feature, in seconds.
    """

    horizon: int
    context: int
    season: int
    extra: int
    cycles: tuple[float, ...]

    @classmethod
    def over(cls, panel: Panel) -> Windows:
        """Return sizes that fit a panel."""
        frequency = panel.settings.frequency
        season = frequency.season(panel.longest, longest=_MAX_CONTEXT)
        context = min(_MAX_CONTEXT, max(2 * panel.horizon, 2 * season, 16), max(4, panel.longest - panel.horizon))
        step = frequency.multiple * _UNITS[frequency.unit]
        # A phase that first occurs in the forecast would mislead the network.
        cycles = tuple(cycle for cycle in _CYCLES if 2 * step <= cycle <= panel.longest * step / 2)
        return cls(panel.horizon, context, season, len(panel.features), cycles)

    @property
    def features(self) -> int:
        """Features of each step: phases of the cycles, and the panel's own."""
        return 4 * len(self.cycles) + self.extra

    def random(self, panel: Panel, random: np.random.Generator) -> Batch:
        """Return a batch of windows for training; long series are drawn from more often."""
        ready = [s for s in panel.series if len(s) > self.horizon] or list(panel.series)
        weights = np.sqrt([len(s) for s in ready])
        drawn = random.choice(len(ready), _BATCH, p=weights / weights.sum())
        pairs = []
        for place in drawn:
            series = ready[place]
            earliest = min(max(4, self.horizon), len(series) - self.horizon)
            pairs.append((series, int(random.integers(max(1, earliest), max(2, len(series) - self.horizon + 1)))))
        return self._batch(pairs, panel)

    def last(self, panel: Panel) -> Batch:
        """Return the windows before the time to forecast."""
        return self._batch([(series, len(series)) for series in panel.series], panel)

    def _batch(self, pairs: list[tuple[Series, int]], panel: Panel) -> Batch:
        size = self.context + self.horizon
        values, there = np.zeros((len(pairs), size + self.season)), np.zeros((len(pairs), size + self.season))
        features = np.zeros((len(pairs), size, self.features))
        for row, (series, end) in enumerate(pairs):
            begin = end - self.context - self.season
            inside = slice(max(0, begin), min(len(series), end + self.horizon))
            values[row, inside.start - begin : inside.stop - begin] = series.target[inside]
            there[row, inside.start - begin : inside.stop - begin] = 1
            features[row] = self._features(series, end, panel)
        past, seen = values[:, : -self.horizon], there[:, : -self.horizon]
        recent, visible = past[:, -self.context :], seen[:, -self.context :]
        count = np.maximum(visible.sum(axis=1), 1)
        level = (recent * visible).sum(axis=1) / count
        scale = np.sqrt((((recent - level[:, None]) * visible) ** 2).sum(axis=1) / count)
        # What does not change is measured by its level.
        scale = np.where(scale > 1e-9 * np.abs(level), scale, np.where(level == 0, 1, np.abs(level)))
        scaled = (values - level[:, None]) / scale[:, None] * there
        # Within the horizon, a lagged value may be unknown: it is 0.
        known = scaled.copy()
        known[:, -self.horizon :] = 0
        return Batch(
            _tensor(scaled[:, self.season : self.season + self.context]),
            _tensor(visible),
            _tensor(known[:, :size]),
            _tensor(features),
            _tensor(scaled[:, -self.horizon :]),
            level,
            scale,
        )

    def _features(self, series: Series, end: int, panel: Panel) -> np.ndarray:
        first = series.start + end - self.context
        moments = panel.calendar.stamps(np.arange(first, first + self.context + self.horizon)).astype("int64")
        parts = []
        for cycle in self.cycles:
            # The epoch began on a Thursday; the start of a cycle makes no difference to a network.
            phase = 2 * math.pi * (moments % cycle) / cycle
            parts += [np.stack([f(k * phase) for f in (np.sin, np.cos) for k in (1, 2)], axis=1)]
        own = np.zeros((self.context + self.horizon, self.extra))
        begin = max(0, self.context - end)
        rows = panel.features_until(series, end, max(0, end - self.context))
        own[begin : begin + len(rows)] = rows
        return np.concatenate([*parts, own], axis=1)


def train(
    network: torch.nn.Module,
    windows: Windows,
    panel: Panel,
    loss: Callable[[Batch], torch.Tensor],
    context: Context,
) -> None:
    """Train a network, for a number of steps or as long as there is time.

    :param network: to train; is in evaluation mode afterwards.
    :param windows: cuts the batches.
    :param loss: of a batch.
    :raises TimeIsUp: there was not even time to begin.
    """
    torch.set_num_threads(context.threads)
    random = np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-3)
    # Rates fall as the budget is used up, be that steps or time, so that a short training converges too.
    began, total = time.monotonic(), context.clock.left
    network.train()
    for step in range(_STEPS):
        used = step / _STEPS
        if total is not None:
            used = max(used, (time.monotonic() - began) / max(total, 1e-9))
        if used >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1, (step + 1) / _WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * used))
        optimizer.zero_grad()
        value = loss(windows.random(panel, random))
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    else:
        step = _STEPS
    if step < _WARM_UP:
        raise TimeIsUp
    network.eval()


def save_weights(network: torch.nn.Module, folder: Path, windows: Windows, more: dict[str, Any]) -> None:
    """Write a network as arrays and a document."""
    arrays = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    np.savez_compressed(folder / _FILE, **arrays)
    (folder / "network.json").write_text(json.dumps({"windows": windows.__dict__, **more}))


def load_weights(folder: Path) -> tuple[Windows, dict[str, Any], dict[str, torch.Tensor]]:
    """Read what :func:`save_weights` wrote."""
    document = json.loads((folder / "network.json").read_text())
    with np.load(folder / _FILE, allow_pickle=False) as arrays:
        state = {name: torch.as_tensor(arrays[name]) for name in arrays.files}
    sizes = document.pop("windows")
    return Windows(**sizes | {"cycles": tuple(sizes["cycles"])}), document, state


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
