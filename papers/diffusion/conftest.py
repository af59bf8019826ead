"""What several of the tests use."""

from __future__ import annotations

from pathlib import Path

from repro.context import Context

HERE = Context(Path())


def one(function, **setting):
    """The rows of seed 0."""
    return next(iter(function(setting, [0], HERE)))[1]


SWISS = {
    "T": 8, "hidden": 4, "schedule": "learned", "first_beta": 1e-3, "steps": 5, "batch": 4, "learning_rate": 0.05,
    "test_draws": 20,
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
