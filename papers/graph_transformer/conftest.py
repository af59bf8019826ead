"""What several of the tests use."""

from __future__ import annotations

import numpy as np

from papers.graph_transformer import encodings
from papers.graph_transformer.baselines import network
from papers.graph_transformer.graphs import Graphs, pad
from papers.graph_transformer.model import Design, Network, Task


def random_graph(n: int, density: float, seed: int, types: int = 1) -> np.ndarray:
    """A random undirected graph as a symmetric matrix of edge types, 0 for no edge."""
    rng = np.random.default_rng(seed)
    E = np.triu(rng.integers(1, types + 1, (n, n)) * (rng.random((n, n)) < density), 1)
    return (E + E.T).astype(np.uint8)


def some_graphs(sizes: list[int], full: bool = False, types: int = 1, k: int = 2, tokens: int = 3) -> Graphs:
    """Graphs of all sorts with tokens, targets per node and k eigenvectors (zeros where there are too few nodes)."""
    rng = np.random.default_rng(len(sizes))
    E = [random_graph(n, (0.0, 0.3, 0.8)[i % 3], i, types) for i, n in enumerate(sizes)]
    codes = [
        np.zeros((n, k), np.float32)
        if n <= k
        else encodings.laplacian_eigenvectors(A > 0, k).astype(np.float32)
        for n, A in zip(sizes, E, strict=True)
    ]
    return pad(
        [rng.integers(0, tokens, n) for n in sizes], E, [rng.integers(0, 2, n) for n in sizes], codes, full
    )


def small(
    bonds: int = 0,
    norm: str = "batch",
    graph_level: bool = False,
    *,
    model: str = "gt",
    encoding: str = "laplacian",
    tokens: int = 3,
    seed: int = 1,
) -> Network:
    """A small network of the paper's kind."""
    task = Task(tokens, bonds, out=1 if graph_level else 2, roles=30, graph_level=graph_level)
    design = Design(task, width=16, layers=2, heads=4, encoding=encoding, eigenvectors=2, norm=norm)
    return network(model, design, seed)
