"""A training step of the graph transformer: ours beside the same written edge by edge with PyG.

On PATTERN the network of arXiv:2012.09699 (ten layers, width 80, eight heads, two eigenvectors, BatchNorm) and its
batch of 26 graphs at their published sizes, where our attention is dense; on ZINC that of molecules (width 64, eight
eigenvectors, an edge stream), 128 a batch, where ours goes edge by edge as well. A step is forward pass, loss, backward
pass and Adam. Batches are made beforehand on both sides. Both start from the same weights and must agree on loss and
gradients before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch as PygBatch

from benchmarks.graph_transformer_sparse import SparseGraphTransformer, as_pyg
from benchmarks.peer import Comparison, DisagreementError, Work, compare
from papers.graph_transformer.graphs import TASKS, Graphs, load
from papers.graph_transformer.model import Design, graph_transformer
from papers.graph_transformer.training import BLOCK, classification_loss

LAYERS, HEADS = 10, 8
TOLERANCE = 1e-5
REPEATS = 3


class Case(NamedTuple):
    """One data set's network, and its batch."""

    dataset: str
    width: int
    eigenvectors: int
    batch: int


CASES = (Case("pattern", 80, 2, 26), Case("zinc", 64, 8, 128))


def networks(case: Case, layers: int) -> tuple[nn.Module, SparseGraphTransformer]:
    """Return ours and the peer with the same weights."""
    task, k = TASKS[case.dataset], case.eigenvectors
    ours = graph_transformer(Design(task, case.width, layers, HEADS, "laplacian", k))
    peer = SparseGraphTransformer(
        task.tokens, task.bonds, task.out, case.width, layers, HEADS, k, task.graph_level
    )
    peer.take_weights(ours)
    return ours, peer


def steps(
    graphs: Graphs, ours: nn.Module, peer: nn.Module
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Return one training step of each side on all ``graphs`` as one batch; both return the loss before it."""
    batch, targets = graphs.batch(torch.arange(len(graphs)), BLOCK, edge_stream=ours.edge_stream)
    sparse = PygBatch.from_data_list(
        [
            as_pyg(graphs.tokens[g, :n], graphs.edges[g, :n, :n], graphs.encoding[g, :n])
            for g in graphs.sizes.argsort(descending=True, stable=True).tolist()  # as our batch orders them
            for n in [int(graphs.sizes[g])]
        ]
    )
    adams = [torch.optim.Adam(net.parameters(), lr=5e-4) for net in (ours, peer)]

    def loss(out: Tensor, targets: Tensor) -> Tensor:
        if ours.graph_level:
            return (out - targets).abs().mean()
        return classification_loss(out.unsqueeze(0), targets.unsqueeze(0), True).sum()

    def our_step() -> Tensor:
        adams[0].zero_grad()
        found = loss(ours(batch), targets)
        found.backward()
        adams[0].step()
        return found.detach()

    def peers_step() -> Tensor:
        adams[1].zero_grad()
        out = peer(sparse)
        found = loss(out, targets)
        found.backward()
        adams[1].step()
        return found.detach()

    return our_step, peers_step


def agree(case: Case, graphs: Graphs, layers: int) -> None:
    """Compare outputs and gradients under equal weights.

    Raises:
        DisagreementError: if an output, or a gradient relative to the largest of its parameter, differs by more than
            the tolerance.
    """
    ours, peer = networks(case, layers)
    for net, step in zip((ours, peer), steps(graphs, ours, peer), strict=True):
        net.loss = float(step())
    if abs(ours.loss - peer.loss) > TOLERANCE:
        raise DisagreementError(f"the losses are {ours.loss} and {peer.loss}")
    theirs = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        if ours.edge_stream and name.startswith(f"layers.{layers - 1}.e."):
            continue  # the last edge stream, on which no output depends
        assert parameter.grad is not None
        difference = float((parameter.grad - theirs[name].grad).abs().max())
        if difference > TOLERANCE * max(1.0, float(parameter.grad.abs().max())):
            raise DisagreementError(f"the gradients of {name} differ by {difference}")


def comparisons(root: Path, quick: bool) -> Iterator[Comparison]:
    """Yield a comparison per data set."""
    for case in CASES:
        count, layers = (4, 2) if quick else (case.batch, LAYERS)
        graphs = load(
            case.dataset,
            "train",
            count,
            full=False,
            encoding="laplacian",
            eigenvectors=case.eigenvectors,
            root=root,
        )
        agree(case, graphs, layers)
        ours, peers = steps(graphs, *networks(case, layers))
        yield compare(
            f"graph transformer, training step on {case.dataset.upper()}, beside PyG edge by edge",
            Work(ours),
            Work(peers),
            repeats=2 if quick else REPEATS,
        )
