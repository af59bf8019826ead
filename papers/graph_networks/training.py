"""What all experiments share: a training loop for many seeds, batches that belong to a seed, robust errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from repro import randomness
from repro.ensemble import Ensemble
from repro.nn.graph_network import Attributes

Rows = Iterator[tuple[int, list[dict[str, float]]]]
Tick = Callable[[float], None]
"""Takes the share of the work that is done."""

OUTER = 0.005  # a feature's training range is between this quantile and 1 - this
CAP = 1e3  # a rollout that is this many times worse than the baseline, or not finite, has diverged


def fit(
    ensemble: Ensemble,
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    on_step: Callable[[int], Any] | None = None,
) -> None:
    """Train all seeds with Adam, in place.

    Args:
        ensemble: of the seeds.
        loss: step to the seeds' losses ``(S,)``.
        steps: how many.
        learning_rate: of Adam; constant.
        on_step: called with the number of steps done.
    """
    optimizer = torch.optim.Adam(ensemble.parameters.values(), lr=learning_rate, fused=True)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(step).sum().backward()
        optimizer.step()
        if on_step and step % 50 == 0:
            on_step(step)


def part_of(tick: Tick, i: int, parts: int) -> Tick:
    """Return what reports the progress of part ``i`` of equal parts."""
    return lambda share: tick((i + share) / parts)


def draw(seeds: Tensor, stream: str, step: int, count: int, out_of: int) -> Tensor:
    """Return each seed's own ``count`` random numbers below ``out_of``: int64 ``(S, count)``."""
    keys = randomness.key(seeds, stream, step)
    return (randomness.uniform(keys, count).double() * out_of).long().clamp_(max=out_of - 1)


def pick(pool: Tensor, index: Tensor) -> Tensor:
    """Return rows of each seed's own pool: ``(S, P, ...)`` at ``(S, B)`` gives ``(S, B, ...)``."""
    return pool[torch.arange(len(pool))[:, None], index]


LANE = 16


def whole(batch: float) -> int:
    """Return the multiple of ``LANE`` nearest to a batch size, at least one.

    Every seed's matrices then begin at a multiple of 64 bytes, where torch rounds the same way whether they lie alone
    in memory or behind another seed's.
    """
    return LANE * max(1, round(batch / LANE))


def each(what: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """Return ``what`` of every seed's own part, stacked.

    A sum over several seeds at once may be added up in another order, and differ in its last digit from one alone.
    """
    return torch.stack([what(*own) for own in zip(*parts, strict=True)])


def capped(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return ratios with what has diverged set to ``CAP``, and where that was."""
    diverged = ~(ratio < CAP)  # not a number counts as well
    return ratio.masked_fill(diverged, CAP), diverged


def input_range(graphs: Sequence[Attributes]) -> Attributes:
    """Return the training range of every input feature per seed: quantiles ``OUTER`` and 1 - ``OUTER``."""
    ends = torch.tensor([OUTER, 1 - OUTER])
    found = []
    for parts in zip(*graphs, strict=True):
        values = torch.cat([p.flatten(1, -2).float() for p in parts], 1)
        # More than this many values are slow to sort and change no quantile that matters.
        found.append(values[:, :: max(1, values.shape[1] // 100_000)].quantile(ends, 1))
    return Attributes(*found)


def inside(graph: Attributes, support: Attributes) -> Attributes:
    """Return for every feature whether it lies in the training range."""
    found = []
    for part, (low, high) in zip(graph, support, strict=True):
        shape = (len(part), *[1] * (part.dim() - 2), -1)
        found.append((part >= low.view(shape)) & (part <= high.view(shape)))
    return Attributes(*found)
