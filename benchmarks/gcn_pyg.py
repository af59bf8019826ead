"""placeholder"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from papers.gcn.graphs import normalise_features
from repro.data.planetoid import CitationGraph


@dataclass(eq=False)
class Part:
    """What predicts the training, validation or test nodes.

    ``edges`` is one argument of GCNConv per layer, ``rows`` picks the part's nodes from the output (None: all).
    """

    x: Any
    edges: list[Tensor]
    labels: Tensor
    rows: Tensor | None


class Network(nn.Module):
    """Two GCNConv layers; each subclass is a way to write the same loop."""

    fused = False  # Adam's kernel

    def __init__(self, graph: CitationGraph, hidden: int) -> None:
        super().__init__()
        widths = (graph.features.shape[1], hidden, graph.num_classes)
        self.conv1, self.conv2 = self.layer(*widths[:2]), self.layer(*widths[1:])

    @staticmethod
    def prepare(graph: CitationGraph, features: str) -> dict[str, Part]:
        """Return the parts."""
        raise NotImplementedError

    @staticmethod
    def layer(width: int, out: int) -> GCNConv:
        """Return one layer."""
        return GCNConv(width, out, cached=True, bias=False)

    def drop_input(self, x: Any, p: float) -> Any:
        """Return X after dropout."""
        return F.dropout(x, p)

    def drop_hidden(self, h: Tensor, p: float) -> Tensor:
        """Return H after dropout."""
        return F.dropout(h, p)

    def load(self, weights: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for conv, theta in zip((self.conv1, self.conv2), weights, strict=True):
                conv.lin.weight.copy_(theta.T)

    def forward(self, part: Part, p: float) -> Tensor:
        h = self.conv1(self.drop_input(part.x, p) if p else part.x, part.edges[0]).relu()
        out = self.conv2(self.drop_hidden(h, p) if p else h, part.edges[1])
        return out if part.rows is None else out[part.rows]


def _parts(graph): return {"train": graph.train, "val": graph.val, "test": graph.test}

def _edge_index(graph):
    coo = graph.adjacency.tocoo()
    return torch.as_tensor(np.stack([coo.row, coo.col]), dtype=torch.int64)


class Dense(Network):
    @staticmethod
    def prepare(graph, features):
        x = torch.as_tensor(normalise_features(graph.features, features).toarray())
        e = _edge_index(graph)
        return {k: Part(x, [e, e], torch.as_tensor(graph.labels[n]), torch.as_tensor(n)) for k, n in _parts(graph).items()}


class Sparse(Network):
    @staticmethod
    def prepare(graph, features):
        X = normalise_features(graph.features, features)
        x = csr(X); e = _edge_index(graph)
        return {k: Part(x, [e, e], torch.as_tensor(graph.labels[n]), torch.as_tensor(n)) for k, n in _parts(graph).items()}

    def drop_input(self, x, p):
        return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), F.dropout(x.values(), p), x.shape)

def csr(M):
    M = sp.csr_matrix(M); M.sort_indices()
    return torch.sparse_csr_tensor(torch.as_tensor(M.indptr.astype(np.int32)), torch.as_tensor(M.indices.astype(np.int32)), torch.as_tensor(M.data.astype(np.float32)), M.shape)

def with_transpose(M):
    out = csr(M)
    order = sp.csr_matrix((np.arange(1, M.nnz+1), M.indices, M.indptr), shape=M.shape).T.tocsr(); order.sort_indices()
    out.order = torch.as_tensor(order.data - 1)
    out.transposed = csr(sp.csr_matrix(M).T.tocsr())
    return out

class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, dense):
        ctx.a = a
        return a @ dense
    @staticmethod
    def backward(ctx, grad):
        return None, ctx.a.transposed @ grad

class _ProductV(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, values, dense):
        ctx.a = a; ctx.values=values
        return torch.sparse_csr_tensor(a.crow_indices(), a.col_indices(), values, a.shape) @ dense
    @staticmethod
    def backward(ctx, grad):
        t=ctx.a.transposed
        return None, None, torch.sparse_csr_tensor(t.crow_indices(), t.col_indices(), ctx.values[ctx.a.order], t.shape) @ grad

class SparseLinear(nn.Module):
    def __init__(self, weight, T):
        super().__init__(); self.weight = weight
    def forward(self, x):
        if x.layout==torch.strided: return x @ self.weight.t()
        return _ProductV.apply(x.base, x.values(), self.weight.t())

class TunedConv(GCNConv):
    def message_and_aggregate(self, adj_t, x):
        return _Product.apply(adj_t, x)

class Tuned(Network):
    fused = True
    @staticmethod
    def layer(w, o):
        c = TunedConv(w, o, normalize=False, bias=False)
        return c
    def __init__(self, *a):
        super().__init__(*a); self.conv1.lin = SparseLinear(self.conv1.lin.weight, None)
    @staticmethod
    def prepare(graph, features):
        X = normalise_features(graph.features, features)
        (row, col), w = gcn_norm(_edge_index(graph), None, graph.num_nodes)
        A = sp.csr_matrix((w.numpy(), (col.numpy(), row.numpy())), shape=(graph.num_nodes,)*2)
        res={}
        for k, nodes in _parts(graph).items():
            edges=[]; rows=nodes
            for _ in range(2):
                cols=np.union1d(rows, A[rows].indices)
                edges.insert(0, with_transpose(A[rows][:, cols])); rows=cols
            x=with_transpose(X[rows].tocsr()); x.base=x
            res[k]=Part(x, edges, torch.as_tensor(graph.labels[nodes]), None)
        return res
    def drop_input(self, x, p):
        v=x.values()
        y= torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), v*(torch.rand(v.shape)>=p)*(1/(1-p)), x.shape)
        y.base=x
        return y
    def drop_hidden(self, h, p):
        return h*((torch.rand(h.shape)>=p)*(1/(1-p)))

def loop(kind, graph, parts, setting, seed, weights=None):
    torch.manual_seed(seed)
    net=kind(graph, setting["hidden"])
    if weights: net.load(weights)
    opt=torch.optim.Adam([{"params":net.conv1.parameters(),"weight_decay":setting["l2"]},{"params":net.conv2.parameters()}],lr=setting["learning_rate"],fused=kind.fused)
    for _ in range(setting["epochs"]):
        net.train(); opt.zero_grad()
        F.cross_entropy(net(parts["train"], setting["dropout"]), parts["train"].labels).backward(); opt.step()
        net.eval()
        with torch.no_grad(): val=F.cross_entropy(net(parts["val"],0.), parts["val"].labels).item()
    with torch.no_grad():
        out=net(parts["test"],0.); acc=(out.argmax(1)==parts["test"].labels).double().mean().item()*100
    return val, acc
