"""A small network learns noise (DDPM, equations 12 and 14) or a flow on plane sets whose exact answer is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from papers.diffusion.mixture import MIXTURES, Mixture
from papers.diffusion.model import _weight
from papers.diffusion.sde import BETA_MAX, BETA_MIN
from repro import randomness
from repro.context import Context
from repro.ensemble import Ensemble
from repro.noise import normal, uniform

Rows = Iterator[tuple[int, list[dict[str, float]]]]
TIMES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # where the learned noise is compared with the exact one
EARLIEST = 1e-3


class PlaneNetwork(nn.Module):
    """A perceptron of (x, t) with sinusoids of t; two outputs: the noise, or the flow's velocity.

    Args:
        seed: of the initial weights.
        hidden: width of both hidden layers.
    """

    def __init__(self, seed: int, hidden: int = 64) -> None:
        super().__init__()
        widths = [2 + 6, hidden, hidden, 2]
        self.weights = nn.ParameterList(
            nn.Parameter(2**0.5 * _weight(seed, f"plane/{i}", a, b).detach())
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(b)) for b in widths[1:])

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map ``(n, 2)`` points at times ``(n, 1)`` to ``(n, 2)``."""
        waves = [f(k * pi / 2 * t.sqrt()) for k in (1, 2, 4) for f in (torch.sin, torch.cos)]
        h = torch.cat([x, *waves], dim=-1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = h @ weight + bias
            if i < 2:
                h = nn.functional.silu(h)
        return h


def vp(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scale, variance and β of the VP process at ``t``."""
    integral = BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t**2
    return (-0.5 * integral).exp(), -torch.expm1(-integral), BETA_MIN + (BETA_MAX - BETA_MIN) * t


def _predict(ensemble: Ensemble, x: Tensor, t: Tensor) -> Tensor:
    def one(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        return functional_call(ensemble.template, parameters, (x, t))

    return vmap(one)(ensemble.parameters, x, t)


def losses(ensemble: Ensemble, mixture: Mixture, objective: str, step: int, batch: int) -> Tensor:
    """Return each seed's loss at a step, ``(S,)``.

    ``simple``: E|ε - ε_θ|² (DDPM, equation 14); ``variational``: each time weighted by β / variance, the continuous
    form of equation 12 for σ² = β; ``flow``: E|(x_0 - ε) - v_θ|² on the straight line from noise to data.
    """
    seeds = ensemble.seeds.tolist()
    keys = randomness.key(ensemble.seeds, "toy/noise", step)
    x0 = torch.stack([mixture.sample(randomness.key(s, "toy/data", step), batch) for s in seeds]).float()
    t = EARLIEST + (1 - EARLIEST) * uniform(randomness.key(ensemble.seeds, "toy/time", step), batch, 1)
    noise = normal(keys, batch, 2)
    if objective == "flow":
        predicted = _predict(ensemble, t * x0 + (1 - t) * noise, t)
        return ((x0 - noise - predicted) ** 2).sum(-1).mean(-1)
    scale, variance, beta = vp(t)
    error = ((noise - _predict(ensemble, scale * x0 + variance.sqrt() * noise, t)) ** 2).sum(-1)
    weight = (beta / variance).squeeze(-1) if objective == "variational" else torch.ones_like(error)
    # A common factor changes nothing with Adam; it keeps the two objectives' losses of like size.
    return (weight * error).mean(-1) / (10.0 if objective == "variational" else 1.0)


@torch.no_grad()
def sample(ensemble: Ensemble, objective: str, n: int, steps: int = 100) -> Tensor:
    """Return ``(S, n, 2)`` samples by Heun's method along the learned flow."""
    x = normal(randomness.key(ensemble.seeds, "toy/start"), n, 2)

    def slope(x: Tensor, t: float) -> Tensor:
        at = torch.full((*x.shape[:-1], 1), t)
        if objective == "flow":
            return _predict(ensemble, x, at)
        _, variance, beta = vp(at)
        return -0.5 * beta * (x - _predict(ensemble, x, at) / variance.sqrt())

    forward = torch.linspace(0, 1, steps + 1)
    times = forward if objective == "flow" else EARLIEST + (1 - EARLIEST) * (1 - forward) ** 2
    for t, after in pairwise(times.tolist()):
        first = slope(x, t)
        x = x + 0.5 * (after - t) * (first + slope(x + (after - t) * first, after))
    return x


def sliced_distance(points: Tensor, others: Tensor, directions: int = 16) -> float:
    """Return the mean over projections of the Wasserstein-1 distance of two samples of equal size ``(n, 2)``."""
    angles = torch.arange(directions, dtype=torch.float64) * pi / directions
    across = torch.stack([angles.cos(), angles.sin()])
    a, b = ((x.double() @ across).sort(dim=0).values for x in (points, others))
    return float((a - b).abs().mean())


@torch.no_grad()
def noise_errors(ensemble: Ensemble, mixture: Mixture, n: int = 2000) -> Tensor:
    """Return E|ε_θ - ε*|² with the exact ε* = -√variance · score at each of ``TIMES``, ``(S, times)``."""
    rows = []
    for i, time in enumerate(TIMES):
        scale, variance, _ = (float(v) for v in vp(torch.tensor(time, dtype=torch.float64)))
        law = mixture.diffused(scale, variance)
        x = torch.stack([law.sample(randomness.key(s, "toy/error", i), n) for s in ensemble.seeds.tolist()])
        exact = -(variance**0.5) * torch.stack([law.score(points) for points in x])
        found = _predict(ensemble, x.float(), torch.full((*x.shape[:-1], 1), time))
        rows.append(((found - exact) ** 2).sum(-1).mean(-1))
    return torch.stack(rows, dim=-1)


def toy(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on a plane set; rows hold the samples' distance and the error of the learned noise by time."""
    mixture, objective, steps = MIXTURES[setting["mixture"]](), setting["objective"], setting["steps"]
    for chunk in context.chunks(seeds, 2e7, largest=10):
        ensemble = Ensemble(lambda seed: PlaneNetwork(seed, setting["hidden"]), chunk)
        optimizer = torch.optim.Adam(list(ensemble.parameters.values()), lr=setting["learning_rate"])
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = setting["learning_rate"] * min(1.0, 2 * (1 - step / steps))
            optimizer.zero_grad()
            losses(ensemble, mixture, objective, step, setting["batch"]).sum().backward()
            optimizer.step()
            context.tick((step + 1) / steps)
        n = setting["samples"]
        points = sample(ensemble, objective, n)
        errors = noise_errors(ensemble, mixture)
        for i, seed in enumerate(chunk):
            data = mixture.sample(randomness.key(seed, "toy/test"), n)
            distance = sliced_distance(points[i], data)
            if objective == "flow":
                errors[i] = 0.0  # a flow predicts no noise
            yield (
                seed,
                [
                    {"time": t, "sample_distance": distance, "noise_error": float(error)}
                    for t, error in zip(TIMES, errors[i], strict=True)
                ],
            )
