"""Cora, Citeseer and Pubmed with the Planetoid split (Yang, Cohen and Salakhutdinov, 2016), as the files say.

The graph is binary and symmetric without duplicates, self-loops are kept as listed and features are raw:
papers differ in what they do next, so each does it in the open. A set consists of `ind.NAME.*`:

- `x`, `y`: features and one-hot labels of the training nodes, the first rows of
- `allx`, `ally`: those of all nodes but the test nodes;
- `tx`, `ty`: those of the test nodes, row k belonging to the node on line k of `test.index`;
- `graph`: neighbour lists, with duplicates and self-loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from repro.data.fetch import require
from repro.data.pointers import find_root, get_pointer, read_checked
from repro.data.unpickle import load as unpickle
from repro.errors import DataCorrupt, DataUnavailable

NAMES = ("cora", "citeseer", "pubmed")

_VALIDATION_NODES = 500


@dataclass(frozen=True)
class RawCounts:
    """Counts on the neighbour lists as printed: endpoints - duplicates - self_loop_nodes = 2 x edges."""

    endpoints: int
    duplicates: int
    self_loop_nodes: int


@dataclass(frozen=True, eq=False)
class CitationGraph:
    """One graph with the Planetoid split; N nodes, F features, C classes.

    adjacency: csr (N, N) float32, binary and symmetric; diagonal 1 where a node lists itself
    features: csr (N, F) float32, raw
    labels: (N,) int64, -1 where the files state none
    train, val, test: node numbers, int64, ascending
    """

    name: str
    adjacency: sp.csr_matrix
    features: sp.csr_matrix
    labels: np.ndarray
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    num_classes: int
    raw: RawCounts

    @property
    def num_nodes(self) -> int:
        """N, the nodes without features or labels included."""
        return self.adjacency.shape[0]

    @property
    def num_edges(self) -> int:
        """Unique undirected edges, self-loops not counted."""
        return int(self.adjacency.nnz - np.count_nonzero(self.adjacency.diagonal())) // 2


def load(name: str, root: Path | None = None) -> CitationGraph:
    """Read `cora`, `citeseer` or `pubmed`; `root` is the project's folder (default: the one around us).

    Citeseer's 15 nodes that are missing from `test.index` have no features, no label and no place in the
    split, but they keep their neighbours. Raises `DataUnavailable` or `DataCorrupt`, naming the file.
    """
    if name not in NAMES:
        raise DataUnavailable(f"no Planetoid graph called {name!r}: choose from {', '.join(NAMES)}")
    parts = Parts("planetoid", name, root)
    ally = parts.dense("ally")
    if len(ally) != parts.known_nodes:
        raise DataCorrupt(f"{parts.file('ally')}: {len(ally)} rows, but allx has {parts.known_nodes}")
    last = max(int(parts.test_index.max()), max(parts.graph, default=0))
    nodes = last + 1
    labels = np.full(nodes, -1, dtype=np.int64)
    labels[: len(ally)] = class_of(ally)
    labels[parts.test_index] = parts.test_labels()
    adjacency, raw = parts.adjacency(nodes)
    train, val, test = parts.split()
    return CitationGraph(name, adjacency, parts.features(nodes), labels, train, val, test, ally.shape[1], raw)


def class_of(one_hot: np.ndarray) -> np.ndarray:
    """Classes (N,) of one-hot rows (N, C); -1 for a row without a 1, where argmax would say class 0."""
    return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)


class Parts:
    """The files of one `ind.NAME.*` set, each checked against the pointer; for all loaders of this format.

    Raises `DataUnavailable` or `DataCorrupt`, naming the file.
    """

    def __init__(self, data_set: str, name: str, root: Path | None) -> None:
        root = root or find_root()
        self.name = name
        self.folder = require(data_set, root)
        self.md5 = {file.path: file.md5 for file in get_pointer(data_set, root).files}
        self.allx = self.sparse("allx")
        graph = unpickle(self.file("graph"), self._md5_of("graph"))
        if not isinstance(graph, dict):
            raise DataCorrupt(f"{self.file('graph')}: neighbour lists were expected")
        self.graph = graph
        self.test_index = self._test_index()

    def _test_index(self) -> np.ndarray:
        file = self.file("test.index")
        lines = read_checked(file, self._md5_of("test.index")).split()
        try:
            index = np.array([int(line) for line in lines], dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise DataCorrupt(f"{file}: one node number a line was expected ({error})") from error
        if not len(index) or len(np.unique(index)) != len(index) or index.min() < self.known_nodes:
            raise DataCorrupt(
                f"{file}: the test nodes must be distinct and follow the {self.known_nodes} nodes of allx"
            )
        return index

    def file(self, part: str) -> Path:
        """The path of one part, such as `allx`."""
        return self.folder / f"ind.{self.name}.{part}"

    def _md5_of(self, part: str) -> str:
        try:
            return self.md5[self.file(part).name]
        except KeyError:
            raise DataUnavailable(
                f"{self.file(part)}: the pointer {self.folder}.dvc lists no such file with its md5"
            ) from None

    def sparse(self, part: str) -> sp.csr_matrix:
        """One part as a csr matrix."""
        value = unpickle(self.file(part), self._md5_of(part))
        if not sp.issparse(value):
            raise DataCorrupt(f"{self.file(part)}: a sparse matrix was expected")
        return value

    def dense(self, part: str) -> np.ndarray:
        """One part as a two-dimensional array."""
        value = unpickle(self.file(part), self._md5_of(part))
        if not isinstance(value, np.ndarray) or value.ndim != 2:
            raise DataCorrupt(f"{self.file(part)}: a two-dimensional array was expected")
        return value

    @property
    def known_nodes(self) -> int:
        """How many nodes `allx` describes: they come first."""
        return self.allx.shape[0]

    def test_labels(self) -> np.ndarray:
        """Classes of the test nodes, in the order of `test_index`."""
        ty = self.dense("ty")
        if len(ty) != len(self.test_index):
            raise DataCorrupt(
                f"{self.file('ty')}: {len(ty)} rows, but test.index has {len(self.test_index)} lines"
            )
        return class_of(ty)

    def features(self, nodes: int) -> sp.csr_matrix:
        """Raw features (nodes, F), float32: `allx`; row k of `tx` at the node on line k of `test.index`."""
        tx = self.sparse("tx").tocoo()
        if tx.shape != (len(self.test_index), self.allx.shape[1]):
            raise DataCorrupt(
                f"{self.file('tx')}: shape {tx.shape}, but test.index has {len(self.test_index)} lines and "
                f"allx {self.allx.shape[1]} columns"
            )
        allx = self.allx.tocoo()
        row = np.concatenate([allx.row, self.test_index[tx.row]])
        col = np.concatenate([allx.col, tx.col])
        value = np.concatenate([allx.data, tx.data]).astype(np.float32)
        features = sp.csr_matrix((value, (row, col)), shape=(nodes, self.allx.shape[1]))
        features.sort_indices()
        return features

    def adjacency(self, nodes: int) -> tuple[sp.csr_matrix, RawCounts]:
        """The binary symmetric adjacency (nodes, nodes), float32, and the counts on the lists as they are."""
        lengths = [len(near) for near in self.graph.values()]
        row = np.repeat(np.fromiter(self.graph, np.int64, len(self.graph)), lengths)
        col = np.fromiter((node for near in self.graph.values() for node in near), np.int64, sum(lengths))
        if len(row) and (min(row.min(), col.min()) < 0 or max(row.max(), col.max()) >= nodes):
            raise DataCorrupt(f"{self.file('graph')}: a node number outside 0..{nodes - 1}")
        listed = np.unique(row * nodes + col)
        loops = int(np.count_nonzero(listed // nodes == listed % nodes))
        raw = RawCounts(len(row), len(row) - len(listed), loops)
        both = np.union1d(listed, (listed % nodes) * nodes + listed // nodes)
        ones = np.ones(len(both), dtype=np.float32)
        return sp.csr_matrix((ones, (both // nodes, both % nodes)), shape=(nodes, nodes)), raw

    def split(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The Planetoid split: the rows of `y`, the next 500 nodes, the nodes of `test.index`."""
        labelled = len(self.dense("y"))
        end = min(labelled + _VALIDATION_NODES, self.known_nodes)
        return np.arange(labelled), np.arange(labelled, end), np.sort(self.test_index)
