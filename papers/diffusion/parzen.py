"""The Parzen-window estimate of Table 2, and the training set as a model: a check of the estimator (GAN, Table 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log, pi
from typing import Any

import torch
from torch import Tensor

from papers.diffusion.processes import BITS
from repro import randomness
from repro.context import Context
from repro.data import mnist
from repro.noise import uniform

Rows = Iterator[tuple[int, dict[str, float]]]
WIDTHS = torch.logspace(-1, 0, 10, dtype=torch.float64).tolist()


def log_likelihood(points: Tensor, samples: Tensor, widths: Sequence[float]) -> Tensor:
    """Return log of the mean over samples of N(point; sample, width² I) in nats, ``(len(widths), points)``.

    Args:
        points: ``(n, d)`` float32.
        samples: ``(m, d)`` float32, of the model.
        widths: of the window.
    """
    d, m = points.shape[1], len(samples)
    squares = (samples**2).sum(-1)
    found = []
    for part in points.split(500):
        # |a - b|² by a matrix product; 784 numbers in [0, 1] lose no digit that matters at these widths.
        distance = ((part**2).sum(-1, keepdim=True) - 2 * part @ samples.T + squares).clamp_(min=0)
        rows = []
        for width in widths:
            exponent = (distance / (-2 * width**2)).logsumexp(-1).double()
            rows.append(exponent - log(m) - 0.5 * d * log(2 * pi * width**2))
        found.append(torch.stack(rows))
    return torch.cat(found, dim=-1)


def pixels(images: Tensor) -> Tensor:
    """Return 256-level images as points ``(n, numbers)`` in [0, 1]."""
    return images.flatten(1).float() / 255


def estimate(
    samples: Tensor, held_out: Tensor, test: Tensor, seed: int, validation: int, most: int
) -> dict[str, float]:
    """Return the log likelihood of test images under samples, the window chosen on held-out images.

    Args:
        samples: ``(m, d)``, of the model.
        held_out: ``(n, d)``; ``validation`` of them are used.
        test: ``(n, d)``, all of them in the paper; ``most`` at the most.
        seed: chooses which.
        validation: number of held-out images.
        most: number of test images.
    """
    chosen = randomness.permutation(randomness.key(seed, "parzen/validation"), len(held_out))[:validation]
    width = WIDTHS[int(log_likelihood(held_out[chosen], samples, WIDTHS).mean(-1).argmax())]
    few = randomness.permutation(randomness.key(seed, "parzen/test"), len(test))[:most]
    bits = log_likelihood(test[few], samples, [width])[0] * BITS
    return {
        "parzen_bits": float(bits.mean()),
        "parzen_error": float(bits.std() / len(bits) ** 0.5),
        "window": width,
    }


def training_set(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 2, last row: training images in place of a model's samples.

    ``samples: shuffled`` permutes the pixels of each image.
    """
    data = mnist.load(context.root)
    train, test = (pixels(torch.from_numpy(data[part].copy())) for part in ("train", "test"))
    pool, held_out = train[:50000], train[50000:]
    for chunk in context.chunks(seeds, 1e9, largest=1):
        seed = chunk[0]
        order = randomness.permutation(randomness.key(seed, "parzen/samples"), len(pool))
        samples = pool[order[: setting["number"]]]
        if setting["samples"] == "shuffled":
            other = uniform(randomness.key(seed, "parzen/shuffle"), *samples.shape).argsort(-1)
            samples = samples.gather(-1, other)
        yield seed, estimate(samples, held_out, test, seed, setting["validation"], setting["test"])
