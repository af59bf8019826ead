"""What is trained on the citation networks: Table 2 of GAT, and Figure 4's question of GATv2 asked here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from papers.gat.stopping import Trajectory, trained_by
from papers.gat.training import trajectories
from repro import randomness
from repro.context import Context
from repro.data import planetoid
from repro.data.planetoid import CitationGraph

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]
CHUNK = 25  # seeds at once: more no longer fit the caches and are no faster

_TRAINED: dict[tuple[str, int], Trajectory] = {}
"""What this process has trained: rules that read the same training off at another epoch need no other run."""


def _bytes_per_seed(graph: CitationGraph, setting: Mapping[str, Any]) -> float:
    """What one seed needs at its peak: features after dropout, projections and their gradients, weights, moments."""
    width = setting["hidden"] * setting["heads"]
    nodes, features = graph.features.shape
    edges = graph.adjacency.nnz + nodes
    return 30 * graph.features.nnz + 4 * width * (6 * nodes + 6 * features) + 60 * edges


def shuffled_labels(graph: CitationGraph, seed: int) -> np.ndarray:
    """Return the labels with those of the training nodes dealt out at random: a control."""
    labels = graph.labels.copy()
    order = randomness.permutation(randomness.key(seed, "shuffle"), len(graph.train)).numpy()
    labels[graph.train] = graph.labels[graph.train][order]
    return labels


def transductive(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 2: train on one citation network and measure test accuracy (Section 3.3)."""
    graph = planetoid.load(setting["dataset"], context.root)
    device = context.device  # of records that are read off a training, too
    rule = setting["early_stopping"]
    # What another rule or choice of weights would read off the same training.
    run = json.dumps(
        {**setting, "early_stopping": trained_by(rule, setting["weights"]), "weights": "any"}, sort_keys=True
    )
    missing = [seed for seed in seeds if (run, seed) not in _TRAINED]
    ready = [seed for seed in seeds if (run, seed) in _TRAINED]

    def row(seed: int) -> dict[str, float]:
        trained = _TRAINED[run, seed]
        epochs = trained.stops(rule, setting["patience"])
        return {"test_accuracy": trained.tested(rule, epochs, setting["weights"])}

    for seed in ready:
        yield seed, row(seed)
    for chunk in context.chunks(missing, _bytes_per_seed(graph, setting), largest=CHUNK):
        labels = None
        if setting["labels"] == "shuffled":
            labels = np.stack([shuffled_labels(graph, seed) for seed in chunk])
        for seed, trajectory in trajectories(
            graph,
            setting,
            chunk,
            labels=labels,
            device=device,
            on_epoch=lambda epoch, left, chunk=chunk: context.tick(1 - left / len(chunk)),
        ):
            _TRAINED[run, seed] = trajectory
            yield seed, row(seed)


NOISE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def with_random_edges(graph: CitationGraph, share: float, seed: int) -> CitationGraph:
    """Return the graph with ``share`` times its number of edges added between random pairs of nodes.

    The edges of a smaller share are among those of a larger one, and both models of a seed see the same. Pairs that
    are there already, twice the same or a node with itself are drawn again.
    """
    wanted, N = round(share * graph.num_edges), graph.num_nodes
    present = set(zip(*graph.adjacency.nonzero(), strict=True))
    draws = (
        randomness.bits(randomness.key(seed, "random edges"), 4 * graph.num_edges).remainder(N).view(-1, 2)
    )
    added: list[tuple[int, int]] = []
    for i, j in draws.tolist():
        if len(added) == wanted:
            break
        if i != j and (i, j) not in present:
            present |= {(i, j), (j, i)}
            added.append((i, j))
    rows, cols = np.array(added, dtype=np.int64).reshape(-1, 2).T
    extra = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, cols)), shape=(N, N))
    return replace(graph, adjacency=sp.csr_matrix(graph.adjacency + extra + extra.T))


def noise(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """GATv2's Figure 4 on the citation networks: test accuracy against the share of random edges added.

    Each seed draws its own edges, so that seeds are independent; the paper's runs share one draw.
    """
    graph = planetoid.load(setting["dataset"], context.root)
    for (seed,) in context.chunks(seeds, _bytes_per_seed(graph, setting), largest=1):
        rows = []
        for i, p in enumerate(NOISE):
            noisy = with_random_edges(graph, p, seed)
            ((_, trained),) = trajectories(noisy, setting, [seed], device=context.device)
            epochs = trained.stops(setting["early_stopping"], setting["patience"])
            accuracy = trained.tested(setting["early_stopping"], epochs, setting["weights"])
            rows.append({"noise": p, "test_accuracy": accuracy})
            context.tick((i + 1) / len(NOISE))
        yield seed, rows
