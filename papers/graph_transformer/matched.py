"""Larger graphs thinned until their eigenvectors are to a node's neighbours what those trained on were.

An eigenvector v of L = I - D^-1/2 A D^-1/2 with eigenvalue λ has Σ_j A_ij v_j / √(d_i d_j) = (1 - λ) v_i: a mean over
neighbours gives a node's own entry back, 1 - λ times, and the degree with it. In random graphs of density p the first
eigenvectors have 1 - λ of about 2 √((1 - p) / (n p)), twice the relative spread of degrees. As graphs grow at one
density it falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from papers.graph_transformer.encodings import community_share
from papers.graph_transformer.experiments import errors_of_trained, peak_bytes, sized
from papers.graph_transformer.graphs import Graphs, encode, pad
from papers.graph_transformer.training import TOGETHER
from repro import randomness
from repro.context import Context
from repro.data import sbm

Rows = Iterator[tuple[int, list[dict[str, float]]]]


def density(graphs: Graphs) -> float:
    """Return the share of pairs of nodes that have an edge."""
    pairs = graphs.sizes.double() * (graphs.sizes - 1)
    return float((graphs.edges > 0).sum() / pairs.sum())


def kept_share(p: float, factor: int) -> float:
    """Return q such that graphs ``factor`` times larger, of density p q, have the 1 - λ of those of density p.

    (1 - p q) / (factor n p q) = (1 - p) / (n p).
    """
    return 1 / (factor * (1 - p) + p)


def drawn(setting: Mapping[str, Any], seed: int, factor: int) -> list[sbm.BlockGraph]:
    """Return a seed's test graphs, their communities ``factor`` times as large: those of ``size_transfer``."""
    return sbm.graphs(
        setting["dataset"],
        "test",
        setting["test"],
        seed=seed,
        sizes=(factor * setting["smallest_community"], factor * setting["largest_community"]),
        shared_patterns=False,
    )


def matched(
    made: Sequence[sbm.BlockGraph],
    setting: Mapping[str, Any],
    seed: int,
    factor: int,
    share: float,
    root: Path,
) -> Graphs:
    """Return what :func:`drawn` made with a share of its edges; eigenvectors are those of what is left, times √n."""
    left = []
    for i, g in enumerate(made):
        n = len(g.labels)
        draws = randomness.uniform(randomness.key(seed, f"matched/{factor}", i), n * n).view(n, n)
        A = g.adjacency & (draws < share).triu(1).numpy()
        left.append((A | A.T).astype(np.uint8))
    cache = root / ".cache" / "laplacian"
    code = encode([A > 0 for A in left], "laplacian", setting["eigenvectors"], cache)
    graphs = pad([g.features for g in made], left, [g.labels for g in made], code, full=False)
    return replace(graphs, encoding=graphs.encoding * graphs.sizes.float().sqrt().view(-1, 1, 1))


def likeness(graphs: Graphs) -> float:
    """Return 1 - λ of the first eigenvector that is given, averaged over graphs."""
    A, v = (graphs.edges > 0).float(), graphs.encoding[..., :1]
    scale = A.sum(-1, keepdim=True).clamp(min=1).rsqrt()
    return float(((v * scale * (A @ (scale * v))).sum((1, 2)) / v.square().sum((1, 2))).mean())


def content(graphs: Graphs, communities: Sequence[np.ndarray]) -> float:
    """Return the share of the first eigenvector's variance that lies between communities, averaged over graphs."""
    own = [graphs.encoding[i, :n, :1].numpy() for i, n in enumerate(graphs.sizes.tolist())]
    return float(np.mean([community_share(v, c) for v, c in zip(own, communities, strict=True)]))


def size_matched(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """PATTERN: train as for ``size_transfer``, test on larger graphs as they are and thinned to the training's 1 - λ.

    A row is a factor of the communities' sizes, with the :func:`likeness` and :func:`content` of both kinds of graphs.
    """
    factors = [2**i for i in range(setting["largest_factor"].bit_length())]
    nodes = 6 * factors[-1] * setting["largest_community"]
    need = peak_bytes(setting, nodes, nodes**2) + 2 * setting["test"] * nodes**2
    for chunk in context.chunks(seeds, need, largest=TOGETHER):
        shares = [density(sized(setting, "train", seed, 1, context.root)) for seed in chunk]
        for errors, at in errors_of_trained(setting, chunk, 1, context, context.work):
            rows: dict[int, list[dict[str, float]]] = {i: [{"size": f} for f in factors] for i in at}
            for place, f in enumerate(factors):
                whole = [sized(setting, "test", seed, f, context.root) for seed in chunk]
                made = [drawn(setting, seed, f) for seed in chunk]
                thinned = [
                    matched(own, setting, seed, f, kept_share(p, f), context.root)
                    for own, seed, p in zip(made, chunk, shares, strict=True)
                ]
                for name, graphs in (("whole", whole), ("matched", thinned)):
                    for i, error in zip(at, errors(graphs), strict=True):
                        rows[i][place][f"{name}_error"] = error
                        rows[i][place][f"{name}_likeness"] = likeness(graphs[i])
                        rows[i][place][f"{name}_content"] = content(
                            graphs[i], [g.communities for g in made[i]]
                        )
            for i in at:
                yield chunk[i], rows[i]
