"""The image model (Appendix C and D.2): multi-scale convolution and temporal basis functions, of any image size."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, softplus

from papers.diffusion.model import GaussianReverse, logistic
from repro import randomness
from repro.noise import normal


def bumps(t: Tensor, T: int, J: int, width: float = 1.0) -> Tensor:
    """Return g_j(t), ``(len(t), J)``: Gaussians with centres spaced evenly in (0, T), normalised by a softmax.

    g_j(t) = exp(-(t - τ_j)² / 2 w²) / Σ_k exp(-(t - τ_k)² / 2 w²)

    Args:
        t: times.
        T: number of steps.
        J: number of functions.
        width: w in units of the spacing of the centres; 1 in the paper, a half in the released code.
    """
    spacing = T / (J + 1)
    centres = spacing * torch.arange(1, J + 1, dtype=torch.float32, device=t.device)
    return torch.softmax(-0.5 * ((t.unsqueeze(-1) - centres) / (width * spacing)) ** 2, dim=-1)


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


class Dense(nn.Module):
    """Fully connected tanh layers over a whole image, of fixed size; two outputs per number of the image.

    Args:
        size: numbers in an image.
        width: of each of the four hidden layers (as many as in the released code; the paper does not say).
        seed: of the initial weights.
    """

    def __init__(self, size: int, width: int, seed: int) -> None:
        super().__init__()
        widths = [size, *[width] * 4, 2 * size]
        self.weights = nn.ParameterList(
            nn.Parameter(normal(randomness.key(seed, f"lower/{i}"), a, b) * (1 / a) ** 0.5)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for b in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, colours, height, width)`` to ``(n, 2 colours, height, width)``."""
        h = x.flatten(1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.tanh(h @ weight + bias)
        return h.view(len(x), -1, *x.shape[2:])


class ImageReverse(GaussianReverse):
    """p(x_{t-1} | x_t) for images, of any size unless there is a dense path.

    Args:
        T: number of steps.
        seed: of the initial weights.
        layers: multi-scale layers; 0 leaves each pixel to itself.
        scales: of each.
        channels: of each.
        basis: J, number of temporal basis functions.
        width: of these functions, see :func:`bumps`.
        relative_mean: f_μ by equation 65; otherwise x_t √(1 - β_t) + z_μ √β_t, as in the released code.
        colours: of a pixel.
        dense: the images' (colours, height, width) and the width of a dense path's layers; None for none.
    """

    def __init__(
        self,
        T: int,
        seed: int,
        layers: int = 2,
        scales: int = 3,
        channels: int = 16,
        basis: int = 10,
        width: float = 1.0,
        relative_mean: bool = True,
        colours: int = 1,
        dense: tuple[tuple[int, int, int], int] | None = None,
    ) -> None:
        super().__init__()
        self.T, self.basis, self.colours = T, basis, colours
        self.width, self.relative_mean = width, relative_mean
        widths = [colours, *[channels] * layers]
        self.convolutions = nn.ModuleList(
            MultiScale((a, b), scales, seed, f"conv/{i}") for i, (a, b) in enumerate(pairwise(widths))
        )
        self.lower = Dense(prod(dense[0]), dense[1], seed) if dense else None
        # Beside what the layers found, the pixel itself; its square where they are missing.
        last = widths[-1] + colours + (2 * colours if dense else 0)
        drawn = normal(randomness.key(seed, "dense"), 2 * channels, last)
        self.dense = nn.Parameter(drawn * (1 / last) ** 0.5)
        self.dense_bias = nn.Parameter(torch.zeros(2 * channels))
        self.readout = nn.Parameter(torch.zeros(2 * colours * basis, 2 * channels))
        self.readout_bias = nn.Parameter(torch.zeros(2 * colours * basis))

    def readouts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z_μ, z_Σ) of ``x`` ``(n, colours, height, width)``, image i at time t_i."""
        h = x
        for layer in self.convolutions:
            h = layer(h)
        found = [x, h if len(self.convolutions) else x**2]
        if self.lower is not None:
            found.append(self.lower(x))
        h = torch.cat(found, dim=1)
        h = torch.tanh(torch.einsum("ncij,dc->ndij", h, self.dense) + self.dense_bias.view(-1, 1, 1))
        y = torch.einsum("ncij,dc->ndij", h, self.readout) + self.readout_bias.view(-1, 1, 1)
        g = bumps(t.float(), self.T, self.basis, self.width)
        both = torch.einsum("nkjab,nj->nkab", y.unflatten(1, (2 * self.colours, self.basis)), g)
        return both[:, : self.colours], both[:, self.colours :]

    def forward(self, x: Tensor, t: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of x_{t-1}; see :class:`GaussianReverse`."""
        if self.relative_mean:
            return super().forward(x, t, betas)
        z_mean, z_variance = self.readouts(x, t)
        beta = betas[t - 1].view(-1, *[1] * (x.dim() - 1))
        return (1 - beta).sqrt() * x + beta.sqrt() * z_mean, logistic(z_variance + torch.logit(beta))
