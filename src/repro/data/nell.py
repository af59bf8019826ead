"""NELL at label rate 0.001, as far as our files go, prepared as the GCN authors do.

Nodes are entities and relations of a knowledge graph; only entities have features. Each relation node gets a
one-hot feature of its own (Kipf and Welling, 2017, section 5.1), which makes 5,414 + 55,864 = 61,278 inputs.
The authors' code appends an identity block for all nodes that neither `allx` nor `test.index` covers.

Our files lack `ally`, the labels of the nodes between training and test set. Training and test are exact, but
no validation label is known: early stopping or selection on validation data is not possible with these files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from repro.data.planetoid import CitationGraph, Parts, class_of
from repro.errors import DataCorrupt

_NAME = "nell.0.001"


@dataclass(frozen=True, eq=False)
class NellGraph(CitationGraph):
    """A `CitationGraph` with the relation nodes and the number of validation nodes whose label is known.

    features: csr (65755, 61278) float32, raw: counts of the entities, then an identity block of the relations
    labels: (65755,) int64 in 0..209, -1 where unknown: all but the training and test nodes
    relations: (55864,) int64, ascending; relation k has its 1 in column 5414 + k
    """

    relations: np.ndarray
    known_val_labels: int


def load(root: Path | None = None) -> NellGraph:
    """Read NELL; `root` is the project's folder (default: the one around us).

    Uses `ally` if the pointer lists it. Raises `DataUnavailable` or `DataCorrupt`, naming the file.
    """
    parts = Parts("nell", _NAME, root)
    y = parts.dense("y")
    nodes = len(parts.graph)
    if int(parts.test_index.max()) >= nodes:
        raise DataCorrupt(f"{parts.file('test.index')}: a test node outside the {nodes} nodes of the graph")
    labels = np.full(nodes, -1, dtype=np.int64)
    labels[: len(y)] = class_of(y)
    if parts.file("ally").name in parts.md5:
        ally = parts.dense("ally")
        labels[: len(ally)] = class_of(ally)
    labels[parts.test_index] = parts.test_labels()

    relations = np.setdiff1d(np.arange(parts.known_nodes, nodes), parts.test_index)
    entity_features = parts.features(nodes)
    ones = np.ones(len(relations), dtype=np.float32)
    one_hot = sp.csr_matrix((ones, (relations, np.arange(len(relations)))), shape=(nodes, len(relations)))
    adjacency, raw = parts.adjacency(nodes)
    train, val, test = parts.split()
    return NellGraph(
        name=_NAME,
        adjacency=adjacency,
        features=sp.csr_matrix(sp.hstack([entity_features, one_hot], format="csr")),
        labels=labels,
        train=train,
        val=val,
        test=test,
        num_classes=y.shape[1],
        raw=raw,
        relations=relations,
        known_val_labels=int(np.count_nonzero(labels[val] >= 0)),
    )
