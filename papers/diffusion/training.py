"""Many seeds of a reverse process trained together, and the loop that all experiments share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from repro.context import Work
from repro.ensemble import Ensemble


def predict(ensemble: Ensemble, x: Tensor, t: Tensor, *per_seed: Tensor) -> tuple[Tensor, ...] | Tensor:
    """Run all copies on ``x`` ``(S, times, draws, ...)`` at shared times ``t``."""

    def one(parameters: dict[str, Tensor], x: Tensor, *own: Tensor) -> tuple[Tensor, ...] | Tensor:
        return functional_call(ensemble.template, (parameters, shared), (x, t, *own))

    # Buffers hold the schedule, which all seeds share.
    shared = {name: buffer[0] for name, buffer in ensemble.buffers.items()}
    return vmap(one)(ensemble.parameters, x, *per_seed)


def adam(
    parameters: Iterable[Tensor],
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    work: Work,
) -> None:
    """Minimise the sum of the seeds' losses; the rate is constant for half of the steps, then falls to 0.

    What is random in a loss depends on its step alone, so a training that goes on from its checkpoint ends as one that
    was never interrupted. The paper used SFO, which has no maintained implementation; what it would reach is not known.

    Args:
        parameters: stacked over seeds.
        loss: step to losses ``(S,)``; each depends on its own seed's parameters only.
        steps: number of updates.
        learning_rate: at the start.
        work: takes how much is done, and keeps the state.
    """
    parameters = list(parameters)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)

    def state(done: int) -> dict[str, Any]:
        weights = [p.detach() for p in parameters]
        return {"done": done, "parameters": weights, "adam": optimizer.state_dict()}

    first = 0
    if saved := work.checkpoint.load():
        first = saved["done"]
        optimizer.load_state_dict(saved["adam"])
        with torch.no_grad():
            for p, kept in zip(parameters, saved["parameters"], strict=True):
                p.copy_(kept)
    for step in range(first, steps):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, 2 * (1 - step / steps))
        optimizer.zero_grad(set_to_none=True)
        loss(step).sum().backward()
        optimizer.step()
        work.tick((step + 1) / (steps + 1))
        work.checkpoint.save(lambda done=step + 1: state(done))
    work.checkpoint.save(lambda: state(steps), ended=True)
