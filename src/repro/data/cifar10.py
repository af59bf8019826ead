"""CIFAR-10 from its binary batches; whatever is damaged, cut short or of the wrong shape is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repro.data.fetch import require
from repro.errors import DataCorrupt

SHAPE = (3, 32, 32)  # red, green and blue planes, row by row
RECORD = 1 + 3 * 32 * 32  # a label byte before them
RECORDS, CLASSES = 10000, 10
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)


def read_batch(path: Path, records: int = RECORDS) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a batch's images ``(records, 3, 32, 32)`` and labels ``(records,)``.

    The format: records of 3073 bytes, a label from 0 to 9 and then the three colour planes.

    Args:
        path: the file, unpacked.
        records: how many it must hold.

    Raises:
        DataCorrupt: naming the file, what is wrong and what was expected.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        raise DataCorrupt(f"{path}: a gzip file; unpack it first")
    expected = records * RECORD
    if len(content) != expected:
        what = "cut short" if len(content) < expected else "too long"
        raise DataCorrupt(
            f"{path}: {what}: {len(content)} bytes, expected {expected} ({records} records of {RECORD})"
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(records, RECORD)
    wrong = np.flatnonzero(rows[:, 0] >= CLASSES)
    if len(wrong):
        raise DataCorrupt(
            f"{path}: record {wrong[0]} has the label {rows[wrong[0], 0]}, expected 0 to {CLASSES - 1}; "
            "is it the binary version of CIFAR-10?"
        )
    return rows[:, 1:].reshape(records, *SHAPE), rows[:, 0]


def load(root: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the images ``train`` (50000, 3, 32, 32) and ``test`` (10000, 3, 32, 32) with their labels.

    Raises:
        DataUnavailable: if the set is not here.
        DataCorrupt: if a file is not what it should be.
    """
    folder = require("cifar10", root)
    found = {}
    for part, names in (("train", TRAIN), ("test", TEST)):
        batches = [read_batch(folder / name) for name in names]
        found[part] = np.concatenate([images for images, _ in batches])
        found[f"{part}_labels"] = np.concatenate([labels for _, labels in batches])
    return found
