"""Parts of training a network on one graph: row-normalised features, the nodes a prediction needs, its score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


def row_normalised(X: sp.csr_matrix) -> sp.csr_matrix:
    """Divide each row of ``(nodes, features)`` by its sum; a row of zeros stays."""
    sums = np.asarray(X.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags(1.0 / np.where(sums == 0, 1.0, sums)) @ X)


def receptive_field(
    A: sp.csr_matrix, targets: np.ndarray, layers: int
) -> tuple[np.ndarray, list[tuple[sp.csr_matrix, np.ndarray]]]:
    """Return the nodes that ``layers`` of message passing need to predict ``targets``, and nothing more.

    What lies outside influences neither the predictions nor any gradient. Without dropout the result is that of the
    whole graph; dropout draws its masks for what is kept.

    Args:
        A: ``(nodes, nodes)``, entry (i, j) for a message j → i.
        targets: nodes to predict.
        layers: how many times messages are passed.

    Returns:
        The input nodes, and for each layer its part of ``A`` ``(outputs, inputs)`` and the outputs' positions
        among the inputs.
    """
    parts: list[tuple[sp.csr_matrix, np.ndarray]] = []
    rows = targets
    for _ in range(layers):
        cols = np.union1d(rows, A[rows].indices)
        parts.insert(0, (sp.csr_matrix(A[rows][:, cols]), np.searchsorted(cols, rows)))
        rows = cols
    return rows, parts


@dataclass(eq=False)
class Targets:
    """The true classes of S seeds' target nodes, ``(S, nodes)``: a seed may see labels of its own."""

    labels: Tensor

    def select(self, index: Tensor) -> Targets:
        """Return the same for the seeds at ``index``."""
        return Targets(self.labels[index])

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy ``(S,)`` of logits ``(S, nodes, classes)``."""
        log_p = torch.log_softmax(logits, dim=-1).gather(-1, self.labels.unsqueeze(-1)).squeeze(-1)
        return -log_p.mean(-1)

    def accuracy(self, logits: Tensor) -> Tensor:
        """Share of right predictions ``(S,)`` in %, float64."""
        return 100.0 * (logits.argmax(-1) == self.labels).double().mean(-1)
