"""The mass-spring chain of the graph_nets library's physics demo (commit adf2516, demos/physics.ipynb).

Masses of 1 kg in a row, the first and the last fixed, joined by springs, fall. The demo draws the stiffness of each
*directed* spring by itself, so the two ends of one spring may pull differently; its rest length is the distance at
the start, after the noise, so that without gravity and speed nothing moves.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from repro import randomness
from repro.physics.motion import State, check, semi_implicit_euler, trajectory, uniform

STIFFNESS, STIFFNESS_NOISE = 50.0, 5.0  # N/m
GRAVITY, GRAVITY_NOISE = -10.0, 1.0  # m/s²
PLACE_NOISE = 0.04  # m
DT = 0.1  # s
STEPS = 50


class Chain(NamedTuple):
    """A batch of scenes.

    Attributes:
        start: of the masses.
        stiffness: ``(*, 2, N - 2)`` [N/m]: of the springs from the left and from the right neighbour of each inner
            mass, the layout of :class:`repro.nn.topology.Chain` with fixed ends.
        rest: likewise, rest lengths [m].
        gravity: ``(*)``, vertical acceleration [m/s²].
    """

    start: State
    stiffness: Tensor
    rest: Tensor
    gravity: Tensor


def sample(
    seeds: Tensor,
    stream: str,
    scenes: int,
    masses: int,
    spacing: tuple[float, float],
    gravity: bool = True,
    speed: float = 0.0,
) -> Chain:
    """Draw scenes as the demo does, or without gravity and with random initial velocities.

    Args:
        seeds, stream: of the random numbers; leading dimensions become ``seeds.shape + (scenes,)``.
        scenes, masses: how many of each.
        spacing: range of the distance d of neighbours [m].
        gravity: whether there is any.
        speed: largest component of the free masses' initial velocities [m/s].

    Raises:
        ValueError: for fewer than three masses.
    """
    check(masses, 3, "masses between fixed ends")

    def draw(what: str, low: float, high: float, *shape: int) -> Tensor:
        return uniform(randomness.key(seeds, f"{stream}/{what}"), (scenes, *shape), low, high)

    d = draw("spacing", *spacing, 1)
    row = (torch.arange(masses, dtype=torch.float64) - masses / 2) * d
    x = torch.stack([row, torch.zeros_like(row)], -1)
    x = x + draw("place", -PLACE_NOISE, PLACE_NOISE, masses, 2)
    v = torch.zeros_like(x)
    v[..., 1:-1, :] = draw("velocity", -speed, speed, masses - 2, 2)
    stiffness = STIFFNESS + draw("stiffness", -STIFFNESS_NOISE, STIFFNESS_NOISE, 2, masses - 2)
    g = (GRAVITY + draw("gravity", -GRAVITY_NOISE, GRAVITY_NOISE)) * gravity
    return Chain(State(x, v), stiffness, _to_neighbours(x).norm(dim=-1), g)


def _to_neighbours(x: Tensor) -> Tensor:
    """Return the vectors from each inner mass to its left and right neighbour: ``(*, 2, N - 2, 2)``."""
    return torch.stack([x[..., :-2, :], x[..., 2:, :]], -3) - x[..., 1:-1, :].unsqueeze(-3)


def acceleration(chain: Chain, x: Tensor) -> Tensor:
    """Return Hooke's law and gravity on the inner masses, zero on the ends: ``(*, N, 2)``."""
    d = _to_neighbours(x)
    length = d.norm(dim=-1)
    pull = (chain.stiffness * (length - chain.rest) / length.clamp(min=1e-9)).unsqueeze(-1) * d
    inner = pull.sum(-3)
    inner = torch.stack([inner[..., 0], inner[..., 1] + chain.gravity.unsqueeze(-1)], -1)
    return torch.nn.functional.pad(inner, (0, 0, 1, 1))


def step(chain: Chain, state: State, dt: float = DT) -> State:
    """Return the state one step later, by semi-implicit Euler as the demo does."""
    return semi_implicit_euler(state, acceleration(chain, state.x), dt)


def simulate(chain: Chain, steps: int = STEPS, dt: float = DT) -> State:
    """Return the trajectory ``(steps + 1, *, N, 2)``.

    Raises:
        ValueError: for a step that is not positive.
    """
    check(chain.start.x.shape[-2], 3, "masses between fixed ends", dt)
    return trajectory(lambda state: step(chain, state, dt), chain.start, steps)


def energy(chain: Chain, state: State) -> Tensor:
    """Return kinetic, spring and gravitational energy of each scene [J]; ``(*)``.

    It is conserved only if both directions of every spring are equally stiff; that of the end springs is read
    from the one direction they have.
    """
    d = _to_neighbours(state.x).norm(dim=-1) - chain.rest
    left = (chain.stiffness[..., 0, :] * d[..., 0, :] ** 2).sum(-1)  # every spring but the last
    last = chain.stiffness[..., 1, -1] * d[..., 1, -1] ** 2
    kinetic = (state.v**2).sum((-1, -2)) / 2
    return kinetic + (left + last) / 2 - chain.gravity * state.x[..., 1:-1, 1].sum(-1)
