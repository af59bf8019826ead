"""The 24 protein interaction graphs (Zitnik and Leskovec 2017, as split by Hamilton et al. 2017)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.data.fetch import require
from repro.data.pointers import find_root, get_pointer, read_checked
from repro.errors import DataCorrupt

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Structure:
    """One tissue's graph without features: its split, its number of nodes, its undirected pairs ``(E, 2)``.

    A pair of a node with itself is listed where the file lists it.
    """

    split: str
    tissue: str
    nodes: int
    pairs: np.ndarray


def structures(root: Path | None = None) -> list[Structure]:
    """Read `ppi_structure`, by split; `root` is the project's folder (default: the one around us).

    Raises:
        DataUnavailable: if the file is not there.
        DataCorrupt: if its bytes, or what they hold, are not as stated.
    """
    root = root or find_root()
    path = require("ppi_structure", root) / "ppi_structure.npz"
    (stated,) = get_pointer("ppi_structure", root).files
    found = []
    with np.load(io.BytesIO(read_checked(path, stated.md5))) as arrays:
        for key in arrays.files:
            if not key.endswith("_edge"):
                continue
            name = key.removesuffix("_edge")
            split, _, tissue = name.partition("__")
            pairs, nodes = arrays[key].astype(np.int64), len(arrays[f"{name}_gene"])
            if split not in SPLITS or pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.max() >= nodes:
                raise DataCorrupt(
                    f"{path}: {key}: pairs of the {nodes} nodes of one of {', '.join(SPLITS)} were expected"
                )
            found.append(Structure(split, tissue, nodes, pairs))
    return sorted(found, key=lambda g: (SPLITS.index(g.split), g.tissue))
