"""Rows in shuffled blocks, for algorithms that learn from one block after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 8192
"""Rows between two looks at the clock."""


class Blocks:
    """Goes through all rows again and again, in a new order each time.

    :param rows: how many there are.
    :param least: the fewest rows that a block may have; the last one of a pass is filled up from the pass's first rows.
    :param random: shuffles.
    """

    def __init__(self, rows: int, least: int, random: np.random.RandomState) -> None:
        self.per_pass = -(-rows // BLOCK)
        self._rows = rows
        self._least = min(least, rows)
        self._random = random
        self._blocks = self._all()

    def __next__(self) -> np.ndarray:
        """Positions of the next block's rows."""
        return next(self._blocks)

    def _all(self) -> Iterator[np.ndarray]:
        while True:
            order = self._random.permutation(self._rows)
            for begin in range(0, self._rows, BLOCK):
                block = order[begin : begin + BLOCK]
                missing = self._least - len(block)
                yield np.concatenate([block, order[:missing]]) if missing > 0 else block
