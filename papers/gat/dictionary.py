"""The DictionaryLookup problem (GATv2 paper, Section 4.1 and Appendix B.3): its graphs and their split.

A graph has k queries and k keys, with an edge from each key to each query. Key node j carries the attribute j and a
value; the values of a graph are a permutation of 0..k-1. Query i carries the attribute i alone and must answer with
the value of key i. So a graph *is* a permutation: ``permutation[i]`` is the value of key i and the label of query i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from repro import randomness
from repro.errors import SettingError

LARGEST = 32_000  # graphs; where there are more permutations than that, so many are drawn, with replacement
TRAIN_FRACTION = 0.8


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The graphs of one seed.

    Attributes:
        k: number of keys, of queries and of values.
        allowed: bool ``(k, k)``: the (key, value) pairs that training graphs may use.
        train: int64 ``(graphs, k)`` permutations that use allowed pairs only.
        validation: likewise, held out of ``train``; None where there is no validation set.
        test: permutations with at least one pair that is not allowed.
    """

    k: int
    allowed: Tensor
    train: Tensor
    validation: Tensor | None
    test: Tensor


def all_permutations(k: int, seed: int) -> Tensor:
    """Return all k! permutations if there are at most 32,000 (k <= 7), else 32,000 random ones, some of them equal.

    Int64 ``(graphs, k)``.
    """
    if math.factorial(k) <= LARGEST:
        return torch.tensor(list(permutations(range(k))))
    numbers = randomness.bits(randomness.key(seed, "dictionary/permutations"), LARGEST * k)
    return numbers.view(LARGEST, k).argsort(-1)


def _uses_only(graphs: Tensor, pairs: Tensor) -> Tensor:
    """Return for each graph whether all its (key, value) pairs are among ``pairs``."""
    return pairs[torch.arange(graphs.shape[1]), graphs].all(-1)


def dictionary(k: int, seed: int, validation: bool = False) -> Dictionary:
    """Return the graphs of size ``k``, split by unseen combinations as in the released code.

    Of the k² (key, value) pairs, int(0.8^(1/k) k²) are allowed in training. A graph is a training graph if all its
    pairs are allowed, else a test graph: each test graph has at least one pair never seen in training. So about 80 %
    of the graphs are training graphs; how many exactly depends on k.

    Args:
        k: keys per graph.
        seed: owns the graphs drawn and the allowed pairs.
        validation: whether to take a validation set away from the training graphs, by the same rule once more: of the
            n allowed pairs int(0.8^(1/k) n) stay, and what needs another becomes a validation graph. The test
            graphs are not touched. Choosing on them is then choosing for unseen pairs without having seen the test.

    Raises:
        SettingError: if ``k`` is below 2, or too small to leave graphs in every part.
    """
    if k < 2:
        raise SettingError(
            f"k={k}: a dictionary to look something up in has at least 2 keys; the paper starts at 4"
        )
    share = TRAIN_FRACTION ** (1 / k)
    order = randomness.permutation(randomness.key(seed, "dictionary/pairs"), k * k)
    count = int(share * k * k)
    allowed = torch.zeros(k * k, dtype=torch.bool)
    allowed[order[:count]] = True
    graphs = all_permutations(k, seed)
    trains = _uses_only(graphs, allowed.view(k, k))
    train, test, held_out = graphs[trains], graphs[~trains], None
    if validation:
        kept = torch.zeros_like(allowed)
        kept[order[: int(share * count)]] = True
        stays = _uses_only(train, kept.view(k, k))
        train, held_out = train[stays], train[~stays]
    for part, found in {"training": train, "validation": held_out, "test": test}.items():
        if found is not None and len(found) == 0:
            raise SettingError(f"k={k}, seed {seed}: the split leaves no {part} graphs; take a larger k")
    return Dictionary(k, allowed.view(k, k), train, held_out, test)
