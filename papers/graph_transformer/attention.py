"""Masked dot-product attention, tile by tile, with a backward pass of its own.

Left to autograd, a block's weights, (b, H, m, m), pass through memory some twenty times. Here they are made a tile at a
time, in the processor's cache, and made again for the backward pass, which costs no more than reading them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# What the scores are kept between before exp. The code clamps them to [-5, 5] (``before_exp``); the paper's text says
# that the exponentials are (``after_exp``), and no exponential is below -5.
BOUNDS = {"before_exp": (-5.0, 5.0), "after_exp": (-math.inf, math.log(5))}

# Weights per tile on a processor: two megabytes, what a core or two have as caches of their own.
TILE = 2**19
# A product with fewer columns than fill a vector register takes up to four times as long.
LANES = 16


def softmax_weights(scores: Tensor, clamp: str) -> Tensor:
    """Return exp(scores), kept in range by :data:`BOUNDS` without subtracting the maximum."""
    return scores.clamp(*BOUNDS[clamp]).exp_()


def attend(q: Tensor, k: Tensor, v: Tensor, links: Sequence[Tensor], clamp: str) -> Tensor:
    """Return Σ_j w_ij v_j / Σ_j w_ij with w_ij = exp(q_i · k_j) in range, over the j that i attends to.

    Args:
        q, k, v: (B, H, n, d).
        links: one (b, m, m) per block of graphs, 1 where node i attends to node j and 0 elsewhere; see :mod:`.model`.
        clamp: see :data:`BOUNDS`.

    Returns:
        (B, H, n, d), in single or double precision; zero for a node that attends to none, and for padding.
    """
    size = q.shape[-1]
    room = (0, -(size + 1) % LANES + 1)
    Q, K = functional.pad(q, room), functional.pad(k, room)
    # With a column of ones the sum of the weights is one more column of the product.
    V = functional.pad(v, room, value=1.0)
    found = _Weighted.apply(Q, K, V, size, clamp, *links)
    total = found[..., size : size + 1]
    return found[..., :size] / (total + (total == 0))


def _tiles(links: Sequence[Tensor], heads: int) -> Iterator[tuple[slice, slice, int, Tensor]]:
    """Cut the blocks into tiles: yield which graphs, which rows of their m, m, and the rows' links (b, 1, r, m).

    A GPU waits for launches rather than for memory: there a block is one tile.
    """
    start = 0
    for P in links:
        b, m = len(P), P.shape[-1]
        step = max(1, TILE // (b * heads * m or 1)) if P.device.type == "cpu" else m or 1
        for row in range(0, m, step):
            rows = slice(row, min(m, row + step))
            yield slice(start, start + b), rows, m, P[:, None, rows]
        start += b


def _product(A: Tensor, B: Tensor) -> Tensor:
    """Return A (b, H, r, s) @ B (b, H, s, t); one graph is spared the copies that ``matmul`` makes of four axes."""
    return torch.bmm(A[0], B[0]).unsqueeze(0) if len(A) == 1 else A @ B


def _weights(Q: Tensor, K: Tensor, P: Tensor, clamp: str) -> Tensor:
    """Return a tile's weights (b, H, r, m), for rows Q (b, H, r, d) and all of K (b, H, m, d), P (b, 1, r, m)."""
    return _product(Q, K.mT).clamp_(*BOUNDS[clamp]).exp_().mul_(P)


class _Weighted(torch.autograd.Function):
    """Σ_j w_ij v_j for q, k, v (B, H, n, c), of which q and k have zeros from column ``size`` on."""

    @staticmethod
    def forward(Q: Tensor, K: Tensor, V: Tensor, size: int, clamp: str, *links: Tensor) -> Tensor:
        found = torch.zeros_like(V)
        for graphs, rows, m, P in _tiles(links, Q.shape[1]):
            w = _weights(Q[graphs, :, rows, :size], K[graphs, :, :m, :size], P, clamp)
            found[graphs, :, rows] = _product(w, V[graphs, :, :m])
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        Q, K, V, ctx.size, ctx.clamp, *links = inputs
        ctx.save_for_backward(Q, K, V, *links)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        Q, K, V, *links = ctx.saved_tensors
        size = ctx.size
        # Between these a weight has the slope w, and none beyond; the margin is for the last bit of exp.
        low, high = (math.exp(x) for x in BOUNDS[ctx.clamp])
        low, high = low * (1 + 1e-6), high * (1 - 1e-6)
        dQ, dK, dV = (torch.zeros_like(x) for x in (Q, K, V))
        for graphs, rows, m, P in _tiles(links, Q.shape[1]):
            q, k = Q[graphs, :, rows], K[graphs, :, :m]
            w = _weights(q[..., :size], k[..., :size], P, ctx.clamp)
            g = grad[graphs, :, rows]
            dV[graphs, :, :m] += _product(w.mT, g)
            slope = _product(g[..., : size + 1], V[graphs, :, :m, : size + 1].mT).mul_(w)
            slope = torch.ops.aten.hardtanh_backward(slope, w, low, high)
            dQ[graphs, :, rows] = _product(slope, k)
            dK[graphs, :, :m] += _product(slope.mT, q)
        return dQ, dK, dV, None, None, *(None for _ in links)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        Q: Tensor,
        K: Tensor,
        V: Tensor,
        size: int,
        clamp: str,
        *links: Tensor,
    ) -> tuple[Tensor, int]:
        S = info.batch_size

        def seeds_first(x: Tensor, dim: int | None) -> Tensor:
            return x.expand(S, *x.shape) if dim is None else x.movedim(dim, 0)

        Q, K, V = (seeds_first(x, dim).flatten(0, 1) for x, dim in zip((Q, K, V), in_dims, strict=False))
        blocks = [seeds_first(x, dim) for x, dim in zip(links, in_dims[5:], strict=True)]
        # Seeds are further graphs: all blocks of the first, then those of the next. A single block has them all.
        every = (
            [P[s] for s in range(S) for P in blocks] if len(blocks) > 1 else [P.flatten(0, 1) for P in blocks]
        )
        found = _Weighted.apply(Q, K, V, size, clamp, *every)
        return found.unflatten(0, (S, -1)), 0
