"""What needs no training: what no graph network can tell or reach, and what its inputs give away.

Each node of a ring of six and of two triangles has two neighbours that have two neighbours, and so on. A block computes
the same for all of them, and the sums and means over either graph are equal. And in one step of a core what a node
knows gets one edge further (through the globals, what all know together gets everywhere).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from papers.graph_networks import demos
from papers.graph_networks.demo_tasks import Task
from papers.graph_networks.training import whole
from repro import noise, randomness
from repro.context import Context
from repro.nn.graph_network import Attributes, EncodeProcessDecode, MLPShape, Pooling, Widths
from repro.nn.topology import Incidence

Rows = Iterator[tuple[int, dict[str, float]]]

NODES, STEPS, WIDTH = 6, 3, 16
NAMES = 4  # numbers per node: through a layer normalisation, one alone is little more than its sign
RING = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]
# With as many nodes and edges as the ring.
OTHERS = {
    "triangles": [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)],
    "tadpole": [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5)],
}


def topology(pairs: Sequence[tuple[int, int]]) -> Incidence:
    """Return the graph of six nodes with an edge either way between each pair."""
    ends = torch.tensor(pairs).T
    return Incidence(torch.cat([ends[0], ends[1]]), torch.cat([ends[1], ends[0]]), NODES)


@torch.no_grad()
def look_alike(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The largest difference of the globals computed for a ring of six and for another graph, over their size.

    Encode-process-decode with random weights, in double precision. ``nodes`` says whether all nodes are given the same
    or each its own.
    """
    pooling = Pooling(*[setting["pooling"]] * 3)
    shape = MLPShape((WIDTH, WIDTH), layer_norm=True, pooling=pooling)
    for seed in seeds:
        model = EncodeProcessDecode(Widths(1, NAMES, 1), Widths(0, 0, WIDTH), shape, seed, setting["variant"])
        nodes = noise.normal(randomness.key(seed, "nodes"), NODES, NAMES).double()
        if setting["nodes"] == "equal":
            nodes = nodes[:1].expand_as(nodes)
        globe = torch.ones(1, dtype=torch.float64)
        found = [
            model.double()(graph, STEPS, Attributes(globe.expand(2 * len(RING), 1), nodes, globe))[-1].globe
            for graph in (topology(RING), topology(OTHERS[setting["other"]]))
        ]
        yield seed, {"told_apart": float((found[0] - found[1]).abs().max() / found[0].abs().max())}


def tested_graphs(setting: Mapping[str, Any], seed: int) -> Iterator[Task]:
    """Yield the graphs of a size on which the demos' networks are tested."""
    size, graphs = setting["size"], setting["test_graphs"]
    at_once = min(graphs, whole(demos.AT_ONCE / size**2))  # the draws, and so the graphs, depend on it
    for start in range(0, graphs, at_once):
        count = min(at_once, graphs - start)
        yield demos.task(setting, torch.tensor([seed]), f"test/{start}", 0, count, size)


def beyond_reach(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The share of a size's test graphs whose path has more edges than the core has steps."""
    for seed in seeds:
        edges = torch.cat([task.nodes.sum(-1).flatten() - 1 for task in tested_graphs(setting, seed)])
        yield seed, {"beyond_reach": float((edges > setting["core_steps"]).float().mean())}


def given(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The label error of a rule that copies: both ends of a path, which are inputs, and an edge between them."""
    for seed in seeds:
        wrong = positive = 0
        for task in tested_graphs(setting, seed):
            start, end = task.graph.nodes[..., -2:].bool().unbind(-1)
            direct = start.unsqueeze(-1) & end.unsqueeze(-2) & task.mask
            wrong += int((task.nodes != (start | end)).sum() + (task.edges != direct).sum())
            positive += int(task.nodes.sum() + task.edges.sum())
        yield seed, {"copied_error": wrong / positive}
