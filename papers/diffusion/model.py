"""The reverse processes of the swiss roll and of the binary heartbeat (Appendix D.1), each for one seed.

Both share their hidden layers over time and have a readout of their own for every step t = 2..T.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from papers.diffusion.processes import Binomial
from repro import randomness
from repro.noise import normal


def _weight(seed: int, stream: str, *shape: int) -> nn.Parameter:
    """Glorot-normal weights of a matrix (in, out); the same at every step where there is one per step."""
    fan = sum(shape[-2:])
    drawn = normal(randomness.key(seed, stream), prod(shape[-2:])).view(shape[-2:])
    return nn.Parameter((drawn * (2 / fan) ** 0.5).expand(shape).clone())


def logistic(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)).

    torch.sigmoid rounds the last few elements of an array in another way than the others, so that a seed's result
    would depend on how many seeds stand beside it.
    """
    return 1 / (1 + torch.exp(-x))


class GaussianReverse(nn.Module):
    """p(x_{t-1} | x_t) = N(f_μ, f_Σ), both relative to the reverse of pure diffusion (equations 64 and 65).

        Σ = sigmoid(z_Σ + logit β_t),   μ = (x_t - z_μ)(1 - Σ) + z_μ

    Subclasses give the readouts z; where both are 0, μ = x_t (1 - β_t) and Σ = β_t.
    """

    def readouts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return (z_μ, z_Σ), shaped like ``x``."""
        raise NotImplementedError

    def forward(self, x: Tensor, t: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of x_{t-1}.

        Args:
            x: ``(times, draws, ...)``, x_t at each of the times.
            t: int64 ``(times,)``.
            betas: ``(T,)``.
        """
        z_mean, z_variance = self.readouts(x, t)
        beta = betas[t - 1].view(-1, *[1] * (x.dim() - 1))
        variance = logistic(z_variance + beta.log() - torch.log1p(-beta))
        return (x - z_mean) * (1 - variance) + z_mean, variance


class RadialBasis(GaussianReverse):
    """The swiss roll's network: one hidden layer of *normalised* radial basis functions (Appendix D.1.1).

        h_j(x) = exp(-|x - c_j|² / 2 w_j²) / Σ_k exp(-|x - c_k|² / 2 w_k²)

    Args:
        T: number of steps.
        seed: of the initial weights.
        hidden: number of functions, shared over time and by mean and variance.
    """

    def __init__(self, T: int, seed: int, hidden: int = 16) -> None:
        super().__init__()
        self.centres = nn.Parameter(normal(randomness.key(seed, "rbf/centres"), hidden, 2).double())
        self.log_widths = nn.Parameter(torch.full((hidden,), -0.7, dtype=torch.float64))
        self.mean = nn.Parameter(torch.zeros(T - 1, hidden, 2, dtype=torch.float64))
        self.variance = nn.Parameter(torch.zeros(T - 1, hidden, 2, dtype=torch.float64))

    def readouts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two readouts of ``x`` ``(times, draws, 2)``."""
        precision = (-2 * self.log_widths).exp()
        c = self.centres
        # Coordinate by coordinate: a matrix product may round differently with other seeds beside it.
        square = (x[..., :1] - c[:, 0]) ** 2 + (x[..., 1:] - c[:, 1]) ** 2
        h = torch.softmax(-0.5 * precision * square, dim=-1)
        return h @ self.mean[t - 2], h @ self.variance[t - 2]


class HeartbeatNetwork(nn.Module):
    """The heartbeat's perceptron: three hidden layers of sigmoids, output sigmoid (Appendix D.1.2).

    Args:
        process: the forward process; with ``offset`` the output is relative to its own reverse in equilibrium,
            logit f = z + logit(x_t (1 - β_t) + p β_t), as equations 64 and 65 do for Gaussian kernels.
        length: bins of a sequence.
        seed: of the initial weights.
        hidden: width of each hidden layer.
        offset: without it, logit f = z.
    """

    def __init__(
        self, process: Binomial, length: int, seed: int, hidden: int = 50, offset: bool = True
    ) -> None:
        super().__init__()
        self.offset = offset
        widths = [length, hidden, hidden, hidden]
        # Sigmoids have a slope of 1/4: weights four times as large keep the activations' spread.
        self.weights = nn.ParameterList(
            nn.Parameter(4 * _weight(seed, f"mlp/{i}", a, b).detach())
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for b in widths[1:])
        self.readout = nn.Parameter(torch.zeros(process.T - 1, hidden, length))
        self.readout_bias = nn.Parameter(torch.zeros(process.T - 1, 1, length))
        if not offset:  # start from the base rate
            nn.init.constant_(self.readout_bias, float(torch.logit(torch.tensor(process.base_rate))))
        one, zero = (process.step(torch.tensor(v, dtype=torch.float64), process.betas) for v in (1.0, 0.0))
        self.register_buffer("logit_of_one", torch.logit(one.clamp(max=1 - 1e-12)).float())
        self.register_buffer("logit_of_zero", torch.logit(zero).float())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the logit of p(x_{t-1} = 1 | x_t).

        Args:
            x: ``(times, draws, length)`` float32 of 0 and 1.
            t: int64 ``(times,)``.
        """
        h = 2 * x - 1
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.sigmoid(h @ weight + bias) * 2 - 1
        z = h @ self.readout[t - 2] + self.readout_bias[t - 2]
        if not self.offset:
            return z
        one, zero = (logit[t - 1].view(-1, 1, 1) for logit in (self.logit_of_one, self.logit_of_zero))
        return z + x * one + (1 - x) * zero
