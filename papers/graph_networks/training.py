"""What all experiments share: a training loop for many seeds, batches that belong to a seed, robust errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from repro import randomness
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.graph_network import Attributes

Rows = Iterator[tuple[int, list[dict[str, float]]]]

OUTER = 0.005  # a feature's training range is between this quantile and 1 - this
MANY_VALUES = 100_000  # more are slow to sort and change no quantile that matters
CAP = 1e3  # a rollout that is this many times worse than the baseline, or not finite, has diverged


def on(device: str) -> AbstractContextManager[Any]:
    """Return a context in which all tensors are made on a device: scenes, networks and batches alike."""
    return nullcontext() if device == "cpu" else torch.device(device)


def fit(
    ensemble: Ensemble,
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    work: Work,
    plateau: Plateau | None = None,
) -> None:
    """Train all seeds with Adam, in place.

    What is random in a step depends on its number alone, so a training that goes on from its checkpoint ends as one
    that was never interrupted.

    Args:
        ensemble: of the seeds.
        loss: step to the seeds' losses ``(S,)``.
        steps: how many.
        learning_rate: of Adam.
        work: takes how much is done, and keeps the state.
        plateau: lowers each seed's learning rate by itself; None leaves it constant.
    """
    optimizer = torch.optim.Adam(ensemble.parameters.values(), lr=learning_rate, fused=True)

    def state(done: int) -> dict[str, Any]:
        parameters = {name: p.detach() for name, p in ensemble.parameters.items()}
        schedule = plateau.state() if plateau else None
        return {"done": done, "parameters": parameters, "adam": optimizer.state_dict(), "plateau": schedule}

    first = 0
    if saved := work.checkpoint.load():
        first = saved["done"]
        optimizer.load_state_dict(saved["adam"])
        with torch.no_grad():
            for name, p in ensemble.parameters.items():
                p.copy_(saved["parameters"][name])
        if plateau:
            plateau.restore(saved["plateau"], ensemble.seeds.device)
    for step in range(first, steps):
        optimizer.zero_grad(set_to_none=True)
        loss(step).sum().backward()
        if plateau:
            plateau.step(step, optimizer)
        else:
            optimizer.step()
        if step % 50 == 0:
            work.tick(step / steps)
            work.checkpoint.save(lambda done=step + 1: state(done))
    work.checkpoint.save(lambda: state(steps), ended=True)


@dataclass
class Plateau:
    """Lowers a seed's learning rate to 0.8 of it whenever its validation error is no lower than a window before.

    Interaction Networks (1612.00222, Section 4.2) look at windows of 40 of 2000 epochs. Here a window is that share of
    the training, and its error the one at its end.

    Attributes:
        error: the seeds' validation errors ``(S,)`` at this moment.
        every: steps of a window.
    """

    error: Callable[[], Tensor]
    every: int
    last: Tensor | None = None
    factor: Tensor | None = None

    def state(self) -> list[Tensor | None]:
        """Return what it remembers."""
        return [self.last, self.factor]

    def restore(self, state: Sequence[Tensor | None], device: torch.device) -> None:
        """Take what :meth:`state` returned."""
        self.last, self.factor = (None if part is None else part.to(device) for part in state)

    def step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Take the optimiser's step, as far as each seed's factor allows."""
        if step and step % self.every == 0:
            error = self.error()
            if self.last is not None:
                factor = torch.ones_like(error) if self.factor is None else self.factor
                self.factor = torch.where(error < self.last, factor, 0.8 * factor)
            self.last = error
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters] if self.factor is not None else []
        optimizer.step()
        if self.factor is not None:
            # Adam's steps are proportional to its learning rate, which is one number for all seeds.
            with torch.no_grad():
                for p, old in zip(parameters, before, strict=True):
                    p.copy_(torch.lerp(old, p, self.factor.view(-1, *[1] * (p.dim() - 1)).to(p.dtype)))


class Sizes(NamedTuple):
    """System sizes: what one network is trained on and tested on, and where networks are trained at the size alone."""

    trained: Sequence[int]
    tested: Sequence[int]
    alone: Sequence[int]


def by_size(
    setting: Mapping[str, Any],
    seeds: Sequence[int],
    context: Context,
    sizes: Sizes,
    train: Callable[[Mapping[str, Any], Sequence[int], Sequence[int], Work], Any],
    measured: Callable[[Mapping[str, Any], Sequence[int], int, Any], list[dict[str, float]]],
) -> Rows:
    """Train on the training sizes, or at each size by itself if the setting says so; yield each seed's rows.

    Args:
        setting: ``trained_on`` says which of the two; no size is above ``largest``.
        seeds: of one chunk.
        context: whose device is used, and which is told how far it is.
        sizes: as above.
        train: (setting, seeds, sizes, work) to what ``measured`` takes.
        measured: (setting, seeds, size, trained) to one row per seed.
    """
    same_size, work = setting["trained_on"] == "same_size", context.work
    within = [n for n in (sizes.alone if same_size else sizes.tested) if n <= setting["largest"]]
    with on(context.device):
        if same_size:
            found = []
            for i, n in enumerate(within):
                trained = train(setting, seeds, [n], work.part(i, len(within)))
                found.append(measured(setting, seeds, n, trained))
        else:
            trained = train(setting, seeds, sizes.trained, work)
            found = [measured(setting, seeds, n, trained) for n in within]
    yield from zip(seeds, (list(rows) for rows in zip(*found, strict=True)), strict=True)


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
        if values.shape[1] > MANY_VALUES:
            # At random: every k-th value would be that of the same node, if k is a multiple of their number.
            generator = torch.Generator().manual_seed(0)
            chosen = torch.randint(values.shape[1], (MANY_VALUES,), generator=generator, device="cpu")
            values = values[:, chosen.to(values.device)]
        found.append(values.quantile(ends, 1))
    return Attributes(*found)


def inside(graph: Attributes, support: Attributes) -> Attributes:
    """Return for every feature whether it lies in the training range."""
    found = []
    for part, (low, high) in zip(graph, support, strict=True):
        shape = (len(part), *[1] * (part.dim() - 2), -1)
        found.append((part >= low.view(shape)) & (part <= high.view(shape)))
    return Attributes(*found)
