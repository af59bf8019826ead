"""Gravitating bodies in the plane (Battaglia et al. 2016, arXiv:1612.00222, Section 4.1 and its supplement).

The paper prints neither the gravitational constant nor where the denominator of the force is clipped; both are
arguments here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from repro import randomness
from repro.physics.motion import State, check, semi_implicit_euler, trajectory, uniform

MASS = (0.02, 9.0)  # kg
DISTANCE = (10.0, 100.0)  # m from the origin
SPEED = 3.0  # m/s, largest component of a random velocity
STAR = 100.0  # kg
DT = 0.001  # s


class Bodies(NamedTuple):
    """A batch of scenes: start, and masses [kg] ``(*, N)``."""

    start: State
    masses: Tensor


def sample(seeds: Tensor, stream: str, scenes: int, bodies: int, G: float, one_way: bool = False) -> Bodies:
    """Draw scenes: in the first half the first body is a star at rest with planets on circular orbits.

    In the second half there is no star and velocities are random. Masses, angles and distances are uniform. Which way
    round planets go is not printed; like all else it is drawn for each, unless ``one_way``.

    Args:
        seeds: int64 ``(*)``.
        stream: of the random numbers.
        scenes, bodies: how many of each.
        G: gravitational constant [m³/(kg s²)], for the speed of the orbits.
        one_way: all planets go round anticlockwise, so that a velocity alone tells where the star is.

    Returns:
        tensors with leading dimensions ``(*, scenes)``.

    Raises:
        ValueError: without a body.
    """
    check(bodies, 1, "bodies")

    def draw(what: str, low: float, high: float, *last: int) -> Tensor:
        return uniform(randomness.key(seeds, f"{stream}/{what}"), (scenes, bodies, *last), low, high)

    masses, r = draw("mass", *MASS), draw("distance", *DISTANCE)
    angle = draw("angle", 0.0, 2 * torch.pi)
    v = draw("velocity", -SPEED, SPEED, 2)
    orbit = torch.arange(scenes) < (scenes + 1) // 2
    star = orbit[:, None] & (torch.arange(bodies) == 0)
    masses = masses.masked_fill(star, STAR)
    outwards = torch.stack([angle.cos(), angle.sin()], -1)
    x = (r.unsqueeze(-1) * outwards).masked_fill(star.unsqueeze(-1), 0.0)
    tangent = torch.stack([-angle.sin(), angle.cos()], -1)
    sense = torch.where((draw("sense", 0.0, 1.0) < 0.5) & (not one_way), -1.0, 1.0)
    circular = (sense * (G * STAR / r).sqrt()).unsqueeze(-1) * tangent
    v = torch.where(orbit[:, None, None], circular.masked_fill(star.unsqueeze(-1), 0.0), v)
    return Bodies(State(x, v), masses)


def acceleration(x: Tensor, masses: Tensor, G: float, clip: float) -> Tensor:
    """Return the sum over j of G m_j d_ij / max(|d_ij|, clip)³ with d_ij from i to j: ``(*, N, 2)``."""
    dx = x[..., None, :, 0] - x[..., :, None, 0]
    dy = x[..., None, :, 1] - x[..., :, None, 1]
    r2 = (dx * dx).addcmul_(dy, dy).clamp_(min=clip * clip)
    pull = (G * masses).unsqueeze(-2) * r2.rsqrt_().pow(3)
    return torch.stack([(pull * dx).sum(-1), (pull * dy).sum(-1)], -1)


def simulate(bodies: Bodies, G: float, clip: float, steps: int, dt: float = DT) -> State:
    """Return the trajectory ``(steps + 1, *, N, 2)``.

    Raises:
        ValueError: without a body, for a step that is not positive, or a clip that is not.
    """
    check(bodies.masses.shape[-1], 1, "bodies", dt)
    if not clip > 0:
        raise ValueError(f"the distance at which the force is clipped is positive, not {clip} m")
    return trajectory(
        lambda s: semi_implicit_euler(s, acceleration(s.x, bodies.masses, G, clip), dt), bodies.start, steps
    )


def potential_energy(x: Tensor, masses: Tensor, G: float, clip: float) -> Tensor:
    """Return the energy of each scene [J], ``(*)``: minus the sum over pairs of G m_i m_j / r.

    Within the clip the force grows linearly, so there the energy is a parabola that joins smoothly.
    """
    d = x.unsqueeze(-2) - x.unsqueeze(-3)
    r = d.norm(dim=-1)
    far = r.clamp(min=clip)
    per_mass = -1 / far + (r.clamp(max=clip) ** 2 - clip**2) / (2 * clip**3)
    pairs = torch.triu(torch.ones(x.shape[-2], x.shape[-2], dtype=x.dtype, device=x.device), 1)
    return G * (masses.unsqueeze(-1) * masses.unsqueeze(-2) * per_mass * pairs).sum((-1, -2))
