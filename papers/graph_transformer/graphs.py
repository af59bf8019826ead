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
from papers.graph_transformer.model import Batch, Blocks, Edges, Task
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

    def batch(
        self, index: Tensor, block: int | None = None, *, edge_stream: bool = False
    ) -> tuple[Batch, Tensor]:
        """Return the graphs at ``index`` (G,) or (S, G), the largest first, and their targets.

        ``block``: how many pairs of nodes a block may have, unless it is one graph's; None for one block.
        ``edge_stream``: list the edges instead. Where there are S sets, row s of the index counts within the s-th.
        """
        if self.sets > 1:
            index = index + len(self) * torch.arange(self.sets, device=index.device).unsqueeze(-1)
        sizes = self.sizes[index]
        order = sizes.argsort(dim=-1, descending=True, stable=True)
        index, sizes = index.gather(-1, order), sizes.gather(-1, order)
        n = int(sizes.max())
        nodes = torch.arange(n, device=index.device) < sizes.unsqueeze(-1)
        *lead, G = index.shape
        kinds = self.edges[index][..., :n, :n]
        if self.full:
            others = ~torch.eye(n, dtype=torch.bool, device=index.device)
            links, kinds = nodes.unsqueeze(-1) & nodes.unsqueeze(-2) & others, torch.zeros_like(kinds)
        else:
            links = kinds > 0
        node = nodes.reshape(-1, G * n)

        def listed(x: Tensor, fill: int = 0) -> Tensor:
            """Return the nodes' entries of x (..., G, n, ...) below each other: (..., N, ...)."""
            rest = x.shape[len(lead) + 2 :]  # which may be 0, so that no other size can be left open
            found = _below(node, x.reshape(len(node), G * n, *rest), fill)
            return found.view(*lead, found.shape[1], *rest)

        place = torch.arange(G * n, device=index.device).view(G, n).expand(nodes.shape)
        batch = Batch(
            listed(self.tokens[index][..., :n]),
            _edges(links, kinds, nodes)
            if edge_stream
            else Blocks(listed(place, G * n), _blocks(links, sizes, block)),
            listed(nodes.float()),
            # The axis of the nodes is the last but one of eigenvectors and the last of roles.
            listed(self.encoding[index].narrow(index.dim(), 0, n)),
            listed(place // n),
            sizes,
        )
        targets = self.targets[index]
        return batch, listed(targets[..., :n], -1) if targets.dim() > index.dim() else targets


def _blocks(links: Tensor, sizes: Tensor, block: int | None) -> tuple[Tensor, ...]:
    """Return links (..., G, n, n) as floats in blocks of graphs, each cropped to its largest; see ``Graphs.batch``."""
    G, n = links.shape[-3], links.shape[-1]
    share = G if block is None else max(1, block // max(1, n**2))
    parts = zip(links.split(share, -3), sizes.split(share, -1), strict=True)
    return tuple(part[..., :m, :m].float() for part, own in parts for m in [int(own.max())])


def _edges(links: Tensor, kinds: Tensor, nodes: Tensor) -> Edges:
    """Return all edges of (..., G, n, n) as a list, nodes numbered through all graphs of a seed."""
    *lead, G, n = nodes.shape
    number = (nodes.reshape(-1, G * n).cumsum(1) - 1).view(-1, G, n)
    every = torch.ones_like(links).view(-1, G, n, n)
    pair = links.reshape(-1, G * n * n)

    def listed(x: Tensor) -> Tensor:
        return _below(pair, x.reshape(-1, G * n * n)).view(*lead, -1)

    return Edges(
        listed(number.unsqueeze(-1) * every),
        listed(number.unsqueeze(-2) * every),
        listed(every.float()),
        listed(kinds),
    )


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
