"""Graph convolutional networks and the propagation models they are compared with.

Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017
(arXiv:1609.02907): equations 2, 5, 7, 8 and 9, Table 3 and Appendix B. The model is written for one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from repro import randomness
from repro.nn.sparse import SparseMatrix, propagate, propagate_with_values


@dataclass(frozen=True, eq=False)
class Features:
    """The input X: sparse ``(nodes, features)``, or the identity where ``matrix`` is None.

    ``values`` replaces the matrix's entries after dropout, which draws a mask over the non-zeros only.
    """

    matrix: SparseMatrix | None
    nodes: int
    values: Tensor | None = None

    def dropout(self, key: Tensor, p: float) -> Features:
        """Return X with each non-zero dropped with probability ``p`` and the others scaled up."""
        count = self.nodes if self.matrix is None else self.matrix.nnz
        kept = randomness.keep_mask(key, count, p).to(torch.float32) * randomness.keep_scale(p)
        return Features(self.matrix, self.nodes, kept if self.matrix is None else kept * self.matrix.values)

    def __matmul__(self, theta: Tensor) -> Tensor:
        """Return X Θ, ``(nodes, out)``."""
        if self.matrix is None:
            return theta if self.values is None else self.values.unsqueeze(-1) * theta
        if self.values is None:
            return propagate(self.matrix, theta)
        return propagate_with_values(self.matrix, self.values, theta)


@dataclass(frozen=True, eq=False)
class Graph:
    """The matrix S that one layer propagates with, and which of its input nodes are its output nodes.

    Attributes:
        S: sparse ``(rows, cols)``; for the plain network both are all nodes.
        rows: int64 ``(rows,)`` positions of the output nodes among the input nodes; None means all.
    """

    S: SparseMatrix
    rows: Tensor | None = None

    def own(self, Y: Tensor) -> Tensor:
        """Return the output nodes' own rows of ``Y``: the identity term."""
        return Y if self.rows is None else Y[self.rows]


def _chebyshev(Y: list[Tensor], graph: Graph) -> Tensor:
    """Σ_k T_k(L̃) Y_k with S = L̃ by Clenshaw's recurrence: K sparse products instead of K² (eq. 5)."""
    b1: Tensor | None = None
    b2: Tensor | None = None
    for Y_k in reversed(Y[1:]):
        b = Y_k if b1 is None else Y_k + 2 * propagate(graph.S, b1)
        b1, b2 = (b if b2 is None else b - b2), b1
    assert b1 is not None
    out = Y[0] + propagate(graph.S, b1)
    return graph.own(out if b2 is None else out - b2)


@dataclass(frozen=True)
class PropagationModel:
    """One row of Table 3: which S, how many weights Θ_k a layer has, and how they enter."""

    matrix: str  # see graphs.propagation_matrix
    weights: int
    formula: str
    apply: Callable[[list[Tensor], Graph], Tensor]


# S is D^-1/2 A D^-1/2 ("normalised"), its renormalised form with self-loops, or the scaled Laplacian L̃.
PROPAGATION_MODELS = {
    "chebyshev3": PropagationModel("laplacian", 4, "Σ_k≤3 T_k(L̃) X Θ_k", _chebyshev),
    "chebyshev2": PropagationModel("laplacian", 3, "Σ_k≤2 T_k(L̃) X Θ_k", _chebyshev),
    "first_order": PropagationModel(
        "normalised",
        2,
        "X Θ_0 + D^-1/2 A D^-1/2 X Θ_1",
        lambda Y, graph: graph.own(Y[0]) + propagate(graph.S, Y[1]),
    ),
    "single_parameter": PropagationModel(
        "normalised",
        1,
        "(I + D^-1/2 A D^-1/2) X Θ",
        lambda Y, graph: graph.own(Y[0]) + propagate(graph.S, Y[0]),
    ),
    "renormalised": PropagationModel(
        "renormalised", 1, "D̃^-1/2 Ã D̃^-1/2 X Θ", lambda Y, graph: propagate(graph.S, Y[0])
    ),
    "first_order_only": PropagationModel(
        "normalised", 1, "D^-1/2 A D^-1/2 X Θ", lambda Y, graph: propagate(graph.S, Y[0])
    ),
    "mlp": PropagationModel("normalised", 1, "X Θ", lambda Y, graph: graph.own(Y[0])),
}


class GraphConvolution(nn.Module):
    """One layer: Σ_k P_k(S) X Θ_k (+ b), P_k from Table 3; with one Θ and S = Â it is Â X Θ (eq. 8).

    Args:
        in_features: width of X.
        out_features: width of the output.
        propagation: a key of ``PROPAGATION_MODELS``.
        bias: whether to add b; the paper's formula and the released code have none.
        key: random key of the Glorot-uniform initial weights.
    """

    def __init__(
        self, in_features: int, out_features: int, propagation: str, bias: bool, key: Tensor
    ) -> None:
        super().__init__()
        self.propagation = PROPAGATION_MODELS[propagation]
        shape = (in_features, self.propagation.weights, out_features)
        limit = (6 / (in_features + out_features)) ** 0.5
        uniform = randomness.uniform(key, shape[0] * shape[1] * shape[2]).view(shape)
        self.theta = nn.Parameter((2 * uniform - 1) * limit)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, X: Features | Tensor, graph: Graph) -> Tensor:
        """Map ``(cols, in_features)`` to ``(rows, out_features)``."""
        XΘ = (X @ self.theta.flatten(1)).unflatten(-1, self.theta.shape[1:])
        out = self.propagation.apply(list(XΘ.unbind(-2)), graph)
        return out if self.bias is None else out + self.bias


class GCN(nn.Module):
    """Z = softmax(Â ReLU(Â X W0) W1) (eq. 9) with any propagation model and depth; returns the logits.

    Args:
        widths: feature width, hidden widths, number of classes.
        propagation: a key of ``PROPAGATION_MODELS``.
        dropout: one probability per layer, for the layer's input (0 for none).
        bias: see :class:`GraphConvolution`.
        residual: H ← act(Â H W) + H between hidden layers of equal width (Appendix B).
        seed: of the initial weights.
    """

    def __init__(
        self,
        widths: list[int],
        propagation: str = "renormalised",
        dropout: tuple[float, ...] = (0.5, 0.5),
        bias: bool = False,
        residual: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dropout, self.residual = dropout, residual
        self.layers = nn.ModuleList(
            GraphConvolution(a, b, propagation, bias, randomness.key(seed, f"glorot/{layer}"))
            for layer, (a, b) in enumerate(pairwise(widths))
        )

    def forward(self, X: Features, graphs: list[Graph], keys: Tensor | None = None) -> Tensor:
        """Return logits ``(rows of the last graph, classes)``.

        Args:
            X: features of the first graph's input nodes.
            graphs: one per layer; the output nodes of one are the input nodes of the next.
            keys: int64 ``(layers,)`` dropout keys; None evaluates without dropout.
        """
        H: Features | Tensor = X
        for i, (layer, graph) in enumerate(zip(self.layers, graphs, strict=True)):
            if keys is not None and self.dropout[i] > 0:
                H = drop(H, keys[i], self.dropout[i])
            out = layer(H, graph)
            if i == len(self.layers) - 1:
                break
            out = torch.relu(out)
            skip = self.residual and isinstance(H, Tensor)
            H = out + graph.own(H) if skip else out
        return out


def drop(H: Features | Tensor, key: Tensor, p: float) -> Features | Tensor:
    """Apply dropout with the mask that belongs to ``key``."""
    if isinstance(H, Features):
        return H.dropout(key, p)
    kept = randomness.keep_mask(key, H.shape[0] * H.shape[1], p).to(torch.float32)
    return H * (kept * randomness.keep_scale(p)).view(H.shape)
