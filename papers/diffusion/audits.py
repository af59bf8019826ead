"""Checks of the published numbers themselves, without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log2
from typing import Any

import torch
from torch import Tensor

from papers.diffusion import bound, schedules
from papers.diffusion.chain import kl_terms
from papers.diffusion.processes import BITS, Binomial, Gaussian
from repro import randomness
from repro.context import Context
from repro.noise import normal

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]

# Table 1 (arXiv v8): K in bits, and over how many dimensions it is summed.
PRINTED = {
    "swiss_roll": (2.35, 2),
    "heartbeat": (-2.414, 20),
    "bark": (-0.55, 1),
    "dead_leaves": (1.489, 1),
    "cifar10": (5.4, 3),
    "cifar10_retracted": (11.895, 3),
}


def l_null(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """K - L_null from the printed K: L_null is the log likelihood of π, known without any data."""
    k, dimensions = PRINTED[setting["row"]]
    if setting["row"] == "heartbeat":
        betas = schedules.binomial(2)
        entropy = Binomial(betas, setting["base_rate"]).equilibrium_entropy()
    else:
        entropy = Gaussian.equilibrium_entropy()
    for seed in seeds:
        yield seed, {"k_minus_l_null": k + dimensions * entropy * BITS}


# GAN's Table 1, in nats. Of an early version of this paper's Table 2 two rows are transcribed, 220 for the diffusion
# model and 225 for the adversarial net, both called bits there.
NATS = {
    "stacked_cae": 121.0,
    "dbn": 138.0,
    "deep_gsn": 214.0,
    "diffusion": 220.0,
    "adversarial": 225.0,
}


def nats_to_bits(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """MNIST rows taken as nats, in bits."""
    for seed in seeds:
        yield seed, {"bits": NATS[setting["row"]] * BITS}


def implied_deviation(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The grey-level deviation that would make 5.40 bits/dim out of a density bound of 5.4 bits per pixel.

    A density of K bits per pixel for data of variance 1 is log2(σ) - K / 3 bits per dimension for data of
    deviation σ grey levels. Levels in [0, 255] have at most σ = 127.5. Rows are the printed K and K ± 0.2.
    """
    rows = []
    for k in (5.2, 5.4, 5.6):
        implied = 2 ** (setting["bits_per_dim"] + k / 3)
        rows.append({"k": k, "deviation": implied, "possible_share": 127.5 / implied})
    for seed in seeds:
        yield seed, rows


def gaussian_bound(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """K where it is known: x_0 ~ N(0, s²) with the exact reverse process, so that K = -H(X_1).

    ``edge`` is the paper's fix of the last step; ``z`` is the error in standard errors. With data of variance
    other than 1 the cross-entropy of X_T is not H_p(X_T); the schedule ends with ᾱ_T small enough not to matter.
    """
    s2, draws = setting["variance"], setting["draws"]
    for seed in seeds:
        rows = []
        for T in (2, 10, 40, 200):
            process = Gaussian(schedules.learning_start(T, 1e-3, last_signal=1e-9))
            t = bound.times(T)
            x0 = s2**0.5 * normal(randomness.key(seed, "gaussian/data", T), T - 1, draws).double()
            noise = normal(randomness.key(seed, "gaussian/noise", T), T - 1, draws).double()

            def reverse(xt: Tensor, t: Tensor, process: Gaussian = process) -> tuple[Tensor, Tensor]:
                # Exact: x_0 | x_t is normal, and so is x_{t-1} | x_t.
                scale, variance = (v.unsqueeze(-1) for v in process.marginal(t))
                of_start, of_end, posterior = (v.unsqueeze(-1) for v in process.posterior(t))
                total = scale**2 * s2 + variance
                expected, left = scale * s2 / total * xt, s2 * variance / total
                spread = posterior + of_start**2 * left
                return of_start * expected + of_end * xt, spread * setting["reverse_variance"]

            kl = kl_terms(process, reverse, x0, noise, t)
            found = bound.from_kl(kl.unsqueeze(0), bound.gaussian_entropies(process, 1))
            truth = -0.5 * log2(2 * torch.pi * torch.e * (s2 * (1 - 1e-3) + 1e-3))
            error = float(found.bits[0]) - truth
            rows.append(
                {"steps": T, "k_error_bits": abs(error), "z": abs(error) / float(found.standard_error[0])}
            )
        yield seed, rows
