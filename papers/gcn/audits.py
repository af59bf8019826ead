"""Checks of the published numbers themselves, without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from papers.gcn.model import GCN
from repro.context import Context
from repro.data import nell, planetoid
from repro.data.planetoid import CitationGraph

Rows = Iterator[tuple[int, dict[str, float]]]

# Table 1 as printed: width of the features, classes, and label rate with half a unit of its last digit.
PRINTED = {
    "cora": {"features": 1433, "classes": 7, "label_rate": 0.052},
    "citeseer": {"features": 3703, "classes": 6, "label_rate": 0.036},
    "pubmed": {"features": 500, "classes": 3, "label_rate": 0.003},
    "nell": {"features": 5414, "classes": 210, "label_rate": 0.001},
}
ROUNDING = 0.0005


def _counts(graph: CitationGraph, dataset: str) -> dict[str, float]:
    adjacency = graph.adjacency.tocoo()
    distance = abs(len(graph.train) / graph.features.shape[0] - PRINTED[dataset]["label_rate"])
    return {
        "edges_printed_way": graph.raw.endpoints / 2,
        "unique_edges": int((adjacency.row < adjacency.col).sum()),
        "nodes": graph.features.shape[0],
        "classes": graph.num_classes,
        "features": graph.features.shape[1],
        "label_rate_error": max(0.0, distance - ROUNDING - 1e-12),
    }


def dataset_statistics(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 1, counted from the files."""
    graph = planetoid.load(setting["dataset"], context.root)
    for seed in seeds:
        yield seed, _counts(graph, setting["dataset"])


def nell_statistics(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 1's NELL row; its features are those of the entities, without one per relation node."""
    graph = nell.load(context.root)
    counts = _counts(graph, "nell")
    counts["features"] -= len(graph.relations)
    counts["relations"] = len(graph.relations)
    for seed in seeds:
        yield seed, counts


def parameter_count(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Count the parameters of the model built from the printed widths."""
    printed = PRINTED[setting["dataset"]]
    model = GCN([printed["features"], setting["hidden"], printed["classes"]])
    count = sum(parameter.numel() for parameter in model.parameters())
    for seed in seeds:
        yield seed, {"parameters": count}
