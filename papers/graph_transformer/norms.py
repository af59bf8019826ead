"""BatchNorm over the rows that a mask marks, with a backward pass of its own, and LayerNorm with the same call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPS, MOMENTUM = 1e-5, 0.1  # torch's conventions


class BatchNorm(nn.Module):
    """Batch normalisation over what the mask marks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (N, d) to the same; ``mask`` (N,) is 1 where a row counts."""
        if not self.training:
            scale = self.weight * torch.rsqrt(self.var + EPS)
            return torch.addcmul(self.bias - self.mean * scale, x, scale)
        out, _, mean, var = _Normalised.apply(x, mask, self.weight, self.bias)
        with torch.no_grad():
            count = mask.sum()
            share = MOMENTUM * (count > 0)  # a batch of graphs without edges says nothing about edges
            self.mean.mul_(1 - share).add_(share * mean)
            self.var.mul_(1 - share).add_(share * var * (count / (count - 1).clamp(min=1)))
        return out


class LayerNorm(nn.LayerNorm):
    """Layer normalisation; the mask has no part in it."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (..., d) to the same."""
        return super().forward(x)


def norm(kind: str, width: int) -> nn.Module:
    """Return a normalisation: ``batch`` or ``layer``."""
    return {"batch": BatchNorm, "layer": LayerNorm}[kind](width)


def _over_rows(mask: Tensor, x: Tensor) -> Tensor:
    """Return the mean (..., 1, d) of the rows x (..., N, d) that are marked; 0 where none is."""
    return mask.unsqueeze(-2) @ x / mask.sum(-1).clamp(min=1).view(*mask.shape[:-1], 1, 1)


class _Normalised(torch.autograd.Function):
    """(x - mean) / √(var + eps) · weight + bias, for x (..., N, d); x - mean, the mean and the variance.

    Autograd by itself goes over x some twenty times for this.
    """

    @staticmethod
    def forward(x: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        mean = _over_rows(mask, x)
        centred = x - mean
        var = _over_rows(mask, centred.square())
        scale = weight.unsqueeze(-2) * torch.rsqrt(var + EPS)
        out = torch.addcmul(bias.unsqueeze(-2), centred, scale)
        return out, centred, mean.squeeze(-2), var.squeeze(-2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, mask, weight, _ = inputs
        _, centred, _, var = output
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(mask, weight, centred, var)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        mask, weight, centred, var = ctx.saved_tensors
        slope = torch.rsqrt(var + EPS)
        total, along = grad.sum(-2), (grad * centred).sum(-2)
        # All rows move the mean and the variance's root; the rows that are marked are moved by them.
        count = mask.sum(-1, keepdim=True).clamp(min=1)
        back = torch.addcmul(
            (total / count).unsqueeze(-2), centred, (along * slope.square() / count).unsqueeze(-2)
        )
        back = (grad - back.mul_(mask.unsqueeze(-1))).mul_((weight * slope).unsqueeze(-2))
        return back, None, along * slope, total

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        stacked = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(inputs, in_dims, strict=True)
        )
        return _Normalised.apply(*stacked), (0, 0, 0, 0)
