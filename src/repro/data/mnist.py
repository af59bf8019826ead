"""MNIST from its four idx files; whatever is damaged, cut short or of the wrong shape is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repro.data.fetch import require
from repro.errors import DataCorrupt

UNSIGNED_BYTE = 8  # the only element type in these files
SHAPES = {
    "train-images-idx3-ubyte": (60000, 28, 28),
    "train-labels-idx1-ubyte": (60000,),
    "t10k-images-idx3-ubyte": (10000, 28, 28),
    "t10k-labels-idx1-ubyte": (10000,),
}


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an idx file of unsigned bytes as an array.

    The format: two zero bytes, the element type, the number of dimensions, each size as a big-endian 32-bit
    integer, then the elements.

    Args:
        path: the file, unpacked.
        shape: what it must hold.

    Raises:
        DataCorrupt: naming the file, what is wrong and what was expected.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        raise DataCorrupt(f"{path}: a gzip file; unpack it first")
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataCorrupt(f"{path}: not an idx file: it starts with {content[:4].hex(' ') or 'nothing'}")
    if content[2] != UNSIGNED_BYTE:
        raise DataCorrupt(f"{path}: element type {content[2]:#04x} instead of unsigned bytes (0x08)")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataCorrupt(f"{path}: cut short within its header")
    sizes = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    if sizes != shape:
        raise DataCorrupt(f"{path}: holds an array of {sizes}, expected {shape}")
    expected = start + int(np.prod(shape))
    if len(content) != expected:
        what = "cut short" if len(content) < expected else "too long"
        raise DataCorrupt(f"{path}: {what}: {len(content)} bytes, expected {expected}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def load(root: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the images ``train`` (60000, 28, 28) and ``test`` (10000, 28, 28) with their labels.

    Raises:
        DataUnavailable: if the set is not here.
        DataCorrupt: if a file is not what it should be.
    """
    folder = require("mnist", root)
    names = dict(zip(("train", "train_labels", "test", "test_labels"), SHAPES, strict=True))
    return {part: read_idx(folder / name, SHAPES[name]) for part, name in names.items()}
