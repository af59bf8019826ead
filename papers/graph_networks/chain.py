"""The mass-spring chain of the graph_nets demo: trained on 5 to 8 masses, tested on 4 to 48."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from papers.graph_networks.model import demo_network
from papers.graph_networks.training import (
    Rows,
    Sizes,
    by_size,
    capped,
    draw,
    fit,
    input_range,
    inside,
    pick,
    whole,
)
from repro import randomness
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.graph_network import Attributes, Widths
from repro.nn.topology import Chain
from repro.physics import mass_spring, motion
from repro.physics.motion import State

# Masses; the demo writes (5, 9) for the training sizes, which leaves the 9 out.
SIZES = Sizes((5, 6, 7, 8), (4, 5, 6, 7, 8, 9, 12, 16, 24, 32, 48), (4, 9, 16, 48))
TEST_SPACING = (0.5, 0.5)  # m
SPEED_WITHOUT_GRAVITY = 4.0  # m/s: about the speeds that 5 to 8 masses reach under gravity


@dataclass(frozen=True)
class Scenes:
    """Trajectories of S seeds with B chains each.

    Attributes:
        chain: constants, start ``(S, B, N, 2)``.
        path: states ``(T + 1, S, B, N, 2)``.
    """

    chain: mass_spring.Chain
    path: State


def scenes(setting: Mapping[str, Any], seeds: Tensor, stream: str, masses: int, test: bool) -> Scenes:
    """Simulate chains under the setting's gravity."""
    gravity = setting["gravity"]
    chain = mass_spring.sample(
        seeds,
        f"{stream}/{masses}",
        setting["test_scenes" if test else "train_scenes"],
        masses,
        TEST_SPACING if test else (0.2, 1.0),
        gravity,
        0.0 if gravity else SPEED_WITHOUT_GRAVITY,
    )
    return Scenes(chain, mass_spring.simulate(chain))


def features(chain: mass_spring.Chain, state: State, positions: str) -> Attributes:
    """Return the demo's input graph, float32, for states ``(*, N, 2)``.

    Args:
        chain: constants with the same leading dimensions.
        state: positions and velocities.
        positions: ``absolute``, nodes hold [x, y, vx, vy, fixed] and edges [k, rest length] as in the demo; or
            ``relative``, nodes hold no place and edges the vector to the neighbour instead.
    """
    x, v = state
    fixed = torch.zeros_like(x[..., :1])
    fixed[..., 0, :] = fixed[..., -1, :] = 1.0
    edges = [chain.stiffness.unsqueeze(-1), chain.rest.unsqueeze(-1)]
    nodes = [v, fixed]
    if positions == "absolute":
        nodes.insert(0, x)
    else:
        topology = Chain(x.shape[-2], fixed_ends=True)
        edges.append(topology.senders(x) - topology.receivers(x))
    gravity = torch.stack([torch.zeros_like(chain.gravity), chain.gravity], -1)
    return Attributes(torch.cat(edges, -1).float(), torch.cat(nodes, -1).float(), gravity.float())


def flat(data: Scenes, positions: str) -> tuple[Attributes, Tensor, Tensor]:
    """Return all pairs of a state and the next velocity, as pools ``(S, T * B, ...)``: graphs, targets, velocities."""
    x, v = (part.transpose(0, 1) for part in data.path)  # (S, T + 1, B, N, 2)
    steps = x.shape[1] - 1
    chain = mass_spring.Chain(
        State(x[:, 0], v[:, 0]),
        *(c.unsqueeze(1).expand(c.shape[0], steps, *c.shape[1:]) for c in data.chain[1:]),
    )
    graph = features(chain, State(x[:, :-1], v[:, :-1]), positions)
    pools = [part.flatten(1, 2) for part in (*graph, v[:, 1:].float(), v[:, :-1].float())]
    return Attributes(*pools[:3]), pools[3], pools[4]


Predict = Callable[[Attributes, Chain], Tensor]
"""A graph with leading dimensions ``(S, B)`` to the next velocities ``(S, B, N, 2)``."""
Trained = tuple[Predict, Attributes]
"""A network, and the range of its inputs in training."""


def train(setting: Mapping[str, Any], seeds: Sequence[int], sizes: Sequence[int], work: Work) -> Trained:
    """Train one network per seed on chains of ``sizes``; return it with the range of its inputs.

    Every batch holds chains of one size, which changes from step to step. Per step all networks see about as many
    masses, whatever the size.

    Returns:
        the prediction; the inputs' ranges, each ``(2, S, features)``: lowest and highest.
    """
    numbers = torch.tensor(list(seeds))
    pools = {n: flat(scenes(setting, numbers, "train", n, test=False), setting["positions"]) for n in sizes}
    support = input_range([pools[n][0] for n in sizes])
    if setting["model"] == "linear":
        return linear(pools), support
    widths = Widths(*(part.shape[-1] for part in pools[sizes[0]][0]))
    variant = "full" if setting["model"] == "graph_network" else "independent"
    ensemble = Ensemble(
        lambda seed: demo_network(widths, Widths(0, 2, 0), setting["width"], seed, variant),
        seeds,
        torch.get_default_device(),
    )

    def predict(graph: Attributes, topology: Chain) -> Tensor:
        return ensemble(topology, 1, per_seed=[graph])[-1].nodes

    mean_size = sum(SIZES.trained) / len(SIZES.trained)

    def loss(step: int) -> Tensor:
        n = sizes[step % len(sizes)]
        graph, target, _ = pools[n]
        batch = whole(setting["batch"] * mean_size / n)
        index = draw(numbers, "batch", step, batch, target.shape[1])
        found = predict(Attributes(*(pick(part, index) for part in graph)), Chain(n, fixed_ends=True))
        return (found - pick(target, index)).square().sum(-1).mean((1, 2))

    fit(ensemble, loss, setting["steps"], setting["learning_rate"], work)
    return torch.no_grad()(predict), support


def linear(pools: Mapping[int, tuple[Attributes, Tensor, Tensor]]) -> Predict:
    """Return the least-squares prediction of a mass's next velocity from what it and its neighbours are."""

    def rows(graph: Attributes, topology: Chain) -> Tensor:
        nodes, globe = graph.nodes, graph.globe.unsqueeze(-2)
        inner = nodes[..., 1:-1, :]
        sides = torch.cat(
            [topology.senders(nodes), graph.edges, graph.edges[..., :1] * graph.edges[..., 1:]], -1
        )
        left, right = sides.unbind(-3)
        ones = torch.ones_like(inner[..., :1])
        return torch.cat([inner, left, right, globe.expand(*inner.shape[:-1], -1), ones], -1).double()

    A = torch.cat([rows(graph, Chain(n, True)).flatten(1, 2) for n, (graph, _, _) in pools.items()], 1)
    y = torch.cat([target[..., 1:-1, :].flatten(1, 2) for _, target, _ in pools.values()], 1).double()
    ridge = 1e-8 * torch.eye(A.shape[-1], dtype=A.dtype)  # the features repeat each other
    weights = torch.linalg.solve(A.mT @ A / A.shape[1] + ridge, A.mT @ y / A.shape[1])

    def predict(graph: Attributes, topology: Chain) -> Tensor:
        found = rows(graph, topology) @ weights.view(len(weights), *[1] * (graph.nodes.dim() - 3), -1, 2)
        return torch.nn.functional.pad(found.float(), (0, 0, 1, 1))

    return predict


class OneStep(NamedTuple):
    """Of all moments of S seeds' test scenes: their graphs, and squared errors ``(S, T * B, N - 2)`` of free masses."""

    data: Scenes
    graph: Attributes
    error: Tensor
    still: Tensor  # of a constant velocity


def one_step(setting: Mapping[str, Any], seeds: Tensor, masses: int, predict: Predict) -> OneStep:
    """Predict every next velocity of the test scenes from the true state."""
    data = scenes(setting, seeds, "test", masses, test=True)
    graph, target, before = flat(data, setting["positions"])
    with torch.no_grad():
        found = predict(graph, Chain(masses, fixed_ends=True))
    error, still = ((v - target).square().sum(-1)[..., 1:-1] for v in (found, before))
    return OneStep(data, graph, error, still)


def evaluate(setting: Mapping[str, Any], seeds: Tensor, masses: int, trained: Trained) -> dict[str, Tensor]:
    """Return one number per seed for every quantity but the floor."""
    predict, support = trained
    topology = Chain(masses, fixed_ends=True)
    data, graph, error, still = one_step(setting, seeds, masses, predict)
    held = inside(graph, support)
    own = held.nodes.all(-1, keepdim=True)
    seen = own[..., 1:-1, 0] & topology.senders(own)[..., 0].all(-2) & held.edges.all(-1).all(-2)
    seen = seen & held.globe.all(-1)[..., None]
    flags = torch.cat([part.flatten(1).float() for part in (held.nodes[..., 1:-1, :], held.edges)], 1)
    steps = len(data.path.x) - 1

    def per_scene(values: Tensor) -> Tensor:
        return values.view(len(seeds), steps, setting["test_scenes"], masses - 2).mean((1, 3))

    rolled, diverged = capped(relative_error(trajectory(setting, data, predict, topology), data.path))
    return {
        "one_step_error": (per_scene(error) / per_scene(still)).median(-1).values,
        "matched_error": (error * seen).sum((1, 2)) / (still * seen).sum((1, 2)),
        "outside_share": 1 - flags.mean(1),
        "rollout_error": rolled.median(-1).values,
        "diverged_share": diverged.float().mean(-1),
    }


def relative_error(found: State, truth: State) -> Tensor:
    """Return the error of a trajectory over that of the constant state, averaged over place and velocity.

    Both are ``(T + 1, S, B, N, 2)``; the result is ``(S, B)`` (1806.01242: each kind of quantity by itself).
    """
    parts = []
    for ours, true in zip(found, truth, strict=True):
        error = (ours[1:] - true[1:]).square().sum((0, -1, -2))
        parts.append(error / (true[:1] - true[1:]).square().sum((0, -1, -2)))
    return torch.stack(parts).mean(0)


def trajectory(setting: Mapping[str, Any], data: Scenes, predict: Predict, topology: Chain) -> State:
    """Return the states that the network predicts from its own predictions, ``(T + 1, S, B, N, 2)``."""

    @torch.no_grad()
    def step(state: State) -> State:
        v = predict(features(data.chain, state, setting["positions"]), topology).double()
        v = torch.nn.functional.pad(v[..., 1:-1, :], (0, 0, 1, 1))  # the ends are fixed
        return State(state.x + mass_spring.DT * v, v)

    return motion.trajectory(step, data.chain.start, len(data.path.x) - 1)


def floor_error(setting: Mapping[str, Any], seeds: Tensor, masses: int, mean_square: Tensor) -> Tensor:
    """Return the rollout error of the true simulator with an error of this mean square in each step, ``(S,)``.

    What a network with that one-step error, free of any bias, could reach: the rest is the network's failure, not
    the system's sensitivity.
    """
    data = scenes(setting, seeds, "test", masses, test=True)
    state, states = data.chain.start, [data.chain.start]
    size = (3 * mean_square / 2).sqrt()[:, None, None, None]  # a uniform error per component
    for step in range(len(data.path.x) - 1):
        x, v = mass_spring.step(data.chain, state)
        push = mass_spring.uniform(
            randomness.key(seeds, f"floor/{masses}", step),
            tuple(v[0, ..., 1:-1, :].shape),
            -1.0,
            1.0,
        )
        push = torch.nn.functional.pad(size * push, (0, 0, 1, 1))
        state = State(x + mass_spring.DT * push, v + push)
        states.append(state)
    found = State(torch.stack([s.x for s in states]), torch.stack([s.v for s in states]))
    return capped(relative_error(found, data.path))[0].median(-1).values


def train_and_test(
    setting: Mapping[str, Any], seeds: Sequence[int], sizes: Sequence[int], work: Work
) -> tuple[Trained, Tensor]:
    """Return what :func:`train` does, and the mean square of the one-step error at the training sizes, ``(S,)``."""
    trained, numbers = train(setting, seeds, sizes, work), torch.tensor(list(seeds))
    own = [one_step(setting, numbers, n, trained[0]).error.mean((1, 2)) for n in sizes]
    return trained, torch.stack(own).mean(0)


def measured(
    setting: Mapping[str, Any], seeds: Sequence[int], masses: int, found: tuple[Trained, Tensor]
) -> list[dict[str, float]]:
    """Return every seed's row for a size."""
    (trained, mean_square), numbers = found, torch.tensor(list(seeds))
    values = evaluate(setting, numbers, masses, trained)
    values["floor_error"] = floor_error(setting, numbers, masses, mean_square)
    return [{"size": masses, **{name: float(v[i]) for name, v in values.items()}} for i in range(len(seeds))]


def chain(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train on the training sizes, or at each tested size by itself, and test on every size."""
    for chunk in context.chunks(seeds, 60_000 * setting["train_scenes"] + 1e8, largest=5):
        yield from by_size(setting, chunk, context, SIZES, train_and_test, measured)
