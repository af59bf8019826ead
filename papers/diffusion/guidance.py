"""Guided sampling on a mixture whose conditional and tilted laws are known (Score-SDE, Section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from papers.diffusion.mixture import Mixture, corners, kolmogorov_smirnov
from papers.diffusion.sde import SDE, Score, reverse_sde
from repro.context import Context

Rows = Iterator[tuple[int, dict[str, float]]]
CLASS = [1, 2]  # the components that form the class y
SLOPE = torch.tensor([1.0, 0.5], dtype=torch.float64)  # energy E(x) = -slope · x


def of_class(mixture: Mixture) -> Mixture:
    """Return p(x | y)."""
    weights = mixture.weights[CLASS]
    return Mixture(weights / weights.sum(), mixture.means[CLASS], mixture.variances[CLASS])


def _gradient(function: Any, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def guided_score(method: str, mixture: Mixture, sde: SDE) -> tuple[Score, Mixture]:
    """Return the guided score and the law that it is meant to sample.

    Args:
        method: ``classifier``: ∇ log p_t(x) + ∇ log p_t(y | x), the classifier differentiated automatically;
            ``classifier_free``: ∇ log p_t(x) + [∇ log p_t(x | y) - ∇ log p_t(x)];
            ``energy``: with ∇ log E[exp(-E(x_0)) | x_t]; ``energy_at_mean``: with -∇E(E[x_0 | x_t]);
            ``energy_at_noisy``: with -∇E(x_t).
    """

    def law(t: float) -> Mixture:
        return mixture.diffused(sde.scale(t), sde.variance(t))

    conditional, (tilted, _) = of_class(mixture), mixture.tilted(SLOPE)

    def classifier(x: Tensor, t: float) -> Tensor:
        return law(t).score(x) + _gradient(lambda y: law(t).responsibilities(y)[:, CLASS].sum(-1).log(), x)

    def classifier_free(x: Tensor, t: float) -> Tensor:
        score = law(t).score(x)
        return score + (conditional.diffused(sde.scale(t), sde.variance(t)).score(x) - score)

    def energy(x: Tensor, t: float) -> Tensor:
        # E[exp(slope · x_0) | x_t] is the ratio of the diffused tilted law to the diffused law, up to a constant.
        ratio = tilted.diffused(sde.scale(t), sde.variance(t))
        return law(t).score(x) + _gradient(lambda y: ratio.log_density(y) - law(t).log_density(y), x)

    def energy_at_mean(x: Tensor, t: float) -> Tensor:
        scale, variance = sde.scale(t), sde.variance(t)
        return law(t).score(x) + _gradient(lambda y: (y + variance * law(t).score(y)) / scale @ SLOPE, x)

    def energy_at_noisy(x: Tensor, t: float) -> Tensor:
        return law(t).score(x) + SLOPE

    methods = {
        "classifier": (classifier, conditional),
        "classifier_free": (classifier_free, conditional),
        "energy": (energy, tilted),
        "energy_at_mean": (energy_at_mean, tilted),
        "energy_at_noisy": (energy_at_noisy, tilted),
    }
    return methods[method]


def guidance(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Sample the reverse VP process with a guided score and compare with the law it is meant to sample."""
    sde = SDE("VP")
    score, target = guided_score(setting["method"], corners(), sde)
    if setting["compare_with"] == "unguided":
        target = corners()
    for seed in seeds:
        x = reverse_sde(sde, score, seed, setting["samples"], setting["steps"], stream="guided")
        yield seed, {"ks": kolmogorov_smirnov(x, target)}
