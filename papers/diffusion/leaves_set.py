"""The dead leaves that the experiments read, as a stage of ``dvc.yaml`` draws them: data of a known md5."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from papers.diffusion.sets import dead_leaves
from repro import randomness
from repro.data.fetch import require
from repro.errors import DataCorrupt, SettingError

SIDES = (16, 32, 64)
SEEDS = 5  # each has images of its own, so that runs of several seeds differ in their data as well
PIXELS = 1024 * SIDES[0] ** 2  # of a seed, split and side
LEVELS = 2**16  # grey levels: far finer than the noise of any step
SPLITS = ("train", "test")


def per_seed(side: int) -> int:
    """Return how many images of a side each seed has."""
    return PIXELS // side**2


def write(folder: Path) -> None:
    """Write ``SPLIT_SIDE.npy``, uint16 ``(seeds, images, side, side)``: grey level k stands for (k + 1/2) / 2^16.

    Radii and distances are made of products, quotients and roots alone, which all machines round alike.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        for side in SIDES:
            drawn = [
                dead_leaves(randomness.key(seed, f"dead_leaves/{split}/{side}"), per_seed(side), side)
                for seed in range(SEEDS)
            ]
            levels = (torch.stack(drawn) * LEVELS).to(torch.int32).numpy().astype(np.uint16)
            np.save(folder / f"{split}_{side}.npy", levels)


def load(root: Path, split: str, side: int, seeds: Sequence[int], n: int) -> Tensor:
    """Return the first ``n`` images of each seed, ``(S, n, 1, side, side)`` float32 of mean 0 and variance 1.

    Raises:
        DataUnavailable: if the set is not here.
        DataCorrupt: if a file has another shape.
        SettingError: for seeds, sides or more images than the set holds.
    """
    path = require("dead_leaves", root) / f"{split}_{side}.npy"
    if side not in SIDES or not all(0 <= seed < SEEDS for seed in seeds) or n > per_seed(side):
        raise SettingError(
            f"{path.parent} holds sides {', '.join(map(str, SIDES))}, seeds 0 to {SEEDS - 1} and {PIXELS} pixels of "
            f"each; asked for {n} images of side {side} for the seeds {', '.join(map(str, seeds))}"
        )
    levels = np.load(path, mmap_mode="r")
    expected = (SEEDS, per_seed(side), side, side)
    if levels.shape != expected or levels.dtype != np.uint16:
        raise DataCorrupt(f"{path}: holds {levels.dtype} of {levels.shape}, expected uint16 of {expected}")
    chosen = torch.from_numpy(levels[list(seeds), :n].astype(np.float32))
    # Grey levels are uniform in (0, 1): their variance is 1/12.
    return (((chosen + 0.5) / LEVELS - 0.5) * 12**0.5).unsqueeze(2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m papers.diffusion.leaves_set FOLDER")
    write(Path(sys.argv[1]))
