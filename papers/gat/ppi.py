"""PPI, the inductive experiment (Section 3.3, Table 3): train on 20 graphs, test on two that are never seen.

The paper's protocol runs on the real set. The same code runs on the real graphs with features and labels of our own
making, to prove the path where the real ones cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from papers.gat import ppi_data
from papers.gat.model import GAT, Dropout, Layer
from papers.gat.ppi_data import FEATURES, LABELS, Graph
from papers.gat.stopping import RULES
from repro import randomness
from repro.context import Context
from repro.nn.attention import Neighbourhoods

Rows = Iterator[tuple[int, dict[str, float]]]


def layers(hidden: int, heads: int, output_heads: int) -> list[Layer]:
    """Three layers (Section 3.3): two concatenate their heads, the second with a skip, and one averages."""
    return [
        Layer(hidden, heads, concat=True),
        Layer(hidden, heads, concat=True, skip=True),
        Layer(LABELS, output_heads, concat=False),
    ]


def build(setting: Mapping[str, Any], seed: int) -> GAT:
    """Return the network of one seed; no dropout."""
    plan = layers(setting["hidden"], setting["heads"], setting["output_heads"])
    return GAT(FEATURES, plan, setting["model"], Dropout(), seed=seed)


@dataclass(eq=False)
class Batch:
    """Some graphs as one: X ``(n, 50)``, Y ``(n, 121)``, and who attends to whom."""

    X: Tensor
    Y: Tensor
    graph: Neighbourhoods

    @classmethod
    def of(cls, graphs: Sequence[Graph], device: str) -> Batch:
        """Put graphs beside each other, with no edge between them."""
        X, Y = (np.concatenate([getattr(g, name) for g in graphs]) for name in ("X", "Y"))
        return cls(
            torch.as_tensor(X, dtype=torch.float32, device=device),
            torch.as_tensor(Y, dtype=torch.float32, device=device),
            Neighbourhoods.from_scipy(sp.block_diag([g.S for g in graphs], format="csr"), device=device),
        )

    def logits(self, network: GAT) -> Tensor:
        """Return the network's logits ``(n, 121)``."""
        return network(self.X, [self.graph] * len(network.plan))


def micro_f1(predicted: Tensor, true: Tensor) -> float:
    """Return 2 TP / (2 TP + FP + FN) over all nodes and labels of bool ``(n, labels)``; 1 where nothing is positive."""
    positives = int(predicted.sum() + true.sum())
    return 2 * int((predicted & true).sum()) / positives if positives else 1.0


def best_constant_f1(Y: Tensor) -> float:
    """Return the highest micro-F1 that predicting the same labels for every node reaches.

    Of all sets of k labels, the k most frequent give the most true positives for as many predictions.
    """
    found, counts = Y.sum(0).sort(descending=True).values.double(), Y.sum().double()
    k = torch.arange(1, len(found) + 1, device=Y.device)
    return float((2 * found.cumsum(0) / (k * len(Y) + counts)).max())


@torch.no_grad()
def evaluate(network: GAT, graphs: Sequence[Batch]) -> tuple[float, float]:
    """Return cross-entropy and micro-F1, each the mean over the graphs; a probability of one half and more counts."""
    found = []
    for g in graphs:
        logits = g.logits(network)
        loss = binary_cross_entropy_with_logits(logits, g.Y)
        found.append((float(loss), micro_f1(logits >= 0, g.Y.bool())))
    loss, f1 = np.mean(found, axis=0)
    return float(loss), float(f1)


def train(
    setting: Mapping[str, Any],
    seed: int,
    graphs: Sequence[Graph],
    device: str = "cpu",
    on_epoch: Callable[[float], None] | None = None,
) -> GAT:
    """Train one seed and return it with the weights that count.

    Training stops when, for ``patience`` epochs, neither validation loss nor micro-F1 has reached its best, and the
    weights are those of the last epoch at which both were at their best: what is said of the citation networks, with
    micro-F1 for accuracy. One seed at a time: a step's arithmetic outweighs its overhead.

    Args:
        setting: see the ``ppi`` experiment in ``paper.yaml``.
        seed: of weights and order.
        graphs: of all splits.
        device: ``cpu`` or ``cuda``.
        on_epoch: called with the share of the most epochs that have been run.
    """
    training = [g for g in graphs if g.split == "train"]
    held_out = [Batch.of([g], device) for g in graphs if g.split == "val"]
    network = build(setting, seed).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=setting["learning_rate"])
    stopping = RULES[setting["early_stopping"]](setting["patience"])
    best_loss, best_f1, kept = float("inf"), -1.0, network.state_dict()
    for epoch in range(setting["epochs"]):
        order = randomness.permutation(randomness.key(seed, "ppi/order", epoch), len(training))
        for chosen in order.split(setting["batch"]):
            batch = Batch.of([training[i] for i in chosen.tolist()], device)
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(batch.logits(network), batch.Y).backward()
            optimizer.step()
        loss, f1 = evaluate(network, held_out)
        if loss <= best_loss and f1 >= best_f1:
            kept = {name: value.clone() for name, value in network.state_dict().items()}
        best_loss, best_f1 = min(loss, best_loss), max(f1, best_f1)
        if on_epoch:
            on_epoch((epoch + 1) / setting["epochs"])
        metrics = {"loss": torch.tensor([loss]), "accuracy": torch.tensor([f1])}
        if stopping.update(epoch, metrics).item():
            break
    network.load_state_dict(kept)
    return network


def _tested(
    setting: Mapping[str, Any], seed: int, graphs: list[Graph], context: Context
) -> tuple[float, list[Batch]]:
    """Train on graphs and return the test graphs' micro-F1, and the test graphs."""
    test = [Batch.of([g], context.device) for g in graphs if g.split == "test"]
    if setting["labels"] == "shuffled":
        graphs = ppi_data.shuffled(graphs, seed)
    network = train(setting, seed, graphs, context.device, context.tick)
    return evaluate(network, test)[1], test


def ppi(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Table 3: micro-F1 on the two test graphs of the real set."""
    graphs = ppi_data.public(context.root)
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        yield seed, {"micro_f1": _tested(setting, seed, graphs, context)[0]}


def ppi_path(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """The same code on the real graphs with synthetic features and labels, those of the seed.

    With fewer training graphs than 20, they are the smallest.
    """
    found = ppi_data.structures(context.root)
    by_size = sorted((g for g in found if g.split == "train"), key=lambda g: g.nodes)
    found = by_size[: setting["train_graphs"]] + [g for g in found if g.split != "train"]
    for seed in (seed for chunk in context.chunks(seeds, 1, largest=1) for seed in chunk):
        f1, test = _tested(setting, seed, ppi_data.synthetic(found, seed), context)
        constant = float(np.mean([best_constant_f1(g.Y) for g in test]))
        yield seed, {"micro_f1": f1, "behind_constant": constant - f1}


def ppi_parameter_count(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Parameters of the network that is built."""
    for seed in seeds:
        yield seed, {"parameters": sum(p.numel() for p in build(setting, 0).parameters())}
