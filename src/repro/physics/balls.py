"""Bouncing balls in a rigid box (Battaglia et al. 2016, arXiv:1612.00222, supplement)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from repro import randomness
from repro.physics.motion import State, check, trajectory, uniform

RADIUS = (0.1, 0.3)  # m
MASS = (0.75, 1.25)  # kg
SIDE = (1.0, 3.0)  # m
SPEED = 5.0  # m/s, largest component
RESTITUTION = (0.4, 1.0)
DT = 0.001  # s
TRIES, ATTEMPTS = 60, 100  # places per ball, and how often a scene without room is drawn again


class Balls(NamedTuple):
    """A batch of scenes.

    Attributes:
        start: positions and velocities of the centres.
        masses, radii: ``(*, N)`` [kg], [m].
        box: ``(*, 2)`` width and height [m]; the box is [0, width] × [0, height].
        restitution: ``(*)`` relative speed after a collision / before, along the normal.
    """

    start: State
    masses: Tensor
    radii: Tensor
    box: Tensor
    restitution: Tensor


def _place(draw: Tensor, radii: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Put balls one after the other at the first of ``TRIES`` places that is free; say where none was.

    Args:
        draw: ``(*, N, TRIES, 2)`` in [0, 1).
        radii: ``(*, N)``.
        box: ``(*, 2)``.
    """
    room = (box.unsqueeze(-2) - 2 * radii.unsqueeze(-1)).clamp(min=0)
    places = radii[..., None, None] + draw * room.unsqueeze(-2)
    chosen: list[Tensor] = []
    failed = torch.zeros(radii.shape[:-1], dtype=torch.bool)
    for i in range(radii.shape[-1]):
        free = torch.ones((*places.shape[:-3], TRIES), dtype=torch.bool)
        for j, other in enumerate(chosen):
            gap = (places[..., i, :, :] - other.unsqueeze(-2)).norm(dim=-1)
            free &= gap > (radii[..., i] + radii[..., j]).unsqueeze(-1)
        failed |= ~free.any(-1)
        first = free.to(torch.int8).argmax(-1)[..., None, None].expand(*places.shape[:-3], 1, 2)
        chosen.append(places[..., i, :, :].gather(-2, first).squeeze(-2))
    return torch.stack(chosen, -2), failed


def sample(seeds: Tensor, stream: str, scenes: int, balls: int) -> Balls:
    """Draw scenes without overlaps; where the balls do not fit the box, box, radii and places are drawn again.

    So scenes with many balls have larger boxes and smaller balls than scenes with few.

    Raises:
        ValueError: without a ball, or for so many that they do not fit.
    """
    check(balls, 1, "balls")

    def draw(what: str, low: float, high: float, *shape: int) -> Tensor:
        return uniform(randomness.key(seeds, f"{stream}/{what}"), (scenes, *shape), low, high)

    x = radii = box = None
    for attempt in range(ATTEMPTS):
        new_radii = draw(f"radius/{attempt}", *RADIUS, balls)
        new_box = draw(f"box/{attempt}", *SIDE, 2)
        places, failed = _place(draw(f"place/{attempt}", 0.0, 1.0, balls, TRIES, 2), new_radii, new_box)
        if x is None or radii is None or box is None:
            x, radii, box, missing = places, new_radii, new_box, failed
        else:
            x = torch.where(missing[..., None, None], places, x)
            radii = torch.where(missing[..., None], new_radii, radii)
            box = torch.where(missing[..., None], new_box, box)
            missing = missing & failed
        if not missing.any():
            v = draw("velocity", -SPEED, SPEED, balls, 2)
            return Balls(
                State(x, v), draw("mass", *MASS, balls), radii, box, draw("restitution", *RESTITUTION)
            )
    raise ValueError(f"{balls} balls do not fit boxes with sides of {SIDE[0]:g} to {SIDE[1]:g} m")


def collide(state: State, balls: Balls) -> Tensor:
    """Return the velocities after all collisions of this moment: of touching balls, and with walls, that approach.

    A pair exchanges the impulse -(1 + restitution) (relative normal velocity) / (1/m_i + 1/m_j) along the normal;
    a wall has infinite mass.
    """
    x, v = state
    d = x.unsqueeze(-2) - x.unsqueeze(-3)  # [i, j]: from j to i
    gap = d.norm(dim=-1)
    touching = gap < balls.radii.unsqueeze(-1) + balls.radii.unsqueeze(-2)
    touching &= ~torch.eye(x.shape[-2], dtype=torch.bool)
    bounce = 1 + balls.restitution[..., None, None]
    if bool(touching.any()):
        normal = d / gap.clamp(min=1e-12).unsqueeze(-1)
        approach = ((v.unsqueeze(-2) - v.unsqueeze(-3)) * normal).sum(-1)
        inverse = (1 / balls.masses).unsqueeze(-1) + (1 / balls.masses).unsqueeze(-2)
        impulse = torch.where(touching & (approach < 0), -bounce * approach / inverse, 0.0)
        v = v + (impulse.unsqueeze(-1) * normal).sum(-2) / balls.masses.unsqueeze(-1)
    r = balls.radii.unsqueeze(-1)
    low = (x < r) & (v < 0)
    high = (x > balls.box.unsqueeze(-2) - r) & (v > 0)
    return torch.where(low | high, -balls.restitution[..., None, None] * v, v)


def simulate(balls: Balls, steps: int, dt: float = DT) -> State:
    """Return the trajectory ``(steps + 1, *, N, 2)``; balls fly straight between collisions.

    Raises:
        ValueError: without a ball or for a step that is not positive.
    """
    check(balls.masses.shape[-1], 1, "balls", dt)

    def step(state: State) -> State:
        v = collide(state, balls)
        return State(state.x + dt * v, v)

    return trajectory(step, balls.start, steps)
