"""PPI: the files, the measures, the network and its training."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import elu

from papers.gat import ppi, ppi_data
from papers.gat.ppi_data import FEATURES, LABELS, Graph, Structure
from repro.context import Context
from repro.data.pointers import dir_md5
from repro.errors import DataCorrupt, DataUnavailable
from repro.project import find_project

SETTING = {
    "model": "gat",
    "hidden": 8,
    "heads": 2,
    "output_heads": 3,
    "learning_rate": 0.02,
    "epochs": 30,
    "early_stopping": "released_code",
    "patience": 100,
    "batch": 2,
    "labels": "true",
}


steady = settings(deadline=None, derandomize=True)


def ring(split: str, tissue: str, nodes: int) -> Structure:
    """Every node with its next and its third next; node 0 lists itself."""
    i = np.arange(nodes)
    pairs = np.concatenate([np.stack([i, (i + k) % nodes], 1) for k in (1, 3)] + [[[0, 0]]])
    return Structure(split, tissue, nodes, pairs)


def rings() -> list[Structure]:
    train = [ring("train", name, 150 + 10 * k) for k, name in enumerate("abcd")]
    return [*train, ring("val", "e", 50), ring("test", "f", 60), ring("test", "g", 45)]


# ------------------------------------------------------------------ graphs


def test_neighbourhoods_are_symmetric_and_binary_and_include_the_node() -> None:
    """Whether a pair is listed in one direction, in both, or twice."""
    S = ppi_data.neighbourhoods(np.array([[0, 1], [1, 2], [2, 1], [2, 1], [3, 3]]), 4).toarray()
    expected = np.eye(4)
    expected[[0, 1, 1, 2], [1, 0, 2, 1]] = 1
    assert np.array_equal(S, expected)


def test_synthetic_labels_are_what_is_said_of_them() -> None:
    (g,) = ppi_data.synthetic([ring("train", "x", 30)], 5)
    (again, other) = (ppi_data.synthetic([ring("train", "x", 30)], seed)[0] for seed in (5, 6))
    assert np.array_equal(g.X, again.X)
    assert np.array_equal(g.Y, again.Y)
    assert not np.array_equal(g.X, other.X)
    # The same functions label another graph: least squares on the nodes of one finds them, and they hold on the other.
    a, b = ppi_data.synthetic([ring("train", "a", 1000), ring("test", "b", 300)], 5)

    def means(graph: Graph) -> np.ndarray:
        S = graph.S.toarray()
        return np.concatenate([S @ graph.X / S.sum(1, keepdims=True), np.ones((len(S), 1))], 1)

    weights = np.linalg.lstsq(means(a), a.Y, rcond=None)[0]
    assert ((means(b) @ weights > 0.5) == b.Y).mean() > 0.9  # saying 0 throughout: 0.6
    # A ring's neighbourhoods are smaller than the median, so that its scores, and with them the labels, are more.
    assert 0.3 < b.Y.mean() < 0.5


def test_shuffling_deals_out_rows_of_training_graphs_only() -> None:
    graphs = ppi_data.synthetic(rings(), 0)
    for before, after in zip(graphs, ppi_data.shuffled(graphs, 1), strict=True):
        assert np.array_equal(before.X, after.X)
        assert np.array_equal(before.Y, after.Y) == (before.split != "train")
        assert sorted(map(tuple, before.Y)) == sorted(map(tuple, after.Y))


def test_the_real_structure() -> None:
    """Its counts are the audits' business; here, that every graph makes neighbourhoods."""
    try:
        found = ppi_data.structures(find_project(Path(__file__).parent).root)
    except DataUnavailable as missing:
        pytest.skip(f"data that is not here: {missing}")
    assert [g.split for g in found] == ["train"] * 20 + ["val"] * 2 + ["test"] * 2
    assert len({g.tissue for g in found}) == 24
    S = ppi_data.neighbourhoods(found[0].pairs, found[0].nodes)
    assert (S != S.T).nnz == 0
    assert (S.diagonal() == 1).all()


# ------------------------------------------------------------------ the public archive's files


def archive(root: Path, spoil: Callable[[dict[str, np.ndarray]], object] = lambda files: None) -> Path:
    """Write a tiny set in the archive's format, of two graphs per split, links in both directions as there."""
    folder = root / "data" / "ppi"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        pairs = [(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3), (3, 3)]
        files = {
            "feats": draw.normal(3, 2, (5, FEATURES)),
            "labels": draw.integers(0, 2, (5, LABELS)),
            "graph_id": np.array([1, 1, 1, 2, 2]),
            "links": np.array(pairs),
        }
        files["feats"][:, 7] = 4.0  # a feature that never changes
        if split == "valid":
            spoil(files)
        links = [{"source": int(i), "target": int(j)} for i, j in files.pop("links")]
        (folder / f"{split}_graph.json").write_text(json.dumps({"directed": True, "links": links}))
        for what, array in files.items():
            np.save(folder / f"{split}_{what}.npy", array)
    pointer = {"outs": [{"md5": dir_md5(folder), "path": "ppi"}]}
    (root / "data" / "ppi.dvc").write_text(yaml.safe_dump(pointer))
    return root


def test_the_archive_is_read(tmp_path: Path) -> None:
    graphs = ppi_data.public(archive(tmp_path))
    assert [(g.split, len(g.X)) for g in graphs] == [(s, n) for s in ("train", "val", "test") for n in (3, 2)]
    assert np.array_equal(graphs[0].S.toarray(), [[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    assert np.array_equal(graphs[1].S.toarray(), [[1, 1], [1, 1]])
    raw = np.load(tmp_path / "data" / "ppi" / "train_feats.npy")
    sd = raw.std(0)
    sd[7] = 1
    X = np.concatenate([graphs[0].X, graphs[1].X])
    assert np.allclose(X, (raw - raw.mean(0)) / sd, atol=1e-6)
    test = np.load(tmp_path / "data" / "ppi" / "test_feats.npy")
    assert np.allclose(graphs[4].X, (test[:3] - raw.mean(0)) / sd, atol=1e-6), "by the training nodes' scale"
    assert np.array_equal(graphs[3].Y, np.load(tmp_path / "data" / "ppi" / "valid_labels.npy")[3:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.update(feats=f["feats"][:, :49]), r"valid_feats\.npy: shape \(5, 49\).*\(nodes, 50\)"),
        (lambda f: f.update(labels=f["labels"][:, 0]), r"valid_labels\.npy: shape \(5,\).*\(nodes, 121\)"),
        (
            lambda f: f.update(labels=f["labels"][:4]),
            r"valid_labels\.npy: 4 rows, but valid_feats\.npy has 5",
        ),
        (lambda f: f.update(graph_id=np.ones(6)), r"valid_graph_id\.npy: 6 rows"),
        (lambda f: f.update(labels=2 * f["labels"]), r"valid_labels\.npy: labels other than 0 and 1"),
        (lambda f: f["feats"].__setitem__((0, 0), np.nan), r"valid_feats\.npy: .*finite"),
        (lambda f: f.update(links=np.array([[0, 5]])), r"valid_graph\.json: a link names a node outside"),
        (
            lambda f: f.update(links=np.array([[0, 4]])),
            r"valid_graph\.json: a link joins nodes of two graphs",
        ),
        (lambda f: f.update(feats=np.array(["x"], dtype=object)), r"valid_feats\.npy: no array"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, spoil: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    with pytest.raises(DataCorrupt, match=message):
        ppi_data.public(archive(tmp_path, spoil))


def test_a_missing_archive_or_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DataUnavailable, match="ppi"):
        ppi_data.public(tmp_path)
    root = archive(tmp_path / "other")
    (root / "data" / "ppi" / "test_graph.json").write_text("{}")
    (root / "data" / "ppi.dvc").write_text(
        yaml.safe_dump({"outs": [{"md5": dir_md5(root / "data" / "ppi"), "path": "ppi"}]})
    )
    with pytest.raises(DataCorrupt, match=r"test_graph\.json: a graph as node-link data"):
        ppi_data.public(root)


# ------------------------------------------------------------------ measures


@steady
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_micro_f1_is_the_harmonic_mean_of_precision_and_recall(cells: list[tuple[bool, bool]]) -> None:
    predicted, true = torch.tensor(cells).T
    hits = sum(p and t for p, t in cells)
    if not hits:
        assert ppi.micro_f1(predicted, true) == float(not (predicted.any() or true.any()))
        return
    precision, recall = hits / sum(p for p, _ in cells), hits / sum(t for _, t in cells)
    assert ppi.micro_f1(predicted, true) == pytest.approx(2 / (1 / precision + 1 / recall))


@steady
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_best_constant_prediction_is_the_best_of_all(rows: list[list[bool]]) -> None:
    Y = torch.tensor(rows)
    if not Y.any():
        return
    best = 0.0
    for k in range(1, 5):
        for chosen in combinations(range(4), k):
            constant = torch.zeros_like(Y)
            constant[:, list(chosen)] = True
            best = max(best, ppi.micro_f1(constant, Y))
    assert ppi.best_constant_f1(Y.float()) == pytest.approx(best)


# ------------------------------------------------------------------ network and training


def test_the_network_has_the_published_shape() -> None:
    network = ppi.build({**SETTING, "hidden": 256, "heads": 4, "output_heads": 6}, 0)
    assert [tuple(layer.W.shape) for layer in network.layers] == [
        (50, 4, 256),
        (1024, 4, 256),
        (1024, 6, 121),
    ]
    assert [layer.concat for layer in network.layers] == [True, True, False]
    assert [plan.skip for plan in network.plan] == [False, True, False]
    first, second = 51_200 + 2 * 1024 + 1024, 1024**2 + 2 * 1024 + 1024
    third = 1024 * 726 + 2 * 726 + 121
    assert sum(p.numel() for p in network.parameters()) == first + second + third


def test_what_is_skipped_is_the_second_layer() -> None:
    """With nothing but zeros in it, what comes in passes to the ELU."""
    batch = ppi.Batch.of(ppi_data.synthetic([ring("train", "x", 20)], 0), "cpu")
    network = ppi.build(SETTING, 3)
    with torch.no_grad():
        for p in network.layers[1].parameters():
            p.zero_()
        first, _, third = network.layers
        h = elu(first(batch.X, batch.graph, None, network.dropout))
        expected = third(elu(h), batch.graph, None, network.dropout)
        assert torch.equal(batch.logits(network), expected)


@pytest.mark.parametrize("model", ["gat", "constant"])
def test_graphs_of_a_batch_do_not_see_each_other(model: str) -> None:
    a, b = ppi_data.synthetic([ring("train", "a", 20), ring("train", "b", 31)], 0)
    network = ppi.build({**SETTING, "model": model}, 1)
    with torch.no_grad():
        together = ppi.Batch.of([a, b], "cpu").logits(network)
        alone = [ppi.Batch.of([g], "cpu").logits(network) for g in (a, b)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_it_learns_and_the_controls_do_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ppi_data, "structures", lambda root: rings())

    def behind(**changes: object) -> float:
        setting = {**SETTING, "hidden": 32, "train_graphs": 20, "epochs": 40, **changes}
        ((_, row),) = ppi.ppi_path(setting, [0], Context(tmp_path))
        return row["behind_constant"]

    assert behind() < -0.05
    assert behind(labels="shuffled") > -0.05
    assert behind(epochs=1, learning_rate=0.0) > -0.05


def test_the_smallest_training_graphs_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ppi_data, "structures", lambda root: rings()[::-1])
    seen: list[list[int]] = []

    def spy(setting, seed, graphs, *rest):
        seen.append([len(g.X) for g in graphs if g.split == "train"])
        return ppi.build(setting, seed)

    monkeypatch.setattr(ppi, "train", spy)
    dict(ppi.ppi_path({**SETTING, "train_graphs": 2}, [0, 1], Context(tmp_path)))
    assert seen == [[150, 160]] * 2


def test_a_seed_gives_the_same_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ppi_data, "structures", lambda root: rings())
    setting = {**SETTING, "train_graphs": 4, "epochs": 3}
    both = dict(ppi.ppi_path(setting, [3, 4], Context(tmp_path)))
    assert dict(ppi.ppi_path(setting, [4], Context(tmp_path))) == {4: both[4]}
    assert both[3] != both[4]


def test_the_weights_are_those_of_the_last_epoch_that_was_best_in_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are best after epochs 1 and 3 (a tie); after 4 only the loss is. Two epochs without either end it."""
    told = [(1.0, 0.5), (0.9, 0.6), (1.1, 0.5), (0.9, 0.6), (0.8, 0.5), (0.9, 0.5), (0.9, 0.5), (0.1, 0.9)]
    weights: list[torch.Tensor] = []

    def scripted(network, graphs):
        weights.append(network.layers[0].W.detach().clone())
        return told[len(weights) - 1]

    monkeypatch.setattr(ppi, "evaluate", scripted)
    network = ppi.train({**SETTING, "patience": 2}, 0, ppi_data.synthetic(rings(), 0))
    assert len(weights) == 7
    assert torch.equal(network.layers[0].W, weights[3])
    assert not torch.equal(weights[3], weights[6])


def test_what_is_watched_are_the_validation_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def spy(network, graphs):
        seen.append([len(g.X) for g in graphs])
        return 1.0, 0.5

    monkeypatch.setattr(ppi, "evaluate", spy)
    ppi.train({**SETTING, "epochs": 1}, 0, ppi_data.synthetic(rings(), 0))
    assert seen == [[50]], "nodes of the one ring for validation"


def test_the_real_experiment_runs_on_the_archive(tmp_path: Path) -> None:
    setting = {**SETTING, "epochs": 2}
    found = dict(ppi.ppi(setting, [0, 1], Context(archive(tmp_path))))
    assert all(0 <= row["micro_f1"] <= 1 for row in found.values())
    assert set(found[0]) == {"micro_f1"}
