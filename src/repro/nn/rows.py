"""Rows read by number and added up by number, each the other's gradient; seeds under ``vmap`` become further rows.

For graphs that differ from batch to batch and from seed to seed, so that no sparse matrix is worth building.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows of x ``(N, d)`` at ``index`` ``(E,)``: ``(E, d)``."""
    return _Take.apply(x, index)


def add_up(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """Return ``(count, d)``: in row i the sum of the rows ``(E, d)`` whose ``index`` is i, or zeros."""
    return _AddUp.apply(rows, index, count)


def _joined(
    info: Any, in_dims: Sequence[int | None], x: Tensor, index: Tensor, height: int
) -> tuple[Tensor, Tensor]:
    """Return all seeds' rows below each other, and their numbers where each seed has ``height`` rows to be numbered."""
    x, index = (
        part.expand(info.batch_size, *part.shape) if dim is None else part.movedim(dim, 0)
        for part, dim in zip((x, index), in_dims, strict=False)
    )
    first = height * torch.arange(info.batch_size, device=index.device)
    return x.flatten(0, 1), (index + first.unsqueeze(-1)).flatten()


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, index: Tensor) -> Tensor:
        return x.index_select(0, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.count = len(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _AddUp.apply(grad, ctx.saved_tensors[0], ctx.count), None

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], x: Tensor, index: Tensor) -> tuple[Tensor, int]:
        height = x.shape[0 if in_dims[0] is None or in_dims[0] > 0 else 1]
        found = _Take.apply(*_joined(info, in_dims, x, index, height))
        return found.unflatten(0, (info.batch_size, -1)), 0


class _AddUp(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, index: Tensor, count: int) -> Tensor:
        return rows.new_zeros(count, *rows.shape[1:]).index_add_(0, index, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Take.apply(grad, ctx.saved_tensors[0]), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], rows: Tensor, index: Tensor, count: int
    ) -> tuple[Tensor, int]:
        found = _AddUp.apply(*_joined(info, in_dims, rows, index, count), info.batch_size * count)
        return found.unflatten(0, (info.batch_size, count)), 0
