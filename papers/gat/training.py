"""The transductive protocol of Section 3.3, for many seeds at once, with every deviation as a switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from papers.gat.model import GAT, Dropout, citation_layers
from papers.gat.stopping import RULES, Trajectory, trained_by
from repro import randomness
from repro.data.planetoid import CitationGraph
from repro.ensemble import Ensemble, train
from repro.nn.attention import Neighbourhoods
from repro.nn.features import SparseFeatures
from repro.nn.sparse import SparseMatrix
from repro.node_classification import Targets, receptive_field, row_normalised

DEPTH = 2


@dataclass(eq=False)
class Part:
    """The input and graphs that predict some nodes, and their classes as each seed sees them."""

    X: SparseFeatures
    graphs: list[Neighbourhoods]
    targets: Targets

    @classmethod
    def of(
        cls, S: sp.csr_matrix, X: sp.csr_matrix, nodes: np.ndarray, labels: np.ndarray, device: str
    ) -> Part:
        """Take from the whole graph what ``nodes`` need."""
        inputs, fields = receptive_field(S, nodes, DEPTH)
        return cls(
            SparseFeatures(SparseMatrix.from_scipy(X[inputs], device)),
            [Neighbourhoods.from_scipy(A, own, device) for A, own in fields],
            Targets(torch.as_tensor(labels[:, nodes], device=device)),
        )


def propagation(adjacency: sp.csr_matrix, scores: str) -> sp.csr_matrix:
    """Return who attends to whom, each node to itself as well; for ``gcn`` scores, with its coefficients."""
    A = sp.csr_matrix(adjacency - sp.diags(adjacency.diagonal()) + sp.identity(adjacency.shape[0]))
    A.eliminate_zeros()
    if scores != "gcn":
        return A
    scale = sp.diags(np.asarray(A.sum(axis=1)).ravel() ** -0.5)
    return sp.csr_matrix(scale @ A @ scale)


def optimizer_for(ensemble: Ensemble, setting: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Adam with L2 on all parameters, on all but the biases, or on the first layer's weights."""

    def decayed(name: str) -> bool:
        return {
            "all": True,
            "weights": not name.endswith(".b"),
            "first_layer": name.startswith("layers.0."),
        }[setting["decay_on"]]

    groups = [
        {
            "params": [p for name, p in ensemble.parameters.items() if decayed(name) == which],
            "weight_decay": setting["l2"] if which else 0.0,
        }
        for which in (True, False)
    ]
    return torch.optim.Adam([g for g in groups if g["params"]], lr=setting["learning_rate"])


def build(setting: Mapping[str, Any], in_features: int, classes: int, seed: int) -> GAT:
    """Return the network of one seed."""
    layers = citation_layers(setting["hidden"], setting["heads"], classes, setting["output_heads"])
    dropout = Dropout(setting["dropout"], setting["attention_dropout"], setting["projected_dropout"])
    return GAT(
        in_features,
        layers,
        setting["model"],
        dropout,
        setting["share_weights"],
        setting["bias"],
        setting["activation"],
        seed,
    )


def trajectories(
    graph: CitationGraph,
    setting: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    labels: np.ndarray | None = None,
    device: str = "cpu",
    on_epoch: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[int, Trajectory]]:
    """Train all seeds; yield each with its trajectory as it stops.

    The test nodes are predicted, and what they say written down, whenever the validation accuracy is at its best
    so far and after the last epoch: these are the weights that some rule may choose. So one run answers for every
    stopping rule that it outlasts.

    Args:
        graph: the data.
        setting: see the ``transductive`` experiment in ``paper.yaml``.
        seeds: seed numbers.
        labels: ``(S, nodes)`` in place of the true ones.
        device: ``cpu`` or ``cuda``.
        on_epoch: called with (epoch, seeds still training).
    """
    labels = np.broadcast_to(graph.labels, (len(seeds), len(graph.labels))) if labels is None else labels
    S, X = propagation(graph.adjacency, setting["model"]), row_normalised(graph.features)
    training, validation, testing = (
        Part.of(S, X, nodes, labels, device) for nodes in (graph.train, graph.val, graph.test)
    )
    ensemble = Ensemble(lambda seed: build(setting, X.shape[1], graph.num_classes, seed), seeds, device)
    place = {seed: i for i, seed in enumerate(seeds)}
    history: dict[int, list[list[float]]] = {seed: [] for seed in seeds}
    best = dict.fromkeys(seeds, -1.0)

    @lru_cache(maxsize=4)
    def targets(part: Part, members: tuple[int, ...]) -> Targets:
        return part.targets.select(torch.tensor([place[seed] for seed in members]))

    def outputs(part: Part, group: Ensemble, keys: Tensor | None = None) -> tuple[Targets, Tensor]:
        logits = group(part.X, part.graphs, per_seed=() if keys is None else (keys,))
        return targets(part, tuple(group.seeds.tolist())), logits

    def loss(group: Ensemble, epoch: int) -> Tensor:
        keys = [
            randomness.key(group.seeds, f"dropout/{layer}/{what}", epoch)
            for layer in range(DEPTH)
            for what in ("input", "attention", "projected")
        ]
        true, logits = outputs(training, group, torch.stack(keys, dim=1).unflatten(1, (DEPTH, -1)))
        return true.cross_entropy(logits)

    def test(group: Ensemble) -> None:
        """Write the test accuracy beside the latest epoch of these seeds."""
        true, logits = outputs(testing, group)
        for seed, accuracy in zip(group.seeds.tolist(), true.accuracy(logits).tolist(), strict=True):
            history[seed][-1][2] = accuracy

    def validate(group: Ensemble) -> dict[str, Tensor]:
        true, logits = outputs(validation, group)
        found = {"loss": true.cross_entropy(logits), "accuracy": true.accuracy(logits)}
        at_best = []
        for seed, value, accuracy in zip(
            group.seeds.tolist(), *(v.tolist() for v in found.values()), strict=True
        ):
            history[seed].append([value, accuracy, float("nan")])
            at_best.append(accuracy >= best[seed])
            best[seed] = max(best[seed], accuracy)
        if any(at_best):
            test(group.select(torch.tensor(at_best, device=device)))
        return found

    rule = trained_by(setting["early_stopping"], setting["weights"])
    for finished, _ in train(
        ensemble,
        optimizer_for(ensemble, setting),
        loss,
        validate,
        RULES[rule](setting["patience"]),
        setting["epochs"],
        on_epoch=on_epoch,
    ):
        with torch.no_grad():
            test(finished)
        for seed in finished.seeds.tolist():
            yield seed, Trajectory(*torch.tensor(history.pop(seed), dtype=torch.float64).unbind(1))
