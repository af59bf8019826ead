"""What several of the tests use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from papers.gcn.training import run
from repro.data import planetoid
from repro.data.planetoid import CitationGraph
from repro.errors import DataUnavailable
from repro.project import find_project


def adjacency(nodes: int, density: float, seed: int, loops: bool = False) -> sp.csr_matrix:
    """A random undirected graph; node 0 has no neighbours, nodes 1 and 2 list themselves if there are loops."""
    rng = np.random.default_rng(seed)
    A = np.triu(rng.random((nodes, nodes)) < density, 1).astype(np.float64)
    A[0] = A[:, 0] = 0
    A = A + A.T
    if loops:
        A[1, 1] = A[2, 2] = 1
    return sp.csr_matrix(A)


def bag_of_words(nodes: int, words: int, seed: int) -> sp.csr_matrix:
    """Binary features; the last node has none."""
    X = np.random.default_rng(seed).random((nodes, words)) < 0.3
    X[-1] = False
    return sp.csr_matrix(X.astype(np.float64))


PROTOCOL: dict[str, Any] = find_project().ledger("gcn").experiments["citation"].setting | {
    "hidden": 4,
    "epochs": 3,
}


def outcome(graph: CitationGraph, **changed: object) -> dict[str, float]:
    """Train seed 1 by the protocol, shortened, with some settings changed."""
    splits = {"train": graph.train, "val": graph.val, "test": graph.test}
    (result,) = run(graph, PROTOCOL | changed, [1], splits)
    return result


@pytest.fixture(scope="module")
def cora() -> CitationGraph:
    """The real graph; a test that needs it is skipped where it is not."""
    try:
        return planetoid.load("cora", find_project().root)
    except DataUnavailable as missing:
        pytest.skip(f"data that is not here: {missing}")
