"""The three domains of the Interaction Network paper (1612.00222) as objects, relations and pairs of moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from papers.graph_networks.training import draw
from repro import randomness
from repro.nn.topology import Incidence
from repro.physics import balls, nbody, string
from repro.physics.motion import State

STEPS = 1000  # of 1 ms in every scene
TRAINED = {"nbody": 6, "balls": 6, "string": 15}


@dataclass(frozen=True)
class Pairs:
    """Moments and what follows, for S seeds with P moments each; K objects, the first N of which move.

    Attributes:
        x, v: ``(S, P, K, 2)`` positions and velocities of all objects.
        attributes: ``(S, P, K, A)`` of objects, external effects included.
        relations: ``(S, P, E, R)`` attributes of relations.
        target: ``(S, P, N, 2)`` next velocities.
        energy: ``(S, P, 1)`` potential energy, zero for balls.
        topology: which objects a relation joins; none leads to an object that does not move.
    """

    x: Tensor
    v: Tensor
    attributes: Tensor
    relations: Tensor
    target: Tensor
    energy: Tensor
    topology: Incidence


def everyone(n: int) -> tuple[Tensor, Tensor]:
    """Return senders and receivers of all ordered pairs of different objects."""
    return (~torch.eye(n, dtype=torch.bool)).nonzero().T.flip(0).unbind()


def _moments(
    seeds: Tensor, stream: str, path: State, count: int, balanced: bool
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor, Tensor]:
    """Choose moments (seed, step, scene) and return their index, x, v and the next v, each ``(S, P, N, 2)``.

    With ``balanced`` half of them are among those tenth of the moments in which velocities change most, so that
    rare collisions are not drowned (the paper balances its batches so that targets have similar statistics).
    """
    steps, scenes = path.x.shape[0] - 1, path.x.shape[2]
    chosen = draw(seeds, f"{stream}/moments", 0, count, steps * scenes)
    if balanced:
        change = (path.v[1:] - path.v[:-1]).square().sum((-1, -2)).transpose(0, 1).flatten(1)  # (S, T * B)
        rare = change.topk(change.shape[1] // 10, dim=1).indices
        half = draw(seeds, f"{stream}/rare", 0, count // 2, rare.shape[1])
        chosen = torch.cat([chosen[:, count // 2 :], rare.gather(1, half)], 1)[:, :count]
        order = randomness.permutation(randomness.key(seeds, f"{stream}/order"), count)
        chosen = chosen.gather(1, order)
    step, scene = chosen // scenes, chosen % scenes
    s = torch.arange(len(seeds))[:, None].expand_as(step)
    return (s, step, scene), path.x[step, s, scene], path.v[step, s, scene], path.v[step + 1, s, scene]


def pairs(
    setting: Mapping[str, Any], seeds: Tensor, stream: str, scenes: int, count: int, size: int, balanced: bool
) -> Pairs:
    """Simulate scenes of a size and choose moments from them; test scenes share nothing with training scenes."""
    scene, path = simulated(setting, seeds, stream, scenes, size)
    balanced = balanced and setting["domain"] != "nbody"
    (s, _, b), x, v, after = _moments(seeds, _name(setting, stream, size), path, count, balanced)
    here = scene._replace(
        start=State(x, v), **{k: c[s, b] for k, c in scene._asdict().items() if k != "start"}
    )
    build: Any = {"nbody": _nbody, "balls": _balls, "string": _string}[setting["domain"]]
    return build(setting, here, after)


def _name(setting: Mapping[str, Any], stream: str, size: int) -> str:
    return f"{setting['domain']}/{stream}/{size}"


def simulated(
    setting: Mapping[str, Any], seeds: Tensor, stream: str, scenes: int, size: int
) -> tuple[nbody.Bodies | balls.Balls | string.String, State]:
    """Return scenes of a size, leading dimensions ``(S, scenes)``, and their trajectories ``(STEPS + 1, ...)``."""
    name = _name(setting, stream, size)
    if setting["domain"] == "nbody":
        bodies = nbody.sample(seeds, name, scenes, size, setting["G"], setting["planets"] == "one_way")
        return bodies, nbody.simulate(bodies, setting["G"], setting["clip"], STEPS)
    if setting["domain"] == "balls":
        box = balls.sample(seeds, name, scenes, size)
        return box, balls.simulate(box, STEPS)
    ends = setting["ends_pinned"]
    fall = string.sample(seeds, f"{name}/{ends}", scenes, size, ends)
    return fall, string.simulate(fall, STEPS)


def _nbody(setting: Mapping[str, Any], here: nbody.Bodies, after: Tensor) -> Pairs:
    (x, v), masses = here
    size = x.shape[-2]
    energy = nbody.potential_energy(x, masses, setting["G"], setting["clip"])
    topology = Incidence(*everyone(size), size)
    nothing = x.new_zeros(*x.shape[:2], len(topology.sender), 0)
    return Pairs(x, v, masses.unsqueeze(-1), nothing, after, energy.unsqueeze(-1), topology)


def _balls(setting: Mapping[str, Any], here: balls.Balls, after: Tensor) -> Pairs:
    x, v = here.start
    size = x.shape[-2]
    width, height = here.box.unbind(-1)
    zero = torch.zeros_like(width)
    # The walls are objects that do not move: left, right, bottom, top, by centre and half extents.
    centres = [(zero, height / 2), (width, height / 2), (width / 2, zero), (width / 2, height)]
    extents = [(zero, height / 2)] * 2 + [(width / 2, zero)] * 2
    walls = torch.stack([torch.stack(c, -1) for c in centres], -2)
    r = here.radii
    own = torch.stack([1 / here.masses, r, r], -1)
    wall = torch.stack([torch.stack([zero, *e], -1) for e in extents], -2)
    sender, receiver = everyone(size)
    k = torch.arange(size)
    from_walls = torch.arange(size, size + 4).repeat(size), k.repeat_interleave(4)
    topology = Incidence(torch.cat([sender, from_walls[0]]), torch.cat([receiver, from_walls[1]]), size + 4)
    restitution = here.restitution[..., None, None].expand(-1, -1, len(topology.sender), 1)
    return Pairs(
        torch.cat([x, walls], -2),
        torch.cat([v, torch.zeros_like(walls)], -2),
        torch.cat([own, wall], -2),
        restitution,
        after,
        x.new_zeros(*x.shape[:2], 1),
        topology,
    )


def _string(setting: Mapping[str, Any], here: string.String, after: Tensor) -> Pairs:
    x, v = here.start
    size = x.shape[-2]
    energy = string.potential_energy(here, x).unsqueeze(-1)
    zero, gravity = torch.zeros_like(here.masses), here.gravity.unsqueeze(-1).expand_as(here.masses)
    # A pinned mass has no inverse mass: nothing moves it. Gravity is the external effect, on masses alone.
    inverse = (1 / here.masses).masked_fill(here.pinned, 0.0)
    own = torch.stack([inverse, zero, gravity.masked_fill(here.pinned, 0.0)], -1)
    circle = torch.stack([zero[..., 0], here.radius, zero[..., 0]], -1).unsqueeze(-2)
    k = torch.arange(size - 1)
    on_circle = torch.full((size,), size)
    topology = Incidence(
        torch.cat([k, k + 1, on_circle]), torch.cat([k + 1, k, torch.arange(size)]), size + 1
    )
    relations = x.new_zeros(*x.shape[:2], len(topology.sender), 2)
    relations[..., : 2 * (size - 1), 0] = 1.0  # a spring; else the circle, with its restitution
    relations[..., 2 * (size - 1) :, 1] = here.restitution.unsqueeze(-1)
    centre = here.centre.unsqueeze(-2)
    return Pairs(
        torch.cat([x, centre], -2),
        torch.cat([v, torch.zeros_like(centre)], -2),
        torch.cat([own, circle], -2),
        relations,
        after,
        energy,
        topology,
    )
