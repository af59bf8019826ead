"""Swimmers of any number of links, simulated by dm_control's MuJoCo model (Tassa et al., arXiv:1801.00690).

The model limits each joint to ±360°/N, so that longer swimmers are stiffer; ``limit`` replaces that. A control step of
0.03 s is 15 simulator steps, as in dm_control's task. Everything moves in a plane.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro import randomness
from repro.errors import DataUnavailable
from repro.physics.motion import check

LEAST = 3  # links, of dm_control's model
SUBSTEPS = 15
CONTROL_DT = 0.03  # s
KNOT = 10  # control steps between the random values that an action passes through


@dataclass(frozen=True)
class Episodes:
    """Trajectories of swimmers with N links; E episodes of T control steps.

    Attributes:
        x, v: of the links' centres, ``(E, T + 1, N, 2)`` [m], [m/s].
        angle: of the links, not wrapped ``(E, T + 1, N)`` [rad]; omega: ``(E, T + 1, N)`` [rad/s].
        action: of the motor of each joint, ``(E, T, N - 1)`` in [-1, 1].
        limit: largest angle of a joint [rad].
    """

    x: Tensor
    v: Tensor
    angle: Tensor
    omega: Tensor
    action: Tensor
    limit: float


def _physics(links: int) -> Any:
    check(links, LEAST, "links of a swimmer")
    os.environ.setdefault("MUJOCO_GL", "disable")  # nothing is rendered, and many machines could not
    try:
        from dm_control.suite import swimmer
    except ImportError as missing:
        raise DataUnavailable(
            f"the swimmer's simulator is not installed ({missing}): pip install dm-control 'mujoco<4' "
            "(Python 3.11 or 3.12)"
        ) from None
    try:
        return swimmer.swimmer(n_links=links).physics
    except AttributeError as error:
        raise DataUnavailable(
            f"dm_control does not fit the installed MuJoCo ({error}): pip install 'mujoco<4'"
        ) from None


def actions(keys: Tensor, steps: int, joints: int) -> Tensor:
    """Return motor signals in [-1, 1] that pass linearly through a random value every ``KNOT`` steps: ``(*, T, J)``."""
    knots = -(-steps // KNOT) + 1
    values = (
        2 * randomness.uniform(keys, knots * joints).to(torch.float64).view(*keys.shape, knots, joints) - 1
    )
    at = torch.arange(steps) / KNOT
    left = at.long()
    share = (at - left).to(torch.float64).unsqueeze(-1)
    return (1 - share) * values[..., left, :] + share * values[..., left + 1, :]


def simulate(
    links: int, episodes: int, steps: int, seed: int, stream: str, limit: float | None = None
) -> Episodes:
    """Simulate swimmers that start at rest, bent at random within their joints' limits, under random control.

    Args:
        links: N.
        episodes, steps: how many.
        seed, stream: of the random numbers.
        limit: of every joint [degrees]; None leaves the model's own, 360/N.

    Raises:
        ValueError: for fewer than three links, or no step.
        DataUnavailable: if dm_control is not installed, or does not fit MuJoCo.
    """
    check(steps, 1, "control steps")
    physics = _physics(links)
    model, data = physics.model.ptr, physics.data.ptr
    if limit is not None:
        model.jnt_range[3:] = np.deg2rad([-limit, limit])
    largest = float(model.jnt_range[3, 1])
    keys = torch.stack([randomness.key(seed, f"{stream}/action/{links}", e) for e in range(episodes)])
    control = actions(keys, steps, links - 1)
    starts = torch.stack([randomness.key(seed, f"{stream}/start/{links}", e) for e in range(episodes)])
    bend = 2 * randomness.uniform(starts, links).to(torch.float64).numpy() - 1
    found = np.empty((episodes, steps + 1, links, 6))
    for e in range(episodes):
        with physics.reset_context():
            data.qpos[2] = np.pi * bend[e, 0]
            data.qpos[3:] = largest * bend[e, 1:]
        signal = control[e].numpy()
        for t in range(steps + 1):
            found[e, t] = _links(data)
            if t < steps:
                data.ctrl[:] = signal[t]
                physics.step(SUBSTEPS)
    table = torch.from_numpy(found)
    angle = torch.from_numpy(np.unwrap(found[..., 4], axis=1))
    return Episodes(table[..., :2], table[..., 2:4], angle, table[..., 5], control, largest)


def _links(data: Any) -> np.ndarray:
    """Return x, y, vx, vy, angle, angular velocity of each link's centre, ``(N, 6)``."""
    centre, spin = data.xipos[1:], data.cvel[1:, 2]
    arm = centre - data.subtree_com[1]  # MuJoCo gives all velocities at the centre of mass of the whole body
    velocity = data.cvel[1:, 3:5] + spin[:, None] * np.stack([-arm[:, 1], arm[:, 0]], -1)
    angle = np.arctan2(data.xmat[1:, 3], data.xmat[1:, 0])
    return np.column_stack([centre[:, :2], velocity, angle, spin])
