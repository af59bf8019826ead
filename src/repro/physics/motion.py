"""What the simulators share: the integrator, the trajectory, uniform draws, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from repro import randomness


class State(NamedTuple):
    """Positions [m] and velocities [m/s] of point-like things in the plane, each ``(*, N, 2)``."""

    x: Tensor
    v: Tensor


Acceleration = Callable[[State], Tensor]


def semi_implicit_euler(state: State, acceleration: Tensor, dt: float) -> State:
    """Advance the velocity first, then the position with the new velocity: of first order, and symplectic."""
    v = state.v + dt * acceleration
    return State(state.x + dt * v, v)


def trajectory(step: Callable[[State], State], start: State, steps: int) -> State:
    """Return ``steps + 1`` states, the start included, stacked in front: ``(steps + 1, *, N, 2)``."""
    states = [start]
    for _ in range(steps):
        states.append(step(states[-1]))
    return State(torch.stack([s.x for s in states]), torch.stack([s.v for s in states]))


def uniform(key: Tensor, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Return float64 numbers in [low, high) per key: ``key.shape + shape``."""
    count = 1
    for n in shape:
        count *= n
    draw = randomness.uniform(key, count).to(torch.float64).view(*key.shape, *shape)
    return low + (high - low) * draw


def check(count: int, least: int, what: str, dt: float = 1.0) -> None:
    """Refuse systems that cannot be.

    Raises:
        ValueError: if there are fewer than ``least`` things, or the time step is not positive.
    """
    if count < least:
        raise ValueError(f"a system of {what} needs at least {least}, not {count}")
    if not dt > 0:
        raise ValueError(f"a time step is positive, not {dt} s")
