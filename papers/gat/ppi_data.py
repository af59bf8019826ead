"""The 24 protein interaction graphs (Zitnik and Leskovec 2017; split and features of Hamilton et al. 2017)."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from repro import randomness
from repro.data.fetch import require
from repro.data.pointers import find_root, get_pointer, read_checked
from repro.errors import DataCorrupt
from repro.nn.attention import adjacency

SPLITS = ("train", "val", "test")
FEATURES, LABELS = 50, 121


@dataclass(frozen=True, eq=False)
class Structure:
    """One tissue's graph without features: its split, its number of nodes, its undirected pairs ``(E, 2)``.

    A pair of a node with itself is listed where the file lists it.
    """

    split: str
    tissue: str
    nodes: int
    pairs: np.ndarray


@dataclass(frozen=True, eq=False)
class Graph:
    """One graph: split, who attends to whom ``(n, n)``, itself included, X ``(n, 50)``, Y ``(n, 121)`` of 0 and 1."""

    split: str
    S: sp.csr_matrix
    X: np.ndarray
    Y: np.ndarray


def neighbourhoods(pairs: np.ndarray, nodes: int) -> sp.csr_matrix:
    """Return the binary, symmetric adjacency ``(nodes, nodes)`` of pairs ``(E, 2)``, each node its own neighbour."""
    both = np.concatenate([pairs, pairs[:, ::-1]]).T
    A = adjacency(both, nodes)
    A.data[:] = 1  # whichever way, and however often, a pair is listed
    return A


def structures(root: Path | None = None) -> list[Structure]:
    """Read `ppi_structure`, by split; `root` is the project's folder (default: the one around us).

    Raises:
        DataUnavailable: if the file is not there.
        DataCorrupt: if its bytes, or what they hold, are not as stated.
    """
    root = root or find_root()
    path = require("ppi_structure", root) / "ppi_structure.npz"
    (stated,) = get_pointer("ppi_structure", root).files
    found = []
    with np.load(io.BytesIO(read_checked(path, stated.md5))) as arrays:
        for key in arrays.files:
            if not key.endswith("_edge"):
                continue
            name = key.removesuffix("_edge")
            split, _, tissue = name.partition("__")
            pairs, nodes = arrays[key].astype(np.int64), len(arrays[f"{name}_gene"])
            if split not in SPLITS or pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.max() >= nodes:
                raise DataCorrupt(
                    f"{path}: {key}: pairs of the {nodes} nodes of one of {', '.join(SPLITS)} were expected"
                )
            found.append(Structure(split, tissue, nodes, pairs))
    return sorted(found, key=lambda g: (SPLITS.index(g.split), g.tissue))


# Directions in the space of features, on which all synthetic labels depend, so that few steps can find them.
DIRECTIONS = 5
# A mean over the median neighbourhood of 16 has a spread of 1/4: about 30 % of the labels are 1.
THRESHOLD = 0.125


def synthetic(found: list[Structure], seed: int) -> list[Graph]:
    """Give the graphs features and labels of our making, to prove the path; never for a verdict on Table 3.

    Features are independent, uniform, of variance 1. A label is 1 where a linear function of the features, averaged
    over a node and its neighbours, exceeds a threshold; the functions are those of the seed and of all its graphs.
    """

    def draw(stream: str, rows: int, columns: int) -> np.ndarray:
        numbers = randomness.uniform(randomness.key(seed, f"ppi/{stream}"), rows * columns)
        return ((2 * numbers - 1) * 3**0.5).view(rows, columns).numpy()

    functions = draw("directions", FEATURES, DIRECTIONS) @ draw("labels", DIRECTIONS, LABELS)
    functions /= (FEATURES * DIRECTIONS) ** 0.5
    graphs = []
    for g in found:
        S, X = neighbourhoods(g.pairs, g.nodes), draw(f"features/{g.tissue}", g.nodes, FEATURES)
        score = np.asarray(S @ X / S.sum(axis=1)) @ functions
        graphs.append(Graph(g.split, S, X, (score > THRESHOLD).astype(np.float32)))
    return graphs


def public(root: Path | None = None) -> list[Graph]:
    """Read the files of https://data.dgl.ai/dataset/ppi.zip, unpacked in ``data/ppi``, after `dvc add data/ppi`.

    Features are standardised by the training nodes' mean and deviation, as the released code does.

    Raises:
        DataUnavailable: if they are not there.
        DataCorrupt: naming the file whose content does not fit.
    """
    folder = require("ppi", root)
    graphs = [graph for split in SPLITS for graph in _split(folder, split)]
    X = np.concatenate([graph.X for graph in graphs if graph.split == "train"])
    mean, sd = X.mean(axis=0), X.std(axis=0)
    scale = np.where(sd > 0, sd, 1)
    return [Graph(g.split, g.S, ((g.X - mean) / scale).astype(np.float32), g.Y) for g in graphs]


def _split(folder: Path, split: str) -> list[Graph]:
    """Read the four files of one split; node k of the lists is row k of the arrays."""
    name = {"val": "valid"}.get(split, split)

    def array(what: str, *columns: int) -> np.ndarray:
        path = folder / f"{name}_{what}.npy"
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataCorrupt(f"{path}: no array could be read ({error})") from error
        if found.ndim != 1 + len(columns) or found.shape[1:] != columns or not np.isfinite(found).all():
            shape = ", ".join(map(str, ("nodes", *columns)))
            raise DataCorrupt(f"{path}: shape {found.shape} where finite numbers ({shape}) were expected")
        return found

    X, Y, of_graph = array("feats", FEATURES), array("labels", LABELS), array("graph_id")
    for what, found in (("labels", Y), ("graph_id", of_graph)):
        if len(found) != len(X):
            raise DataCorrupt(
                f"{folder / f'{name}_{what}.npy'}: {len(found)} rows, but {name}_feats.npy has {len(X)}"
            )
    if not np.isin(Y, (0, 1)).all():
        raise DataCorrupt(f"{folder / f'{name}_labels.npy'}: labels other than 0 and 1")
    path = folder / f"{name}_graph.json"
    try:
        links = json.loads(path.read_text(encoding="utf-8"))["links"]
        pairs = np.array([(link["source"], link["target"]) for link in links], dtype=np.int64).reshape(-1, 2)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(f"{path}: a graph as node-link data was expected ({error!r})") from error
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(X):
        raise DataCorrupt(f"{path}: a link names a node outside the {len(X)} rows of {name}_feats.npy")
    if (of_graph[pairs[:, 0]] != of_graph[pairs[:, 1]]).any():
        raise DataCorrupt(f"{path}: a link joins nodes of two graphs of {name}_graph_id.npy")
    S = neighbourhoods(pairs, len(X))
    parts = [np.flatnonzero(of_graph == i) for i in np.unique(of_graph)]
    return [Graph(split, sp.csr_matrix(S[p][:, p]), X[p], Y[p].astype(np.float32)) for p in parts]


def shuffled(graphs: list[Graph], seed: int) -> list[Graph]:
    """Deal each training graph's rows of labels out at random among its nodes: a control."""
    dealt = []
    for i, g in enumerate(graphs):
        order = randomness.permutation(randomness.key(seed, "ppi/shuffle", i), len(g.Y)).numpy()
        dealt.append(Graph(g.split, g.S, g.X, g.Y[order]) if g.split == "train" else g)
    return dealt
