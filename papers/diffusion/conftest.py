"""What several of the tests use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from papers.diffusion import leaves_set, pictures
from repro.context import Context

HERE = Context(Path())


def one(function, **setting):
    """The rows of seed 0."""
    return next(iter(function(setting, [0], HERE)))[1]


SWISS = {
    "T": 8, "hidden": 4, "schedule": "learned", "first_beta": 1e-3, "steps": 5, "batch": 4, "learning_rate": 0.05,
    "test_draws": 20,
}  # fmt: skip


HEARTBEAT = {
    "T": 12, "length": 10, "base_rate": 0.2, "schedule": "binomial", "hidden": 8, "output": "offset", "steps": 5,
    "batch": 3, "learning_rate": 0.02, "test_draws": 20, "samples": 4,
}  # fmt: skip


PICTURES = {
    "dataset": "mnist", "T": 8, "first_beta": 1e-3, "schedule": "released_code", "network": "dense", "dense_width": 6,
    "basis_width": 1.0, "mean": "equation_65", "channels": 4, "steps": 3, "batch": 6, "learning_rate": 1e-3,
    "samples": 10, "at_once": 4, "validation": 5, "test": 12, "shown": 2, "power": 1.0, "product": "shift",
}  # fmt: skip


def batch(records: int) -> bytes:
    """Record i: label i, and planes of 10 i, 10 i + 1 and 10 i + 2 but for one brighter pixel of the red one."""
    made = b""
    for i in range(records):
        planes = bytearray(b"".join(bytes([10 * i + colour]) * 1024 for colour in range(3)))
        planes[2 * 32 + 5] = 200
        made += bytes([i]) + bytes(planes)
    return made


LEAVES = {
    "T": 20, "first_beta": 1e-3, "schedule": "fixed", "network": "multi_scale", "basis_width": 1.0,
    "mean": "equation_65", "channels": 4, "images": 16, "batch": 4, "steps": 4, "learning_rate": 0.01, "test_draws": 1,
    "trained_on": "smallest", "largest_side": 16,
}  # fmt: skip


@pytest.fixture
def few_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A folder with a small set of dead leaves, written as the stage of dvc.yaml writes the real one."""
    monkeypatch.setattr(leaves_set, "SIDES", (16,))
    monkeypatch.setattr(leaves_set, "SEEDS", 3)
    monkeypatch.setattr(leaves_set, "PIXELS", 16 * 16**2)
    leaves_set.write(tmp_path)
    monkeypatch.setattr(leaves_set, "require", lambda name, root: tmp_path)
    return Context(tmp_path)


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of tiny data sets in place of the real ones: smooth blobs of 8 by 12 pixels, one colour and three."""
    axes = [np.arange(n)[:, None, None] for n in (8, 12)]
    phase = np.arange(60)
    blobs = np.cos(axes[0] / 3 + phase)[:, None] * np.cos(axes[1] / 4 + 2 * phase)[None]
    one_colour = np.round(127.5 + 127.5 * blobs[:, :, 0]).astype(np.uint8).transpose(2, 0, 1)

    def load(colours: int):
        images = np.stack([one_colour] * colours, axis=1) if colours > 1 else one_colour
        return lambda root: {"train": images[:48], "test": images[48:]}

    pictures.read.cache_clear()
    monkeypatch.setitem(pictures.LOAD, "mnist", load(1))
    monkeypatch.setitem(pictures.LOAD, "cifar10", load(3))
