"""What several of the tests use."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from repro.data.planetoid import CitationGraph, RawCounts

SETTING = {
    "dataset": "cora",
    "model": "gat",
    "hidden": 4,
    "heads": 2,
    "output_heads": 1,
    "dropout": 0.6,
    "attention_dropout": 0.6,
    "projected_dropout": 0.0,
    "share_weights": True,
    "bias": True,
    "activation": "elu",
    "l2": 5e-4,
    "decay_on": "all",
    "learning_rate": 0.05,
    "epochs": 40,
    "early_stopping": "released_code",
    "patience": 3,
    "weights": "best",
    "labels": "true",
}


def toy(nodes: int = 60) -> CitationGraph:
    """Three groups that link within and share words."""
    draw = np.random.default_rng(0)
    labels = np.arange(nodes) % 3
    same = labels[:, None] == labels[None, :]
    A = np.triu(draw.random((nodes, nodes)) < np.where(same, 0.2, 0.02), 1)
    A = (A | A.T).astype(np.float32)
    A[0, 0] = 1
    X = (draw.random((nodes, 12)) < np.where(np.arange(12) % 3 == labels[:, None], 0.5, 0.1)).astype(
        np.float32
    )
    order = draw.permutation(nodes)
    parts = {"train": np.sort(order[:15]), "val": np.sort(order[15:35]), "test": np.sort(order[35:])}
    return CitationGraph(
        "toy",
        sp.csr_matrix(A),
        sp.csr_matrix(X),
        labels.astype(np.int64),
        **parts,
        num_classes=3,
        raw=RawCounts(0, 0, 0),
    )
