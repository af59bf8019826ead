"""The swiss roll: rates and reverse process learned together by ascent on K (Sections 2.4.1 and 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from papers.diffusion import bound, schedules
from papers.diffusion.bound import Bound
from papers.diffusion.chain import backwards, kl_terms
from papers.diffusion.mixture import Mixture
from papers.diffusion.model import RadialBasis, logistic
from papers.diffusion.processes import BITS, Gaussian
from papers.diffusion.sets import FROM, TO, spiral, swiss_roll
from papers.diffusion.training import adam, predict
from repro import randomness
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.noise import normal

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]


class Model:
    """The seeds' networks with their rates β_1..β_T; β_1 is fixed, the others may be learned.

    Args:
        setting: of the experiment.
        seeds: one copy each.

    Raises:
        SettingError: for a schedule of fewer than two steps or with a rate outside (0, 1).
    """

    def __init__(self, setting: Mapping[str, Any], seeds: Sequence[int]) -> None:
        T, first = setting["T"], setting["first_beta"]
        self.learned = setting["schedule"] == "learned"
        # Where learning starts is no fixed schedule, and its β_1 is checked nowhere else.
        schedules.checked(torch.tensor([first, 1.0]), setting["schedule"])
        start = {
            "learned": schedules.learning_start,
            "fixed": schedules.gaussian_fixed,
            "released_code": schedules.released_code,
        }[setting["schedule"]](T, first)
        self.ensemble = Ensemble(lambda seed: RadialBasis(T, seed, setting["hidden"]), seeds)
        self.seeds = self.ensemble.seeds
        self.first = start[:1].repeat(len(seeds), 1)
        self.logits = torch.logit(start[1:]).repeat(len(seeds), 1).requires_grad_(self.learned)
        self.t = bound.times(T)

    def parameters(self) -> list[Tensor]:
        """What is learned."""
        return [*self.ensemble.parameters.values(), *([self.logits] if self.learned else [])]

    def process(self) -> Gaussian:
        """The forward process of each seed, ``(S, T)`` rates."""
        return Gaussian(torch.cat([self.first, logistic(self.logits)], dim=-1))

    def reverse(self, x: Tensor, t: Tensor, process: Gaussian) -> tuple[Tensor, Tensor]:
        """Return mean and variance of x_{t-1} for ``x`` ``(S, times, draws, 2)``."""
        mean, variance = predict(self.ensemble, x, t, process.betas)
        return mean, variance

    def kl(self, draws: int, stream: str, step: int = 0) -> tuple[Tensor, Gaussian]:
        """Return the KL terms in nats at t = 2..T, ``(S, T - 1, draws)``, and the process."""
        process, S, times = self.process(), len(self.seeds), len(self.t)
        x0 = swiss_roll(randomness.key(self.seeds, f"{stream}/data", step), times * draws)
        noise = normal(randomness.key(self.seeds, f"{stream}/noise", step), times, draws, 2).double()
        kl = kl_terms(
            process,
            lambda x, t: self.reverse(x, t, process),
            x0.view(S, times, draws, 2),
            noise,
            self.t,
        )
        return kl.sum(-1), process

    @torch.no_grad()
    def walk(self, n: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return points of the reverse process at each time, and the drift there, ``(S, n, 2)`` by time."""
        process, x = self.process(), normal(randomness.key(self.seeds, "path/start"), n, 2).double()

        def reverse(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            mean, variance = self.reverse(x.unsqueeze(1), torch.tensor([t]), process)
            return mean.squeeze(1), variance.squeeze(1)

        def noise(t: int) -> Tensor:
            return normal(randomness.key(self.seeds, "path/noise", t), n, 2)

        clouds, drifts = {process.T: x}, {}
        for time, mean, after in backwards(process, reverse, x, noise):
            drifts[time] = mean - clouds[time]
            clouds[time - 1] = after
        return clouds, drifts

    def bound(self, draws: int, stream: str, step: int = 0) -> Bound:
        """Estimate K on fresh points."""
        kl, process = self.kl(draws, stream, step)
        return bound.from_kl(kl, bound.gaussian_entropies(process, 2))


def train(setting: Mapping[str, Any], seeds: Sequence[int], work: Work) -> Model:
    """Return the trained seeds."""
    model = Model(setting, seeds)
    adam(
        model.parameters(),
        lambda step: -model.bound(setting["batch"], "train", step).bits,
        setting["steps"],
        setting["learning_rate"],
        work,
    )
    return model


@lru_cache(maxsize=64)
def cap(first_beta: float, seed: int, n: int = 500) -> tuple[float, float]:
    """Return -H_q(X_1) in bits and its standard error: K with a perfect reverse process, for our generator.

    X_1 is the roll blurred by √β_1; its density is summed over 16,000 points of the roll, 0.0012 apart at most. The
    sum is as good as the integral while they are no further apart than the blur, down to β_1 = 1e-6.
    """
    grid = 16000
    phi = FROM + (TO - FROM) * (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    law = Mixture(
        torch.full((grid,), 1 / grid, dtype=torch.float64),
        spiral(phi) * (1 - first_beta) ** 0.5,
        torch.full((grid,), first_beta, dtype=torch.float64),
    )
    x0 = swiss_roll(randomness.key(seed, "cap/data"), n)
    noise = normal(randomness.key(seed, "cap/noise"), n, 2)
    x1 = (1 - first_beta) ** 0.5 * x0 + first_beta**0.5 * noise
    bits = torch.cat([law.log_density(part) for part in x1.split(100)]) * BITS
    return float(bits.mean()), float(bits.std() / n**0.5)


@torch.no_grad()
def measures(model: Model, setting: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return what is recorded of each seed."""
    draws = setting["test_draws"]
    first, again = (model.bound(draws, "test", i) for i in range(2))
    null = -2 * Gaussian.equilibrium_entropy() * BITS
    rows = []
    for i, seed in enumerate(model.seeds.tolist()):
        k, k_again = float(first.bits[i]), float(again.bits[i])
        error, error_again = float(first.standard_error[i]), float(again.standard_error[i])
        # Not the one that is set: the released schedule adds 1 / T. Without the last digits of a logarithmic grid.
        top, top_error = cap(round(float(model.first[i, 0]), 12), seed)
        rows.append(
            {
                "k": k,
                "k_error": error,
                "k_minus_l_null": k - null,
                "cap": top,
                "gap_to_cap": top - k,
                "over_cap": max(0.0, k - top) / (error**2 + top_error**2) ** 0.5,
                "repeat_z": abs(k - k_again) / (error**2 + error_again**2) ** 0.5,
            }
        )
    return rows


def swiss_roll_bound(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 1, swiss roll: train and estimate K on fresh points."""
    for chunk in context.chunks(seeds, 1e8, largest=10):
        model = train(setting, chunk, context.work)
        yield from zip(chunk, measures(model, setting), strict=True)


FRAMES = (1, 5, 10, 15, 20, 25, 30, 35, 40)


def swiss_roll_path(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Figure 1: points of the forward and of the reverse process at several times, with the drift at the latter's.

    A row is a point that is shown, at one time; ``frame_distance`` is that of the two whole clouds of its time.
    """
    from papers.diffusion.toy import sliced_distance

    n = setting["samples"]
    for chunk in context.chunks(seeds, 1e8, largest=10):
        model = train(setting, chunk, context.work)
        process = Gaussian(model.process().betas.detach())
        clouds, drifts = model.walk(n)
        for i, seed in enumerate(chunk):
            rows = []
            for time in FRAMES:
                t = torch.tensor([time])
                scale, variance = (v[i] for v in process.marginal(t))
                data = swiss_roll(randomness.key(seed, "path/data"), n)
                forward = scale * data + variance.sqrt() * normal(randomness.key(seed, "path/q", time), n, 2)
                distance = sliced_distance(clouds[time][i], forward)
                for k in range(setting["shown"]):
                    rows.append(
                        {
                            "entry": time * 10000 + k,
                            "forward_x": float(forward[k, 0]),
                            "forward_y": float(forward[k, 1]),
                            "reverse_x": float(clouds[time][i, k, 0]),
                            "reverse_y": float(clouds[time][i, k, 1]),
                            "drift_x": float(drifts[time][i, k, 0]),
                            "drift_y": float(drifts[time][i, k, 1]),
                            "frame_distance": distance,
                        }
                    )
            yield seed, rows
