"""A training step of the graph transformer on PATTERN: ours, dense, beside the same written sparsely with PyG.

The network of arXiv:2012.09699 for PATTERN (ten layers, width 80, eight heads, two eigenvectors, BatchNorm) and its
batch of 26 graphs at their published sizes. A step is forward pass, class-weighted loss, backward pass and Adam.
Batches are made beforehand on both sides. Both start from the same weights and must agree on loss and gradients
before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch as PygBatch

from benchmarks.graph_transformer_sparse import SparseGraphTransformer, as_pyg
from benchmarks.peer import Comparison, DisagreementError, Work, compare
from papers.graph_transformer.graphs import TASKS, Graphs, load
from papers.graph_transformer.model import Design, graph_transformer
from papers.graph_transformer.training import classification_loss

WIDTH, LAYERS, HEADS, EIGENVECTORS, BATCH = 80, 10, 8, 2, 26
TOLERANCE = 1e-5
REPEATS = 3


def networks(width: int, layers: int) -> tuple[nn.Module, SparseGraphTransformer]:
    """Return ours and the peer with the same weights."""
    ours = graph_transformer(Design(TASKS["pattern"], width, layers, HEADS, "laplacian", EIGENVECTORS))
    peer = SparseGraphTransformer(3, 0, 2, width, layers, HEADS, EIGENVECTORS, False)
    peer.take_weights(ours)
    return ours, peer


def steps(
    graphs: Graphs, ours: nn.Module, peer: nn.Module, blocks: int = 4
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Return one training step of each side on all ``graphs`` as one batch; both return the loss before it."""
    batch, labels = graphs.batch(torch.arange(len(graphs)), blocks)
    flat = labels[labels >= 0].view(1, 1, -1)
    sparse = PygBatch.from_data_list(
        [
            as_pyg(graphs.tokens[g, :n], graphs.edges[g, :n, :n], graphs.encoding[g, :n])
            for g in graphs.sizes.argsort(descending=True, stable=True).tolist()  # as our batch orders them
            for n in [int(graphs.sizes[g])]
        ]
    )
    adams = [torch.optim.Adam(net.parameters(), lr=5e-4) for net in (ours, peer)]

    def dense_step() -> Tensor:
        adams[0].zero_grad()
        loss = classification_loss(ours(batch).unsqueeze(0), labels.unsqueeze(0), True).sum()
        loss.backward()
        adams[0].step()
        return loss.detach()

    def sparse_step() -> Tensor:
        adams[1].zero_grad()
        loss = classification_loss(peer(sparse)[None, None], flat, True).sum()
        loss.backward()
        adams[1].step()
        return loss.detach()

    return dense_step, sparse_step


def agree(graphs: Graphs, width: int, layers: int) -> None:
    """Compare outputs and gradients under equal weights.

    Raises:
        DisagreementError: if an output, or a gradient relative to the largest of its parameter, differs by more than
            the tolerance.
    """
    ours, peer = networks(width, layers)
    for net, step in zip((ours, peer), steps(graphs, ours, peer), strict=True):
        net.loss = float(step())
    if abs(ours.loss - peer.loss) > TOLERANCE:
        raise DisagreementError(f"the losses are {ours.loss} and {peer.loss}")
    theirs = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        difference = float((parameter.grad - theirs[name].grad).abs().max())
        if difference > TOLERANCE * max(1.0, float(parameter.grad.abs().max())):
            raise DisagreementError(f"the gradients of {name} differ by {difference}")


def comparisons(root: Path, quick: bool) -> Iterator[Comparison]:
    """Yield the comparison."""
    count, layers = (4, 2) if quick else (BATCH, LAYERS)
    graphs = load(
        "pattern", "train", count, full=False, encoding="laplacian", eigenvectors=EIGENVECTORS, root=root
    )
    agree(graphs, WIDTH, layers)
    dense, sparse = steps(graphs, *networks(WIDTH, layers))
    yield compare(
        "graph transformer, training step on PATTERN, beside PyG edge by edge",
        Work(dense),
        Work(sparse),
        repeats=2 if quick else REPEATS,
    )
