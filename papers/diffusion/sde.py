"""Score-SDE's three processes (its equations 9 to 11 and Appendix B) and their reverses, exact for a mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

import numpy as np
import torch
from torch import Tensor

from papers.diffusion.mixture import Mixture
from repro import randomness
from repro.noise import normal

BETA_MIN, BETA_MAX = 0.1, 20.0
SIGMA_MIN, SIGMA_MAX = 0.01, 50.0  # the paper takes σ_max from the data; 50 is our choice for VE

Score = Callable[[Tensor, float], Tensor]


def beta_integral(t: float) -> float:
    """∫_0^t β = 0.1 t + 19.9 t² / 2."""
    return BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t * t


def beta(t: float) -> float:
    """β(t) = 0.1 + 19.9 t."""
    return BETA_MIN + (BETA_MAX - BETA_MIN) * t


@dataclass(frozen=True)
class SDE:
    """dx = -½ β_drift x dt + g dw with x_t | x_0 ~ N(scale x_0, variance).

    Attributes:
        name: ``VE``, ``VP`` or ``sub-VP``.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in ("VE", "VP", "sub-VP"):
            raise ValueError(f"no process {self.name}: VE, VP or sub-VP")

    def scale(self, t: float) -> float:
        """Factor of x_0."""
        return 1.0 if self.name == "VE" else exp(-0.5 * beta_integral(t))

    def variance(self, t: float) -> float:
        """Variance of x_t given x_0."""
        if self.name == "VE":
            return SIGMA_MIN**2 * ((SIGMA_MAX / SIGMA_MIN) ** (2 * t) - 1)
        lost = -np.expm1(-beta_integral(t))
        return float(lost if self.name == "VP" else lost**2)

    def drift(self, t: float) -> float:
        """The drift's factor of x."""
        return 0.0 if self.name == "VE" else -0.5 * beta(t)

    def diffusion2(self, t: float) -> float:
        """g²(t)."""
        if self.name == "VE":
            return SIGMA_MIN**2 * (SIGMA_MAX / SIGMA_MIN) ** (2 * t) * 2 * log(SIGMA_MAX / SIGMA_MIN)
        return beta(t) * (1.0 if self.name == "VP" else -float(np.expm1(-2 * beta_integral(t))))

    def start(self, key: Tensor, n: int) -> Tensor:
        """Draw ``(n, 2)`` points of the law at t = 1 that is used in place of the diffused data's."""
        return normal(key, n, 2).double() * (self.variance(1.0) ** 0.5 if self.name == "VE" else 1.0)

    def exact_score(self, mixture: Mixture) -> Score:
        """The score of the diffused mixture."""
        return lambda x, t: mixture.diffused(self.scale(t), self.variance(t)).score(x)

    def times(self, steps: int, end: float) -> np.ndarray:
        """Times from 1 down to ``end``: equal steps in the logarithm of the noise, or in t, whichever is finer.

        With equal steps in t alone, modes far narrower than 1 would be entered within one step.
        """
        if self.name == "VE":
            return np.linspace(1.0, end, steps + 1)
        return np.linspace(1.0, end**0.5, steps + 1) ** 2


def reverse_sde(
    sde: SDE, score: Score, seed: int, n: int, steps: int, end: float = 1e-3, stream: str = "reverse"
) -> Tensor:
    """Sample by Euler and Maruyama's method with drift f - g² score, then one step of Tweedie's formula.

    Returns:
        ``(n, 2)`` points.
    """
    x = sde.start(randomness.key(seed, f"{stream}/start"), n)
    times = sde.times(steps, end)
    for i, (t, after) in enumerate(pairwise(times)):
        h, g2 = t - after, sde.diffusion2(t)
        x = x - h * (sde.drift(t) * x - g2 * score(x, t))
        x = x + (h * g2) ** 0.5 * normal(randomness.key(seed, f"{stream}/noise", i), n, 2)
    return tweedie(sde, score, x, end)


def tweedie(sde: SDE, score: Score, x: Tensor, t: float) -> Tensor:
    """E[x_0 | x_t] (Score-SDE, Appendix G: the last step without noise)."""
    return (x + sde.variance(t) * score(x, t)) / sde.scale(t)


def probability_flow(
    sde: SDE, score: Score, seed: int, n: int, steps: int, end: float = 1e-3, factor: float = 0.5
) -> Tensor:
    """Sample by Heun's method along dx = [f - ½ g² score] dt; ``factor`` other than ½ is a control.

    Stops at ``end`` without a denoising step, so that its points have the law at ``end``.
    """
    x = sde.start(randomness.key(seed, "flow/start"), n)

    def slope(x: Tensor, t: float) -> Tensor:
        return sde.drift(t) * x - factor * sde.diffusion2(t) * score(x, t)

    times = sde.times(steps, end)
    for t, after in pairwise(times):
        first = slope(x, t)
        x = x + 0.5 * (after - t) * (first + slope(x + (after - t) * first, after))
    return x


def flow_log_likelihood(sde: SDE, mixture: Mixture, x: Tensor, end: float = 1e-5) -> Tensor:
    """log p_0(x) in nats by the instantaneous change of variables, with RK45 at tolerance 1e-5 (Score-SDE, D.2).

    Args:
        sde: the process.
        mixture: of the data; its exact score and divergence are used in place of a network's.
        x: ``(n, 2)``.
        end: where the integration starts.
    """
    from scipy.integrate import solve_ivp

    n = len(x)

    def slope(t: float, state: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(state[: 2 * n]).view(n, 2)
        law, g2 = mixture.diffused(sde.scale(t), sde.variance(t)), sde.diffusion2(t)
        move = sde.drift(t) * at - 0.5 * g2 * law.score(at)
        divergence = 2 * sde.drift(t) - 0.5 * g2 * law.laplacian(at)
        return np.concatenate([move.flatten().numpy(), divergence.numpy()])

    first = np.concatenate([x.double().flatten().numpy(), np.zeros(n)])
    found = solve_ivp(slope, (end, 1.0), first, method="RK45", rtol=1e-5, atol=1e-5)
    if not found.success:
        raise RuntimeError(f"the flow's integration failed: {found.message}")
    last = torch.from_numpy(found.y[:, -1])
    at, change = last[: 2 * n].view(n, 2), last[2 * n :]
    spread = sde.variance(1.0) if sde.name == "VE" else 1.0
    prior = Mixture(torch.ones(1), torch.zeros(1, 2), torch.full((1,), spread)).log_density(at)
    return prior + change
