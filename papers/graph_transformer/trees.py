"""Tree-neighbours-match: the root of a binary tree asks for the value of the one leaf that carries its key.

After the task of Alon and Yahav, "On the bottleneck of graph neural networks and its practical implications"
(arXiv:2006.05205), in a small form of ours: a leaf's value is one of four, drawn by itself. What 2^depth leaves say
must pass through the root's two children if messages follow edges; attention over all pairs lets the root ask the
leaf itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from papers.graph_transformer.graphs import Graphs
from papers.graph_transformer.model import Task
from papers.graph_transformer.tasks import Rows, numbered, train_on_own
from papers.graph_transformer.training import TOGETHER
from repro import randomness
from repro.context import Context

VALUES = 4


def task(depth: int) -> Task:
    """Return the vocabulary: 0 for inner nodes, then every (key, value) of a leaf, then every key of a root."""
    keys = 2**depth
    return Task(tokens=1 + keys * VALUES + keys, bonds=0, out=VALUES, roles=4, graph_level=False)


def tree(depth: int) -> np.ndarray:
    """Return the adjacency of a binary tree, bool (n, n) with n = 2^(depth + 1) - 1; leaves last, the root first."""
    child = np.arange(1, 2 ** (depth + 1) - 1)
    A = np.zeros((len(child) + 1,) * 2, dtype=bool)
    A[child, (child - 1) // 2] = True
    return A | A.T


def trees(setting: Mapping[str, Any], seed: int, part: str, count: int) -> Graphs:
    """Return ``count`` trees; every key is at one leaf, and the root alone has a target (-1 elsewhere)."""
    keys = 2 ** setting["depth"]

    def uniform(stream: str, n: int) -> np.ndarray:
        return randomness.uniform(randomness.key(seed, f"{part}/{stream}"), count * n).view(count, n).numpy()

    key = uniform("keys", keys).argsort(1)
    value = (uniform("values", keys) * VALUES).astype(np.int64)
    asked = (uniform("asked", 1) * keys).astype(np.int64)
    inner = np.zeros((count, keys - 2), dtype=np.int64)
    tokens = np.concatenate([1 + keys * VALUES + asked, inner, 1 + key * VALUES + value], axis=1)
    targets = np.full(tokens.shape, -1, dtype=np.int64)
    targets[:, 0] = value[key == asked]
    return numbered(setting, seed, part, tree(setting["depth"]), tokens, targets)


def match(setting: Mapping[str, Any], seeds: Sequence[int], context: Context) -> Rows:
    """Train networks of depth + 1 layers on trees, test on others; accuracy in % at the root."""
    setting = {**setting, "layers": setting["depth"] + 1}
    for chunk in context.chunks(seeds, 1, largest=TOGETHER):
        for trainer, at, test in train_on_own(setting, task(setting["depth"]), trees, chunk, context):
            accuracy = trainer.evaluate(test)["plain"]
            for i in at:
                yield chunk[i], {"root_accuracy": float(accuracy[i])}
