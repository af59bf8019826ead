"""The paper's generated data sets. Each function is counter-based: points belong to (seed, stream, number)."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from repro import randomness
from repro.noise import uniform

# The paper names no generator. Ours: x = φ (cos φ, sin φ), φ uniform in [1.5π, 4.5π], without noise, centred and
# divided by one number so that the mean of the two variances is 1 ("rescaled by a single scalar").
FROM, TO = 1.5 * pi, 4.5 * pi


def _centre_and_scale() -> tuple[Tensor, float]:
    a, b = FROM, TO
    # Moments of the spiral by the antiderivatives of φ cos φ, φ sin φ and φ².
    x = (b * _sin(b) + _cos(b)) - (a * _sin(a) + _cos(a))
    y = (_sin(b) - b * _cos(b)) - (_sin(a) - a * _cos(a))
    centre = torch.tensor([x, y], dtype=torch.float64) / (b - a)
    squares = (b**3 - a**3) / 3 / (b - a) - float((centre**2).sum())
    return centre, (squares / 2) ** 0.5


def _sin(x: float) -> float:
    return float(torch.tensor(x, dtype=torch.float64).sin())


def _cos(x: float) -> float:
    return float(torch.tensor(x, dtype=torch.float64).cos())


def spiral(phi: Tensor) -> Tensor:
    """Return the points of the swiss roll at angles ``phi``, ``(..., 2)`` float64, mean 0 and variance 1."""
    centre, scale = _centre_and_scale()
    phi = phi.to(torch.float64)
    points = phi.unsqueeze(-1) * torch.stack([phi.cos(), phi.sin()], dim=-1)
    return (points - centre.to(phi.device)) / scale


def swiss_roll(key: Tensor, n: int) -> Tensor:
    """Return ``n`` points of the swiss roll per key, ``key.shape + (n, 2)`` float64."""
    return spiral(FROM + (TO - FROM) * uniform(key, n).to(torch.float64))


PERIOD = 5


def heartbeats(length: int) -> Tensor:
    """Return the five possible sequences, ``(5, length)`` float64: a 1 in every fifth bin (Appendix D.1.2)."""
    bins = torch.arange(length)
    return torch.stack([(bins % PERIOD == phase) for phase in range(PERIOD)]).to(torch.float64)


def phases(key: Tensor, n: int) -> Tensor:
    """Return ``n`` uniformly random phases per key, int64."""
    return (randomness.uniform(key, n) * PERIOD).long().clamp_(max=PERIOD - 1)


# Radii in pixels; leaves that fall on an image of 16 x 16 and its border.
SMALLEST, LARGEST, LEAVES = 1.0, 8.0, 400


def dead_leaves(key: Tensor, n: int, side: int) -> Tensor:
    """Return ``n`` dead-leaves images per key, ``key.shape + (n, side, side)`` float32 in [0, 1].

    Discs of one grey level each fall on top of each other (Lee, Mumford and Huang 2001): centres uniform in the
    image and a border around it, radii with density ∝ r^-3, grey levels uniform. Radii are in pixels, so that
    images of any side are cut-outs of one and the same world. The paper used the images of Theis et al. (2012).
    """
    count = round(LEAVES * ((side + 2 * LARGEST) / (16 + 2 * LARGEST)) ** 2)  # equally many per area
    u = uniform(key, n, count, 4)
    radius = (SMALLEST**-2 - u[..., 0] * (SMALLEST**-2 - LARGEST**-2)) ** -0.5
    centre = u[..., 1:3] * (side + 2 * LARGEST) - LARGEST
    pixels = torch.arange(side, device=key.device) + 0.5
    image = torch.full((*key.shape, n, side, side), 0.5, device=key.device)
    for leaf in range(count):
        dy = pixels.unsqueeze(-1) - centre[..., leaf, 0, None, None]
        dx = pixels - centre[..., leaf, 1, None, None]
        inside = dx**2 + dy**2 <= radius[..., leaf, None, None] ** 2
        image = torch.where(inside, u[..., leaf, 3, None, None], image)
    return image
