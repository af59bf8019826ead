"""What needs no network: a threshold on the degree, and the best guess from a node's own token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from papers.graph_transformer.graphs import Graphs
from papers.graph_transformer.training import Accuracy


def density(graphs: Graphs) -> list[Tensor]:
    """Return each graph's degrees divided by the number of other nodes, float (n,)."""
    return [
        (graphs.edges[g, :n, :n] > 0).float().sum(-1) / max(n - 1, 1)
        for g, n in enumerate(graphs.sizes.tolist())
    ]


def _accuracy(graphs: Graphs, predicted: Iterator[Tensor], batch: int, metric: str) -> float:
    """Return the accuracy in % of predicted labels, one tensor (n,) per graph, in batches as for a network."""
    classes = int(graphs.targets.max()) + 1
    right, there = torch.zeros(2, len(graphs), classes, dtype=torch.float64)
    for g, (n, guess) in enumerate(zip(graphs.sizes.tolist(), predicted, strict=True)):
        labels = graphs.targets[g, :n]
        there[g] = torch.bincount(labels, minlength=classes)
        right[g] = torch.bincount(labels[guess == labels], minlength=classes)
    accuracy = Accuracy()
    for index in torch.arange(len(graphs)).split(batch):
        accuracy.add(right[index].sum(0, keepdim=True), there[index].sum(0, keepdim=True))
    return float(accuracy.value(metric))


def degree_threshold(train: Graphs) -> float:
    """Return t of the rule "in the pattern if degree / (n - 1) > t" with the best balanced accuracy on ``train``."""
    x = torch.cat(density(train))
    labels = train.targets[train.targets >= 0]
    order = x.argsort()
    x, positive = x[order], labels[order].double()
    # After the i-th smallest node: recall of the negatives below, of the positives above.
    below = (1 - positive).cumsum(0) / (1 - positive).sum()
    above = 1 - positive.cumsum(0) / positive.sum()
    gap = torch.cat([x[1:] > x[:-1], torch.ones(1, dtype=torch.bool)])  # equal degrees stay together
    best = int(torch.where(gap, below + above, 0).argmax())
    return float((x[best] + x[min(best + 1, len(x) - 1)]) / 2)


def degree_accuracy(threshold: float, test: Graphs, batch: int, metric: str) -> float:
    """Return the accuracy in % of the rule of :func:`degree_threshold`."""
    return _accuracy(test, ((x > threshold).long() for x in density(test)), batch, metric)


def blind_accuracy(train: Graphs, test: Graphs, batch: int, metric: str) -> float:
    """Return the accuracy in % of the best guess from a node's own token: no more can be had without structure.

    For each token the class is chosen whose nodes carry it most often, which maximises balanced accuracy.
    """
    known = train.targets >= 0
    tokens, labels = train.tokens[known].numpy(), train.targets[known].numpy()
    table = np.zeros((int(train.tokens.max()) + 1, labels.max() + 1))
    np.add.at(table, (tokens, labels), 1)
    guess = torch.from_numpy((table / table.sum(0)).argmax(1))
    sizes = test.sizes.tolist()
    return _accuracy(test, (guess[test.tokens[g, :n]] for g, n in enumerate(sizes)), batch, metric)


def majority_accuracy(test: Graphs, batch: int, metric: str) -> float:
    """Return the accuracy in % of giving every node the commonest label."""
    common = torch.bincount(test.targets[test.targets >= 0]).argmax()
    return _accuracy(test, (common.expand(n) for n in test.sizes.tolist()), batch, metric)
