"""The graph transformer written sparsely with PyG, edge by edge: the peer, and the oracle of the paper's tests.

Node features of all graphs of a batch are concatenated, attention is a softmax over each node's incoming edges
(`torch_geometric.utils.softmax`), normalisations are torch's own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import MessagePassing, global_mean_pool
from torch_geometric.utils import softmax


class Stream(nn.Module):
    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        kind = nn.BatchNorm1d if norm == "batch" else nn.LayerNorm
        self.O = nn.Linear(width, width)
        self.norm1, self.norm2 = kind(width), kind(width)
        self.W1, self.W2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norm1(x + self.O(attended))
        return self.norm2(x + self.W2(torch.relu(self.W1(x))))


class Layer(MessagePassing):
    def __init__(self, width: int, heads: int, norm: str, edges: bool) -> None:
        super().__init__(aggr="add", node_dim=0)
        self.heads, self.channels = heads, width // heads
        self.Q, self.K, self.V = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.h = Stream(width, norm)
        if edges:
            self.E, self.e = nn.Linear(width, width, bias=False), Stream(width, norm)
        self.edges = edges

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor | None]:
        q, k, v = (x(h).view(-1, self.heads, self.channels) for x in (self.Q, self.K, self.V))
        w_hat = None if e is None else self.edge_updater(edge_index, q=q, k=k, e=self.E(e))
        out = self.propagate(edge_index, q=q, k=k, v=v, w_hat=w_hat, size=(len(h), len(h)))
        h = self.h(h, out.flatten(1))
        return h, e if w_hat is None else self.e(e, w_hat.flatten(1))

    def edge_update(self, q_i: Tensor, k_j: Tensor, e: Tensor) -> Tensor:
        return q_i * k_j / math.sqrt(self.channels) * e.view_as(q_i)

    def message(
        self, q_i: Tensor, k_j: Tensor, v_j: Tensor, w_hat: Tensor | None, index: Tensor, size_i: int
    ) -> Tensor:
        scores = (q_i * k_j).sum(-1) / math.sqrt(self.channels) if w_hat is None else w_hat.sum(-1)
        return v_j * softmax(scores.clamp(-5, 5), index, num_nodes=size_i).unsqueeze(-1)


class SparseGraphTransformer(nn.Module):
    """The network of `papers.graph_transformer.model`, with the same names of parameters."""

    def __init__(
        self,
        tokens: int,
        bonds: int,
        out: int,
        width: int,
        layers: int,
        heads: int,
        eigenvectors: int,
        graph_level: bool,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.bonds = nn.Embedding(bonds, width) if bonds else None
        self.encoding = nn.Linear(eigenvectors, width) if eigenvectors else None
        self.layers = nn.ModuleList(Layer(width, heads, norm, bool(bonds)) for _ in range(layers))
        widths = (width, width // 2, width // 4, out)
        self.readout = nn.Module()
        self.readout.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(3))
        self.graph_level = graph_level

    def forward(self, data: Batch) -> Tensor:
        h = self.tokens(data.x)
        if self.encoding is not None:
            h = h + self.encoding(data.encoding)
        e = None if self.bonds is None else self.bonds(data.edge_attr)
        for layer in self.layers:
            h, e = layer(h, data.edge_index, e)
        if self.graph_level:
            h = global_mean_pool(h, data.batch)
        for layer in self.readout.layers[:-1]:
            h = torch.relu(layer(h))
        out = self.readout.layers[-1](h)
        return out.squeeze(-1) if self.graph_level else out

    def take_weights(self, ours: nn.Module) -> None:
        """Copy the dense network's weights; norms call their running statistics otherwise."""
        renamed = {
            name.replace(".mean", ".running_mean").replace(".var", ".running_var"): x
            for name, x in ours.state_dict().items()
        }
        missing, unknown = self.load_state_dict(renamed, strict=False)
        assert not unknown, unknown
        assert all(name.endswith("num_batches_tracked") for name in missing), missing


def as_pyg(tokens: Tensor, edges: Tensor, encoding: Tensor, full: bool = False) -> Data:
    """One graph, from the arrays of its own size; a full one attends to all other nodes by edges of type 0."""
    apart = ~torch.eye(len(tokens), dtype=torch.bool)
    there = apart if full else edges > 0
    kinds = torch.zeros_like(edges) if full else edges
    return Data(x=tokens, edge_index=there.nonzero().T, edge_attr=kinds[there].long(), encoding=encoding)
