"""PATTERN and CLUSTER: graphs of stochastic block models by the published procedure.

Dwivedi et al., "Benchmarking graph neural networks" (arXiv:2003.00982), notebooks ``generate_SBM_*.ipynb``. The
notebooks set no seed, so that these graphs equal the released ones in distribution only.

Graph ``index`` of a split is a function of (set, seed, split, index) alone: the first hundred graphs are the same
whether a hundred or ten thousand are made. Random bits are those of the counter-based Philox generator, whose stream
numpy promises to keep.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from repro.errors import ReproError

SIZES = (5, 34)  # of a community or a pattern, both included
PATTERNS = 100  # pattern instances, shared by the splits


@dataclass(frozen=True)
class BlockModel:
    """How one of the two sets is drawn.

    Attributes:
        communities: number of communities, the pattern not counted.
        within, between: edge probability inside a community and across two.
        pattern: edge probability inside the pattern and from it to the rest; None where there is no pattern.
        counts: graphs per split.
        tokens: size of the node features' vocabulary.
        classes: number of node labels.
    """

    communities: int
    within: float
    between: float
    pattern: float | None
    counts: dict[str, int]
    tokens: int
    classes: int


MODELS = {
    "pattern": BlockModel(5, 0.5, 0.35, 0.5, {"train": 10000, "val": 2000, "test": 2000}, 3, 2),
    "cluster": BlockModel(6, 0.55, 0.25, None, {"train": 10000, "val": 1000, "test": 1000}, 7, 6),
}


@dataclass(frozen=True, eq=False)
class BlockGraph:
    """One graph.

    Attributes:
        adjacency: bool (n, n), symmetric, empty diagonal.
        features, labels: int64 (n,).
        communities: int64 (n,), each node's; of PATTERN's the pattern comes last.
    """

    adjacency: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    communities: np.ndarray


def _model(name: str) -> BlockModel:
    if name not in MODELS:
        raise ReproError(f"no set of block-model graphs is called {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


class _Stream:
    """The random numbers of one name, in the order in which they are asked for."""

    def __init__(self, *name: object) -> None:
        digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()[:16]
        self._philox = np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))

    def integers(self, low: int, high: int, n: int) -> np.ndarray:
        """Return ``n`` uniform integers from low to high, both included."""
        return low + ((self._philox.random_raw(n) >> 32) * (high - low + 1) >> 32).astype(np.int64)

    def permutation(self, n: int) -> np.ndarray:
        return self._philox.random_raw(n).argsort()

    def below(self, probability: np.ndarray) -> np.ndarray:
        """Return a bool array, True with the given probabilities (to 2^-16)."""
        lanes = self._philox.random_raw((probability.size + 3) // 4).view(np.uint16)[: probability.size]
        return lanes.reshape(probability.shape) < np.round(probability * 65536)


@lru_cache(maxsize=512)
def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions above the diagonal; each unordered pair is drawn once."""
    above = np.triu_indices(n, 1)
    return above[0], above[1]


def _symmetric(stream: _Stream, probability: np.ndarray) -> np.ndarray:
    """Draw a symmetric adjacency without self-loops from a matrix of probabilities."""
    A = np.zeros(probability.shape, dtype=bool)
    rows, cols = _pairs(len(A))
    A[rows, cols] = stream.below(probability[rows, cols])
    return A | A.T


@lru_cache(maxsize=2 * PATTERNS)
def _pattern(seed: int, instance: int, sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a pattern instance: its inner adjacency and its node features, drawn once for all its graphs."""
    model = MODELS["pattern"]
    stream = _Stream("pattern", seed, "instance", instance, *sizes)
    (size,) = stream.integers(*sizes, n=1)
    inner = _symmetric(stream, np.full((size, size), model.pattern))
    return inner, stream.integers(0, model.tokens - 1, size)


def graph(
    name: str,
    split: str,
    index: int,
    *,
    seed: int = 0,
    sizes: tuple[int, int] = SIZES,
    shared_patterns: bool = True,
) -> BlockGraph:
    """Return one graph.

    Args:
        name: ``pattern`` or ``cluster``.
        split: ``train``, ``val`` or ``test``.
        index: of the graph within the split; not bounded by the published number of graphs.
        seed: of the whole set.
        sizes: smallest and largest community; other than the published ones for larger or smaller graphs.
        shared_patterns: whether all splits of PATTERN have the same patterns, as published; else each has its own.

    Raises:
        ReproError: for an unknown set or split.
    """
    model = _model(name)
    if split not in model.counts:
        raise ReproError(f"{name} has no split {split!r}; there are {', '.join(model.counts)}")
    stream = _Stream(name, seed, split, index, *sizes)
    blocks = np.repeat(np.arange(model.communities), stream.integers(*sizes, n=model.communities))
    probability = np.full((model.communities + 1,) * 2, model.between)
    np.fill_diagonal(probability, model.within)
    if model.pattern is None:
        order = stream.permutation(len(blocks))
        labels = blocks[order]
        A = _symmetric(stream, probability[labels[:, None], labels])
        features = np.zeros(len(labels), dtype=np.int64)
        for community in range(model.communities):
            (chosen,) = stream.integers(0, int((labels == community).sum()) - 1, 1)
            features[np.flatnonzero(labels == community)[chosen]] = community + 1
        return BlockGraph(A, features, labels, labels)
    first = 0 if shared_patterns else PATTERNS * list(model.counts).index(split)
    inner, inner_features = _pattern(seed, first + index % PATTERNS, sizes)
    probability[-1] = probability[:, -1] = model.pattern
    blocks = np.concatenate([np.full(len(inner), model.communities), blocks])
    place = stream.permutation(len(blocks))  # of each node before shuffling
    shuffled = np.empty_like(blocks)
    shuffled[place] = blocks
    A = _symmetric(stream, probability[shuffled[:, None], shuffled])
    features = stream.integers(0, model.tokens - 1, len(blocks))
    at = place[: len(inner)]
    A[np.ix_(at, at)] = inner
    features[at] = inner_features
    return BlockGraph(A, features, (shuffled == model.communities).astype(np.int64), shuffled)


def graphs(
    name: str,
    split: str,
    count: int | None = None,
    *,
    seed: int = 0,
    sizes: tuple[int, int] = SIZES,
    shared_patterns: bool = True,
) -> list[BlockGraph]:
    """Return the first ``count`` graphs of a split; all of them if None. See :func:`graph`."""
    published = _model(name).counts.get(split, 0)
    return [
        graph(name, split, index, seed=seed, sizes=sizes, shared_patterns=shared_patterns)
        for index in range(published if count is None else count)
    ]


def write(name: str, folder: Path) -> None:
    """Write all splits to ``folder``, one npz each, the upper triangles as bits: a stage of ``dvc.yaml``.

    Keys: ``n`` nodes per graph; ``features``, ``labels`` of all nodes in turn; ``edges`` the bits above the diagonal,
    row by row, of all graphs in turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split in _model(name).counts:
        made = graphs(name, split)
        bits = np.concatenate([g.adjacency[_pairs(len(g.labels))] for g in made])
        np.savez(
            folder / f"{split}.npz",
            n=np.array([len(g.labels) for g in made], dtype=np.uint8),
            features=np.concatenate([g.features for g in made]).astype(np.uint8),
            labels=np.concatenate([g.labels for g in made]).astype(np.uint8),
            edges=np.packbits(bits),
        )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python -m repro.data.sbm {'|'.join(MODELS)} FOLDER")
    write(sys.argv[1], Path(sys.argv[2]))
