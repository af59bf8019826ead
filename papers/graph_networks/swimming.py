"""Swimmers (1806.01242, Figure 6): trained on 3 to 6 and 8 to 9 links, tested on 3 to 30."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from papers.graph_networks.model import ForwardModel
from papers.graph_networks.training import (
    Rows,
    Sizes,
    by_size,
    capped,
    draw,
    each,
    fit,
    input_range,
    inside,
    pick,
    whole,
)
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.graph_network import Attributes, Widths
from repro.nn.topology import Chain
from repro.physics import swimmer

SIZES = Sizes((3, 4, 5, 6, 8, 9), (*range(3, 16), 20, 30), (7, 10, 12, 15, 20, 30))
STEPS = 100  # control steps of an episode
FIXED_LIMIT = 60.0  # degrees: what six links have


class Swim(NamedTuple):
    """States of links, ``(*, N, 2)``, ``(*, N)``, ``(*, N, 2)`` and ``(*, N)``."""

    x: Tensor
    angle: Tensor
    v: Tensor
    omega: Tensor

    def table(self) -> Tensor:
        """Return all of it, ``(*, N, 6)``."""
        return torch.cat([self.x, self.angle.unsqueeze(-1), self.v, self.omega.unsqueeze(-1)], -1)

    @classmethod
    def of(cls, table: Tensor) -> Swim:
        """Undo :meth:`table`."""
        return cls(table[..., :2], table[..., 2], table[..., 3:5], table[..., 5])


class Episodes(NamedTuple):
    """Of S seeds: states ``(S, E, T + 1, N, 6)``, actions ``(S, E, T, N - 1)``, the joints' limit [rad]."""

    states: Tensor
    actions: Tensor
    limit: float


def episodes(
    setting: Mapping[str, Any], seeds: Sequence[int], stream: str, count: int, links: int
) -> Episodes:
    """Simulate every seed's own episodes: on the processor, wherever they go from there."""
    limit = FIXED_LIMIT if setting["limits"] == "fixed" else None
    device = torch.get_default_device()
    with torch.device("cpu"):
        own = [swimmer.simulate(links, count, STEPS, seed, stream, limit) for seed in seeds]
    states = torch.stack([Swim(e.x, e.angle, e.v, e.omega).table() for e in own])
    return Episodes(states.to(device), torch.stack([e.action for e in own]).to(device), own[0].limit)


def features(setting: Mapping[str, Any], state: Tensor, action: Tensor, limit: float) -> Attributes:
    """Return the input graph for states ``(*, N, 6)`` and actions ``(*, N - 1)``.

    Nodes hold cosine, sine, velocities and, ``centred``, the place relative to the centre of mass; ``relative``
    puts the vector to the neighbour on the edges instead. Edges hold the action, which way they lead and, with
    ``joint_range``, the joint's limit. The input has no global but a zero.
    """
    s = Swim.of(state)
    nodes = [s.angle.cos().unsqueeze(-1), s.angle.sin().unsqueeze(-1), s.v, s.omega.unsqueeze(-1)]
    way = torch.stack([torch.ones_like(action), -torch.ones_like(action)], -2)
    edges = [torch.stack([action, action], -2).unsqueeze(-1), way.unsqueeze(-1)]
    if setting["positions"] == "centred":
        nodes.append(s.x - s.x.mean(-2, keepdim=True))
    else:
        topology = Chain(state.shape[-2])
        edges.append(topology.senders(s.x) - topology.receivers(s.x))
    if setting["joint_range"]:
        edges.append(torch.full_like(edges[0], limit))
    return Attributes(torch.cat(edges, -1), torch.cat(nodes, -1), torch.zeros_like(state[..., 0, :1]))


Predict = Callable[[Tensor, Tensor, float], Tensor]
"""States ``(S, B, N, 6)``, actions and limit to the next states."""
Trained = tuple[Predict, Attributes]
"""A network, and the range of its inputs in training."""


def train(setting: Mapping[str, Any], seeds: Sequence[int], sizes: Sequence[int], work: Work) -> Trained:
    """Train one network per seed to predict the change of state; inputs and outputs are normalised.

    Every batch holds swimmers of one size, which changes from step to step. Per step all networks see about as many
    links, whatever the size.

    Returns:
        the prediction, and the inputs' ranges in training.
    """
    numbers = torch.tensor(list(seeds))
    pools = {}
    for n in sizes:
        own = episodes(setting, seeds, "train", setting["episodes"], n)
        graph = features(setting, own.states[:, :, :-1], own.actions, own.limit)
        change = own.states[:, :, 1:] - own.states[:, :, :-1]
        pools[n] = Attributes(*(part.flatten(1, 2) for part in graph)), change.flatten(1, 2)

    def over_sizes(what: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> Tensor:
        return what(torch.cat([p.flatten(1, -2) for p in parts], 1))

    def shift(rows: Tensor) -> Tensor:
        return each(lambda own: own.mean(0), rows)[:, None, None]

    def spread(rows: Tensor) -> Tensor:
        return each(lambda own: own.std(0).clamp(min=1e-6), rows)[:, None, None]

    graphs = [graph for graph, _ in pools.values()]
    means = [over_sizes(shift, parts) for parts in zip(*graphs, strict=True)]
    sds = [over_sizes(spread, parts) for parts in zip(*graphs, strict=True)]
    out = over_sizes(spread, [change for _, change in pools.values()])

    def normalised(graph: Attributes) -> Attributes:
        found = []
        for part, mean, sd in zip(graph, means, sds, strict=True):
            shape = (len(numbers), *[1] * (part.dim() - 2), -1)
            found.append(((part - mean.view(shape)) / sd.view(shape)).float())
        return Attributes(*found)

    ready = {n: (normalised(graph), (change / out).float()) for n, (graph, change) in pools.items()}
    support = input_range(graphs)
    widths = Widths(*(part.shape[-1] for part in graphs[0]))
    ensemble = Ensemble(
        lambda seed: ForwardModel(widths, 6, setting["width"], setting["pooling"], seed),
        seeds,
        torch.get_default_device(),
    )

    mean_size = sum(SIZES.trained) / len(SIZES.trained)

    def loss(step: int) -> Tensor:
        n = sizes[step % len(sizes)]
        graph, change = ready[n]
        index = draw(numbers, "batch", step, whole(setting["batch"] * mean_size / n), change.shape[1])
        found = ensemble(Chain(n), per_seed=[Attributes(*(pick(part, index) for part in graph))])
        return (found - pick(change, index)).square().mean((1, 2, 3))

    fit(ensemble, loss, setting["steps"], setting["learning_rate"], work)

    @torch.no_grad()
    def predict(state: Tensor, action: Tensor, limit: float) -> Tensor:
        graph = normalised(features(setting, state, action, limit))
        return state + ensemble(Chain(state.shape[-2]), per_seed=[graph]).double() * out

    return predict, support


def kinds(found: Tensor, truth: Tensor) -> Tensor:
    """Return squared errors of place, orientation (wrapped), velocity and spin: ``(*, N, 6)`` to ``(*, 4)``."""
    d = Swim.of(found - truth)
    turned = torch.remainder(d.angle + torch.pi, 2 * torch.pi) - torch.pi
    each = [d.x.square().sum(-1), turned.square(), d.v.square().sum(-1), d.omega.square()]
    return torch.stack([part.sum(-1) for part in each], -1)


def relative(found: Tensor, truth: Tensor, start: Tensor) -> Tensor:
    """Return the error over the constant state's, averaged over kinds; ``(S, E, T, N, 6)`` to ``(S, E)``."""
    return (kinds(found, truth).sum(2) / kinds(start.expand_as(truth), truth).sum(2)).mean(-1)


def swim(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on the training sizes, or at each tested size by itself, and test on every size."""
    for chunk in context.chunks(seeds, 4e6 * setting["episodes"], largest=5):
        yield from by_size(setting, chunk, context, SIZES, train, measured)


def measured(
    setting: Mapping[str, Any], seeds: Sequence[int], links: int, trained: Trained
) -> list[dict[str, float]]:
    """Return every seed's row for a size: medians over the episodes."""
    predict, support = trained
    data = episodes(setting, seeds, "test", setting["test_episodes"], links)
    now, after = data.states[:, :, :-1], data.states[:, :, 1:]
    flat = predict(now.flatten(1, 2), data.actions.flatten(1, 2), data.limit).view_as(after)
    one_step = (kinds(flat, after).sum(2) / kinds(now, after).sum(2)).mean(-1)
    # In the ranges' single precision: a limit that all swimmers share would lie outside its own rounded value.
    graph = Attributes(*(part.float() for part in features(setting, now, data.actions, data.limit)))
    held = torch.cat([part.flatten(1).double() for part in inside(graph, support)[:2]], 1)
    state, path = data.states[:, :, 0], []
    for t in range(STEPS):
        state = predict(state, data.actions[:, :, t], data.limit)
        path.append(state)
    found = torch.stack(path, 2)
    start = data.states[:, :, :1]
    long, diverged = capped(relative(found, after, start))
    values = {
        "one_step_error": capped(one_step)[0].median(-1).values,
        "rollout_error": long.median(-1).values,
        "diverged_share": diverged.double().mean(-1),
        "outside_share": 1 - held.mean(1),
    }
    return [{"size": links, **{name: float(v[i]) for name, v in values.items()}} for i in range(len(seeds))]
