"""What followed from the paper, as far as it can be checked exactly: DDPM, Score-SDE and NCSN on known laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any

import torch

from papers.diffusion import schedules
from papers.diffusion.mixture import MIXTURES, Mixture, kolmogorov_smirnov, song_ermon
from papers.diffusion.processes import BITS, Gaussian
from papers.diffusion.sde import (
    SDE,
    beta,
    flow_log_likelihood,
    probability_flow,
    reverse_sde,
)
from repro import randomness
from repro.context import Context
from repro.noise import normal, uniform

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]


def prior_term(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """DDPM's L_T = KL(q(x_T | x_0) ‖ N(0, I)) per dimension, for three second moments of data in [-1, 1]."""
    process = Gaussian(schedules.ddpm(setting["T"]))
    kept, variance = float(process.log_kept[-1].exp()), float(process.variance[-1])
    rows = []
    for moment in (0.20, 0.25, 0.30):
        bits = 0.5 * (variance - 1 - log(variance) + kept * moment) * BITS
        rows.append({"second_moment": moment, "bits": bits, "decades": abs(log(bits / 1e-5, 10))})
    for seed in seeds:
        yield seed, rows


def discrete_and_continuous(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The kernels of a discrete chain of N steps beside the VP process's (Score-SDE, Figure 5)."""
    sde, rows = SDE("VP"), []
    for N in (1000, 2000, 4000):
        process = Gaussian(schedules.ddpm(N, 0.1 / N, 20.0 / N))
        scale, variance = process.marginal(torch.arange(1, N + 1))
        t = [i / N for i in range(1, N + 1)]
        continuous_scale = torch.tensor([sde.scale(s) for s in t]).double()
        continuous_variance = torch.tensor([sde.variance(s) for s in t]).double()
        rows.append(
            {
                "steps": N,
                "scale_difference": float((scale - continuous_scale).abs().max()),
                "variance_difference": float((variance - continuous_variance).abs().max()),
            }
        )
    for seed in seeds:
        yield seed, rows


def marginals(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Mean and variance of simulated chains beside the closed forms of VE, VP and sub-VP.

    One chain starts at x_0 = 1, the other from normal data of variance 1. VE and sub-VP are simulated from drift and
    diffusion coefficient alone, VP by DDPM's discrete chain.
    """
    sde, n, N = SDE(setting["sde"]), setting["paths"], setting["steps"]
    for seed in seeds:
        x, rows = torch.stack([torch.ones(n), normal(randomness.key(seed, "data"), n)]), []
        for i in range(1, N + 1):
            t, middle = i / N, (i - 0.5) / N
            z = normal(randomness.key(seed, "chain", i), 2, n)
            if sde.name == "VP":
                x = (1 - beta(t) / N) ** 0.5 * x + (beta(t) / N) ** 0.5 * z
            else:
                x = x * (1 + sde.drift(middle) / N) + (sde.diffusion2(middle) / N) ** 0.5 * z
            if i * 10 % N == 0:
                of_one, of_unit_data = x.double()
                rows.append(
                    {
                        "tenth": i * 10 // N,
                        "mean_error": abs(float(of_one.mean()) - sde.scale(t)) / (sde.variance(t) / n) ** 0.5,
                        "variance_error": abs(float(of_one.var()) / sde.variance(t) - 1),
                        "unit_variance_error": abs(float(of_unit_data.var()) - 1),
                        "excess_over_vp": max(0.0, sde.scale(t) ** 2 + sde.variance(t) - 1),
                    }
                )
        yield seed, rows


def reverse(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Samples of the reverse SDE and of the probability flow beside the mixture they must have come from."""
    sde, mixture = SDE(setting["sde"]), MIXTURES[setting["mixture"]]()
    score, n, steps = sde.exact_score(mixture), setting["samples"], setting["steps"]
    for seed in seeds:
        if setting["method"] == "sde":
            ks = kolmogorov_smirnov(reverse_sde(sde, score, seed, n, steps), mixture)
        else:
            end = 1e-3
            x = probability_flow(sde, score, seed, n, steps // 2, end, setting["flow_factor"])
            ks = kolmogorov_smirnov(x, mixture.diffused(sde.scale(end), sde.variance(end)))
        yield seed, {"ks": ks}


def likelihood(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Log likelihood by the probability flow beside the exact one."""
    sde, mixture = SDE(setting["sde"]), MIXTURES[setting["mixture"]]()
    for seed in seeds:
        x = mixture.sample(randomness.key(seed, "likelihood"), setting["samples"])
        error = flow_log_likelihood(sde, mixture, x) - mixture.log_density(x)
        yield (
            seed,
            {
                "nll_error": abs(float(error.mean())) * BITS,
                "largest_nll_error": float(error.abs().max()) * BITS,
            },
        )


def ancestral(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """How far ancestral sampling and the reverse diffusion sampler end apart, with the same noise."""
    mixture, sde = MIXTURES["corners"](), SDE("VP")
    n = setting["samples"]
    for seed in seeds:
        rows = []
        for N in (250, 500, 1000, 2000):
            one = sde.start(randomness.key(seed, "ancestral/start"), n)
            other = one.clone()
            for i in range(N, 0, -1):
                # The noise of a step is the sum of those of the finest chain, so that step sizes share their noise.
                parts = 2000 // N
                first = (i - 1) * parts
                z = sum(
                    normal(randomness.key(seed, "ancestral/noise", first + k), n, 2).double()
                    for k in range(parts)
                )
                z = z / parts**0.5
                b = beta(i / N) / N
                law = mixture.diffused(sde.scale(i / N), sde.variance(i / N))
                one = (one + b * law.score(one)) / (1 - b) ** 0.5 + b**0.5 * z
                other = (2 - (1 - b) ** 0.5) * other + b * law.score(other) + b**0.5 * z
            # The median: a few points fall into another mode, however close the two samplers are.
            apart = float(((one - other) ** 2).sum(-1).sqrt().median())
            rows.append({"steps": N, "distance": apart})
        yield seed, rows


def langevin(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The share of samples in the heavier of two far modes (NCSN's toy: released code, toy_runner.py)."""
    mixture, n = song_ermon(), setting["samples"]
    levels = [20.0 ** (1 - k / 9) for k in range(10)]
    for seed in seeds:
        x = (16 * uniform(randomness.key(seed, "langevin/start"), n, 2) - 8).double()
        plan = [(1.0, 0.1)] * 1000
        if setting["method"] == "annealed":
            plan = [(level, 0.1 * (level / levels[-1]) ** 2) for level in levels for _ in range(100)]
        for i, (level, step) in enumerate(plan):
            # As in the code, the components of the annealed target have the level itself as their deviation.
            law = Mixture(mixture.weights, mixture.means, torch.full((2,), level**2, dtype=torch.float64))
            z = normal(randomness.key(seed, "langevin/noise", i), n, 2).double()
            x = x + step / 2 * law.score(x) + step**0.5 * z
        near = ((x - mixture.means[1]) ** 2).sum(-1) < ((x - mixture.means[0]) ** 2).sum(-1)
        yield seed, {"heavy_share": float(near.double().mean())}
