"""Checks of the published numbers themselves and of the data, without training a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from papers.graph_transformer import trivial
from papers.graph_transformer.baselines import network
from papers.graph_transformer.graphs import TASKS, Graphs, pad
from papers.graph_transformer.model import Design
from repro.context import Context
from repro.data import sbm, zinc

Rows = Iterator[tuple[int, dict[str, float]]]

# Width, layers, heads, eigenvectors: the released configurations, those of the baselines in arXiv:2003.00982's code.
PRINTED = {"zinc": (64, 10, 8, 8), "cluster": (80, 10, 8, 10), "pattern": (80, 10, 8, 2)}
BASELINES = {"gcn": (172, 16, 1, 0), "gatedgcn": (78, 16, 1, 8)}

# Table 1, test: without and with LapPE under LayerNorm, then under BatchNorm.
TABLE_1 = {
    ("zinc", "sparse"): ((0.278, 0.284), (0.264, 0.226)),
    ("zinc", "full"): ((0.741, 0.735), (0.724, 0.598)),
    ("cluster", "sparse"): ((70.879, 70.649), (72.139, 73.169)),
    ("cluster", "full"): ((19.596, 27.091), (21.092, 27.121)),
    ("pattern", "sparse"): ((73.140, 71.005), (83.949, 84.808)),
    ("pattern", "full"): ((50.854, 56.482), (50.889, 54.941)),
}


def parameter_count(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Count the parameters of the network built from the released configuration."""
    name, dataset = setting["model"], setting["dataset"]
    width, layers, heads, k = BASELINES.get(name, PRINTED[dataset])
    model = network(name, Design(TASKS[dataset], width, layers, heads, setting["encoding"], k), 0)
    count = sum(parameter.numel() for parameter in model.parameters())
    # The last layer's edge stream: counted, and no output depends on it.
    stream = model.layers[-1].e if name == "gt" and dataset == "zinc" else None
    idle = sum(p.numel() for p in stream.parameters()) if stream else 0
    for seed in seeds:
        yield seed, {"parameters": count, "idle_parameters": idle}


def printed_orderings(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Count the pairs of the paper's own Table 1 in which LapPE, and in which BatchNorm, is ahead."""
    found = {"layer_norm_gains": 0, "laplacian_gains": 0, "batch_norm_gains": 0}
    for (dataset, graph), (layer, batch) in TABLE_1.items():
        sign = -1 if dataset == "zinc" else 1  # an error
        laplacian = [sign * (with_it - without) > 0 for without, with_it in (layer, batch)]
        found["laplacian_gains"] += sum(laplacian)
        found["layer_norm_gains"] += laplacian[0] and graph == "sparse"
        found["batch_norm_gains"] += sum(sign * (b - a) > 0 for a, b in zip(layer, batch, strict=True))
    for seed in seeds:
        yield seed, dict(found)


def _block_graphs(dataset: str, split: str, count: int, seed: int) -> Graphs:
    drawn = sbm.graphs(dataset, split, count, seed=seed)
    return pad(
        [g.features for g in drawn], [g.adjacency for g in drawn], [g.labels for g in drawn], None, False
    )


def set_statistics(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Nodes, directed edges and the share of the last class in generated sets; a seed is a set."""
    for seed in seeds:
        drawn = sbm.graphs(setting["dataset"], "train", setting["graphs"], seed=seed)
        labels = np.concatenate([g.labels for g in drawn])
        yield (
            seed,
            {
                "mean_nodes": float(np.mean([len(g.labels) for g in drawn])),
                "mean_edges": float(np.mean([g.adjacency.sum() for g in drawn])),
                "last_class_share": float((labels == labels.max()).mean()),
            },
        )
        context.tick((seed + 1) / len(seeds))


def without_learning(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Accuracy of rules that see no structure, or of the structure the degree alone; a seed is a generated set."""
    for seed in seeds:
        train, test = (
            _block_graphs(setting["dataset"], part, setting[part], seed) for part in ("train", "test")
        )
        how = (setting["batch"], setting["metric"])
        if setting["rule"] == "degree":
            accuracy = trivial.degree_accuracy(trivial.degree_threshold(train), test, *how)
        elif setting["rule"] == "token":
            accuracy = trivial.blind_accuracy(train, test, *how)
        else:
            accuracy = trivial.majority_accuracy(test, *how)
        yield seed, {"rule_accuracy": accuracy}
        context.tick((seed + 1) / len(seeds))


def zinc_statistics(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Count what the ZINC-12k file holds, and the error of predicting the training median."""
    sets = {split: zinc.load(split, root=context.root) for split in zinc.COUNTS}
    molecules = [m for found in sets.values() for m in found]
    median = float(np.median([m.target for m in sets["train"]]))
    row = {
        "molecules": len(molecules),
        "mean_nodes": float(np.mean([len(m.atoms) for m in molecules])),
        "smallest": min(len(m.atoms) for m in molecules),
        "largest": max(len(m.atoms) for m in molecules),
        "atom_types": len(set(np.concatenate([m.atoms for m in molecules]).tolist())),
        "bond_types": len(set(np.concatenate([m.bonds[m.bonds > 0] for m in molecules]).tolist())),
        "median_mae": float(np.mean([abs(m.target - median) for m in sets["test"]])),
    }
    for seed in seeds:
        yield seed, row
