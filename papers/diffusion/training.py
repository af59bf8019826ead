"""Many seeds of a reverse process trained together, and the loop that all experiments share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from repro.context import Context
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
    context: Context,
) -> None:
    """Minimise the sum of the seeds' losses; the rate is constant for half of the steps, then falls to 0.

    The paper used SFO, which has no maintained implementation; what it would reach is not known.

    Args:
        parameters: stacked over seeds.
        loss: step to losses ``(S,)``; each depends on its own seed's parameters only.
        steps: number of updates.
        learning_rate: at the start.
        context: is told the progress.
    """
    optimizer = torch.optim.Adam(list(parameters), lr=learning_rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, 2 * (1 - step / steps))
        optimizer.zero_grad(set_to_none=True)
        loss(step).sum().backward()
        optimizer.step()
        context.tick((step + 1) / (steps + 1))
