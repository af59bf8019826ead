"""Sets of small graphs as padded tensors, and the batches that the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from papers.graph_transformer.encodings import cached_eigenvectors, wl_roles
from papers.graph_transformer.model import Batch, Edges, Task
from repro import randomness
from repro.data import sbm, zinc

TASKS = {
    "zinc": Task(tokens=zinc.ATOMS, bonds=zinc.BONDS + 1, out=1, roles=37, graph_level=True),
    **{
        name: Task(tokens=model.tokens, bonds=0, out=model.classes, roles=100, graph_level=False)
        for name, model in sbm.MODELS.items()
    },
}


@dataclass(frozen=True, eq=False)
class Graphs:
    """G graphs, padded to N nodes, or S sets of G graphs one after the other.

    Attributes:
        tokens: int64 (G, N).
        edges: uint8 (G, N, N), 0 for no edge, else the edge's type.
        sizes: int64 (G,).
        targets: int64 (G, N), -1 on padding, or float (G,).
        encoding: float (G, N, k), int64 (G, N), or float (G, N, 0).
        full: whether all pairs of different nodes attend to each other and all edge types are 0.
        sets: S, where each seed has graphs of its own; 1 where all seeds share them.
    """

    tokens: Tensor
    edges: Tensor
    sizes: Tensor
    targets: Tensor
    encoding: Tensor
    full: bool
    sets: int = 1

    def __len__(self) -> int:
        """Return G."""
        return len(self.sizes) // self.sets

    @property
    def mean_edges(self) -> float:
        """How many neighbours all nodes of a graph have together, on average."""
        sizes = self.sizes.double()
        each = sizes * (sizes - 1) if self.full else (self.edges > 0).flatten(1).sum(1).double()
        return float(each.mean())

    def to(self, device: str) -> Graphs:
        """Return the same on a device."""
        return replace(
            self, **{name: x.to(device) for name, x in vars(self).items() if isinstance(x, Tensor)}
        )

    def batch(self, index: Tensor, blocks: int = 1, *, edge_stream: bool = False) -> tuple[Batch, Tensor]:
        """Return the graphs at ``index`` (B,) or (S, B) and their targets, the largest first, cropped to its size.

        ``blocks``: into how many blocks of similar size the pairs are divided. ``edge_stream``: as one graph, and its
        edges listed. Where there are S sets, row s of the index counts within the s-th.
        """
        if self.sets > 1:
            index = index + len(self) * torch.arange(self.sets, device=index.device).unsqueeze(-1)
        sizes = self.sizes[index]
        order = sizes.argsort(dim=-1, descending=True, stable=True)
        index, sizes = index.gather(-1, order), sizes.gather(-1, order)
        n = int(sizes.max())
        nodes = torch.arange(n, device=index.device) < sizes.unsqueeze(-1)
        edges = self.edges[index][..., :n, :n]
        if self.full:
            apart = ~torch.eye(n, dtype=torch.bool, device=index.device)
            pairs, edges = nodes.unsqueeze(-1) & nodes.unsqueeze(-2) & apart, torch.zeros_like(edges)
        else:
            pairs = edges > 0
        targets = self.targets[index]
        if targets.dim() > index.dim():
            targets = targets[..., :n]
        tokens = self.tokens[index][..., :n]
        # The axis of the nodes is the last but one of eigenvectors and the last of roles.
        encoding = self.encoding[index].narrow(index.dim(), 0, n)
        if edge_stream:
            return _as_one(tokens, pairs, edges, nodes, encoding, sizes, targets)
        if int(sizes.min()) == n:
            blocks = 1  # nothing is padded
        share = -(-index.shape[-1] // blocks)
        parts = zip(pairs.split(share, index.dim() - 1), sizes.split(share, -1), strict=True)
        graph = torch.arange(index.shape[-1], device=index.device).unsqueeze(-1).expand(nodes.shape)
        batch = Batch(tokens, tuple(_block(*part) for part in parts), nodes.float(), encoding, graph, sizes)
        return batch, targets


def _block(pairs: Tensor, sizes: Tensor) -> Tensor:
    """Return pairs (..., b, n, n) as floats, cropped to the largest of the block's graphs."""
    m = int(sizes.max())
    return pairs[..., :m, :m].float()


def _as_one(
    tokens: Tensor,
    pairs: Tensor,
    kinds: Tensor,
    nodes: Tensor,
    encoding: Tensor,
    sizes: Tensor,
    targets: Tensor,
) -> tuple[Batch, Tensor]:
    """Return padded graphs, (B, n) or (S, B, n), as one graph each seed: its nodes and edges below each other."""
    *lead, B, n = nodes.shape
    node, pair = nodes.reshape(-1, B * n), pairs.reshape(-1, B * n * n)
    number = (node.cumsum(1) - 1).view(-1, B, n)
    every = torch.ones_like(pairs).view(-1, B, n, n)

    def of_nodes(x: Tensor, fill: int = 0) -> Tensor:
        rest = x.shape[len(lead) + 2 :]  # which may be 0, so that no other size can be left open
        found = _below(node, x.reshape(len(node), B * n, *rest), fill)
        return found.view(*lead, 1, found.shape[1], *rest)

    def of_edges(x: Tensor) -> Tensor:
        return _below(pair, x.reshape(-1, B * n * n)).view(*lead, -1)

    edges = Edges(
        of_edges(number.unsqueeze(-1) * every),
        of_edges(number.unsqueeze(-2) * every),
        of_edges(every.float()),
        of_edges(kinds),
    )
    graph = torch.arange(B, device=nodes.device).unsqueeze(-1).expand(nodes.shape)
    batch = Batch(
        of_nodes(tokens), edges, of_nodes(nodes.float()), of_nodes(encoding), of_nodes(graph), sizes
    )
    return batch, targets if targets.is_floating_point() else of_nodes(targets, -1)


def _below(there: Tensor, values: Tensor, fill: int = 0) -> Tensor:
    """Return what is ``there`` (S, K) of values (S, K, ...), each seed's from its first place on, then ``fill``."""
    seed, at = there.nonzero().unbind(1)
    place = (there.cumsum(1) - 1)[seed, at]
    out = values.new_full((len(there), int(there.sum(1).max()), *values.shape[2:]), fill)
    out[seed, place] = values[seed, at]
    return out


def pad(
    tokens: Sequence[np.ndarray],
    edges: Sequence[np.ndarray],
    targets: Sequence[np.ndarray] | Sequence[float],
    encodings: Sequence[np.ndarray] | None,
    full: bool,
) -> Graphs:
    """Return graphs given one by one, as arrays of their own size, as one padded set."""
    sizes = [len(t) for t in tokens]
    count, n = len(sizes), max(sizes)
    node = np.zeros((count, n), dtype=np.int64)
    pair = np.zeros((count, n, n), dtype=np.uint8)
    graph_level = np.ndim(targets[0]) == 0
    label = np.asarray(targets, dtype=np.float32) if graph_level else np.full((count, n), -1, dtype=np.int64)
    width = () if encodings is None else encodings[0].shape[1:]
    kind = np.float32 if encodings is None else encodings[0].dtype
    code = np.zeros((count, n, *((0,) if encodings is None else width)), dtype=kind)
    for g, size in enumerate(sizes):
        node[g, :size] = tokens[g]
        pair[g, :size, :size] = edges[g]
        if not graph_level:
            label[g, :size] = targets[g]
        if encodings is not None:
            code[g, :size] = encodings[g]
    return Graphs(*map(torch.from_numpy, (node, pair, np.asarray(sizes), label, code)), full)


def join(sets: Sequence[Graphs]) -> Graphs:
    """Return one set per seed as one, padded alike; all have the same number of graphs."""
    n = max(part.tokens.shape[1] for part in sets)

    def padded(name: str, axes: int, value: int = 0) -> Tensor:
        parts = [getattr(part, name) for part in sets]
        rest = (0, 0) * (parts[0].dim() - 1 - axes)
        return torch.cat([functional.pad(x, rest + (0, n - x.shape[1]) * axes, value=value) for x in parts])

    return Graphs(
        padded("tokens", 1),
        padded("edges", 2),
        torch.cat([part.sizes for part in sets]),
        padded("targets", 1, -1),
        padded("encoding", 1),
        sets[0].full,
        len(sets),
    )


def with_arbitrary_signs(graphs: Graphs, seed: int, part: str) -> Graphs:
    """Return the same with a random sign per graph and eigenvector, as a solver without a convention leaves them."""
    G, _, k = graphs.encoding.shape
    bits = randomness.uniform(randomness.key(seed, f"solver/{part}"), G * k).view(G, 1, k) < 0.5
    return replace(graphs, encoding=torch.where(bits, -graphs.encoding, graphs.encoding))


def encode(
    adjacencies: Sequence[np.ndarray], encoding: str, eigenvectors: int, cache: Path
) -> list[np.ndarray] | None:
    """Return the positional encodings of some graphs; None for ``none``."""
    if encoding == "laplacian":
        return cached_eigenvectors(adjacencies, eigenvectors, cache)
    return [wl_roles(A) for A in adjacencies] if encoding == "wl" else None


def load(
    dataset: str,
    split: str,
    count: int,
    *,
    full: bool,
    encoding: str,
    eigenvectors: int,
    root: Path,
    sizes: tuple[int, int] = sbm.SIZES,
    seed: int = 0,
    sign: str = "canonical",
    shared_patterns: bool = True,
) -> Graphs:
    """Return the first ``count`` graphs of a split of ``zinc``, ``pattern`` or ``cluster``; 0 for all of them.

    Eigenvectors are computed once and kept in the project's ``.cache`` folder. They are those of the graph itself, also
    where attention is full.

    Args:
        dataset, split: which.
        count: how many graphs.
        full, encoding, eigenvectors: see :class:`Graphs` and :func:`encode`.
        root: the project's folder.
        sizes: smallest and largest community of block-model graphs.
        seed: of the block-model graphs.
        sign: ``canonical`` for :func:`encodings.with_sign`, ``arbitrary`` for :func:`with_arbitrary_signs`.
        shared_patterns: see :func:`sbm.graph`.
    """
    cache = root / ".cache" / "laplacian"
    drawn: list[tuple[np.ndarray, np.ndarray, Any]]
    if dataset == "zinc":
        drawn = [(m.atoms, m.bonds, m.target) for m in zinc.load(split, count or None, root)]
    else:
        made = sbm.graphs(
            dataset, split, count or None, seed=seed, sizes=sizes, shared_patterns=shared_patterns
        )
        drawn = [(g.features, g.adjacency, g.labels) for g in made]
    tokens, edges, targets = zip(*drawn, strict=True)
    graphs = pad(tokens, edges, targets, encode([E > 0 for E in edges], encoding, eigenvectors, cache), full)
    arbitrary = encoding == "laplacian" and sign == "arbitrary"
    return with_arbitrary_signs(graphs, seed, split) if arbitrary else graphs
