"""Many seeds at once: S copies of a model, written for one seed, trained together.

``torch.func.stack_module_state`` stacks the copies' parameters, ``functional_call`` under ``vmap`` runs them.
The loss of the batch is the *sum* of the seeds' losses, so each seed receives exactly its own gradient. A
seed that stops leaves the batch and costs nothing more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class Ensemble:
    """S copies of one architecture with their parameters stacked along dimension 0.

    Args:
        build: makes the model of one seed; all models must have the same structure.
        seeds: one number per copy.
        device: where the stacked parameters live.
    """

    def __init__(self, build: Callable[[int], nn.Module], seeds: Sequence[int], device: Any = "cpu") -> None:
        models = [build(seed) for seed in seeds]
        parameters, buffers = stack_module_state(models)
        self.seeds = torch.as_tensor(list(seeds), dtype=torch.int64, device=device)
        self.parameters = {
            name: p.detach().to(device).contiguous().requires_grad_() for name, p in parameters.items()
        }
        self.buffers = {name: b.to(device) for name, b in buffers.items()}
        # The template holds structure only; its own weights are never used.
        self.template = copy.deepcopy(models[0]).to("meta")

    def __len__(self) -> int:
        return len(self.seeds)

    def __call__(self, *args: Any, per_seed: Sequence[Tensor | None] = ()) -> Tensor:
        """Run all copies: ``args`` are shared; each of ``per_seed`` (passed last) has a leading dimension S."""

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *own: Any) -> Tensor:
            return functional_call(self.template, (parameters, buffers), (*args, *own))

        in_dims = (0, 0, *(None if x is None else 0 for x in per_seed))
        return vmap(one, in_dims=in_dims)(self.parameters, self.buffers, *per_seed)

    def select(self, index: Tensor) -> Ensemble:
        """Return an ensemble of the copies at ``index`` (bool mask or positions), sharing no memory."""
        chosen = copy.copy(self)
        chosen.seeds = self.seeds[index]
        chosen.parameters = {k: p.detach()[index].requires_grad_() for k, p in self.parameters.items()}
        chosen.buffers = {k: b[index] for k, b in self.buffers.items()}
        return chosen


class StoppingRule(Protocol):
    """Decides for each seed, after each epoch, whether its training ends; keeps what it must remember."""

    def update(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        """Take the epoch's validation metrics (each ``(S,)``) and return a bool ``(S,)``: stop now."""
        ...

    def keep(self, index: Tensor) -> None:
        """Forget all seeds but those at ``index``."""
        ...


def _with_parameters(
    optimizer: torch.optim.Optimizer, old: dict[str, Tensor], new: dict[str, Tensor], index: Tensor
) -> None:
    """Point the optimizer at the remaining seeds' parameters and keep their moments."""
    replaced = {id(p): new[name] for name, p in old.items()}
    for group in optimizer.param_groups:
        for i, p in enumerate(group["params"]):
            state = optimizer.state.pop(p, {})
            group["params"][i] = replaced[id(p)]
            optimizer.state[replaced[id(p)]] = {
                # Moments have the parameters' leading dimension; a step count is shared by all seeds.
                k: v[index] if torch.is_tensor(v) and v.dim() > 0 else v
                for k, v in state.items()
            }


def train(
    ensemble: Ensemble,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Ensemble, int], Tensor],
    validate: Callable[[Ensemble], Mapping[str, Tensor]] | None,
    stopping: StoppingRule,
    epochs: int,
    *,
    best: str | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Ensemble, Tensor]]:
    """Train until each seed stops; yield the seeds that stopped, with their weights and epochs run.

    Args:
        ensemble: the seeds; ends up empty.
        optimizer: over ``ensemble.parameters``.
        loss: (ensemble, epoch) to the seeds' training losses ``(S,)``.
        validate: ensemble to named validation metrics, each ``(S,)``; called without gradient.
            None where there is no validation set: every seed then runs all epochs.
        stopping: when each seed stops.
        epochs: the most epochs for any seed; 0 yields the untrained seeds.
        best: a metric's name to give back the weights of the epoch where it was lowest; None for the last.
        on_epoch: called with (epoch, seeds still training) after each epoch.

    Yields:
        (stopped seeds as an ensemble, int64 ``(S',)`` number of epochs each ran).
    """
    if epochs == 0:
        yield ensemble, torch.zeros(len(ensemble), dtype=torch.int64)
        return
    best_value = torch.full((len(ensemble),), float("inf"), device=ensemble.seeds.device)
    best_weights = {k: p.detach().clone() for k, p in ensemble.parameters.items()} if best else {}
    for epoch in range(epochs):
        optimizer.zero_grad(set_to_none=True)
        loss(ensemble, epoch).sum().backward()
        optimizer.step()
        stop = torch.zeros(len(ensemble), dtype=torch.bool, device=ensemble.seeds.device)
        with torch.no_grad():
            metrics = validate(ensemble) if validate else {}
            if validate:
                stop = stopping.update(epoch, metrics)
            if best:
                better = metrics[best] < best_value
                best_value = torch.where(better, metrics[best], best_value)
                for k, p in ensemble.parameters.items():
                    best_weights[k][better] = p.detach()[better]
        if epoch == epochs - 1:
            stop = torch.ones_like(stop)
        if on_epoch:
            on_epoch(epoch, len(ensemble))
        if not stop.any():
            continue
        finished = ensemble.select(stop)
        if best:
            finished.parameters = {k: w[stop] for k, w in best_weights.items()}
        yield finished, torch.full((len(finished),), epoch + 1, dtype=torch.int64)
        if stop.all():
            return
        before, going = ensemble.parameters, ~stop
        ensemble = ensemble.select(going)
        _with_parameters(optimizer, before, ensemble.parameters, going)
        stopping.keep(going)
        best_value = best_value[going]
        best_weights = {k: w[going] for k, w in best_weights.items()}
