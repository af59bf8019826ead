"""Normal and Bernoulli draws on top of the harness's counter-based numbers: they belong to a key, not to a batch."""

from __future__ import annotations

from math import pi, prod

import torch
from torch import Tensor

from repro import randomness


def normal(key: Tensor, *shape: int) -> Tensor:
    """Return standard normal float32 numbers of shape ``key.shape + shape`` by Box and Muller's method.

    Each 64-bit number gives two 24-bit uniforms and so two normals, none beyond 5.8 standard deviations.
    """
    n = prod(shape)
    bits = randomness.bits(key, (n + 1) // 2)
    u = ((bits >> 40).bitwise_and_((1 << 24) - 1).to(torch.float32) + 0.5) * 2.0**-24
    v = (bits >> 8).bitwise_and_((1 << 24) - 1).to(torch.float32) * (2 * pi * 2.0**-24)
    radius = u.log_().mul_(-2).sqrt_()
    both = torch.cat([radius * v.cos(), radius * v.sin()], dim=-1)
    return both[..., :n].reshape(*key.shape, *shape)


def uniform(key: Tensor, *shape: int) -> Tensor:
    """Return float32 numbers in [0, 1) of shape ``key.shape + shape``."""
    return randomness.uniform(key, prod(shape)).reshape(*key.shape, *shape)


def bernoulli(key: Tensor, probability: Tensor) -> Tensor:
    """Return 0 or 1 in the dtype and shape of ``probability``, which starts with ``key``'s shape."""
    drawn = uniform(key, *probability.shape[key.dim() :])
    return (drawn < probability).to(probability.dtype)
