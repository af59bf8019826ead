"""Gaussian mixtures in the plane: what diffusion does to them is known exactly, score included."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from papers.diffusion.sets import FROM, TO, spiral
from repro.noise import normal, uniform


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k w_k N(m_k, s_k² I) in d dimensions.

    Attributes:
        weights: ``(K,)``, summing to 1.
        means: ``(K, d)``.
        variances: ``(K,)``.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def diffused(self, scale: float | Tensor, variance: float | Tensor) -> Mixture:
        """Return the law of scale · x_0 + √variance · noise."""
        return Mixture(self.weights, self.means * scale, self.variances * scale**2 + variance)

    def _terms(self, x: Tensor) -> Tensor:
        """log w_k N(x; m_k, s_k²), ``(n, K)``."""
        d = self.means.shape[-1]
        square = ((x.unsqueeze(-2) - self.means) ** 2).sum(-1)
        return self.weights.log() - 0.5 * (square / self.variances + d * (2 * pi * self.variances).log())

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, ``(n,)``."""
        return self._terms(x).logsumexp(-1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """Return p(k | x), ``(n, K)``."""
        return self._terms(x).softmax(-1)

    def score(self, x: Tensor) -> Tensor:
        """Return ∇ log p(x), ``(n, d)``."""
        r = self.responsibilities(x) / self.variances
        return r @ self.means - r.sum(-1, keepdim=True) * x

    def laplacian(self, x: Tensor) -> Tensor:
        """Return Δ log p(x), the divergence of the score, ``(n,)``."""
        r = self.responsibilities(x)
        pull = (self.means - x.unsqueeze(-2)) / self.variances.unsqueeze(-1)  # (n, K, d)
        mean_pull = (r.unsqueeze(-1) * pull).sum(-2)
        second = (r * ((pull**2).sum(-1) - self.means.shape[-1] / self.variances)).sum(-1)
        return second - (mean_pull**2).sum(-1)

    def sample(self, key: Tensor, n: int) -> Tensor:
        """Return ``n`` points for one key, ``(n, d)`` float64."""
        which = torch.searchsorted(self.weights.cumsum(0), uniform(key, n).double())
        which = which.clamp_(max=len(self.weights) - 1)
        noise = normal(key + 1, n, self.means.shape[-1]).double()
        return self.means[which] + self.variances[which, None].sqrt() * noise

    def tilted(self, slope: Tensor, curvature: float = 0.0) -> tuple[Mixture, Tensor]:
        """Return the mixture ∝ p(x) exp(slope · x - curvature |x|² / 2) and its log normaliser."""
        d = self.means.shape[-1]
        variances = 1 / (1 / self.variances + curvature)
        means = variances[:, None] * (self.means / self.variances[:, None] + slope)
        log_weights = self.weights.log() + 0.5 * (
            d * (variances / self.variances).log()
            + (means**2).sum(-1) / variances
            - (self.means**2).sum(-1) / self.variances
        )
        normaliser = log_weights.logsumexp(0)
        return Mixture((log_weights - normaliser).exp(), means, variances), normaliser


def kolmogorov_smirnov(points: Tensor, target: Mixture, directions: int = 16) -> float:
    """Return √n times the largest distance of distribution functions, over projections on equally spaced directions.

    A projection of the mixture is a mixture on the line, whose distribution function is known, so nothing is
    compared with a second sample. For points of the target itself 2.5 is exceeded with probability below
    2 · 16 · exp(-2 · 2.5²) = 1.2e-4.

    Args:
        points: ``(n, 2)``.
        target: the law they should have.
        directions: number of projections, over half a turn.
    """
    n = len(points)
    if not bool(torch.isfinite(points).all()):
        return float("inf")
    angles = torch.arange(directions, dtype=torch.float64) * pi / directions
    across = torch.stack([angles.cos(), angles.sin()])
    x = (points.double() @ across).sort(dim=0).values  # (n, directions)
    standard = (x.unsqueeze(-1) - (target.means @ across).T) / target.variances.sqrt()
    cdf = torch.special.ndtr(standard) @ target.weights
    steps = torch.arange(n + 1, dtype=torch.float64).unsqueeze(-1) / n
    largest = torch.maximum((cdf - steps[:-1]).abs().max(), (steps[1:] - cdf).abs().max())
    return float(largest) * n**0.5


def corners() -> Mixture:
    """Three unequal modes of different widths, within [-2.5, 2.5]²."""
    return Mixture(
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        torch.tensor([[1.5, 1.0], [-1.5, 0.5], [0.0, -1.5]], dtype=torch.float64),
        torch.tensor([0.09, 0.25, 0.04], dtype=torch.float64),
    )


def ring() -> Mixture:
    """Eight equal modes on a circle of radius 1.4."""
    angles = torch.arange(8, dtype=torch.float64) * pi / 4
    means = 1.4 * torch.stack([angles.cos(), angles.sin()], dim=-1)
    return Mixture(torch.full((8,), 1 / 8, dtype=torch.float64), means, torch.full((8,), 0.02).double())


def roll() -> Mixture:
    """The swiss roll of 200 overlapping narrow modes."""
    phi = FROM + (TO - FROM) * (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    return Mixture(torch.full((200,), 1 / 200).double(), spiral(phi), torch.full((200,), 0.01).double())


def song_ermon() -> Mixture:
    """Two modes of weights 0.2 and 0.8, far apart (NCSN, Figures 2 and 3)."""
    return Mixture(
        torch.tensor([0.2, 0.8], dtype=torch.float64),
        torch.tensor([[-5.0, -5.0], [5.0, 5.0]], dtype=torch.float64),
        torch.ones(2, dtype=torch.float64),
    )


MIXTURES = {"corners": corners, "ring": ring, "roll": roll}
