"""DDPM's sampler and bound for a predictor of the noise (its Algorithm 2 and equation 12)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from papers.diffusion import bound
from papers.diffusion.mixture import Mixture
from papers.diffusion.processes import Gaussian
from repro import randomness
from repro.noise import normal

BLOCK = 50  # steps whose noise is drawn together
Predict = Callable[[Tensor, int], Tensor]


def exact_noise(mixture: Mixture, process: Gaussian) -> Predict:
    """Return the best predictor of a mixture's noise: ε*(x, t) = -√variance · score."""
    scale, variance = process.marginal(torch.arange(1, process.T + 1))
    laws = [mixture.diffused(a, v) for a, v in zip(scale, variance, strict=True)]
    return lambda x, t: -variance[t - 1].sqrt() * laws[t - 1].score(x)


def sample(predict: Predict, process: Gaussian, seed: int, n: int, dimensions: int = 2) -> Tensor:
    """Return ``(n, dimensions)`` points by ancestral sampling, σ_t² the posterior's variance (Section 3.2)."""
    x = normal(randomness.key(seed, "ddpm/start"), n, dimensions).double()
    t = bound.times(process.T)
    scale, variance = (v.tolist() for v in process.marginal(torch.arange(1, process.T + 1)))
    of_start, of_end, posterior = (v.tolist() for v in process.posterior(t))
    noise = torch.empty(0)
    for step in range(process.T, 1, -1):
        i, s = step - 1, step - 2
        at = (process.T - step) % BLOCK
        if at == 0:  # for many steps in one call: what a step draws belongs to its key either way
            keys = [randomness.key(seed, "ddpm/noise", k) for k in range(step, max(1, step - BLOCK), -1)]
            noise = normal(torch.stack(keys), n, dimensions)
        # The posterior's mean at x̂_0 = (x - √variance ε) / scale, with the two factors of x taken together.
        factor = of_start[s] / scale[i]
        mean = torch.mul(x, factor + of_end[s]).sub_(predict(x, step), alpha=factor * variance[i] ** 0.5)
        x = mean.add_(noise[at], alpha=posterior[s] ** 0.5)
    return (x - variance[0] ** 0.5 * predict(x, 1)) / scale[0]


def weights(process: Gaussian) -> Tensor:
    """Return the weight of |ε - ε_θ|² in the KL term at t = 2..T, for σ_t² the posterior's variance."""
    t = bound.times(process.T)
    scale, variance = process.marginal(t)
    of_start, _, posterior = process.posterior(t)
    return 0.5 * of_start**2 * variance / scale**2 / posterior
