"""What is timed for the paper's claims: Figure 2, and the seconds in brackets in Table 2."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from papers.gcn.experiments import planetoid_split
from papers.gcn.graphs import propagation_matrix
from papers.gcn.model import GCN, Features, Graph
from papers.gcn.training import run
from repro import randomness
from repro.context import Context
from repro.data import planetoid
from repro.nn.sparse import SparseMatrix

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]


def random_graph(nodes: int, edges: int, seed: int) -> sp.csr_matrix:
    """Return a symmetric binary adjacency of ``edges`` uniformly random node pairs, without self-loops."""
    ends = (randomness.bits(randomness.key(seed, "edges", nodes), 2 * edges) >> 1).bitwise_and_(2**62 - 1)
    a, b = (ends % nodes).view(2, edges).numpy()
    a, b = a[a != b], b[a != b]
    A = sp.coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(nodes, nodes)).tocsr()
    A.data[:] = 1
    return A


def _wait(device: str) -> None:
    """Let a GPU finish what it was given, so that the clock sees it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def epoch_time(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Figure 2: seconds per epoch on random graphs with N nodes and 2N edges, featureless, hidden width 32.

    One epoch is forward pass, cross-entropy and backward pass; the reported time is the mean over the epochs
    after one that warms up. Seeds run one after the other: they must not share the processor.
    """
    # Two sizes per decade; the small term keeps a whole number of steps from being rounded down.
    steps = int(2 * math.log10(setting["largest"] / setting["smallest"]) + 1e-9)
    sizes = [round(setting["smallest"] * 10 ** (k / 2)) for k in range(steps + 1)]
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        rows = []
        for edges in sizes:
            nodes = edges // 2
            A_hat = propagation_matrix(random_graph(nodes, edges, seed), "renormalised")
            S = SparseMatrix.from_scipy(A_hat, context.device)
            X, graphs = Features(None, nodes), [Graph(S)] * 2
            model = GCN([nodes, setting["hidden"], 2], dropout=(0.0, 0.0), seed=seed).to(context.device)
            labels = torch.ones(nodes, dtype=torch.int64, device=context.device)
            epochs = max(3, min(setting["epochs"], int(setting["edge_epochs"] // edges)))
            for epoch in range(epochs + 1):
                if epoch == 1:
                    _wait(context.device)
                    started = time.perf_counter()
                model.zero_grad(set_to_none=True)
                torch.nn.functional.cross_entropy(model(X, graphs), labels).backward()
            _wait(context.device)
            seconds = (time.perf_counter() - started) / epochs
            rows.append({"edges": edges, "epoch_seconds": seconds})
            context.tick(len(rows) / len(sizes))
        yield seed, rows


def training_time(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Wall-clock seconds to train one seed to convergence with validation, alone (Table 2, in brackets).

    On the whole graph, as the paper's: elsewhere only the nodes that a prediction needs are kept, and Citeseer's are
    then fewer than Cora's.
    """
    graph = planetoid.load(setting["dataset"], context.root)
    # Where each seed has a split of its own, no node is left out.
    splits = {part: [nodes] for part, nodes in planetoid_split(graph).items()}
    # The first run of a process is slower.
    list(run(graph, {**setting, "epochs": 2}, [0], splits, device=context.device))
    for chunk in context.chunks(seeds, 1, largest=1):
        started = time.perf_counter()
        list(run(graph, setting, chunk, splits, device=context.device))
        yield chunk[0], {"train_seconds": time.perf_counter() - started}
