"""Multiplying distributions and computing posteriors (Section 2.5 and Appendix C).

Every reverse kernel is multiplied by r(x_{t-1}) and normalised. For log r linear over the kernel's width its mean moves
by Σ ∇ log r(μ); for r a Gaussian the product is a Gaussian as well; for r a delta the coordinate is clamped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from papers.diffusion import schedules
from repro.context import Context

Rows = Iterator[tuple[int, list[dict[str, float]]]]


def times_gaussian(mean: Tensor, variance: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of N(mean, variance) · N(y; x, noise), normalised: exact."""
    product = 1 / (1 / variance + 1 / noise)
    return product * (mean / variance + y / noise), product


def times_smooth(mean: Tensor, variance: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of N(mean, variance) · r for log r of gradient ``gradient`` at the mean.

    Exact where log r is linear; the paper's form for a smooth r (Appendix C).
    """
    return mean + variance * gradient, variance


def recipe_on_gaussians(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The whole recipe where every step is known: x_0 ~ N(0, 1), r(x_0) = N(y; x_0, s²), nothing sampled.

    Data of variance 1 is in equilibrium, so the exact reverse kernel is N(x_t √(1 - β), β). All laws stay Gaussian
    and are followed by their mean and variance, with x_T from π(x_T) r(x_T). ``power`` multiplies log r in every
    kernel; ``weighting`` makes it constant in t, or r^((T - t) / T).
    """
    y, noise = setting["y"], setting["noise"]
    rows = []
    for T in (100, 1000, 10000):
        betas = schedules.ddpm(T, min(1e-3, 1 / T), 20 / T)
        start_power = setting["power"] if setting["weighting"] == "constant" else 0.0
        precision = 1 + start_power / noise
        mean, variance = start_power * y / noise / precision, 1 / precision
        for t in range(T, 0, -1):
            beta = float(betas[t - 1])
            share = 1.0 if setting["weighting"] == "constant" else (T - t + 1) / T
            r_precision = setting["power"] * share / noise
            product = 1 / (1 / beta + r_precision)
            gain = product / beta * (1 - beta) ** 0.5
            mean = gain * mean + product * r_precision * y
            variance = gain**2 * variance + product
        exact_mean, exact_variance = y / (1 + noise), noise / (1 + noise)
        squared_mean, squared_variance = y / (1 + noise / 2), noise / (2 + noise)
        rows.append(
            {
                "steps": T,
                "mean_error": abs(mean - exact_mean) / exact_variance**0.5,
                "variance_error": abs(variance / exact_variance - 1),
                "error_from_square": max(
                    abs(mean - squared_mean) / squared_variance**0.5, abs(variance / squared_variance - 1)
                ),
            }
        )
    for seed in seeds:
        yield seed, rows
