"""Dead leaves at small size: bounds by image side, denoising and inpainting (Sections 2.5 and 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from papers.diffusion import bound, schedules
from papers.diffusion.images import ImageReverse
from papers.diffusion.posterior import times_gaussian, times_smooth
from papers.diffusion.processes import BITS, Gaussian, gaussian_kl
from papers.diffusion.sets import dead_leaves
from papers.diffusion.training import adam
from repro import randomness
from repro.context import Context
from repro.ensemble import Ensemble
from repro.noise import normal, uniform

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]
SIDES = (16, 32, 64)


class Model:
    """The seeds' networks, sharing one fixed schedule.

    Args:
        setting: of the experiment.
        seeds: one copy each.
    """

    def __init__(self, setting: Mapping[str, Any], seeds: Sequence[int]) -> None:
        T, first = setting["T"], setting["first_beta"]
        kind = {"released_code": schedules.released_code, "fixed": schedules.gaussian_fixed}
        self.process = Gaussian(kind[setting["schedule"]](T, first))
        layers = {"multi_scale": (2, 3), "single_scale": (2, 1), "pixelwise": (0, 1)}[setting["network"]]
        self.ensemble = Ensemble(
            lambda seed: ImageReverse(T, seed, *layers, channels=setting["channels"]), seeds
        )
        self.seeds = self.ensemble.seeds

    def reverse(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of x_{t-1} for ``x`` ``(S, n, 1, side, side)``, ``t`` ``(S, n)``."""
        betas = self.process.betas.float()

        def one(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.functional_call(self.ensemble.template, parameters, (x, t, betas))

        return torch.func.vmap(one)(self.ensemble.parameters, x, t)

    def kl(self, x0: Tensor, stream: str, step: int = 0) -> Tensor:
        """Return KL terms in nats per image at one random time each, ``(S, n)``; ``x0`` ``(S, n, side, side)``."""
        n, side = x0.shape[1:3]
        drawn = uniform(randomness.key(self.seeds, f"{stream}/time", step), n)
        # Stratified: the n times of a batch spread evenly over 2..T.
        place = (torch.arange(n) + drawn) / n
        t = 2 + (place * (self.process.T - 1)).long().clamp_(max=self.process.T - 2)
        noise = normal(randomness.key(self.seeds, f"{stream}/noise", step), n, side, side)
        scale, variance = (v.float()[..., None, None] for v in self.process.marginal(t))
        xt = scale * x0 + variance.sqrt() * noise
        of_start, of_end, posterior = (v.float()[..., None, None] for v in self.process.posterior(t))
        mean, variance_p = (v.squeeze(2) for v in self.reverse(xt.unsqueeze(2), t))
        return gaussian_kl(of_start * x0 + of_end * xt, posterior, mean, variance_p).sum((-1, -2))


def images(seed: int, stream: str, n: int, side: int) -> Tensor:
    """Return ``(n, side, side)`` images of mean 0 and variance 1: grey levels are uniform."""
    return (dead_leaves(randomness.key(seed, stream), n, side) - 0.5) * 12**0.5


def _count(setting: Mapping[str, Any], side: int) -> int:
    """As many pixels of training data at every side."""
    return max(8, setting["images"] * SIDES[0] ** 2 // side**2)


def train(
    setting: Mapping[str, Any], seeds: Sequence[int], side: int, tick: Callable[[float], None]
) -> Model:
    """Return seeds trained on images of one side."""
    model = Model(setting, seeds)
    n = _count(setting, side)
    data = torch.stack([images(seed, f"leaves/{side}", n, side) for seed in seeds])
    batch = max(1, setting["batch"] * SIDES[0] ** 2 // side**2)
    rows = torch.arange(len(seeds)).unsqueeze(-1)

    def loss(step: int) -> Tensor:
        chosen = (uniform(randomness.key(model.seeds, "leaves/batch", step), batch) * n).long()
        return model.kl(data[rows, chosen], "leaves/train", step).mean(-1) / side**2

    parameters = model.ensemble.parameters.values()
    adam(parameters, loss, setting["steps"], setting["learning_rate"], _Ticker(tick))  # type: ignore[arg-type]
    return model


class _Ticker:
    """A context of which only the progress is used."""

    def __init__(self, tick: Callable[[float], None]) -> None:
        self.tick = tick


@torch.no_grad()
def per_pixel(model: Model, setting: Mapping[str, Any], side: int) -> list[dict[str, float]]:
    """Return each seed's bound per pixel on fresh images of a side."""
    n = _count(setting, side)
    data = torch.stack([images(seed, f"leaves/test/{side}", n, side) for seed in model.seeds.tolist()])
    draws = [model.kl(data, "leaves/measure", i) for i in range(setting["test_draws"])]
    entropies = float(bound.gaussian_entropies(model.process, side**2))
    found = bound.from_stratified_times(torch.stack(draws, dim=-2), model.process.T, entropies)
    null = -Gaussian.equilibrium_entropy() * BITS
    rows = []
    for i in range(len(data)):
        k = float(found.bits[i]) / side**2
        error = float(found.standard_error[i]) / side**2
        rows.append(
            {"side": side, "k": k, "k_error": error, "k_minus_l_null": k - null, "perplexity": 2.0**-k}
        )
    return rows


def dead_leaves_bound(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Bounds per pixel by image side: trained at the smallest, or at each (``trained_on: same_size``)."""
    sides = [side for side in SIDES if side <= setting["largest_side"]]
    for chunk in context.chunks(seeds, 4e8, largest=1):
        rows: list[list[dict[str, float]]] = [[] for _ in chunk]
        model = None
        for i, side in enumerate(sides):
            if model is None or setting["trained_on"] == "same_size":
                share = 1 / (len(sides) if setting["trained_on"] == "same_size" else 1)
                model = train(
                    setting, chunk, side, lambda done, i=i, share=share: context.tick((i + done) * share)
                )
            for own, row in zip(rows, per_pixel(model, setting, side), strict=True):
                own.append(row)
        yield from zip(chunk, rows, strict=True)


@torch.no_grad()
def sample(
    model: Model,
    shape: tuple[int, int],
    stream: str,
    kernel: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda mean, variance: (mean, variance),
    start: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Return ``(S, *shape)`` images of the reverse process, every kernel changed by ``kernel``.

    Args:
        model: trained.
        shape: sides.
        stream: of the noise.
        kernel: multiplies N(mean, variance) by r and normalises.
        start: changes the draw from π.
    """
    x = start(normal(randomness.key(model.seeds, f"{stream}/start"), *shape))
    betas = model.process.betas.float()
    for t in range(model.process.T, 0, -1):
        if t >= 2:
            times = torch.full((len(x), 1), t)
            mean, variance = (v[:, 0, 0] for v in model.reverse(x[:, None, None], times))
        else:  # the last step is the forward kernel
            mean, variance = (1 - betas[0]).sqrt() * x, betas[0].expand_as(x)
        mean, variance = kernel(mean, variance)
        x = mean + variance.sqrt() * normal(randomness.key(model.seeds, f"{stream}/noise", t), *shape)
    return x


def posterior_images(model: Model, setting: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the images of one seed each, ``(S, side, side)``, by name.

    Denoising multiplies by r(x) = N(noised; x, 1)^power; inpainting clamps the known pixels, r a delta.
    """
    side, power = setting["side"], setting["power"]
    original = torch.stack([images(seed, "posterior/image", 1, side)[0] for seed in model.seeds.tolist()])
    noised = original + normal(randomness.key(model.seeds, "posterior/noise"), side, side)
    hole = _hole(side)

    def denoising(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        if setting["product"] == "shift":
            return times_smooth(mean, variance, power * (noised - mean))
        return times_gaussian(mean, variance, noised, torch.tensor(1 / power))

    def clamping(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(hole, mean, original), torch.where(hole, variance, torch.zeros(()))

    shape = (side, side)
    return {
        "original": original,
        "noised": noised,
        # x_T from π(x_T) r(x_T)
        "denoised": sample(
            model,
            shape,
            "denoise",
            denoising,
            lambda x: (noised * power + x * (1 + power) ** 0.5) / (1 + power),
        ),
        "masked": torch.where(hole, torch.zeros(()), original),
        "inpainted": sample(model, shape, "inpaint", clamping, lambda x: torch.where(hole, x, original)),
        "sampled": sample(model, shape, "free"),
    }


def _hole(side: int) -> Tensor:
    """The square in the middle that inpainting fills, bool ``(side, side)``."""
    hole = torch.zeros(side, side, dtype=torch.bool)
    hole[side // 3 : side - side // 3, side // 3 : side - side // 3] = True
    return hole


def dead_leaves_posterior(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Samples, denoising at a signal-to-noise ratio of 1, and inpainting; a row is one pixel."""
    hole = _hole(setting["side"])
    for chunk in context.chunks(seeds, 4e8, largest=1):
        model = train(setting, chunk, SIDES[0], context.tick)
        found = posterior_images(model, setting)
        for i, seed in enumerate(chunk):
            own = {name: image[i] for name, image in found.items()}
            error = {name: (image - own["original"]) ** 2 for name, image in own.items()}
            of_image = {
                "denoising_ratio": float(error["denoised"].mean() / error["noised"].mean()),
                "hole_ratio": float(error["inpainted"][hole].mean() / error["sampled"][hole].mean()),
            }
            pixels = {name: image.flatten().tolist() for name, image in own.items()}
            yield (
                seed,
                [
                    {"pixel": k, **{name: values[k] for name, values in pixels.items()}, **of_image}
                    for k in range(setting["side"] ** 2)
                ],
            )
