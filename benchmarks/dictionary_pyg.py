"""DictionaryLookup with 10 keys: training by table look-ups beside the same training with PyG's GATConv and GATv2Conv.

Both sides take the same training steps of the GATv2 paper's protocol (batches of 1024 graphs, cross-entropy over the
queries, clipping, Adam) from the same weights over the same batches; the losses must agree on the way. The network is
built as in the released code, of PyG's layers, on a batch of 1024 graphs with 20 nodes and 100 edges each.

Two peers, because who makes the batches matters:

- ``collated``: a batch is collated from its graphs at every step, as a ``DataLoader`` does in the released code;
- ``prepared``: all batches are collated beforehand and that time is not counted, as if it cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATConv, GATv2Conv, GINConv

from benchmarks.peer import Comparison, DisagreementError, Work, compare, progress
from papers.gat.dictionary import dictionary
from papers.gat.lookup_model import WIDTH, Attention, Lookup, build

K = 10
SIZE = 1024
LOSS_TOLERANCE = 1e-4
ARMS = (("gat", 1), ("gat", 8), ("gatv2", 1))


class Network(nn.Module):
    """The released code's model, of PyG's layers, with the weights of one of ours."""

    def __init__(self, ours: Lookup) -> None:
        super().__init__()
        self.keys, self.values = nn.Embedding(ours.k + 1, WIDTH), nn.Embedding(ours.k + 1, WIDTH)
        self.out = nn.Linear(WIDTH, ours.k, bias=False)
        self.layer = _attention(ours) if isinstance(ours, Attention) else _gin()
        with torch.no_grad():
            for theirs, own in self.pairs(ours):
                theirs.copy_(own)

    def forward(self, batch: Data, keep: Tensor | None = None) -> Tensor:
        """Return the logits ``(queries, k)``; ``keep`` ``(queries, 128)`` are dropout's factors."""
        x = torch.relu(self.keys(batch.x[:, 0]) + self.values(batch.x[:, 1]))
        h = self.layer(x, batch.edge_index)[batch.query]
        return self.out(h if keep is None else h * keep)

    def pairs(self, ours: Any, grad: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (theirs, ours) of all parameters, or of their gradients, in their layout."""
        found = [
            (self.keys.weight, ours.keys),
            (self.values.weight, ours.values),
            (self.out.weight, ours.out),
        ]
        if isinstance(ours, Attention) and ours.a_query is None:
            found += [(self.layer.lin_l.weight, ours.W), (self.layer.att, ours.a)]
        elif isinstance(ours, Attention):
            found += [(self.layer.lin.weight, ours.W), (self.layer.att_src, ours.a)]
            found += [(self.layer.att_dst, ours.a_query)]
        else:
            for i, norm in enumerate((ours.norm_1, ours.norm_2)):
                linear, theirs = self.layer.nn[3 * i : 3 * i + 2]
                found += [(linear.weight, ours.W[i]), (linear.bias, ours.b[i])]
                found += [(theirs.weight, norm.weight), (theirs.bias, norm.bias)]
        if isinstance(ours, Attention) and ours.bias is not None:
            found.append((self.layer.bias, ours.bias))
        matrices = {
            id(p)
            for p in (self.out.weight, *(m.weight for m in self.layer.modules() if hasattr(m, "weight")))
        }
        for theirs, own in found:
            there, here = (theirs.grad, own.grad) if grad else (theirs, own)
            assert there is not None
            assert here is not None
            transposed = id(theirs) in matrices and here.dim() == 2
            yield there, (here.T if transposed else here.view_as(there))


def _attention(ours: Attention) -> nn.Module:
    heads, width = ours.a.shape
    if ours.a_query is not None:
        return GATConv(WIDTH, width, heads, add_self_loops=ours.self_loops, bias=ours.self_loops)
    layer = GATv2Conv(WIDTH, width, heads, add_self_loops=ours.self_loops, bias=False, share_weights=True)
    if ours.bias is not None:  # PyG's bias=True would add another one before the attention
        layer.bias = nn.Parameter(torch.zeros(WIDTH))
    return layer


def _gin() -> nn.Module:
    halves = ((nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()) for _ in range(2))
    return GINConv(nn.Sequential(*(module for half in halves for module in half)))


def whole_graph(permutation: Tensor) -> Data:
    """Return one graph node by node: k queries, then k keys, and an edge from each key to each query."""
    k = len(permutation)
    keys = torch.arange(k)
    queries = torch.stack([keys, torch.full((k,), k)], 1)
    edges = torch.cartesian_prod(k + keys, keys).T
    return Data(
        x=torch.cat([queries, torch.stack([keys, permutation], 1)]),
        edge_index=edges,
        query=torch.arange(2 * k) < k,
        y=permutation,
    )


def step(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """Take one training step and return the loss."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def race(name: str, heads: int, collated: bool, quick: bool) -> Comparison:
    """Compare the time of a training step, having seen that both sides take the same ones.

    Raises:
        DisagreementError: if they do not.
    """
    steps, their_steps = (6, 2) if quick else (60, 6)
    order = torch.randint(10**6, (steps, SIZE), generator=torch.Generator().manual_seed(0))
    graphs = dictionary(K, 0).train
    batches = list(graphs[order % len(graphs)])
    lists = [[whole_graph(p) for p in batch] for batch in batches[:their_steps]]
    prepared = [Batch.from_data_list(graphs) for graphs in lists]

    ours = build(name, K, heads, "released", 0)
    theirs = Network(ours)
    mine, other = (torch.optim.Adam(m.parameters(), lr=0.001, fused=True) for m in (ours, theirs))

    def run_ours(count: int = steps) -> list[float]:
        return [step(ours, mine, ours.loss(batch)) for batch in batches[:count]]

    def run_peer() -> list[float]:
        losses = []
        for i in range(their_steps):
            batch = Batch.from_data_list(lists[i]) if collated else prepared[i]
            losses.append(step(theirs, other, functional.cross_entropy(theirs(batch), batch.y)))
        return losses

    difference = max(abs(a - b) for a, b in zip(run_ours(their_steps), run_peer(), strict=True))
    progress(f"{name}, {heads} heads: losses of {their_steps} steps differ by {difference:.1g}")
    if not difference <= LOSS_TOLERANCE:
        raise DisagreementError(
            f"{name}, {heads} heads: from equal weights, losses differ by {difference:.2g}"
        )
    layer = "GATConv" if name == "gat" else "GATv2Conv"
    batched = "batches collated at each step" if collated else "batches prepared beforehand"
    return compare(
        f"DictionaryLookup, k = {K}, per training step: PyG's {layer}, {heads} head{'s' * (heads > 1)}, {batched}"
        + " (quick)" * quick,
        Work(run_ours, steps),
        Work(run_peer, their_steps),
        repeats=2 if quick else 5,
    )


def comparisons(root: Path, quick: bool = False) -> Iterator[Comparison]:
    """Yield the comparisons; ``root`` is not needed, because the graphs are made.

    Raises:
        DisagreementError: if a peer does not compute what we compute.
    """
    for name, heads in ARMS:
        yield race(name, heads, False, quick)
    yield race("gatv2", 1, True, quick)
