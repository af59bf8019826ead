"""Node features that are mostly zero, and dropout that belongs to a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from repro import randomness
from repro.nn.sparse import SparseMatrix, propagate, propagate_with_values


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """Sparse features ``(nodes, features)``; ``values`` replaces the matrix's entries after dropout."""

    matrix: SparseMatrix
    values: Tensor | None = None

    def __matmul__(self, W: Tensor) -> Tensor:
        """Return X W, ``(nodes, out)``."""
        if self.values is None:
            return propagate(self.matrix, W)
        return propagate_with_values(self.matrix, self.values, W)


Droppable = TypeVar("Droppable", Tensor, SparseFeatures)


def _kept(key: Tensor, count: int, p: float) -> Tensor:
    return randomness.keep_mask(key, count, p).to(torch.float32) * randomness.keep_scale(p)


def drop(x: Droppable, key: Tensor, p: float) -> Droppable:
    """Return x with each entry dropped with probability ``p`` and the others scaled up.

    Of sparse features, only what is not zero draws a number.
    """
    if isinstance(x, SparseFeatures):
        return SparseFeatures(x.matrix, _kept(key, x.matrix.nnz, p) * x.matrix.values)
    return x * _kept(key, x.numel(), p).view(x.shape)
