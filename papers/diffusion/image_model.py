"""Seeds of an image model on one fixed schedule: training, the bound K per pixel, samples, products with r(x)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from papers.diffusion import bound, schedules
from papers.diffusion.chain import Kernel, backwards, kl_terms, unchanged
from papers.diffusion.images import ImageReverse
from papers.diffusion.posterior import times_gaussian, times_smooth
from papers.diffusion.processes import Gaussian
from papers.diffusion.training import adam
from repro import randomness
from repro.context import Work
from repro.ensemble import Ensemble
from repro.noise import normal, uniform

Batch = Callable[[int], Tensor]
LAYERS = {  # multi-scale layers, scales of each, and whether a dense path runs beside them
    "multi_scale": (2, 3, False),
    "single_scale": (2, 1, False),
    "pixelwise": (0, 1, False),
    "dense": (0, 1, True),
    "both": (2, 3, True),
}


class Model:
    """The seeds' networks, sharing one fixed schedule.

    Args:
        setting: of the experiment.
        seeds: one copy each.
        shape: (colours, height, width) of the images. Without a dense path other heights and widths will do.
        device: where it runs.
    """

    def __init__(
        self,
        setting: Mapping[str, Any],
        seeds: Sequence[int],
        shape: tuple[int, int, int],
        device: str = "cpu",
    ) -> None:
        T, first = setting["T"], setting["first_beta"]
        kind = {"released_code": schedules.released_code, "fixed": schedules.gaussian_fixed}
        self.process = Gaussian(kind[setting["schedule"]](T, first).to(device))
        layers, scales, dense = LAYERS[setting["network"]]
        self.ensemble = Ensemble(
            lambda seed: ImageReverse(
                T,
                seed,
                layers,
                scales,
                setting["channels"],
                width=setting["basis_width"],
                relative_mean=setting["mean"] == "equation_65",
                colours=shape[0],
                dense=(shape, setting["dense_width"]) if dense else None,
            ),
            seeds,
            device,
        )
        self.seeds = self.ensemble.seeds
        self.betas = self.process.betas.float()

    def reverse(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of x_{t-1} for ``x`` ``(S, n, colours, height, width)``, ``t`` ``(S, n)``."""

        def one(parameters: dict[str, Tensor], x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.functional_call(self.ensemble.template, parameters, (x, t, self.betas))

        return torch.func.vmap(one)(self.ensemble.parameters, x, t)

    def kl(self, x0: Tensor, stream: str, step: int = 0) -> Tensor:
        """Return KL terms in nats per image at one random time each, ``(S, n)``, for ``x0`` ``(S, n, ...)``."""
        n, T = x0.shape[1], self.process.T
        drawn = uniform(randomness.key(self.seeds, f"{stream}/time", step), n)
        # Stratified: the n times of a batch spread evenly over 2..T.
        place = (torch.arange(n, device=drawn.device) + drawn) / n
        t = 2 + (place * (T - 1)).long().clamp_(max=T - 2)
        noise = normal(randomness.key(self.seeds, f"{stream}/noise", step), *x0.shape[1:])
        return kl_terms(self.process, self.reverse, x0, noise, t).flatten(2).sum(-1)

    def train(self, batch: Batch, steps: int, learning_rate: float, stream: str, work: Work) -> Model:
        """Minimise KL per pixel on ``batch(step)``, images ``(S, n, colours, height, width)``; returns itself."""

        def loss(step: int) -> Tensor:
            x0 = batch(step)
            return self.kl(x0, stream, step).mean(-1) / x0[0, 0].numel()

        adam(self.ensemble.parameters.values(), loss, steps, learning_rate, work)
        return self

    @torch.no_grad()
    def bound(self, batches: Batch, repeats: int, shape: tuple[int, int, int], stream: str) -> bound.Bound:
        """Estimate K in bits per pixel, colours summed, on ``batches(0)`` to ``batches(repeats - 1)``."""
        colours, height, width = shape
        draws = torch.stack([self.kl(batches(i), stream, i) for i in range(repeats)], dim=-2)
        entropies = float(bound.gaussian_entropies(self.process, colours * height * width))
        found = bound.from_stratified_times(draws.double(), self.process.T, entropies)
        pixels = height * width
        return bound.Bound(found.bits / pixels, found.standard_error / pixels)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        shape: tuple[int, int, int],
        stream: str,
        kernel: Kernel = unchanged,
        start: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Tensor:
        """Return ``(S, n, *shape)`` images of the reverse process, every kernel changed by ``kernel``.

        Args:
            n: images of each seed.
            shape: (colours, height, width).
            stream: of the noise.
            kernel: multiplies N(mean, variance) by r and normalises.
            start: changes the draw from π.
        """
        x = start(normal(randomness.key(self.seeds, f"{stream}/start"), n, *shape))

        def reverse(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            return self.reverse(x, torch.full(x.shape[:2], t, device=x.device))

        def noise(t: int) -> Tensor:
            return normal(randomness.key(self.seeds, f"{stream}/noise", t), n, *shape)

        for _, _, after in backwards(self.process, reverse, x, noise, kernel):
            x = after
        return x


def hole(height: int, width: int) -> Tensor:
    """The rectangle in the middle that inpainting fills, bool ``(height, width)``."""
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[height // 3 : height - height // 3, width // 3 : width - width // 3] = True
    return inside


def posteriors(model: Model, original: Tensor, power: float, product: str) -> dict[str, Tensor]:
    """Return images by name, each shaped like ``original`` ``(S, n, colours, height, width)``.

    Denoising multiplies by r(x) = N(noised; x, 1)^power; inpainting clamps the known pixels, r a delta.

    Args:
        model: trained.
        original: data of variance 1, so that the noise has a signal-to-noise ratio of 1.
        power: of r in every kernel.
        product: ``shift`` moves the mean by the gradient of log r, ``gaussian`` takes the exact product.
    """
    n, *shape = original.shape[1:]
    noised = original + normal(randomness.key(model.seeds, "posterior/noise"), n, *shape)
    inside = hole(*shape[1:]).to(original.device)

    def denoising(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        if product == "shift":
            return times_smooth(mean, variance, power * (noised - mean))
        return times_gaussian(mean, variance, noised, torch.tensor(1 / power))

    def clamping(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(inside, mean, original), torch.where(inside, variance, 0.0)

    def from_posterior(x: Tensor) -> Tensor:  # x_T from π(x_T) r(x_T)
        return (noised * power + x * (1 + power) ** 0.5) / (1 + power)

    size = tuple(shape)
    return {
        "original": original,
        "noised": noised,
        "denoised": model.sample(n, size, "denoise", denoising, from_posterior),
        "masked": torch.where(inside, 0.0, original),
        "inpainted": model.sample(n, size, "inpaint", clamping, lambda x: torch.where(inside, x, original)),
        "sampled": model.sample(n, size, "free"),
    }


def recovered(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return how much denoising and inpainting recover of each seed's images, ``(S,)`` by name.

    ``denoising_ratio`` is the squared error over that of the noised image; ``hole_ratio`` that of the inpainted pixels
    over that of an unrelated sample; ``known_error`` the largest distance from a given pixel.
    """
    error = {name: (images - found["original"]) ** 2 for name, images in found.items()}
    inside = hole(*found["original"].shape[-2:]).to(found["original"].device)
    whole = torch.ones_like(inside)

    def mean(name: str, where: Tensor) -> Tensor:
        return error[name][..., where].flatten(1).mean(-1)

    return {
        "denoising_ratio": mean("denoised", whole) / mean("noised", whole),
        "hole_ratio": mean("inpainted", inside) / mean("sampled", inside),
        "known_error": error["inpainted"][..., ~inside].flatten(1).amax(-1).sqrt(),
    }
