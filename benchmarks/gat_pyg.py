"""GAT and GATv2 on Cora: our run of 100 seeds beside a loop over seeds written with PyG's GATConv and GATv2Conv.

The protocol is that of the GAT paper (arXiv:1710.10903, Section 3.3) for a fixed number of epochs, so that both sides
do the same work: 8 heads of 8 features, one output head, dropout 0.6 on both layers' inputs and on the coefficients,
Adam with L2 on everything, validation loss and accuracy after every epoch. The peer is written as PyG's examples
are: dense features, all nodes, one network at a time. Our side is ``training.trajectories`` in chunks of 25 seeds, as
``repro run`` calls it, preparation and the test accuracy after every epoch included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GATConv, GATv2Conv

from benchmarks.peer import Comparison, DisagreementError, Work, compare, progress
from papers.gat.experiments import CHUNK
from papers.gat.model import GAT, GraphAttention
from papers.gat.training import build, trajectories
from repro.data import planetoid
from repro.data.planetoid import CitationGraph
from repro.node_classification import row_normalised
from repro.project import Project

SEEDS, EPOCHS = 100, 20
LOSS_TOLERANCE = 1e-4


class Network(nn.Module):
    """Two layers of PyG's, with the weights of one of our networks."""

    def __init__(self, ours: GAT, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers = nn.ModuleList(self._layer(layer, dropout) for layer in ours.layers)

    @staticmethod
    def _layer(ours: GraphAttention, dropout: float) -> nn.Module:
        inputs, heads, width = ours.W.shape
        state = {"bias": ours.b}
        if ours.scores == "gat":
            theirs: nn.Module = GATConv(inputs, width, heads, concat=ours.concat, dropout=dropout)
            state |= {"lin.weight": ours.W.flatten(1).T}
            state |= {"att_dst": ours.a[None, ..., 0], "att_src": ours.a[None, ..., 1]}
        else:
            theirs = GATv2Conv(inputs, width, heads, ours.concat, dropout=dropout, share_weights=True)
            theirs.lin_l.register_parameter("bias", None)  # the paper has no bias before the attention
            state |= {
                "lin_l.weight": ours.W.flatten(1).T,
                "lin_r.weight": ours.W.flatten(1).T,
                "att": ours.a[None],
            }
        theirs.load_state_dict({name: value.detach() for name, value in state.items()})
        return theirs

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits of all nodes."""
        for i, layer in enumerate(self.layers):
            x = functional.dropout(x, self.dropout, self.training)
            x = layer(x, edge_index)
            x = functional.elu(x) if i == 0 else x
        return x


def peer(
    graph: CitationGraph, setting: Mapping[str, Any], seed: int, inputs: tuple[Tensor, Tensor]
) -> list[float]:
    """Train one network and return its validation loss after each epoch."""
    torch.manual_seed(seed)
    x, edge_index = inputs
    network = Network(build(setting, x.shape[1], graph.num_classes, seed), setting["dropout"])
    optimizer = torch.optim.Adam(
        network.parameters(), lr=setting["learning_rate"], weight_decay=setting["l2"]
    )
    labels = torch.as_tensor(graph.labels)
    train, val = torch.as_tensor(graph.train), torch.as_tensor(graph.val)
    losses = []
    for _ in range(setting["epochs"]):
        network.train()
        optimizer.zero_grad()
        functional.cross_entropy(network(x, edge_index)[train], labels[train]).backward()
        optimizer.step()
        network.eval()
        with torch.no_grad():
            logits = network(x, edge_index)[val]
            losses.append(functional.cross_entropy(logits, labels[val]).item())
            (logits.argmax(-1) == labels[val]).float().mean().item()
    return losses


def race(root: Path, model: str, quick: bool) -> Comparison:
    """Check that both sides compute the same, then compare their times.

    Raises:
        DisagreementError: if from equal weights, without dropout, a validation loss differs.
    """
    setting = {
        **Project(root).ledger("gat").experiments["transductive"].setting,
        "model": model,
        "early_stopping": "none",
        "epochs": 3 if quick else EPOCHS,
    }
    graph = planetoid.load("cora", root)
    inputs = (
        torch.as_tensor(row_normalised(graph.features).toarray(), dtype=torch.float32),
        torch.as_tensor(np.stack(graph.adjacency.nonzero())),
    )
    seeds = list(range(4 if quick else SEEDS))
    plain = {**setting, "dropout": 0.0, "attention_dropout": 0.0}
    ((_, own),) = trajectories(graph, plain, [0])
    difference = max(
        abs(a - b) for a, b in zip(own.loss.tolist(), peer(graph, plain, 0, inputs), strict=True)
    )
    progress(f"{model}: validation losses of {len(own.loss)} epochs differ by {difference:.1g}")
    if not difference <= LOSS_TOLERANCE:
        raise DisagreementError(
            f"{model}: a validation loss differs by {difference:.2g}, more than {LOSS_TOLERANCE:g}"
        )

    def ours(setting: Mapping[str, Any] = setting) -> None:
        for start in range(0, len(seeds), CHUNK):
            list(trajectories(graph, setting, seeds[start : start + CHUNK]))

    layer = {"gat": "GATConv", "gatv2": "GATv2Conv"}[model]
    return compare(
        f"Cora, {len(seeds)} seeds, per seed and epoch: PyG's {layer}" + (" (quick)" if quick else ""),
        Work(ours, len(seeds) * setting["epochs"], lambda: ours({**setting, "epochs": 2})),
        Work(lambda: peer(graph, setting, 0, inputs), setting["epochs"]),
        repeats=2 if quick else 5,
    )


def comparisons(root: Path, quick: bool = False) -> Iterator[Comparison]:
    """Yield the comparisons on Cora.

    Raises:
        DataUnavailable: if Cora cannot be had.
        DisagreementError: if the peer does not compute what we compute.
    """
    for model in ("gat", "gatv2"):
        yield race(root, model, quick)
