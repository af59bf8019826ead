"""ZINC-12k: molecules with their penalised logP, the split of the benchmark (arXiv:2003.00982).

``data/zinc12k.dvc`` states the bytes. Validation and test are the benchmark's own graphs; train is rebuilt from the
same molecules in the same order. What is read is checked: an unknown atom type or a target that is not finite would
otherwise be trained on without a word.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.data.pointers import find_root, get_pointer, read_checked
from repro.errors import DataCorrupt

ATOMS = 28
BONDS = 3  # single, double, triple; 0 stands for no bond
COUNTS = {"train": 10000, "val": 1000, "test": 1000}
TARGETS = {"train": (0.01530, 2.01082), "test": (0.01241, 2.01700)}  # mean and standard deviation


@dataclass(frozen=True, eq=False)
class Molecule:
    """One graph: ``atoms`` int64 (n,) in 0..27; ``bonds`` int64 (n, n), symmetric, 0 = none; ``target`` float."""

    atoms: np.ndarray
    bonds: np.ndarray
    target: float


def check(split: str, atoms: np.ndarray, bonds: np.ndarray, targets: np.ndarray) -> None:
    """Refuse what no model could be trained on.

    Raises:
        DataCorrupt: naming the split, the position and the value.
    """
    for what, values, low, high in (("atom", atoms, 0, ATOMS - 1), ("bond", bonds, 1, BONDS)):
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise DataCorrupt(
                f"zinc12k, {split}: {what} {wrong[0]} is of the unknown type {values[wrong[0]]}; "
                f"types are {low} to {high}"
            )
    wrong = np.flatnonzero(~np.isfinite(targets))
    if len(wrong):
        raise DataCorrupt(
            f"zinc12k, {split}: the target of graph {wrong[0]} is {targets[wrong[0]]}, no number"
        )


def check_statistics(split: str, targets: np.ndarray) -> None:
    """Compare the number of graphs and their targets' mean and standard deviation with the stated ones.

    Raises:
        DataCorrupt: saying what was expected and what was found.
    """
    if len(targets) != COUNTS[split]:
        raise DataCorrupt(f"zinc12k, {split}: {len(targets)} graphs, there should be {COUNTS[split]}")
    if split in TARGETS:
        found = (float(targets.mean(dtype=np.float64)), float(targets.std(dtype=np.float64)))
        if not np.allclose(found, TARGETS[split], atol=2e-3):
            raise DataCorrupt(
                f"zinc12k, {split}: targets have mean and sd {found}, there should be {TARGETS[split]}"
            )


def load(split: str, count: int | None = None, root: Path | None = None) -> list[Molecule]:
    """Read the first ``count`` molecules of ``train``, ``val`` or ``test``; all of them if None.

    Raises:
        DataUnavailable: if the file is not there.
        DataCorrupt: if its bytes, an atom, a bond, a target, a count or the targets' statistics are wrong.
    """
    pointer = get_pointer("zinc12k", find_root() if root is None else root)
    stated = {file.path: file for file in pointer.files}["zinc12k.npz"]
    with np.load(io.BytesIO(read_checked(pointer.place(stated), stated.md5)), allow_pickle=False) as file:
        n, atoms, m, src, dst, bonds, targets = (
            file[f"{split}_{key}"] for key in ("n", "atom", "m", "src", "dst", "bond", "y")
        )
    check(split, atoms, bonds, targets)
    check_statistics(split, targets)
    node, edge = (np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) for counts in (n, m))
    molecules = []
    for g in range(len(n) if count is None else count):
        here = slice(edge[g], edge[g + 1])
        B = np.zeros((n[g], n[g]), dtype=np.int64)
        B[src[here], dst[here]] = B[dst[here], src[here]] = bonds[here]
        molecules.append(Molecule(atoms[node[g] : node[g + 1]].astype(np.int64), B, float(targets[g])))
    return molecules
