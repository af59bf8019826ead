"""The lower bound K on the log likelihood (Section 2.4 and Appendix B), as the paper defines it.

    K = - Σ_{t=2..T} E_q KL( q(x_{t-1} | x_t, x_0) ‖ p(x_{t-1} | x_t) ) + H_q(X_T | X_0) - H_q(X_1 | X_0) - H_p(X_T)

The last reverse step is the forward kernel, so the sum starts at t = 2 and nothing is learned of β_1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from papers.diffusion.processes import BITS, Gaussian


@dataclass(frozen=True)
class Bound:
    """An estimate of K in bits per data point, one number per seed.

    Attributes:
        bits: ``(S,)``.
        standard_error: ``(S,)``, of the Monte Carlo average over x_0, t and x_t.
    """

    bits: Tensor
    standard_error: Tensor


def from_kl(kl: Tensor, entropies: Tensor | float) -> Bound:
    """Return K from KL terms in nats at every t = 2..T.

    Args:
        kl: ``(S, T - 1, draws)``, summed over the dimensions of a data point; each draw has its own x_0 and x_t.
        entropies: H_q(X_T | X_0) - H_q(X_1 | X_0) - H_p(X_T) in nats, ``(S,)`` or one number.
    """
    draws = kl.shape[-1]
    bits = (entropies - kl.mean(-1).sum(-1)) * BITS
    return Bound(bits, (kl.var(-1) / draws).sum(-1).sqrt() * BITS)


def from_stratified_times(kl: Tensor, T: int, entropies: Tensor | float) -> Bound:
    """Return K from KL terms in nats at times drawn one from each of n equal strata of 2..T, ``(S, repeats, n)``.

    Unbiased: the sum over t is T - 1 times the average. The released code multiplies by T, about 0.1 % too much at
    T = 1000. The standard error is that of neighbouring strata's differences, which leave out how KL changes with t. It
    counts repeats as independent, though they share their n data points, and so is too small where data points differ.
    """
    bits = (entropies - (T - 1) * kl.mean((-1, -2))) * BITS
    variance = (kl.diff(dim=-1) ** 2).mean((-1, -2)) / 2
    return Bound(bits, (T - 1) * (variance / (kl.shape[-1] * kl.shape[-2])).sqrt() * BITS)


def gaussian_entropies(process: Gaussian, dimensions: int) -> Tensor:
    """H_q(X_T | X_0) - H_q(X_1 | X_0) - H_p(X_T) in nats of a point of so many dimensions."""
    last, first = process.entropy(process.T), process.entropy(1)
    return dimensions * (last - first - process.equilibrium_entropy())


def times(T: int, device: torch.device | str = "cpu") -> Tensor:
    """The times of the sum: 2..T."""
    return torch.arange(2, T + 1, device=device)
