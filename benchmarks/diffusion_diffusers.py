"""Sampling and bound evaluation beside the DDPM scheduler of `diffusers`, with one and the same model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.peer import Comparison, DisagreementError, Work, compare
from papers.diffusion import bound, ddpm, schedules
from papers.diffusion.mixture import corners, kolmogorov_smirnov
from papers.diffusion.processes import Gaussian
from repro import randomness
from repro.errors import DataUnavailable
from repro.noise import normal

LARGEST_KS = 2.5  # of samples of the target itself, exceeded once in 8,000 runs
KL_TOLERANCE = 1e-3  # of the sum, relative; the scheduler holds its rates in single precision


def scheduler(T: int) -> Any:
    """Return the peer's scheduler with DDPM's rates, or say how to get it."""
    try:
        from diffusers import DDPMScheduler
    except ImportError:
        raise DataUnavailable("diffusers is not installed: pip install diffusers") from None
    made = DDPMScheduler(num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, clip_sample=False)
    made.set_timesteps(T)
    return made


def peer_sample(model: ddpm.Predict, T: int, seed: int, n: int) -> torch.Tensor:
    """The loop that its documentation shows."""
    steps = scheduler(T)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    for t in steps.timesteps:
        x = steps.step(model(x, int(t) + 1), t, x, generator=generator).prev_sample
    return x


def our_kl(model: ddpm.Predict, process: Gaussian, x0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The KL term at every t = 2..T of a batch that is noised anew at each, in nats."""
    t = bound.times(process.T)
    scale, variance = process.marginal(t)
    a, b = scale.tolist(), variance.sqrt().tolist()
    errors = [
        ((noise[i] - model(a[i] * x0 + b[i] * noise[i], i + 2)) ** 2).sum(-1).mean() for i in range(len(a))
    ]
    return ddpm.weights(process) * torch.stack(errors)


def peer_kl(model: ddpm.Predict, T: int, x0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The same through the scheduler: its noising, its variances, and the two means of equation 7."""
    steps = scheduler(T)
    found = []
    for i, t in enumerate(range(1, T)):
        x = steps.add_noise(x0, noise[i], torch.tensor([t]))
        kept, before = steps.alphas_cumprod[t].double(), steps.alphas_cumprod[t - 1].double()
        beta = 1 - kept / before
        variance = steps._get_variance(t).double()
        start = (x - (1 - kept).sqrt() * model(x, t + 1)) / kept.sqrt()
        gap = before.sqrt() * beta / (1 - kept) * (x0 - start)
        found.append(0.5 * (gap**2).sum(-1).mean() / variance)
    return torch.stack(found)


def comparisons(root: Path, quick: bool = False) -> Iterator[Comparison]:
    """Yield both ratios, after the two sides have been found to compute the same.

    Raises:
        DataUnavailable: without `diffusers`.
        DisagreementError: if either side's samples do not have the mixture's law, or the bounds differ.
    """
    T, n, repeats = (100, 200, 2) if quick else (1000, 2000, 5)
    mixture, process = corners(), Gaussian(schedules.ddpm(T))
    model = ddpm.exact_noise(mixture, process)
    if not quick:  # a shorter chain does not reach the equilibrium, and cannot be judged
        for name, points in (
            ("ours", ddpm.sample(model, process, 0, n)),
            ("diffusers", peer_sample(model, T, 0, n)),
        ):
            found = kolmogorov_smirnov(points, mixture)
            if found > LARGEST_KS:
                raise DisagreementError(f"{name}: samples do not have the mixture's law, {found:.2f}")
    x0 = mixture.sample(randomness.key(0, "bench/data"), n)
    noise = normal(randomness.key(0, "bench/noise"), T - 1, n, 2).double()
    mine, theirs = our_kl(model, process, x0, noise), peer_kl(model, T, x0, noise)
    if abs(float(mine.sum() / theirs.sum()) - 1) > KL_TOLERANCE:
        raise DisagreementError(f"the bounds' KL sums differ: {float(mine.sum())} and {float(theirs.sum())}")
    yield compare(
        f"diffusion: {n} samples of {T} steps beside diffusers",
        Work(lambda: ddpm.sample(model, process, 1, n)),
        Work(lambda: peer_sample(model, T, 1, n)),
        repeats,
    )
    yield compare(
        f"diffusion: bound of {n} points at {T} steps beside diffusers",
        Work(lambda: our_kl(model, process, x0, noise)),
        Work(lambda: peer_kl(model, T, x0, noise)),
        repeats,
    )
