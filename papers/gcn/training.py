"""The protocol of Section 5.2, for many seeds at once, with every deviation as a switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from papers.gcn.graphs import dropout_per_layer, normalise_features, prepare, propagation_matrix
from papers.gcn.model import GCN, PROPAGATION_MODELS, Features, Graph
from repro import randomness
from repro.data.planetoid import CitationGraph
from repro.ensemble import Ensemble, StoppingRule, train
from repro.stopping import AboveRecentMean, Never, Patience

WINDOW = 10  # epochs, both early-stopping rules


@dataclass(eq=False)
class Subset:
    """Nodes whose predictions count: what computes their logits, their labels, and each node's weight.

    ``labels`` and ``weights`` are ``(S, rows)``; a seed's weights sum to one, so a weighted sum is a mean.
    """

    X: Features
    graphs: list[Graph]
    labels: Tensor
    weights: Tensor

    def select(self, index: Tensor) -> Subset:
        """Return the same for the seeds at ``index``."""
        return Subset(self.X, self.graphs, self.labels[index], self.weights[index])

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy ``(S,)`` of logits ``(S, rows, classes)``."""
        log_p = torch.log_softmax(logits, dim=-1).gather(-1, self.labels.unsqueeze(-1)).squeeze(-1)
        return -(self.weights * log_p).sum(-1)

    def accuracy(self, logits: Tensor) -> Tensor:
        """Share of right predictions ``(S,)`` in %."""
        right = (logits.argmax(-1) == self.labels) & (self.weights > 0)
        return 100.0 * right.sum(-1).double() / (self.weights > 0).sum(-1)


Splits = Mapping[str, np.ndarray | Sequence[np.ndarray]]
"""For ``train``, ``test`` and perhaps ``val``: node indices that all seeds share, or one array per seed."""


def subsets(
    graph: CitationGraph,
    setting: Mapping[str, Any],
    layers: int,
    splits: Splits,
    labels: np.ndarray,
    device: str = "cpu",
) -> dict[str, Subset]:
    """Return the train, val and test subsets of all seeds.

    Where the seeds share a split, only the nodes that its predictions need are kept; where each has its own,
    all nodes are.

    Args:
        graph: the data.
        setting: uses ``propagation``, ``features``, ``self_loops``.
        layers: depth of the network.
        splits: node indices per part, shared or per seed.
        labels: ``(S, nodes)``, as each seed sees them.
        device: where the tensors live.
    """
    A = graph.adjacency.astype(np.float64)
    if setting["self_loops"] == "removed":
        A = sp.csr_matrix(A - sp.diags(A.diagonal()))
        A.eliminate_zeros()
    S = propagation_matrix(A, PROPAGATION_MODELS[setting["propagation"]].matrix)
    identity = setting["features"] == "identity"
    X = None if identity else normalise_features(graph.features, setting["features"])
    shared = not identity and all(isinstance(nodes, np.ndarray) for nodes in splits.values())
    everything = None if shared else prepare(S, X, setting["propagation"], layers, None, device)
    result = {}
    for part, nodes in splits.items():
        rows = nodes if shared else np.arange(S.shape[0])
        features, graphs = everything or prepare(S, X, setting["propagation"], layers, rows, device)
        weights = np.zeros((len(labels), S.shape[0]), dtype=np.float32)
        for seed in range(len(labels)):
            chosen = nodes if isinstance(nodes, np.ndarray) else nodes[seed]
            weights[seed, chosen] = 1 / len(chosen)
        result[part] = Subset(
            features,
            graphs,
            torch.as_tensor(np.maximum(labels, 0)[:, rows], device=device),
            torch.as_tensor(weights[:, rows], device=device),
        )
    return result


def stopping_rule(name: str) -> StoppingRule:
    """Return what ends a seed's training.

    ``paper`` watches the validation loss as equation 10 defines it, the cross-entropy; ``paper_with_l2`` is
    the same rule on the loss with its L2 term, as the released code reports it; ``released_code`` is that
    code's rule.
    """
    rules: dict[str, StoppingRule] = {
        "paper": Patience("loss", WINDOW),
        "paper_with_l2": Patience("loss_with_l2", WINDOW),
        "released_code": AboveRecentMean("loss_with_l2", WINDOW),
        "none": Never(),
    }
    return rules[name]


def optimizer_for(ensemble: Ensemble, setting: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Adam with L2 on the first layer's weights only, or as the setting's switches say."""
    decayed = {
        name for name in ensemble.parameters if setting["decay_on"] == "all" or name == "layers.0.theta"
    }
    groups = [
        {
            "params": [p for n, p in ensemble.parameters.items() if n in decayed],
            "weight_decay": setting["l2"],
        },
        {"params": [p for n, p in ensemble.parameters.items() if n not in decayed], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if setting["optimizer"] == "adamw" else torch.optim.Adam
    return kind([g for g in groups if g["params"]], lr=setting["learning_rate"])


def l2_penalty(ensemble: Ensemble, setting: Mapping[str, Any]) -> Tensor:
    """Return the L2 term ``(S,)`` that the released code counts into every loss it reports."""
    theta = ensemble.parameters["layers.0.theta"].detach()
    return setting["l2"] / 2 * theta.square().flatten(1).sum(1)


def run(
    graph: CitationGraph,
    setting: Mapping[str, Any],
    seeds: Sequence[int],
    splits: Splits,
    *,
    layers: int = 2,
    residual: bool = False,
    labels: np.ndarray | None = None,
    device: str = "cpu",
    on_epoch: Callable[[int, int], None] | None = None,
) -> Iterator[dict[str, float]]:
    """Train all seeds; yield, as each stops, its ``seed`` and quantities.

    Args:
        graph: the data.
        setting: see the ``citation`` experiment in ``paper.yaml``.
        seeds: seed numbers.
        splits: node indices per part, shared or per seed.
        layers: depth of the network.
        residual: see :class:`papers.gcn.model.GCN`.
        labels: ``(S, nodes)`` in place of the true ones.
        device: ``cpu`` or ``cuda``.
        on_epoch: called with (epoch, seeds still training).
    """
    labels = np.broadcast_to(graph.labels, (len(seeds), len(graph.labels))) if labels is None else labels
    parts = subsets(graph, setting, layers, splits, labels, device)
    X = parts["train"].X
    in_features = X.nodes if X.matrix is None else X.matrix.shape[1]
    widths = [in_features] + [setting["hidden"]] * (layers - 1) + [graph.num_classes]
    dropout = dropout_per_layer(
        layers, setting["dropout"], setting["dropout_on"] == "every_layer", setting["input_dropout"]
    )

    def build(seed: int) -> GCN:
        return GCN(widths, setting["propagation"], dropout, setting["bias"], residual, seed)

    ensemble = Ensemble(build, seeds, device)
    place = {seed: i for i, seed in enumerate(seeds)}

    @lru_cache(maxsize=2 * len(parts))
    def selected(part: str, members: tuple[int, ...]) -> Subset:
        return parts[part].select(torch.tensor([place[seed] for seed in members]))

    def of(part: str, group: Ensemble) -> Subset:
        return selected(part, tuple(group.seeds.tolist()))

    def loss(group: Ensemble, epoch: int) -> Tensor:
        keys = torch.stack(
            [randomness.key(group.seeds, f"dropout/{layer}", epoch) for layer in range(layers)], dim=1
        )
        subset = of("train", group)
        return subset.cross_entropy(group(subset.X, subset.graphs, per_seed=(keys,)))

    def logits(part: str, group: Ensemble) -> tuple[Subset, Tensor]:
        subset = of(part, group)
        return subset, group(subset.X, subset.graphs)

    def validate(group: Ensemble) -> dict[str, Tensor]:
        subset, out = logits("val", group)
        cross_entropy = subset.cross_entropy(out)
        return {"loss": cross_entropy, "loss_with_l2": cross_entropy + l2_penalty(group, setting)}

    for finished, epochs in train(
        ensemble,
        optimizer_for(ensemble, setting),
        loss,
        validate if "val" in parts else None,
        stopping_rule(setting["early_stopping"]),
        setting["epochs"],
        best="loss" if setting["weights"] == "best_validation" else None,
        on_epoch=on_epoch,
    ):
        with torch.no_grad():
            values = {"epochs": epochs.to(torch.float64)}
            for part in parts:
                subset, out = logits(part, finished)
                values[f"{part}_accuracy"] = subset.accuracy(out)
                values[f"{part}_loss"] = subset.cross_entropy(out)
        for i, seed in enumerate(finished.seeds.tolist()):
            yield {"seed": seed, **{name: float(v[i]) for name, v in values.items()}}
