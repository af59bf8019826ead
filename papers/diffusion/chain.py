"""What every learned Gaussian reverse process shares: its KL terms beside q, and sampling from it (Section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from papers.diffusion.processes import Gaussian, gaussian_kl

Kernel = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """Give ``values`` the last dimensions of ``x`` that it lacks, and its type."""
    return values.to(x.dtype).reshape(*values.shape, *[1] * (x.dim() - values.dim()))


def kl_terms(process: Gaussian, reverse: Kernel, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return KL( q(x_{t-1} | x_t, x_0) ‖ p(x_{t-1} | x_t) ) of each coordinate in nats, shaped like ``x0``.

    The noise is drawn apart from the rates ("frozen"), so that the terms can be differentiated by them.

    Args:
        process: q, with rates ``(T,)``, or ``(S, T)`` of each seed.
        reverse: (x_t, t) to mean and variance of p(x_{t-1} | x_t).
        x0: data, ``([S,] times, ...)``.
        noise: standard normal, shaped like ``x0``.
        t: int64 of at least 2, ``(times,)`` or ``(S, times)``.
    """
    scale, variance = (_beside(v, x0) for v in process.marginal(t))
    xt = scale * x0 + variance.sqrt() * noise
    of_start, of_end, posterior = (_beside(v, x0) for v in process.posterior(t))
    return gaussian_kl(of_start * x0 + of_end * xt, posterior, *reverse(xt, t))


def unchanged(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """The reverse kernel as it is, not multiplied by an r(x)."""
    return mean, variance


def backwards(
    process: Gaussian,
    reverse: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    x: Tensor,
    noise: Callable[[int], Tensor],
    kernel: Kernel = unchanged,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Run the reverse process from x_T and yield (t, mean of x_{t-1}, x_{t-1}) for t = T down to 1.

    The last step is the forward kernel, as in the bound.

    Args:
        process: q, with rates ``(T,)``, or ``(S, T)`` where ``x`` starts with S.
        reverse: (x_t, t) to mean and variance of p(x_{t-1} | x_t), for t of at least 2.
        x: x_T.
        noise: t to the standard normal numbers of that step, shaped like ``x``.
        kernel: multiplies N(mean, variance) by r and normalises.
    """
    first = _beside(process.betas[..., 0], x)
    for t in range(process.T, 0, -1):
        mean, variance = reverse(x, t) if t >= 2 else ((1 - first).sqrt() * x, first.expand_as(x))
        mean, variance = kernel(mean, variance)
        x = torch.addcmul(mean, variance.sqrt(), noise(t).to(x.dtype))
        yield t, mean, x
