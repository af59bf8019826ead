"""The graph transformer and its two layers, attention written as dense matrix work.

Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs" (arXiv:2012.09699 v2), equations 1 to 12, in
the reading of the released code (docs/decisions/0017). Block-model graphs are nearly dense, so that a masked matrix
product costs less than gathering their edges.

Shapes: N nodes of G graphs, d channels, H heads. The nodes of all graphs stand below each other, the largest graph's
first; where nodes attend to each other they are taken apart again, :class:`Blocks`. ``nodes`` (N,) says which rows are
nodes and which only make all seeds' batches equally long. All layers map (h, e, pairs, nodes) to (h, e).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from papers.graph_transformer.attention import attend, softmax_weights
from papers.graph_transformer.norms import norm
from repro import noise, randomness
from repro.nn.rows import add_up, take


class Edges(NamedTuple):
    """The E edges of a batch.

    Attributes:
        receiver, sender: int64 (E,), nodes: the receiver attends to the sender.
        there: float (E,), 0 for edges added to make all seeds' batches equally long.
        kind: uint8 (E,), edge types; 0 everywhere in the full graph.
    """

    receiver: Tensor
    sender: Tensor
    there: Tensor
    kind: Tensor


class Blocks(NamedTuple):
    """Who attends to whom, in blocks of graphs of similar size.

    Attributes:
        place: int64 (N,), each node's row if all graphs were padded to n, the size of the largest: G · n rows. What is
            no node has the row after them.
        links: one float (b, m, m) per block of b graphs of at most m nodes, 1 where node i attends to node j.
    """

    place: Tensor
    links: tuple[Tensor, ...]


class Batch(NamedTuple):
    """G graphs.

    Attributes:
        tokens: int64 (N,), node types.
        pairs: the :class:`Edges` where there is an edge stream, else :class:`Blocks`.
        nodes: float (N,), 1 for nodes, 0 for what fills up.
        encoding: float (N, k) eigenvectors, or int64 (N,) roles, or float (N, 0) for none.
        graph: int64 (N,), which graph a node is of.
        sizes: int64 (G,), nodes per graph.
    """

    tokens: Tensor
    pairs: Blocks | Edges
    nodes: Tensor
    encoding: Tensor
    graph: Tensor
    sizes: Tensor


def apart(x: Tensor, blocks: Blocks) -> Tensor:
    """Return the nodes' rows (N, d) graph by graph, padded with zeros: (G, n, d)."""
    graphs, n = sum(len(P) for P in blocks.links), blocks.links[0].shape[-1]
    return add_up(x, blocks.place, graphs * n + 1)[:-1].unflatten(0, (graphs, n))


def together(x: Tensor, blocks: Blocks) -> Tensor:
    """Undo :func:`apart`; what fills up gets the last row, whatever that is."""
    return take(x.flatten(0, 1), blocks.place.clamp(max=len(x) * x.shape[1] - 1))


def by_block(f: Callable[[Tensor, Tensor], Tensor], blocks: Blocks, x: Tensor) -> Tensor:
    """Apply f(links (b, m, m), x (b, m, d)) to each block of x (N, d) and return the results as (N, d)."""
    parts = apart(x, blocks).split([len(P) for P in blocks.links])
    n = parts[0].shape[1]
    done = [f(P, part[:, : P.shape[-1]]) for P, part in zip(blocks.links, parts, strict=True)]
    return together(torch.cat([functional.pad(out, (0, 0, 0, n - out.shape[1])) for out in done]), blocks)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split (b, m, d) into (b, H, m, d / H)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


class _Stream(nn.Module):
    """O, two norms and the feed-forward block of one stream: equations 2 to 4, and 8 to 12 for nodes and edges."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.O = nn.Linear(width, width)
        self.norm1, self.norm2 = norm(kind, width), norm(kind, width)
        self.W1, self.W2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, attended: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.O(attended), mask)
        return self.norm2(x + self.W2(torch.relu(self.W1(x))), mask)


class GraphTransformerLayer(nn.Module):
    """h_i ← O ‖_k Σ_j w_ij^k V^k h_j, then residual, norm, FFN, residual, norm (equations 1 to 4).

    w_ij^k = softmax_j (Q^k h_i · K^k h_j / √d_k) over the neighbours j of i. A node without neighbours gets zero.
    """

    def __init__(self, width: int, heads: int, kind: str, clamp: str) -> None:
        super().__init__()
        self.heads, self.clamp = heads, clamp
        self.Q, self.K, self.V = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.h = _Stream(width, kind)

    def weights(self, h: Tensor, links: Tensor) -> Tensor:
        """Return the weights of a block h (b, m, d) before normalisation, (b, H, m, m): row i attends to column j."""
        q, k = (split_heads(x, self.heads) for x in (self.Q(h), self.K(h)))
        scores = (q / math.sqrt(q.shape[-1])) @ k.mT
        return softmax_weights(scores, self.clamp) * links.unsqueeze(-3)

    def forward(self, h: Tensor, e: Tensor, blocks: Blocks, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        scale = math.sqrt(h.shape[-1] // self.heads)
        QKV = torch.cat([self.Q.weight / scale, self.K.weight, self.V.weight])  # one product instead of three
        qkv = apart(functional.linear(h, QKV), blocks)
        q, k, v = (split_heads(x, self.heads) for x in qkv.chunk(3, -1))
        attended = attend(q, k, v, blocks.links, self.clamp).transpose(-3, -2).flatten(-2)
        return self.h(h, together(attended, blocks), nodes), e


class GraphTransformerEdgeLayer(nn.Module):
    """The same with edge features (equations 5 to 12).

    ŵ_ij = (Q h_i ⊙ K h_j / √d_k) ⊙ E e_ij channel by channel; its sum over a head's channels is the score, and ŵ itself
    is what the edge stream goes on with. 10^-6 is added to the denominator, as in the code.
    """

    def __init__(self, width: int, heads: int, kind: str, clamp: str) -> None:
        super().__init__()
        self.heads, self.clamp = heads, clamp
        self.Q, self.K, self.V, self.E = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.h, self.e = _Stream(width, kind), _Stream(width, kind)

    def forward(self, h: Tensor, e: Tensor, edges: Edges, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        n = len(h)
        q = self.Q(h) / math.sqrt(h.shape[-1] // self.heads)
        w_hat = take(q, edges.receiver) * take(self.K(h), edges.sender) * self.E(e)
        scores = w_hat.unflatten(-1, (self.heads, -1)).sum(-1)
        w = softmax_weights(scores, self.clamp) * edges.there.unsqueeze(-1)  # (E, H)
        v = take(self.V(h), edges.sender).unflatten(-1, (self.heads, -1))
        total = add_up(w, edges.receiver, n) + 1e-6
        attended = add_up((w.unsqueeze(-1) * v).flatten(-2), edges.receiver, n)
        attended = (attended.unflatten(-1, (self.heads, -1)) / total.unsqueeze(-1)).flatten(-2)
        return self.h(h, attended, nodes), self.e(e, w_hat, edges.there)


class Readout(nn.Module):
    """Two hidden layers that halve the width, then the output."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(width, width // 2), nn.Linear(width // 2, width // 4), nn.Linear(width // 4, out)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d) to (..., out)."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


@dataclass(frozen=True)
class Task:
    """What a data set fixes in a network.

    Attributes:
        tokens: number of node types.
        bonds: number of edge types; 0 for graphs whose edges are all alike.
        out: classes, or 1 for a regression.
        roles: size of the table of WL roles.
        graph_level: mean over nodes before the readout (ZINC), else one output per node.
    """

    tokens: int
    bonds: int
    out: int
    roles: int
    graph_level: bool


@dataclass(frozen=True)
class Design:
    """What a setting fixes in a network, beside the kind of its layers.

    Attributes:
        task: what the data set fixes.
        width, layers, heads: d, how many layers, H.
        encoding: ``none``, ``laplacian`` or ``wl`` (Section 3).
        eigenvectors: k, for ``laplacian``.
        norm: ``batch`` or ``layer``.
        clamp: see :func:`softmax_weights`.
    """

    task: Task
    width: int
    layers: int
    heads: int
    encoding: str
    eigenvectors: int
    norm: str = "batch"
    clamp: str = "before_exp"


class Network(nn.Module):
    """Embeddings, layers, readout; what the layers are is the caller's choice.

    Args:
        design: widths, encoding and what the data set fixes.
        layers: see the module.
        edge_stream: whether the layers have one. It starts from the edge types or, where all are alike, from a vector.
        seed: of the initial weights.
    """

    def __init__(self, design: Design, layers: list[nn.Module], edge_stream: bool, seed: int) -> None:
        super().__init__()
        task, width = design.task, design.width
        self.tokens = nn.Embedding(task.tokens, width)
        self.bonds = nn.Embedding(task.bonds, width) if edge_stream and task.bonds else None
        self.edge = nn.Linear(1, width) if edge_stream and not task.bonds else None
        self.encoding: nn.Module | None = None
        if design.encoding == "laplacian":
            self.encoding = nn.Linear(design.eigenvectors, width)
        elif design.encoding == "wl":
            self.encoding = nn.Embedding(task.roles, width)
        self.layers = nn.ModuleList(layers)
        self.readout = Readout(width, task.out)
        self.graph_level, self.edge_stream = task.graph_level, edge_stream
        initialise(self, seed)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return h (N, d) and e (E, d); the latter is h where the layers have no edge stream."""
        h = self.tokens(batch.tokens)
        if self.encoding is not None:
            h = h + self.encoding(batch.encoding)
        if not self.edge_stream:
            return h, h
        edges = Edges(*batch.pairs)
        return h, self.edge(edges.there.unsqueeze(-1)) if self.bonds is None else self.bonds(edges.kind.int())

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (N, classes), or predictions (G,) for a graph-level task."""
        h, e = self.embed(batch)
        for layer in self.layers:
            h, e = layer(h, e, batch.pairs, batch.nodes)
        if not self.graph_level:
            return self.readout(h)
        total = add_up(h * batch.nodes.unsqueeze(-1), batch.graph, len(batch.sizes))
        return self.readout(total / batch.sizes.unsqueeze(-1)).squeeze(-1)


def initialise(model: nn.Module, seed: int) -> None:
    """Draw torch's default initial weights from streams of the seed: uniform ± 1/√fan-in; normal embeddings."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(max(module.in_features, 1))
            for kind, parameter in module.named_parameters():
                u = randomness.uniform(randomness.key(seed, f"{name}.{kind}"), parameter.numel())
                parameter.data = ((2 * u - 1) * bound).view(parameter.shape)
        elif isinstance(module, nn.Embedding):
            module.weight.data = noise.normal(randomness.key(seed, f"{name}.weight"), *module.weight.shape)


def graph_transformer(design: Design, seed: int = 0) -> Network:
    """Return the paper's network: the edge layer where there are edge types, else the plain one."""
    edges = design.task.bonds > 0
    kind = GraphTransformerEdgeLayer if edges else GraphTransformerLayer
    stack: list[nn.Module] = [
        kind(design.width, design.heads, design.norm, design.clamp) for _ in range(design.layers)
    ]
    return Network(design, stack, edges, seed)
