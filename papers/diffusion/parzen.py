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


def _pixels(images: Any) -> Tensor:
    return torch.from_numpy(images.copy()).reshape(len(images), -1).float() / 255


def training_set(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 2, last row: training images in place of a model's samples; the window chosen on held-out images.

    ``samples: shuffled`` permutes the pixels of each image, ``mean_image`` repeats the training set's mean.
    """
    data = mnist.load(context.root)
    train, test = _pixels(data["train"]), _pixels(data["test"])
    pool, held_out = train[:50000], train[50000:]
    for chunk in context.chunks(seeds, 1e9, largest=1):
        seed = chunk[0]
        order = randomness.permutation(randomness.key(seed, "parzen/samples"), len(pool))
        samples = pool[order[: setting["number"]]]
        if setting["samples"] == "shuffled":
            other = uniform(randomness.key(seed, "parzen/shuffle"), *samples.shape).argsort(-1)
            samples = samples.gather(-1, other)
        chosen = randomness.permutation(randomness.key(seed, "parzen/validation"), len(held_out))
        validation = held_out[chosen[: setting["validation"]]]
        width = WIDTHS[int(log_likelihood(validation, samples, WIDTHS).mean(-1).argmax())]
        # All test images in the paper; fewer in a reduced run.
        few = randomness.permutation(randomness.key(seed, "parzen/test"), len(test))[: setting["test"]]
        bits = log_likelihood(test[few], samples, [width])[0] * BITS
        yield (
            seed,
            {
                "parzen_bits": float(bits.mean()),
                "parzen_error": float(bits.std() / len(bits) ** 0.5),
                "window": width,
            },
        )
