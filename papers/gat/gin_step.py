"""What GIN computes for every query of every graph, both ways, block by block.

A step's hidden layer is ten megabytes at 20 keys. Autograd passes it through memory some forty times; a block of
graphs stays in a processor's cache from one operation to the next, and what can be had again for an addition is not
kept. Nothing is approximated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# In what follows B graphs have k queries of width C.


class Hidden(torch.autograd.Function):
    """h = ReLU(queries + sums) W + b, with its variance and mean over all queries of all graphs.

    Takes queries ``(k, C)``, sums ``(B, C)``, W ``(C, C)``, b ``(C,)`` and the numbers in a block; returns h
    ``(B, k, C)``, and the moments ``(C,)``, with a divisor of B k.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, sums: Tensor, W: Tensor, b: Tensor, block: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return h, variance and mean."""
        h = sums.new_empty(len(sums), *queries.shape)
        means, squares, sizes = [], [], []
        ctx.size = max(1, block // queries.numel())
        for s, out in zip(sums.split(ctx.size), h.split(ctx.size), strict=True):
            flat = out.view(-1, out.shape[-1])
            torch.matmul((queries + s.unsqueeze(1)).relu_().view_as(flat), W, out=flat).add_(b)
            means.append(flat.mean(0))
            squares.append((flat - means[-1]).square_().sum(0))
            sizes.append(len(flat))
        # Of blocks to all: the mean square about the blocks' means, and that of these about the mean.
        share = torch.tensor(sizes, dtype=h.dtype, device=h.device).unsqueeze(1) / sum(sizes)
        of_blocks = torch.stack(means)
        mean = (share * of_blocks).sum(0)
        var = torch.stack(squares).sum(0) / sum(sizes) + (share * (of_blocks - mean).square()).sum(0)
        ctx.save_for_backward(queries, sums, W, h, mean)
        return h, var, mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor, d_var: Tensor, d_mean: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries, sums, W and b; the ReLU is computed once more."""
        queries, sums, W, h, mean = ctx.saved_tensors
        n = h.shape[0] * h.shape[1]
        # The moments' own gradient at each h is d_mean / n + 2 d_var (h - mean) / n: a multiple of h and a rest.
        of_h = 2 * d_var / n
        rest = d_mean / n - of_h * mean
        d_queries, d_sums = torch.zeros_like(queries), torch.empty_like(sums)
        d_W, d_b = torch.zeros_like(W), torch.zeros_like(rest)
        for s, out, d, d_s in zip(*(x.split(ctx.size) for x in (sums, h, d_h, d_sums)), strict=True):
            g = torch.addcmul(d, out, of_h).add_(rest).view(-1, len(W))
            z = (queries + s.unsqueeze(1)).relu_()
            d_W.addmm_(z.view_as(g).mT, g)
            d_b += g.sum(0)
            d_z = (g @ W.mT).view_as(z)
            torch.ops.aten.threshold_backward.grad_input(d_z, z, 0, grad_input=d_z)
            torch.sum(d_z, 1, out=d_s)
            d_queries += d_z.sum(0)
        return d_queries, d_sums, d_W, d_b, None


class Answer(torch.autograd.Function):
    """The mean cross-entropy of ReLU(h · scale + shift) U.

    Takes h ``(B, k, C)``, scale and shift ``(C,)``, U ``(C, k)``, the true values ``(B, k)`` and the numbers in a
    block.
    """

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, scale: Tensor, shift: Tensor, U: Tensor, values: Tensor, block: int
    ) -> Tensor:
        """Return the loss; its gradients are made on the way."""
        d_h = torch.empty_like(h)
        d_scale, d_shift, d_U = torch.zeros_like(scale), torch.zeros_like(shift), torch.zeros_like(U)
        total = h.new_zeros(())
        size = max(1, block // h[0].numel())
        for own, d, true in zip(*(x.split(size) for x in (h, d_h, values)), strict=True):
            flat, d, true = own.view(-1, len(U)), d.view(-1, len(U)), true.reshape(-1, 1)
            y = torch.addcmul(shift, flat, scale).relu_()
            log_p = (y @ U).log_softmax(1)
            total -= log_p.gather(1, true).sum()
            d_logits = log_p.exp_().scatter_add_(1, true, log_p.new_full(true.shape, -1.0))
            d_logits /= values.numel()
            d_U.addmm_(y.mT, d_logits)
            torch.matmul(d_logits, U.mT, out=d)
            torch.ops.aten.threshold_backward.grad_input(d, y, 0, grad_input=d)
            d_shift += d.sum(0)
            d_scale += torch.mul(d, flat, out=y).sum(0)
            d *= scale
        ctx.save_for_backward(d_h, d_scale, d_shift, d_U)
        return total / values.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of h, scale, shift and U."""
        return (*(grad * d for d in ctx.saved_tensors), None, None)
