"""One chain, frame by frame: what the simulator does and what the network makes of the same start."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from papers.graph_networks import chain
from papers.graph_networks.training import Rows, on
from repro.context import Context, Work
from repro.nn.topology import Chain
from repro.physics import mass_spring
from repro.physics.motion import State


@lru_cache(maxsize=2)
def _network(setting: str, seed: int, device: str) -> chain.Trained:
    """Train once for the films of all sizes, on the device that is in use."""
    return chain.train(json.loads(setting), [seed], chain.SIZES.trained, Work())


def energy_gain(data: chain.Scenes, path: State) -> Tensor:
    """Return the change of energy since the start, over the truth's largest kinetic energy, ``(T + 1)``."""
    start, *constants = data.chain
    scene = mass_spring.Chain(State(start.x[0, 0], start.v[0, 0]), *(c[0, 0] for c in constants))
    energy = mass_spring.energy(scene, State(path.x[:, 0, 0], path.v[:, 0, 0]))
    kinetic = data.path.v[:, 0, 0].square().sum((-1, -2)).max() / 2
    return (energy - energy[0]) / kinetic


def film(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Return one row per mass and frame, frames one after the other, of the first test scene of a size."""
    for (seed,) in context.chunks(seeds, 5e7, largest=1):
        with on(context.device):
            data = chain.scenes(setting, torch.tensor([seed]), "test", setting["masses"], test=True)
            path = data.path
            if setting["who"] == "network":
                own = {k: v for k, v in setting.items() if k not in ("masses", "who")}
                predict, _ = _network(json.dumps(own), seed, context.device)
                path = chain.trajectory(setting, data, predict, Chain(setting["masses"], fixed_ends=True))
            gain = energy_gain(data, path)
        rows = []
        for t, frame in enumerate(path.x[:, 0, 0]):
            for x, y in frame.tolist():
                rows.append({"dot": len(rows), "x": x, "y": y, "energy_gain": float(gain[t])})
        yield seed, rows
