"""A string of masses and springs that falls on a circle (Battaglia et al. 2016, arXiv:1612.00222, supplement)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from repro import randomness
from repro.physics.motion import State, check, trajectory, uniform

MASS = (0.05, 0.15)  # kg
REST_LENGTH = 0.2  # m
STIFFNESS = 100.0  # N/m
DAMPING = 0.001  # N s/m, of the relative velocity of neighbours
CIRCLE_X, CIRCLE_Y = (-0.5, 0.5), (-1.0, -0.5)  # m
CIRCLE_RADIUS = (0.2, 0.4)  # m
RESTITUTION = (0.0, 1.0)
GRAVITY = (-30.0, -5.0)  # m/s²
DT = 0.001  # s


class String(NamedTuple):
    """A batch of scenes.

    Attributes:
        start: of the masses: a straight horizontal string, centred above the origin, at rest.
        masses: ``(*, N)`` [kg].
        pinned: bool ``(*, N)``, masses that do not move.
        centre: of the circle ``(*, 2)``, radius: ``(*)`` [m].
        restitution: ``(*)``, normal speed after touching the circle / before.
        gravity: ``(*)``, vertical acceleration [m/s²].
    """

    start: State
    masses: Tensor
    pinned: Tensor
    centre: Tensor
    radius: Tensor
    restitution: Tensor
    gravity: Tensor


def sample(seeds: Tensor, stream: str, scenes: int, masses: int, ends_pinned: int) -> String:
    """Draw scenes; of one pinned end it is random which.

    Raises:
        ValueError: for fewer than two masses, or other than 0, 1 or 2 pinned ends.
    """
    check(masses, 2, "masses on a string")
    if ends_pinned not in (0, 1, 2):
        raise ValueError(f"a string has two ends: 0, 1 or 2 of them are pinned, not {ends_pinned}")

    def draw(what: str, low: float, high: float, *shape: int) -> Tensor:
        return uniform(randomness.key(seeds, f"{stream}/{what}"), (scenes, *shape), low, high)

    along = (torch.arange(masses, dtype=torch.float64) - (masses - 1) / 2) * REST_LENGTH
    x = torch.stack([along, torch.zeros_like(along)], -1).expand(*seeds.shape, scenes, masses, 2)
    first = draw("end", 0.0, 1.0) < 0.5
    pinned = torch.zeros(*seeds.shape, scenes, masses, dtype=torch.bool)
    pinned[..., 0] = (first & (ends_pinned == 1)) | (ends_pinned == 2)
    pinned[..., -1] = (~first & (ends_pinned == 1)) | (ends_pinned == 2)
    centre = torch.stack([draw("centre x", *CIRCLE_X), draw("centre y", *CIRCLE_Y)], -1)
    return String(
        State(x, torch.zeros_like(x)),
        draw("mass", *MASS, masses),
        pinned,
        centre,
        draw("radius", *CIRCLE_RADIUS),
        draw("restitution", *RESTITUTION),
        draw("gravity", *GRAVITY),
    )


def _springs(state: State) -> Tensor:
    """Return the springs' and dampers' force on each mass, ``(*, N, 2)`` [N]."""
    d = state.x[..., 1:, :] - state.x[..., :-1, :]
    length = d.norm(dim=-1, keepdim=True)
    force = STIFFNESS * (length - REST_LENGTH) * d / length.clamp(min=1e-9)
    force = force + DAMPING * (state.v[..., 1:, :] - state.v[..., :-1, :])
    pad = torch.nn.functional.pad
    return pad(force, (0, 0, 0, 1)) - pad(force, (0, 0, 1, 0))


def simulate(string: String, steps: int, dt: float = DT) -> State:
    """Return the trajectory ``(steps + 1, *, N, 2)``.

    Raises:
        ValueError: for fewer than two masses, or a step that is not positive.
    """
    check(string.masses.shape[-1], 2, "masses on a string", dt)
    fall = torch.stack([torch.zeros_like(string.gravity), string.gravity], -1).unsqueeze(-2)
    free = ~string.pinned.unsqueeze(-1)

    def step(state: State) -> State:
        acceleration = (_springs(state) / string.masses.unsqueeze(-1) + fall) * free
        d = state.x - string.centre.unsqueeze(-2)
        normal = d / d.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        v = state.v + dt * acceleration
        inwards = (v * normal).sum(-1, keepdim=True)
        inside = d.norm(dim=-1) < string.radius.unsqueeze(-1)
        hit = inside.unsqueeze(-1) & (inwards < 0) & free
        bounced = v - (1 + string.restitution[..., None, None]) * inwards * normal
        v = torch.where(hit, bounced, v)
        return State(state.x + dt * v, v)

    return trajectory(step, string.start, steps)


def potential_energy(string: String, x: Tensor) -> Tensor:
    """Return the energy of springs and gravity of each scene [J], ``(*)``."""
    stretch = (x[..., 1:, :] - x[..., :-1, :]).norm(dim=-1) - REST_LENGTH
    height = (string.masses * x[..., 1]).sum(-1)
    return STIFFNESS / 2 * (stretch**2).sum(-1) - string.gravity * height
