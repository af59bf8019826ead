"""The image model (Appendix C and D.2): multi-scale convolution and temporal basis functions, of any image size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, softplus

from papers.diffusion.model import GaussianReverse
from repro import randomness
from repro.noise import normal


def bumps(t: Tensor, T: int, J: int) -> Tensor:
    """Return g_j(t), ``(len(t), J)``: Gaussians with centres spaced evenly in (0, T), normalised by a softmax.

    g_j(t) = exp(-(t - τ_j)² / 2 w²) / Σ_k exp(-(t - τ_k)² / 2 w²),   w the spacing of the centres
    """
    width = T / (J + 1)
    centres = width * torch.arange(1, J + 1, dtype=torch.float32, device=t.device)
    return torch.softmax(-0.5 * ((t.unsqueeze(-1) - centres) / width) ** 2, dim=-1)


class MultiScale(nn.Module):
    """Σ over scales s of upsample(conv(mean-pool by 2^s)), then softplus.

    Args:
        channels: (in, out).
        scales: number of scales; 1 is an ordinary convolution.
        key: stream of the initial weights.
        seed: of them.
    """

    def __init__(self, channels: tuple[int, int], scales: int, seed: int, key: str) -> None:
        super().__init__()
        shape = (channels[1], channels[0], 3, 3)
        deviation = (1 / (9 * channels[0] * scales)) ** 0.5
        self.kernels = nn.ParameterList(
            nn.Parameter(normal(randomness.key(seed, f"{key}/{scale}"), *shape) * deviation)
            for scale in range(scales)
        )
        self.bias = nn.Parameter(torch.zeros(channels[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in, side, side)`` to ``(n, out, side, side)``; the side is a multiple of 2^(scales - 1)."""
        total = torch.zeros(1, device=x.device)
        for scale, kernel in enumerate(self.kernels):
            pooled = avg_pool2d(x, 2**scale) if scale else x
            found = conv2d(pooled, kernel, padding=1)
            # "nearest" spreads each value over its block, as mean pooling collects it.
            total = total + (interpolate(found, scale_factor=2**scale, mode="nearest") if scale else found)
        return softplus(total + self.bias.view(-1, 1, 1))


class ImageReverse(GaussianReverse):
    """p(x_{t-1} | x_t) for images of any side.

    Args:
        T: number of steps.
        seed: of the initial weights.
        layers: multi-scale layers; 0 leaves each pixel to itself.
        scales: of each.
        channels: of each.
        basis: J, number of temporal basis functions.
    """

    def __init__(
        self, T: int, seed: int, layers: int = 2, scales: int = 3, channels: int = 16, basis: int = 10
    ) -> None:
        super().__init__()
        self.T, self.basis = T, basis
        widths = [1, *[channels] * layers]
        self.convolutions = nn.ModuleList(
            MultiScale((a, b), scales, seed, f"conv/{i}") for i, (a, b) in enumerate(pairwise(widths))
        )
        last = widths[-1] + 1  # beside what the layers found, the pixel itself
        drawn = normal(randomness.key(seed, "dense"), 2 * channels, last)
        self.dense = nn.Parameter(drawn * (1 / last) ** 0.5)
        self.dense_bias = nn.Parameter(torch.zeros(2 * channels))
        self.readout = nn.Parameter(torch.zeros(2 * basis, 2 * channels))
        self.readout_bias = nn.Parameter(torch.zeros(2 * basis))

    def readouts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z_μ, z_Σ) of ``x`` ``(n, 1, side, side)``, image i at time t_i."""
        h = x
        for layer in self.convolutions:
            h = layer(h)
        h = torch.cat([x, h], dim=1) if len(self.convolutions) else torch.cat([x, x**2], dim=1)
        h = torch.tanh(torch.einsum("ncij,dc->ndij", h, self.dense) + self.dense_bias.view(-1, 1, 1))
        y = torch.einsum("ncij,dc->ndij", h, self.readout) + self.readout_bias.view(-1, 1, 1)
        g = bumps(t.float(), self.T, self.basis)
        both = torch.einsum("nkjab,nj->nkab", y.unflatten(1, (2, self.basis)), g)
        return both[:, :1], both[:, 1:]
