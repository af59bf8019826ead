"""Dead leaves of three sides: bounds and samples by size and by steps, denoising, inpainting (Sections 2.5, 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from papers.diffusion import leaves_set
from papers.diffusion.image_model import Model, posteriors, recovered
from papers.diffusion.leaves_set import SIDES
from papers.diffusion.processes import BITS, Gaussian
from repro import randomness
from repro.context import Context, Work
from repro.noise import uniform

Rows = Iterator[tuple[int, list[dict[str, float]]]]
STEPS = (125, 250, 500, 1000)


def _as_many_pixels(images: int, side: int) -> int:
    """How many images of a side have as many pixels as ``images`` of the smallest."""
    return max(1, images * SIDES[0] ** 2 // side**2)


def train(
    setting: Mapping[str, Any],
    seeds: Sequence[int],
    side: int,
    context: Context,
    work: Work,
) -> Model:
    """Return seeds trained on images of one side; as many pixels of data, and in a batch, at every side."""
    model = Model(setting, seeds, (1, side, side), context.device)
    n, batch = (_as_many_pixels(setting[name], side) for name in ("images", "batch"))
    data = leaves_set.load(context.root, "train", side, seeds, n).to(context.device)
    rows = torch.arange(len(seeds), device=context.device).unsqueeze(-1)

    def drawn(step: int) -> Tensor:
        chosen = (uniform(randomness.key(model.seeds, "leaves/batch", step), batch) * n).long()
        return data[rows, chosen]

    return model.train(drawn, setting["steps"], setting["learning_rate"], "leaves/train", work)


def per_pixel(
    model: Model, setting: Mapping[str, Any], side: int, seeds: Sequence[int], context: Context
) -> list[dict[str, float]]:
    """Return each seed's bound per pixel on test images of a side."""
    n = _as_many_pixels(setting["images"], side)
    data = leaves_set.load(context.root, "test", side, seeds, n).to(context.device)
    found = model.bound(lambda i: data, setting["test_draws"], (1, side, side), "leaves/measure")
    null = -Gaussian.equilibrium_entropy() * BITS
    return [
        {"k": k, "k_error": error, "k_minus_l_null": k - null, "perplexity": 2.0**-k}
        for k, error in zip(found.bits.tolist(), found.standard_error.tolist(), strict=True)
    ]


def dead_leaves_bound(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Bounds per pixel by image side: trained at the smallest, or at each (``trained_on: same_size``)."""
    sides = [side for side in SIDES if side <= setting["largest_side"]]
    for chunk in context.chunks(seeds, 4e8, largest=1):
        rows: list[list[dict[str, float]]] = [[] for _ in chunk]
        model = None
        trainings = len(sides) if setting["trained_on"] == "same_size" else 1
        for i, side in enumerate(sides):
            if i < trainings:
                model = train(setting, chunk, side, context, context.work.part(i, trainings))
            for own, row in zip(rows, per_pixel(model, setting, side, chunk, context), strict=True):
                own.append({"side": side, **row})
        yield from zip(chunk, rows, strict=True)


def _steepness(images: Tensor) -> Tensor:
    """Absolute differences of neighbouring pixels of ``(n, 1, side, side)``, sorted: what leaves and edges leave."""
    across, down = images.diff(dim=-1), images.diff(dim=-2)
    return torch.cat([across.flatten(), down.flatten()]).abs().sort().values


def steepness_distance(
    model: Model, side: int, n: int, seeds: Sequence[int], context: Context
) -> list[float]:
    """Return each seed's Wasserstein distance of neighbours' differences in ``n`` samples and in ``n`` test images."""
    samples = model.sample(n, (1, side, side), f"quality/{side}").cpu()
    data = leaves_set.load(context.root, "test", side, seeds, n)
    return [
        float((_steepness(own) - _steepness(real)).abs().mean())
        for own, real in zip(samples, data, strict=True)
    ]


def dead_leaves_samples(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Samples by image side of a model trained at the smallest; as many pixels of them at every side."""
    sides = [side for side in SIDES if side <= setting["largest_side"]]
    for chunk in context.chunks(seeds, 4e8, largest=1):
        model = train(setting, chunk, SIDES[0], context, context.work)
        found = [
            steepness_distance(model, side, _as_many_pixels(setting["samples"], side), chunk, context)
            for side in sides
        ]
        for i, seed in enumerate(chunk):
            yield (
                seed,
                [
                    {"side": side, "steepness_distance": own[i]}
                    for side, own in zip(sides, found, strict=True)
                ],
            )


def dead_leaves_by_steps(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Bound and samples at the smallest side by the number of steps T, each T trained on its own."""
    side, choices = SIDES[0], [T for T in STEPS if setting["T"] >= T]
    for chunk in context.chunks(seeds, 4e8, largest=1):
        rows: list[list[dict[str, float]]] = [[] for _ in chunk]
        for i, T in enumerate(choices):
            model = train({**setting, "T": T}, chunk, side, context, context.work.part(i, len(choices)))
            bounds = per_pixel(model, setting, side, chunk, context)
            distances = steepness_distance(model, side, setting["samples"], chunk, context)
            for own, row, distance in zip(rows, bounds, distances, strict=True):
                own.append({"diffusion_steps": T, **row, "steepness_distance": distance})
        yield from zip(chunk, rows, strict=True)


def dead_leaves_posterior(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Samples, denoising at a signal-to-noise ratio of 1, and inpainting; a row is one pixel."""
    side = setting["side"]
    for chunk in context.chunks(seeds, 4e8, largest=1):
        model = train(setting, chunk, SIDES[0], context, context.work)
        original = leaves_set.load(context.root, "test", side, chunk, 1).to(context.device)
        found = posteriors(model, original, setting["power"], setting["product"])
        ratios = recovered(found)
        for i, seed in enumerate(chunk):
            of_image = {name: float(values[i]) for name, values in ratios.items()}
            pixels = {name: images[i].flatten().tolist() for name, images in found.items()}
            yield (
                seed,
                [
                    {"pixel": k, **{name: values[k] for name, values in pixels.items()}, **of_image}
                    for k in range(side**2)
                ],
            )
