"""Positional encodings: Laplacian eigenvectors (Section 2.2) and Weisfeiler-Lehman roles (Section 3)."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.linalg import eigh

from repro.errors import ReproError

ENCODINGS = ("none", "laplacian", "wl")
WL_ROLES = 100  # of block-model graphs; the released code has 37 for ZINC


def laplacian(adjacency: np.ndarray) -> np.ndarray:
    """Return L = I - D^-1/2 A D^-1/2, float64 (n, n); a node without edges counts as having one, as in the code."""
    A = np.asarray(adjacency, dtype=np.float64)
    scale = np.maximum(A.sum(1), 1) ** -0.5
    return np.eye(len(A)) - scale[:, None] * A * scale


def with_sign(vectors: np.ndarray) -> np.ndarray:
    """Return each column with the sign that makes its largest entry positive, the first such entry if several are.

    An eigenvector's sign is arbitrary; this makes it a function of the graph, so that runs on other machines agree.
    """
    size = np.abs(vectors)
    first = (size >= size.max(0, keepdims=True) * (1 - 1e-6)).argmax(0)
    sign = np.sign(np.take_along_axis(vectors, first[None], 0))
    return vectors * np.where(sign == 0, 1, sign)


def laplacian_eigenvectors(adjacency: np.ndarray, k: int) -> np.ndarray:
    """Return eigenvectors 2 to k + 1 of L by ascending eigenvalue, float64 (n, k), with :func:`with_sign`.

    Where eigenvalues repeat (0 does in a disconnected graph) the basis of their space is whatever LAPACK returns.

    Raises:
        ReproError: if the graph has fewer than k + 1 nodes.
    """
    n = len(adjacency)
    if k + 1 > n:
        raise ReproError(
            f"{k} eigenvectors after the first were asked of a graph with {n} nodes, which has {n - 1}; "
            "set `eigenvectors` lower or leave out such graphs"
        )
    if k == 0:
        return np.zeros((n, 0))
    return with_sign(eigh(laplacian(adjacency), subset_by_index=[1, k])[1])


def community_share(vectors: np.ndarray, communities: np.ndarray) -> np.ndarray:
    """Return how much of each column's variance (n, k) lies between communities, (k,).

    0 says that a vector knows nothing of the communities (n,), 1 that it is constant on each.
    """
    share = np.bincount(communities) / len(communities)
    means = np.stack([vectors[communities == c].mean(0) for c in range(len(share))])
    return share @ np.square(means - vectors.mean(0)) / vectors.var(0)


def cached_eigenvectors(adjacencies: Sequence[np.ndarray], k: int, folder: Path) -> list[np.ndarray]:
    """Return :func:`laplacian_eigenvectors` of each graph, read from ``folder`` if they were computed before.

    The file's name is a hash of the graphs and k, so that no graph ever gets another one's eigenvectors.
    """
    digest = hashlib.sha256(f"{k}".encode())
    for A in adjacencies:
        digest.update(len(A).to_bytes(4, "little") + np.packbits(np.asarray(A, dtype=bool)).tobytes())
    path = folder / f"{digest.hexdigest()[:24]}.npy"
    ends = np.cumsum([len(A) for A in adjacencies])[:-1]
    if not path.is_file():
        rows = [laplacian_eigenvectors(A, k) for A in adjacencies]
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            np.save(file, np.concatenate(rows).astype(np.float32))
        os.replace(temporary, path)
    return np.split(np.load(path, allow_pickle=False), ends)


@lru_cache(maxsize=1024)
def _colour(degree: int) -> str:
    """What the released code hashes for a node whose own colour and whose neighbours' colours are all 1."""
    return hashlib.md5("_".join(["1"] * (degree + 1)).encode(), usedforsecurity=False).hexdigest()


def wl_roles(adjacency: np.ndarray) -> np.ndarray:
    """Return WL roles int64 (n,), counted from 1, as the released code assigns them.

    It counts two iterations but keeps the colours of one: nodes of equal degree share a role, and roles are numbered
    within each graph by the order of their colours' md5, which has no relation to the degree.
    """
    degrees = np.asarray(adjacency, dtype=bool).sum(1)
    order = {degree: r + 1 for r, degree in enumerate(sorted(set(degrees.tolist()), key=_colour))}
    return np.array([order[degree] for degree in degrees.tolist()], dtype=np.int64)
