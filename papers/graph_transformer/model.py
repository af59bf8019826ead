"""The graph transformer and its two layers, attention written as dense matrix work.

Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs" (arXiv:2012.09699 v2), equations 1 to 12, in
the reading of the released code (docs/decisions/0017). Graphs are padded to the largest of the batch: block-model
graphs are nearly dense, so that a masked matrix product costs less than gathering their edges.

Shapes: B graphs of at most n nodes, d channels, H heads. Graphs come sorted by size; ``pairs`` says who attends to
whom, one tensor (b, m, m) per block of graphs of similar size, so that small graphs are not padded to the largest;
``nodes`` (B, n) says which rows are nodes and which padding. All layers map (h, e, pairs, nodes) to (h, e).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

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


class Batch(NamedTuple):
    """G graphs, padded (B = G) or, for an edge stream, as one (B = 1).

    Attributes:
        tokens: int64 (B, n), node types.
        pairs: one float (b, m, m) per block, 1 where node i attends to node j; :class:`Edges` where there is an edge
            stream.
        nodes: float (B, n), 1 for nodes, 0 for padding.
        encoding: float (B, n, k) eigenvectors, or int64 (B, n) roles, or float (B, n, 0) for none.
        graph: int64 (B, n), which graph a node is of.
        sizes: int64 (G,), nodes per graph.
    """

    tokens: Tensor
    pairs: tuple[Tensor, ...]
    nodes: Tensor
    encoding: Tensor
    graph: Tensor
    sizes: Tensor


class BatchNorm(nn.Module):
    """Batch normalisation over what the mask marks, with torch's conventions (momentum 0.1, eps 1e-5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (..., d) to the same; ``mask`` (...) is 1 where a row counts."""
        mean, var = self.mean, self.var
        if self.training:
            x_, m = x.flatten(0, -2), mask.flatten()
            count = m.sum()
            share = 0.1 * (count > 0)  # a batch of graphs without edges says nothing about edges
            count = count.clamp(min=1)
            mean = m @ x_ / count
            var = m @ (x_ - mean).square() / count
            with torch.no_grad():
                self.mean.mul_(1 - share).add_(share * mean)
                self.var.mul_(1 - share).add_(share * var * (count / (count - 1).clamp(min=1)))
        scale = self.weight * torch.rsqrt(var + 1e-5)
        return x * scale + (self.bias - mean * scale)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation; the mask has no part in it."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x (..., d) to the same."""
        return super().forward(x)


def norm(kind: str, width: int) -> nn.Module:
    """Return a normalisation: ``batch`` or ``layer``."""
    return {"batch": BatchNorm, "layer": LayerNorm}[kind](width)


def by_block(f: Callable[[Tensor, Tensor], Tensor], pairs: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """Apply f(pairs (b, m, m), x (b, m, d)) to each block of x (B, n, d) and return the results as (B, n, d)."""
    if len(pairs) == 1:
        return f(pairs[0], x)
    done, start = [], 0
    for P in pairs:
        b, m = P.shape[-3], P.shape[-1]
        out = f(P, x[start : start + b, :m])
        done.append(functional.pad(out, (0, 0, 0, x.shape[-2] - m)))
        start += b
    return torch.cat(done)


def softmax_weights(scores: Tensor, clamp: str) -> Tensor:
    """Return exp(scores), kept in range without subtracting the maximum.

    The code clamps the scores to [-5, 5] before exp (``before_exp``); the paper's text says that the exponentials are
    clamped to that range (``after_exp``).
    """
    # An exponential is never below -5; clamping what is above 5 beforehand keeps it from running over.
    return scores.clamp(-5, 5).exp_() if clamp == "before_exp" else scores.clamp(max=math.log(5)).exp()


def _heads(x: Tensor, heads: int) -> Tensor:
    """Split (B, n, d) into (B, H, n, d / H)."""
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

    def attention(self, h: Tensor, pairs: Tensor) -> Tensor:
        """Return the weights of a block before normalisation, (b, H, m, m): row i attends to column j."""
        q, k = _heads(self.Q(h), self.heads), _heads(self.K(h), self.heads)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
        return softmax_weights(scores, self.clamp) * pairs.unsqueeze(-3)

    def attend(self, pairs: Tensor, h: Tensor) -> Tensor:
        """Return ‖_k Σ_j w_ij^k V^k h_j of a block, (b, m, d)."""
        w = self.attention(h, pairs)
        total = w.sum(-1, keepdim=True)
        # Dividing after the product leaves one pass over the m × m weights out.
        attended = (w @ _heads(self.V(h), self.heads)) / (total + (total == 0))
        return attended.transpose(-3, -2).flatten(-2)

    def forward(
        self, h: Tensor, e: Tensor, pairs: tuple[Tensor, ...], nodes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the module."""
        return self.h(h, by_block(self.attend, pairs, h), nodes), e


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
        (x,), n = h, h.shape[-2]
        q = self.Q(x) / math.sqrt(x.shape[-1] // self.heads)
        w_hat = take(q, edges.receiver) * take(self.K(x), edges.sender) * self.E(e)
        scores = w_hat.unflatten(-1, (self.heads, -1)).sum(-1)
        w = softmax_weights(scores, self.clamp) * edges.there.unsqueeze(-1)  # (E, H)
        v = take(self.V(x), edges.sender).unflatten(-1, (self.heads, -1))
        total = add_up(w, edges.receiver, n) + 1e-6
        attended = add_up((w.unsqueeze(-1) * v).flatten(-2), edges.receiver, n)
        attended = (attended.unflatten(-1, (self.heads, -1)) / total.unsqueeze(-1)).flatten(-2)
        return self.h(h, attended.unsqueeze(0), nodes), self.e(e, w_hat, edges.there)


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
        """Return h (B, n, d) and e (E, d); the latter is h where the layers have no edge stream."""
        h = self.tokens(batch.tokens)
        if self.encoding is not None:
            h = h + self.encoding(batch.encoding)
        if not self.edge_stream:
            return h, h
        edges = Edges(*batch.pairs)
        return h, self.edge(edges.there.unsqueeze(-1)) if self.bonds is None else self.bonds(edges.kind.int())

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, n, classes), or predictions (G,) for a graph-level task."""
        h, e = self.embed(batch)
        for layer in self.layers:
            h, e = layer(h, e, batch.pairs, batch.nodes)
        if not self.graph_level:
            return self.readout(h)
        own = (h * batch.nodes.unsqueeze(-1)).flatten(0, 1)
        total = add_up(own, batch.graph.flatten(), len(batch.sizes))
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
