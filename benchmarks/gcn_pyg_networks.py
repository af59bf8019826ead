"""The two-layer network of ``gcn_pyg.py``, written with PyG's GCNConv in three ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import GCNConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from papers.gcn.experiments import planetoid_split
from papers.gcn.graphs import normalise_features
from repro.data.planetoid import CitationGraph


@dataclass(eq=False)
class Part:
    """What predicts the training, validation or test nodes.

    Attributes:
        x: features, dense or sparse.
        edges: what each layer's GCNConv is given: ``edge_index``, or an adjacency.
        labels: of the part's nodes.
        rows: the part's nodes among the output's rows; None means that they are the rows.
    """

    x: Tensor
    edges: Sequence[Tensor]
    labels: Tensor
    rows: Tensor | None = None


def edge_index(graph: CitationGraph) -> Tensor:
    """Return both directions of every edge, ``(2, entries)``."""
    coo = graph.adjacency.tocoo()
    return torch.as_tensor(np.stack([coo.row, coo.col]), dtype=torch.int64)


def csr(matrix: sp.spmatrix) -> Tensor:
    """Return a CSR tensor with int32 indices, for which torch on a CPU has the faster product."""
    matrix = sp.csr_matrix(matrix, dtype=np.float32)
    matrix.sort_indices()
    crow, col = (torch.as_tensor(i, dtype=torch.int32) for i in (matrix.indptr, matrix.indices))
    return torch.sparse_csr_tensor(crow, col, torch.as_tensor(matrix.data), matrix.shape)


def with_values(matrix: Tensor, values: Tensor) -> Tensor:
    """Return a CSR tensor of the same structure."""
    return torch.sparse_csr_tensor(matrix.crow_indices(), matrix.col_indices(), values, matrix.shape)


class Network(nn.Module):
    """Z = Â dropout(ReLU(Â dropout(X) W0)) W1 with PyG's Glorot weights; subclasses hold X and Â."""

    fused = False  # Adam's kernel; PyG's users leave the default

    def __init__(self, graph: CitationGraph, hidden: int) -> None:
        super().__init__()
        self.conv1 = self.layer(graph.features.shape[1], hidden)
        self.conv2 = self.layer(hidden, graph.num_classes)

    @staticmethod
    def layer(width: int, out: int) -> GCNConv:
        """Return one layer."""
        return GCNConv(width, out, bias=False, cached=True)

    @classmethod
    def features(cls, X: sp.csr_matrix) -> Tensor:
        """Return X as this network takes it."""
        raise NotImplementedError

    @classmethod
    def prepare(cls, graph: CitationGraph, features: str) -> dict[str, Part]:
        """Return the parts; ``features`` names the normalisation."""
        x, edges = cls.features(normalise_features(graph.features, features)), [edge_index(graph)] * 2
        return {
            name: Part(x, edges, torch.as_tensor(graph.labels[nodes]), torch.as_tensor(nodes))
            for name, nodes in planetoid_split(graph).items()
        }

    def drop_input(self, x: Tensor, p: float) -> Tensor:
        """Return X after dropout."""
        return functional.dropout(x, p)

    def drop_hidden(self, h: Tensor, p: float) -> Tensor:
        """Return H after dropout."""
        return functional.dropout(h, p)

    @torch.no_grad()
    def load(self, weights: Sequence[Tensor]) -> None:
        """Take these weights, ``(in, out)`` each."""
        for conv, weight in zip((self.conv1, self.conv2), weights, strict=True):
            conv.lin.weight.copy_(weight.T)

    def forward(self, part: Part, p: float) -> Tensor:
        """Return the logits of the part's nodes; ``p`` is the probability of dropout, 0 for evaluation."""
        x = self.drop_input(part.x, p) if p else part.x
        h = self.conv1(x, part.edges[0]).relu()
        h = self.drop_hidden(h, p) if p else h
        out = self.conv2(h, part.edges[1])
        return out if part.rows is None else out[part.rows]


class Dense(Network):
    """As PyG's examples write it: dense X, ``edge_index``, the normalisation cached by GCNConv."""

    @classmethod
    def features(cls, X: sp.csr_matrix) -> Tensor:
        return torch.as_tensor(X.toarray())


class Sparse(Network):
    """The same with X as a CSR tensor, which GCNConv's linear map takes as it is."""

    @classmethod
    def features(cls, X: sp.csr_matrix) -> Tensor:
        return csr(X)

    def drop_input(self, x: Tensor, p: float) -> Tensor:
        """Return X with dropout on its non-zeros, which is the same as on all of it."""
        return with_values(x, functional.dropout(x.values(), p))


class _Product(torch.autograd.Function):
    """``matrix @ dense`` whose backward pass does not transpose the matrix first."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, dense: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, ctx.matrix.transposed() @ grad


def with_transpose(matrix: sp.csr_matrix) -> Tensor:
    """Return a CSR tensor that knows its transpose, and in which order that holds the values.

    Both are attributes of the tensor because GCNConv hands tensors through, and nothing else.
    """
    out, transposed = csr(matrix), csr(matrix.T)
    matrix = sp.csr_matrix(matrix, copy=True)
    matrix.sort_indices()
    positions = sp.csr_matrix((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    backward = sp.csr_matrix(positions.T)
    backward.sort_indices()
    out.order, out.transposed = torch.as_tensor(backward.data, dtype=torch.int64), lambda: transposed
    return out


def _mask(shape: torch.Size, p: float) -> Tensor:
    return (torch.rand(shape) >= p) * (1 / (1 - p))


class _SparseLinear(nn.Module):
    """X W for a CSR tensor X; W is stored ``(in, out)``, as the product reads it."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return _Product.apply(x, self.weight)


class _TunedConv(GCNConv):
    """GCNConv on an adjacency normalised beforehand, with our product in its place for such things."""

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor) -> Tensor:
        return _Product.apply(adj_t, x)


class Tuned(Network):
    """GCNConv as a shell: each layer computes only the rows that the part needs, with faster products."""

    fused = True

    def __init__(self, graph: CitationGraph, hidden: int) -> None:
        super().__init__(graph, hidden)
        self.conv1.lin = _SparseLinear(self.conv1.lin.weight)

    @staticmethod
    def layer(width: int, out: int) -> GCNConv:
        return _TunedConv(width, out, bias=False, normalize=False)

    @classmethod
    def prepare(cls, graph: CitationGraph, features: str) -> dict[str, Part]:
        X, nodes = normalise_features(graph.features, features), graph.num_nodes
        (source, target), weight = gcn_norm(edge_index(graph), None, nodes)
        A_hat = sp.csr_matrix((weight.numpy(), (target.numpy(), source.numpy())), shape=(nodes, nodes))
        parts = {}
        for name, outputs in planetoid_split(graph).items():
            edges: list[Tensor] = []
            rows = outputs
            for _ in range(2):
                cols = np.union1d(rows, A_hat[rows].indices)
                edges.insert(0, with_transpose(A_hat[rows][:, cols]))
                rows = cols
            parts[name] = Part(with_transpose(X[rows]), edges, torch.as_tensor(graph.labels[outputs]))
        return parts

    def drop_input(self, x: Tensor, p: float) -> Tensor:
        values = x.values() * _mask(x.values().shape, p)
        out = with_values(x, values)
        out.transposed = lambda: with_values(x.transposed(), values.index_select(0, x.order))
        return out

    def drop_hidden(self, h: Tensor, p: float) -> Tensor:
        return h * _mask(h.shape, p)

    @torch.no_grad()
    def load(self, weights: Sequence[Tensor]) -> None:
        self.conv1.lin.weight.copy_(weights[0])
        self.conv2.lin.weight.copy_(weights[1].T)
