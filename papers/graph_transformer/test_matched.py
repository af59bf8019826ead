"""Larger graphs, thinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from papers.graph_transformer import encodings, experiments, matched
from repro.context import Context

SETTING: dict[str, Any] = {
    "dataset": "pattern", "model": "gt", "graph": "sparse", "encoding": "laplacian", "norm": "batch", "width": 8,
    "layers": 1, "heads": 2, "eigenvectors": 2, "batch": 2, "learning_rate": 1e-2, "factor": 0.5, "patience": 10,
    "lowest_rate": 1e-6, "epochs": 2, "weights": "last", "clamp": "before_exp", "sign_flip": "batch",
    "sign": "canonical", "loss_weights": True, "metric": "batch_mean", "train": 4, "val": 2, "test": 3,
    "smallest_community": 5, "largest_community": 8, "encoding_scale": "size_free", "largest_factor": 2,
}  # fmt: skip


def test_likeness_is_one_less_the_eigenvalue(tmp_path: Path) -> None:
    graphs = experiments.sized(SETTING, "test", 3, 1, tmp_path)
    expected = [
        1 - np.linalg.eigvalsh(encodings.laplacian(graphs.edges[g, :n, :n].numpy() > 0))[1]
        for g, n in enumerate(graphs.sizes.tolist())
    ]
    assert matched.likeness(graphs) == pytest.approx(np.mean(expected), abs=1e-5)


def test_random_graphs_that_are_thinned_so_keep_their_likeness() -> None:
    """Of several sizes; graphs of one density do not."""
    p, n = 0.4, 150
    rng = np.random.default_rng(0)

    def second(size: int, density: float) -> float:
        A = np.triu(rng.random((size, size)) < density, 1)
        return float(1 - np.linalg.eigvalsh(encodings.laplacian(A | A.T))[1])

    whole = second(n, p)
    for factor in (2, 6):
        q = matched.kept_share(p, factor)
        assert second(factor * n, p * q) == pytest.approx(whole, rel=0.08)
        assert second(factor * n, p) < 0.8 * whole
    assert matched.kept_share(p, 1) == 1


def test_thinning_takes_edges_only_and_each_with_the_same_chance(tmp_path: Path) -> None:
    whole = experiments.sized(SETTING, "test", 3, 2, tmp_path)
    thin = matched.matched(matched.drawn(SETTING, 3, 2), SETTING, 3, 2, 0.6, tmp_path)
    assert torch.equal(whole.tokens, thin.tokens)
    assert torch.equal(whole.targets, thin.targets)
    assert torch.equal(thin.edges, thin.edges.transpose(1, 2))
    assert not ((thin.edges > 0) & (whole.edges == 0)).any()
    pairs = (whole.edges > 0).sum() / 2
    # Binomial: five standard deviations, a false alarm in two million.
    assert abs(thin.edges.sum() / whole.edges.sum() - 0.6) < 5 * (0.24 / pairs) ** 0.5
    n = int(thin.sizes[0])
    first = encodings.laplacian_eigenvectors(thin.edges[0, :n, :n].numpy() > 0, 2) * n**0.5
    np.testing.assert_allclose(thin.encoding[0, :n].numpy(), first, atol=1e-5)


def test_whole_graphs_are_those_of_size_transfer_and_the_smallest_are_not_thinned(tmp_path: Path) -> None:
    rows = dict(matched.size_matched(SETTING, [3, 4], Context(tmp_path)))
    known = dict(experiments.size_transfer({**SETTING, "trained_on": "base"}, [3, 4], Context(tmp_path)))
    for seed, own in rows.items():
        assert [(r["size"], r["whole_error"]) for r in own] == [
            (r["size"], r["test_error"]) for r in known[seed]
        ]
        assert own[0]["matched_error"] == own[0]["whole_error"]
        assert own[0]["matched_likeness"] == own[0]["whole_likeness"]
        assert own[1]["matched_likeness"] > own[1]["whole_likeness"]
        assert own[0]["matched_content"] == own[0]["whole_content"]


def test_content_is_the_share_between_communities(tmp_path: Path) -> None:
    """Of vectors that are constant on communities, of such that are not, and of half and half."""
    communities = np.arange(4000) % 5
    inside = np.random.default_rng(0).normal(size=4000)
    means = communities - communities.mean()
    vectors = np.stack([means, inside, means / means.std() + inside / inside.std()], 1)
    found = encodings.community_share(vectors, communities)
    # Between five communities of noise: 4 of 3999 degrees of freedom, with a deviation of 0.0007.
    np.testing.assert_allclose(found, [1, 0, 0.5], atol=0.04)
    graphs = experiments.sized(SETTING, "test", 3, 1, tmp_path)
    made = matched.drawn(SETTING, 3, 1)
    own = [
        float(encodings.community_share(graphs.encoding[i, : len(g.labels), :1].numpy(), g.communities)[0])
        for i, g in enumerate(made)
    ]
    assert matched.content(graphs, [g.communities for g in made]) == pytest.approx(np.mean(own))
    assert all(((g.communities == 5) == (g.labels == 1)).all() for g in made), "the pattern comes last"


def test_density_counts_pairs(tmp_path: Path) -> None:
    graphs = experiments.sized(SETTING, "train", 3, 1, tmp_path)
    edges = sum(int((graphs.edges[g] > 0).sum()) for g in range(len(graphs)))
    assert matched.density(graphs) == pytest.approx(edges / sum(n * (n - 1) for n in graphs.sizes.tolist()))
