"""The forward processes q and what is known of them in closed form (Section 2 and Table App.1). Entropies in nats.

Time is the last dimension of a schedule: ``betas[..., t - 1]`` is β_t. ``t`` counts from 1 as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import e, log, pi

import torch
from torch import Tensor
from torch.special import xlogy

BITS = 1 / log(2)  # bits per nat


@dataclass(frozen=True, eq=False)
class Gaussian:
    """q(x_t | x_{t-1}) = N(x_{t-1} √(1 - β_t), β_t I), which leaves π = N(0, I) as it is.

    Attributes:
        betas: ``(..., T)``; leading dimensions (seeds, where rates are learned) are kept.
    """

    betas: Tensor

    @property
    def T(self) -> int:
        """Number of steps."""
        return self.betas.shape[-1]

    @cached_property
    def log_kept(self) -> Tensor:
        """Log ᾱ_t = Σ_{s ≤ t} log(1 - β_s), ``(..., T)``."""
        return torch.log1p(-self.betas).cumsum(-1)

    @cached_property
    def variance(self) -> Tensor:
        """1 - ᾱ_t, the variance of x_t given x_0; exact where ᾱ_t is close to 1."""
        return -torch.expm1(self.log_kept)

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (scale √ᾱ_t of x_0, variance) of q(x_t | x_0), each ``(..., len(t))``."""
        return (self.log_kept[..., t - 1] / 2).exp(), self.variance[..., t - 1]

    def posterior(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (factor of x_0, factor of x_t, variance) of q(x_{t-1} | x_t, x_0) for t ≥ 2."""
        beta, before, after = self.betas[..., t - 1], self.variance[..., t - 2], self.variance[..., t - 1]
        of_start = (self.log_kept[..., t - 2] / 2).exp() * beta / after
        of_end = (1 - beta).sqrt() * before / after
        return of_start, of_end, beta * before / after

    def entropy(self, t: int) -> Tensor:
        """H_q(X_t | X_0) of one dimension, ``(...)``."""
        return 0.5 * (2 * pi * e * self.variance[..., t - 1]).log()

    @staticmethod
    def equilibrium_entropy() -> float:
        """H of one dimension of π; minus this is L_null for data of variance 1."""
        return 0.5 * log(2 * pi * e)


def gaussian_kl(mean_q: Tensor, variance_q: Tensor, mean_p: Tensor, variance_p: Tensor) -> Tensor:
    """KL(q ‖ p) of one-dimensional normals, elementwise."""
    ratio = variance_q / variance_p
    return 0.5 * (ratio - 1 - ratio.log() + (mean_q - mean_p) ** 2 / variance_p)


@dataclass(frozen=True, eq=False)
class Binomial:
    """q(x_t = 1 | x_{t-1}) = x_{t-1} (1 - β_t) + p β_t, which leaves independent bits of mean p as they are.

    Attributes:
        betas: ``(T,)``.
        base_rate: p; 0.5 in Table App.1, 0.2 for the heartbeat (Appendix D.1.2).
    """

    betas: Tensor
    base_rate: float

    @property
    def T(self) -> int:
        """Number of steps."""
        return self.betas.shape[-1]

    @cached_property
    def kept(self) -> Tensor:
        """ᾱ_t = Π_{s ≤ t} (1 - β_s), ``(T,)``."""
        return (1 - self.betas).cumprod(-1)

    def step(self, x: Tensor, beta: Tensor) -> Tensor:
        """Return q(x_t = 1 | x_{t-1} = x)."""
        return x * (1 - beta) + self.base_rate * beta

    def marginal(self, t: Tensor, x0: Tensor) -> Tensor:
        """Return q(x_t = 1 | x_0); ``t`` broadcasts against ``x0`` after adding a last dimension."""
        kept = self.kept[t - 1].unsqueeze(-1)
        return x0 * kept + self.base_rate * (1 - kept)

    def posterior(self, t: Tensor, xt: Tensor, x0: Tensor) -> Tensor:
        """Return q(x_{t-1} = 1 | x_t, x_0) for t ≥ 2."""
        before, beta = self.marginal(t - 1, x0), self.betas[t - 1].unsqueeze(-1)
        from_one = self.step(torch.ones_like(xt), beta)
        from_zero = self.step(torch.zeros_like(xt), beta)
        one = before * (xt * from_one + (1 - xt) * (1 - from_one))
        zero = (1 - before) * (xt * from_zero + (1 - xt) * (1 - from_zero))
        return one / (one + zero)

    def entropy(self, t: int, x0: Tensor) -> Tensor:
        """H_q(X_t | X_0 = x0) of each bit."""
        return bernoulli_entropy(self.marginal(torch.tensor(t), x0))

    def equilibrium_entropy(self) -> float:
        """H of one bit of π; minus this is L_null for bits of mean p."""
        return float(bernoulli_entropy(torch.tensor(self.base_rate, dtype=torch.float64)))


def bernoulli_entropy(p: Tensor) -> Tensor:
    """Entropy of a bit that is 1 with probability ``p``."""
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)


def bernoulli_kl(q: Tensor, p: Tensor) -> Tensor:
    """KL(q ‖ p) of bits that are 1 with probability ``q`` and ``p``, elementwise."""
    return xlogy(q, q) - xlogy(q, p) + xlogy(1 - q, 1 - q) - xlogy(1 - q, 1 - p)
