"""What is trained for the paper's claims: Tables 2 and 3, NELL, Appendix B."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from papers.gcn.training import Splits, run
from repro import randomness
from repro.context import Context
from repro.data import nell as nell_data
from repro.data import planetoid
from repro.data.planetoid import CitationGraph

Rows = Iterator[tuple[int, dict[str, float] | list[dict[str, float]]]]


def _bytes_per_seed(graph: CitationGraph, setting: Mapping[str, Any], layers: int = 2) -> float:
    """What one seed needs at its peak: dropped-out features and masks, activations, weights, moments."""
    nodes, features = graph.features.shape
    activations = nodes * setting["hidden"] * layers * 24
    return 40 * graph.features.nnz + activations + 24 * features * setting["hidden"] + 40 * nodes


def planetoid_split(graph: CitationGraph) -> Splits:
    """Return the fixed split of Yang et al."""
    return {"train": graph.train, "val": graph.val, "test": graph.test}


def random_split(graph: CitationGraph, seed: int) -> dict[str, np.ndarray]:
    """Return a random split of the Planetoid split's sizes: 20 nodes per class, 500, 1000 (Section 6.1)."""
    order = randomness.permutation(randomness.key(seed, "split"), len(graph.labels)).numpy()
    order = order[graph.labels[order] >= 0]
    train = np.concatenate([order[graph.labels[order] == c][:20] for c in range(graph.num_classes)])
    rest = order[~np.isin(order, train)]
    return {"train": np.sort(train), "val": np.sort(rest[:500]), "test": np.sort(rest[500:1500])}


def shuffled_labels(graph: CitationGraph, seed: int) -> np.ndarray:
    """Return the labels with those of the Planetoid split's training nodes dealt out at random: a control."""
    labels = graph.labels.copy()
    order = randomness.permutation(randomness.key(seed, "shuffle"), len(graph.train)).numpy()
    labels[graph.train] = graph.labels[graph.train][order]
    return labels


def citation(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Tables 2 and 3: train on one citation network and measure test accuracy (Section 5.2)."""
    graph = planetoid.load(setting["dataset"], context.root)
    # A random split needs few nodes of the graph, but other ones for each seed: one by one is the faster way.
    own_split = setting["split"] == "random"
    for chunk in context.chunks(seeds, _bytes_per_seed(graph, setting), largest=1 if own_split else 50):
        splits = random_split(graph, chunk[0]) if own_split else planetoid_split(graph)
        labels = None
        if setting["labels"] == "shuffled":
            labels = np.stack([shuffled_labels(graph, seed) for seed in chunk])
        for result in run(
            graph,
            setting,
            chunk,
            splits,
            labels=labels,
            device=context.device,
            on_epoch=lambda epoch, _: context.tick((epoch + 1) / setting["epochs"]),
        ):
            yield int(result["seed"]), {"test_accuracy": result["test_accuracy"]}


def nell(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """NELL as far as its data goes: no early stopping, because the validation labels are incomplete."""
    graph = nell_data.load(context.root)
    for chunk in context.chunks(seeds, 4 * _bytes_per_seed(graph, setting), largest=4):
        splits = {"train": graph.train, "test": graph.test}
        for result in run(
            graph,
            setting,
            chunk,
            splits,
            device=context.device,
            on_epoch=lambda epoch, _: context.tick((epoch + 1) / setting["epochs"]),
        ):
            yield int(result["seed"]), {"test_accuracy": result["test_accuracy"]}


FOLDS = 5


def fold_split(graph: CitationGraph, seed: int) -> dict[str, np.ndarray]:
    """Return fold ``seed % 5`` of the ``seed // 5``-th five-fold cross-validation with all labels."""
    order = randomness.permutation(randomness.key(seed // FOLDS, "folds"), len(graph.labels)).numpy()
    folds = np.array_split(order[graph.labels[order] >= 0], FOLDS)
    test = folds.pop(seed % FOLDS)
    return {"train": np.sort(np.concatenate(folds)), "test": np.sort(test)}


def depth(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Appendix B: accuracy against the number of layers, plain or residual; a seed is one fold."""
    graph = planetoid.load(setting["dataset"], context.root)
    depths = range(1, setting["deepest"] + 1)
    for chunk in context.chunks(seeds, _bytes_per_seed(graph, setting, setting["deepest"]), FOLDS):
        own = [fold_split(graph, seed) for seed in chunk]
        splits = {part: [split[part] for split in own] for part in ("train", "test")}
        rows: dict[int, list[dict[str, float]]] = {seed: [] for seed in chunk}
        work, done = sum(depths), 0
        for layers in depths:
            start, share = done / work, layers / work

            def tick(epoch: int, _: int, start: float = start, share: float = share) -> None:
                context.tick(start + share * (epoch + 1) / setting["epochs"])

            for result in run(
                graph,
                setting,
                chunk,
                splits,
                layers=layers,
                residual=setting["residual"],
                device=context.device,
                on_epoch=tick,
            ):
                rows[int(result["seed"])].append(
                    {
                        "layers": layers,
                        "train_accuracy": result["train_accuracy"],
                        "test_accuracy": result["test_accuracy"],
                    }
                )
            done += layers
        yield from rows.items()
