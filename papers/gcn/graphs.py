"""From a citation graph to what the layers multiply with: X, S, and the nodes that a prediction needs."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import eigsh

from papers.gcn.model import Features, Graph
from repro.nn.sparse import SparseMatrix

# Chebyshev filters reach up to six hops, which is nearly the whole graph: no use in selecting nodes.
_REACHES_ONE_HOP = {"renormalised", "first_order", "first_order_only", "single_parameter", "mlp"}


def normalise_features(X: sp.csr_matrix, how: str) -> sp.csr_matrix:
    """Return the features as a model sees them.

    Args:
        X: raw features ``(nodes, features)``.
        how: ``row`` divides each row by its sum and leaves zero rows zero, as the released code does;
            ``none`` leaves X as it is; ``clamped`` divides by at least 1, as PyG's ``NormalizeFeatures``
            does.
    """
    if how == "none":
        return X
    sums = np.asarray(X.sum(axis=1)).ravel()
    sums = np.maximum(sums, 1.0) if how == "clamped" else np.where(sums == 0, 1.0, sums)
    return sp.csr_matrix(sp.diags(1.0 / sums) @ X)


def _degree_scaled(A: sp.csr_matrix) -> sp.csr_matrix:
    """D^-1/2 A D^-1/2; a node without edges gets a zero row."""
    degree = np.asarray(A.sum(axis=1)).ravel()
    scale = sp.diags(np.where(degree > 0, degree, np.inf) ** -0.5)
    return sp.csr_matrix(scale @ A @ scale)


def propagation_matrix(A: sp.csr_matrix, kind: str) -> sp.csr_matrix:
    """Return S for an adjacency ``A`` ``(nodes, nodes)``.

    ``normalised`` is D^-1/2 A D^-1/2; ``renormalised`` the same of Ã = A + I (eq. 8), a listed self-loop
    counting once more; ``laplacian`` is L̃ = 2 L / λ_max - I with L = I - D^-1/2 A D^-1/2 (eq. 5).
    """
    identity = sp.identity(A.shape[0], format="csr")
    if kind == "renormalised":
        return _degree_scaled(A + identity)
    normalised = _degree_scaled(A)
    if kind == "normalised":
        return normalised
    laplacian = identity - normalised
    # A fixed start vector makes ARPACK repeatable.
    largest = eigsh(laplacian, k=1, which="LM", v0=np.ones(A.shape[0]), return_eigenvectors=False)[0]
    return sp.csr_matrix(2 / largest * laplacian - identity)


def prepare(
    S: sp.csr_matrix,
    X: sp.csr_matrix | None,
    propagation: str,
    layers: int,
    targets: np.ndarray | None,
    device: str = "cpu",
) -> tuple[Features, list[Graph]]:
    """Return the features and per-layer graphs that predict ``targets``, and nothing more.

    A node outside the receptive field of the targets influences neither their logits nor any gradient, so it
    is left out. Without dropout the result is the same; dropout draws its masks for what is kept.

    Args:
        S: propagation matrix ``(nodes, nodes)``.
        X: features ``(nodes, features)``; None for the identity, which needs all nodes as targets.
        propagation: a key of ``PROPAGATION_MODELS``.
        layers: depth of the network.
        targets: nodes to predict, in the order of the logits' rows; None for all nodes in their own order.
        device: where the tensors live.
    """
    if targets is None or X is None or propagation not in _REACHES_ONE_HOP:
        graph = Graph(SparseMatrix.from_scipy(S, device))
        last = graph if targets is None else Graph(graph.S, torch.as_tensor(targets, device=device))
        features = Features(None if X is None else SparseMatrix.from_scipy(X, device), S.shape[0])
        return features, [graph] * (layers - 1) + [last]
    graphs: list[Graph] = []
    rows = targets
    for _ in range(layers):
        cols = rows if propagation == "mlp" else np.union1d(rows, S[rows].indices)
        position = np.zeros(S.shape[0], dtype=np.int64)
        position[cols] = np.arange(len(cols))
        S_layer = SparseMatrix.from_scipy(S[rows][:, cols], device)
        graphs.insert(0, Graph(S_layer, torch.as_tensor(position[rows], device=device)))
        rows = cols
    return Features(SparseMatrix.from_scipy(X[rows], device), len(rows)), graphs


def dropout_per_layer(
    layers: int, dropout: float, everywhere: bool, on_input: bool = True
) -> tuple[float, ...]:
    """Dropout on every layer's input, or (Appendix B) on the first and last layer's only."""
    p = [dropout if everywhere or i in (0, layers - 1) else 0.0 for i in range(layers)]
    if not on_input:
        p[0] = 0.0
    return tuple(p)
