"""MNIST and CIFAR-10 by one and the same experiment: train, bound, samples, inpainting, Parzen estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from papers.diffusion import parzen
from papers.diffusion.image_model import Model, posteriors, recovered
from papers.diffusion.processes import BITS, Gaussian
from repro import randomness
from repro.context import Context
from repro.data import cifar10, mnist
from repro.noise import uniform

Rows = Iterator[tuple[int, list[dict[str, float]]]]
LOAD: dict[str, Callable[[Path], dict[str, NDArray[np.uint8]]]] = {
    "mnist": mnist.load,
    "cifar10": cifar10.load,
}
HELD_OUT = 6  # a sixth of the training images is kept for choosing the Parzen window


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of 256 levels, and how they become data of mean 0 and variance 1.

    Attributes:
        train: uint8 ``(n, colours, height, width)``; ``held_out`` and ``test`` likewise.
        mean, scale: of levels with uniform noise, one number each ("a single scalar").
    """

    train: Tensor
    held_out: Tensor
    test: Tensor
    mean: float
    scale: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(colours, height, width)."""
        colours, height, width = self.train.shape[1:]
        return colours, height, width

    def standardised(self, levels: Tensor, noise: Tensor) -> Tensor:
        """Return (level + noise) as data; noise uniform in [0, 1) keeps the grid from being learned (footnote 3)."""
        return (levels + noise - self.mean) / self.scale

    def grey(self, x: Tensor) -> Tensor:
        """Return data as numbers in [0, 1], level k at k / 255."""
        return (x * self.scale + self.mean - 0.5) / 255


@lru_cache(maxsize=1)
def read(name: str, root: Path) -> Pictures:
    """Return a data set.

    Raises:
        DataUnavailable: if it is not here.
        DataCorrupt: if a file of it is not what it should be.
    """
    found = LOAD[name](root)
    train, test = (
        found[part].reshape(len(found[part]), -1, *found[part].shape[-2:]) for part in ("train", "test")
    )
    kept = len(train) - len(train) // HELD_OUT
    # Uniform noise has mean 1/2 and variance 1/12.
    return Pictures(
        *(torch.from_numpy(part.copy()) for part in (train[:kept], train[kept:], test)),
        mean=float(train[:kept].mean()) + 0.5,
        scale=float(train[:kept].var() + 1 / 12) ** 0.5,
    )


def _batches(
    model: Model, pictures: Pictures, levels: Tensor, batch: int, stream: str
) -> Callable[[int], Tensor]:
    """Return step to images ``(S, batch, ...)``, each seed's own draw with fresh noise."""

    def drawn(step: int) -> Tensor:
        chosen = uniform(randomness.key(model.seeds, f"{stream}/batch", step), batch) * len(levels)
        noise = uniform(randomness.key(model.seeds, f"{stream}/levels", step), batch, *pictures.shape)
        return pictures.standardised(levels[chosen.long()], noise)

    return drawn


def _in_turn(model: Model, pictures: Pictures, levels: Tensor, batch: int) -> Callable[[int], Tensor]:
    """Return i to the i-th ``batch`` of images ``(S, batch, ...)``, the same for all seeds but for the noise."""

    def part(i: int) -> Tensor:
        noise = uniform(randomness.key(model.seeds, "pictures/levels", i), batch, *pictures.shape)
        return pictures.standardised(levels[i * batch : (i + 1) * batch], noise)

    return part


def samples(model: Model, pictures: Pictures, n: int, at_once: int) -> Tensor:
    """Return ``(S, n, pixels)`` samples in [0, 1] or about there, made ``at_once`` at a time, on the CPU."""
    parts = [
        pictures.grey(model.sample(min(at_once, n - i), pictures.shape, f"pictures/sample/{i}")).cpu()
        for i in range(0, n, at_once)
    ]
    return torch.cat(parts, dim=1).flatten(2)


def pictures_model(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on one data set; rows are numbers of the shown images, and repeat what is known of the whole seed.

    ``dataset`` names it; nothing else depends on the size or the colours of its images.
    """
    pictures = read(setting["dataset"], context.root)
    batch = setting["batch"]
    null = -Gaussian.equilibrium_entropy() * BITS * pictures.shape[0]
    for chunk in context.chunks(seeds, 1e9, largest=1):
        model = Model(setting, chunk, pictures.shape, context.device)
        train, test = (levels.to(context.device) for levels in (pictures.train, pictures.test))
        drawn = _batches(model, pictures, train, batch, "pictures/train")
        model.train(drawn, setting["steps"], setting["learning_rate"], "pictures/kl", context.work)
        # Every test image once, so that the standard error is one over images as well.
        in_turn = _in_turn(model, pictures, test, batch)
        repeats = min(setting["test"], len(test)) // batch
        found = model.bound(in_turn, repeats, pictures.shape, "pictures/measure")
        original = _batches(model, pictures, test, setting["shown"], "pictures/shown")(0)
        with torch.no_grad():
            images = posteriors(model, original, setting["power"], setting["product"])
        ratios = recovered(images)
        made = samples(model, pictures, setting["samples"], setting["at_once"])
        for i, seed in enumerate(chunk):
            estimate = parzen.estimate(
                made[i],
                parzen.pixels(pictures.held_out),
                parzen.pixels(pictures.test),
                seed,
                setting["validation"],
                setting["test"],
            )
            of_seed = {
                "k": float(found.bits[i]),
                "k_error": float(found.standard_error[i]),
                "k_minus_l_null": float(found.bits[i]) - null,
                **{name: float(values[i]) for name, values in ratios.items()},
                **estimate,
            }
            numbers = {name: values[i].flatten().tolist() for name, values in images.items()}
            yield (
                seed,
                [
                    {"entry": k, **{name: values[k] for name, values in numbers.items()}, **of_seed}
                    for k in range(len(numbers["original"]))
                ],
            )
