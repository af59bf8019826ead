"""The block-model graphs have the stated statistics; ZINC is checked on reading.

Every statistical bound is four standard errors: a false alarm of 6 in 100,000 each, of about 1 in 1000 for the file;
graphs are fixed by their seed, so that it would have been seen when the test was written.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from repro.data import sbm, zinc
from repro.data.fetch import require
from repro.data.pointers import find_root
from repro.errors import DataCorrupt, DataUnavailable, ReproError

ROOT = Path(__file__).resolve().parents[1]


def within(sample: np.ndarray, expected: float) -> bool:
    return abs(sample.mean() - expected) <= 4 * sample.std() / len(sample) ** 0.5


def share(sample: np.ndarray, p: float) -> bool:
    return abs(sample.mean() - p) <= 4 * (p * (1 - p) / len(sample)) ** 0.5


@pytest.fixture(scope="module", params=["pattern", "cluster"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def drawn(name: str) -> list[sbm.BlockGraph]:
    return sbm.graphs(name, "train", 400)


def test_graphs_are_simple(drawn: list[sbm.BlockGraph]) -> None:
    for g in drawn:
        assert g.adjacency.dtype == bool
        assert (g.adjacency == g.adjacency.T).all()
        assert not g.adjacency.diagonal().any()
        assert len(g.adjacency) == len(g.features) == len(g.labels)


def test_sizes(name: str, drawn: list[sbm.BlockGraph]) -> None:
    if name == "cluster":
        sizes = np.concatenate([np.bincount(g.labels, minlength=6) for g in drawn])
        assert within(np.array([len(g.labels) for g in drawn]), 117)
        assert (np.bincount(sizes)[5:] > 0).all(), "every size from 5 to 34"
    else:
        sizes = np.array([g.labels.sum() for g in drawn])
        assert within(np.array([(g.labels == 0).sum() for g in drawn]), 97.5)
    assert (sizes.min(), sizes.max()) >= (5, 5)
    assert sizes.max() <= 34


def test_edge_probabilities(name: str, drawn: list[sbm.BlockGraph]) -> None:
    inside, across, with_pattern = [], [], []
    for g in drawn:
        above = np.triu(np.ones_like(g.adjacency), 1)
        same = g.labels[:, None] == g.labels
        if name == "cluster":
            inside.append(g.adjacency[above & same])
            across.append(g.adjacency[above & ~same])
        else:
            pattern = g.labels == 1
            with_pattern.append(g.adjacency[above & (pattern[:, None] != pattern)])
    if name == "cluster":
        assert share(np.concatenate(inside), 0.55)
        assert share(np.concatenate(across), 0.25)
    else:
        assert share(np.concatenate(with_pattern), 0.5)
        # E[density] among the background: 5 communities of 19.5 nodes on average, 0.5 inside and 0.35 across
        edges = np.array([g.adjacency[np.ix_(g.labels == 0, g.labels == 0)].sum() for g in drawn])
        size, square = 19.5, 19.5**2 + (30**2 - 1) / 12
        assert within(edges, 5 * (square - size) * 0.5 + 20 * size**2 * 0.35)


def test_features(name: str, drawn: list[sbm.BlockGraph]) -> None:
    features = np.concatenate([g.features for g in drawn])
    if name == "cluster":
        for g in drawn[:50]:
            marked = np.flatnonzero(g.features)
            assert sorted(g.features[marked]) == [1, 2, 3, 4, 5, 6]
            assert (g.labels[marked] == g.features[marked] - 1).all()
    else:
        background = np.concatenate([g.features[g.labels == 0] for g in drawn])
        assert set(features) == {0, 1, 2}
        assert all(share(background == token, 1 / 3) for token in range(3))


def test_nodes_are_shuffled(drawn: list[sbm.BlockGraph]) -> None:
    """Neighbouring positions share a label no more often than others: each graph gives one pair of either kind."""
    near = np.array([g.labels[0] == g.labels[1] for g in drawn])
    far = np.array([g.labels[2] == g.labels[-1] for g in drawn])
    assert abs(near.mean() - far.mean()) <= 4 * (2 * 0.25 / len(drawn)) ** 0.5


def test_patterns_are_shared_across_graphs_and_splits() -> None:
    def inner(split: str, index: int, **how: bool) -> tuple[list[int], list[int]]:
        g = sbm.graph("pattern", split, index, **how)
        at = g.labels == 1
        return sorted(g.adjacency[np.ix_(at, at)].sum(1).tolist()), sorted(g.features[at].tolist())

    assert inner("train", 3) == inner("train", 103) == inner("test", 3) == inner("val", 1903)
    assert inner("train", 3) != inner("train", 4)
    of_their_own = [inner(split, 3, shared_patterns=False) for split in ("train", "val", "test")]
    assert of_their_own[0] == inner("train", 103, shared_patterns=False)
    assert all(of_their_own[i] != of_their_own[i - 1] for i in range(3))


def test_a_graph_depends_on_its_index_and_seed_alone(name: str) -> None:
    alone = sbm.graph(name, "val", 7)
    assert (sbm.graphs(name, "val", 9)[7].adjacency == alone.adjacency).all()
    for other in (sbm.graph(name, "test", 7), sbm.graph(name, "val", 7, seed=1), sbm.graph(name, "val", 8)):
        assert other.adjacency.shape != alone.adjacency.shape or (other.adjacency != alone.adjacency).any()


def test_larger_graphs(name: str) -> None:
    sizes = [len(g.labels) for g in sbm.graphs(name, "test", 20, sizes=(40, 80))]
    assert min(sizes) >= 240
    assert max(sizes) <= 480


def test_both_sets_take_less_than_two_minutes() -> None:
    started = time.process_time()
    sbm.graphs("pattern", "train", 100)
    sbm.graphs("cluster", "train", 100)
    seconds = time.process_time() - started
    assert seconds * 130 < 120, "26,000 graphs at this rate"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ReproError, match="'patern'; there are pattern, cluster"):
        sbm.graphs("patern", "train", 1)
    with pytest.raises(ReproError, match="no split 'dev'"):
        sbm.graph("cluster", "dev", 0)


def test_the_stage_writes_what_the_generator_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"train": 3, "val": 1, "test": 2}
    model = sbm.MODELS["cluster"]
    monkeypatch.setitem(sbm.MODELS, "cluster", type(model)(**{**vars(model), "counts": few}))
    sbm.write("cluster", tmp_path / "out")
    for split, count in few.items():
        with np.load(tmp_path / "out" / f"{split}.npz") as file:
            bits = np.unpackbits(file["edges"])
            at = node = 0
            for g, n in zip(sbm.graphs("cluster", split), file["n"].astype(int), strict=True):
                pairs = n * (n - 1) // 2
                assert (bits[at : at + pairs] == g.adjacency[np.triu_indices(n, 1)]).all()
                assert (file["labels"][node : node + n] == g.labels).all()
                assert (file["features"][node : node + n] == g.features).all()
                at, node = at + pairs, node + n
            assert len(file["n"]) == count


# ------------------------------------------------------------------ ZINC


@pytest.fixture(scope="module")
def molecules() -> list[zinc.Molecule]:
    try:
        require("zinc12k", find_root(ROOT))
    except DataUnavailable as missing:
        pytest.skip(str(missing))
    return [m for split in zinc.COUNTS for m in zinc.load(split, root=ROOT)]


def test_zinc_is_what_is_stated(molecules: list[zinc.Molecule]) -> None:
    assert len(molecules) == 12000
    assert {len(m.atoms) for m in molecules} >= {9, 37}
    assert min(len(m.atoms) for m in molecules) == 9
    assert np.mean([len(m.atoms) for m in molecules]) == pytest.approx(23.155, abs=0.01)
    assert np.mean([(m.bonds > 0).sum() for m in molecules]) == pytest.approx(49.83, abs=0.01)
    # Of the vocabulary's 28 types 21 occur among these 12,000 molecules.
    assert set(np.concatenate([m.atoms for m in molecules])) == set(range(21))
    assert set(np.concatenate([np.unique(m.bonds) for m in molecules[:100]])) == {0, 1, 2, 3}
    assert all((m.bonds == m.bonds.T).all() for m in molecules[:100])


@pytest.mark.parametrize(
    ("atoms", "bonds", "targets", "message"),
    [
        ([0, 28], [1], [0.0], "atom 1 is of the unknown type 28; types are 0 to 27"),
        ([0, 1], [0], [0.0], "bond 0 is of the unknown type 0; types are 1 to 3"),
        ([0, 1], [1], [0.0, np.nan], "target of graph 1 is nan"),
        ([0, 1], [1], [np.inf], "target of graph 0 is inf"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    atoms: list[int], bonds: list[int], targets: list[float], message: str
) -> None:
    with pytest.raises(DataCorrupt, match=message):
        zinc.check("train", np.array(atoms), np.array(bonds), np.array(targets))


def test_wrong_counts_and_statistics_are_refused() -> None:
    with pytest.raises(DataCorrupt, match="5 graphs, there should be 1000"):
        zinc.check_statistics("val", np.zeros(5))
    with pytest.raises(DataCorrupt, match="mean and sd"):
        zinc.check_statistics("test", np.zeros(1000))
