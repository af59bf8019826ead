"""The simulators' test scenes as files: a stage of ``dvc.yaml``, for whoever wants the sets without this program.

They are the test scenes of the quick tier's first seed. Experiments simulate the same ones in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from papers.graph_networks import calibration, chain, domains
from repro.physics.motion import State
from repro.project import find_project

SEED = 0


def scenes(kind: str, root: Path) -> Iterator[tuple[int, Any, State]]:
    """Yield each size of a simulator with its scenes and their trajectories, leading dimensions ``(1, scenes)``."""
    experiments = find_project(root).ledger("graph_networks").experiments
    plan = experiments["chain" if kind == "chain" else "prediction"]
    setting = {**plan.setting, **plan.tiers["quick"].set}
    seeds = torch.tensor([SEED])
    if kind == "chain":
        for size in chain.SIZES.tested:
            found = chain.scenes(setting, seeds, "test", size, test=True)
            yield size, found.chain, found.path
    else:
        setting["domain"] = kind
        for size in calibration.SIZES[kind]:
            yield size, *domains.simulated(setting, seeds, "test", setting["test_scenes"], size)


def write(kind: str, folder: Path, root: Path) -> None:
    """Write a file per size: ``x`` [m], ``v`` [m/s] of shape ``(steps + 1, scenes, N, 2)``, each scene's constants.

    Raises:
        ValueError: for no such simulator.
    """
    if kind not in (*calibration.SIZES, "chain"):
        raise ValueError(f"no simulator {kind!r}; there are {', '.join(calibration.SIZES)}, chain")
    folder.mkdir(parents=True, exist_ok=True)
    for size, scene, path in scenes(kind, root):
        constants = {name: c[0].numpy() for name, c in scene._asdict().items() if name != "start"}
        moves = {name: part[:, 0].float().numpy() for name, part in path._asdict().items()}
        np.savez(folder / f"{size}.npz", **moves, **constants)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m papers.graph_networks.sets nbody|balls|string|chain FOLDER")
    write(sys.argv[1], Path(sys.argv[2]), Path.cwd())
