"""The protocol: splits, controls, training, timing, and the real files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from papers.gcn import experiments, timing
from papers.gcn.conftest import PROTOCOL, adjacency, bag_of_words, outcome
from papers.gcn.experiments import FOLDS, fold_split, planetoid_split, random_split, shuffled_labels
from papers.gcn.graphs import normalise_features, prepare, propagation_matrix
from papers.gcn.model import GCN, Features
from papers.gcn.training import Subset, l2_penalty, optimizer_for, run, stopping_rule, subsets
from repro import randomness
from repro.context import Context
from repro.data.planetoid import CitationGraph, RawCounts
from repro.ensemble import Ensemble
from repro.project import find_project


def some_graph(nodes: int = 60, per_class: int = 20, classes: int = 3) -> CitationGraph:
    labels = np.arange(nodes) % classes
    train = np.arange(min(per_class * classes, nodes // 4))
    return CitationGraph(
        "some", adjacency(nodes, 4 / nodes, 1), bag_of_words(nodes, 25, 2).astype(np.float32), labels,
        train, np.arange(len(train), nodes // 2), np.arange(nodes // 2, nodes), classes, RawCounts(0, 0, 0),
    )  # fmt: skip


# ------------------------------------------------------------------ splits and controls


def big_graph() -> CitationGraph:
    """Enough nodes for the random split; some without a label; classes of unequal size."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=2000, p=[0.02, 0.28, 0.3, 0.4])
    labels[rng.random(2000) < 0.02] = -1
    nothing = sp.csr_matrix((2000, 2000), dtype=np.float32)
    train = np.concatenate([np.flatnonzero(labels == c)[:20] for c in range(4)])
    return CitationGraph("big", nothing, nothing, labels, train, train, train, 4, RawCounts(0, 0, 0))


def test_random_split() -> None:
    graph = big_graph()
    assert min(np.bincount(graph.labels[graph.labels >= 0])) > 20
    splits = [random_split(graph, seed) for seed in range(5)]
    for split in splits:
        assert {name: len(nodes) for name, nodes in split.items()} == {"train": 80, "val": 500, "test": 1000}
        assert np.bincount(graph.labels[split["train"]]).tolist() == [20] * 4
        everything = np.concatenate(list(split.values()))
        assert len(np.unique(everything)) == 1580, "disjoint"
        assert graph.labels[everything].min() >= 0, "labelled"
        assert all((np.diff(nodes) > 0).all() for nodes in split.values())
    assert len({split["train"].tobytes() for split in splits}) == 5
    again = random_split(graph, 3)
    assert all(np.array_equal(again[name], splits[3][name]) for name in again)


def test_folds_partition_the_labelled_nodes() -> None:
    graph = big_graph()
    labelled = np.flatnonzero(graph.labels >= 0)
    for first in (0, 5):
        folds = [fold_split(graph, first + k) for k in range(FOLDS)]
        for fold in folds:
            assert np.array_equal(np.sort(np.concatenate([fold["train"], fold["test"]])), labelled)
            assert abs(len(fold["test"]) - len(labelled) / FOLDS) < 1
        assert np.array_equal(np.sort(np.concatenate([fold["test"] for fold in folds])), labelled)
    assert not np.array_equal(fold_split(graph, 0)["test"], fold_split(graph, 5)["test"])


def test_each_seed_has_a_random_split_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []

    def split(graph: CitationGraph, seed: int) -> dict[str, np.ndarray]:
        asked.append(seed)
        return dict(planetoid_split(graph))

    monkeypatch.setattr(experiments.planetoid, "load", lambda *_: some_graph())
    monkeypatch.setattr(experiments, "random_split", split)
    setting = PROTOCOL | {"dataset": "some", "split": "random", "labels": "true", "epochs": 1}
    list(experiments.citation(setting, [4, 7], Context(tmp_path)))
    assert asked == [4, 7]


def test_accuracies_by_depth_are_those_of_the_training_and_of_the_test_nodes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graph = some_graph()
    monkeypatch.setattr(experiments.planetoid, "load", lambda *_: graph)
    planned = find_project().ledger("gcn").experiments["depth"].setting
    setting = planned | {"hidden": 4, "epochs": 20, "deepest": 1}
    ((_, (row,)),) = experiments.depth(setting, [7], Context(tmp_path))
    (trained,) = run(graph, setting, [7], fold_split(graph, 7), layers=1, residual=setting["residual"])
    assert row == {"layers": 1, **{name: trained[name] for name in ("train_accuracy", "test_accuracy")}}
    assert row["train_accuracy"] != row["test_accuracy"]


def test_shuffled_labels() -> None:
    """The training labels change places; what is tested stays true."""
    graph = some_graph()
    labels = shuffled_labels(graph, 1)
    others = np.setdiff1d(np.arange(60), graph.train)
    assert np.array_equal(labels[others], graph.labels[others])
    assert np.array_equal(np.sort(labels[graph.train]), np.sort(graph.labels[graph.train]))
    assert not np.array_equal(labels, graph.labels)
    assert not np.array_equal(labels, shuffled_labels(graph, 2))
    assert np.array_equal(graph.labels, np.arange(60) % 3), "the graph's own are left alone"


# ------------------------------------------------------------------ training


def ensemble_of(bias: bool = False) -> Ensemble:
    return Ensemble(lambda seed: GCN([25, 4, 3], bias=bias, seed=seed), [1, 2])


def test_loss_and_accuracy_by_hand() -> None:
    """Means over a seed's own nodes; nodes of weight nought count for nothing."""
    logits = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [9.0, 0.0]]])
    subset = Subset(
        Features(None, 3),
        [],
        torch.tensor([[0, 0, 1], [1, 1, 1]]),
        torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]),
    )
    expected = [0.5 * (np.log1p(np.exp(-2)) + np.log1p(np.exp(3))), np.log(2)]
    np.testing.assert_allclose(subset.cross_entropy(logits), expected, rtol=1e-6)
    assert subset.accuracy(logits).tolist() == [50.0, 0.0]
    assert torch.equal(subset.select(torch.tensor([1])).labels, torch.tensor([[1, 1, 1]]))


def test_weight_decay_is_where_it_is_said_to_be() -> None:
    ensemble = ensemble_of(bias=True)

    def decayed(**changed: object) -> dict[str, float]:
        groups = optimizer_for(ensemble, PROTOCOL | changed).param_groups
        return {
            name: group["weight_decay"]
            for name, p in ensemble.parameters.items()
            for group in groups
            if any(p is q for q in group["params"])
        }

    only_first = {"layers.0.theta": 0.0005, "layers.0.bias": 0.0, "layers.1.theta": 0.0, "layers.1.bias": 0.0}
    assert decayed() == only_first
    assert decayed(decay_on="all") == dict.fromkeys(only_first, 0.0005)
    assert type(optimizer_for(ensemble, PROTOCOL)) is torch.optim.Adam
    assert type(optimizer_for(ensemble, PROTOCOL | {"optimizer": "adamw"})) is torch.optim.AdamW


def test_l2_term_is_half_the_squared_first_layer() -> None:
    ensemble = ensemble_of()
    expected = [
        0.0005 / 2 * float(ensemble.parameters["layers.0.theta"][i].detach().square().sum()) for i in range(2)
    ]
    np.testing.assert_allclose(l2_penalty(ensemble, PROTOCOL), expected, rtol=1e-5)


def test_stopping_rules_watch_what_they_say() -> None:
    expected = {
        "paper": "loss",
        "paper_with_l2": "loss_with_l2",
        "released_code": "loss_with_l2",
        "none": None,
    }
    assert {name: getattr(stopping_rule(name), "metric", None) for name in expected} == expected
    with pytest.raises(KeyError):
        stopping_rule("papre")


def test_one_step_by_hand() -> None:
    """Loss and gradient of one epoch with dropout, L2 as Adam's coupled decay, against plain torch."""
    graph = some_graph()
    model = GCN([25, 4, 3], dropout=(0.5, 0.5), seed=1)
    S = propagation_matrix(graph.adjacency.astype(np.float64), "renormalised")
    features, graphs = prepare(S, normalise_features(graph.features, "row"), "renormalised", 2, graph.train)
    optimizer = torch.optim.Adam(
        [
            {"params": model.layers[0].parameters(), "weight_decay": 0.0005},
            {"params": model.layers[1].parameters()},
        ],
        lr=0.01,
    )
    labels = torch.from_numpy(graph.labels[graph.train])
    for epoch in range(3):
        keys = torch.stack([randomness.key(1, f"dropout/{layer}", epoch) for layer in (0, 1)])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(features, graphs, keys), labels).backward()
        optimizer.step()
    with torch.no_grad():
        features, graphs = prepare(S, normalise_features(graph.features, "row"), "renormalised", 2, None)
        logits = model(features, graphs)[graph.test]
        truth = torch.from_numpy(graph.labels[graph.test])
        loss = float(torch.nn.functional.cross_entropy(logits, truth))
        accuracy = 100 * float((logits.argmax(-1) == truth).double().mean())
    found = outcome(graph, early_stopping="none")
    assert found["test_loss"] == pytest.approx(loss, abs=1e-5)
    assert found["test_accuracy"] == pytest.approx(accuracy)
    assert (found["epochs"], found["seed"]) == (3, 1)


def test_validation_nodes_stop_a_training_and_test_nodes_do_not() -> None:
    graph = some_graph(nodes=120)

    def epochs(val: slice, test: slice) -> list[float]:
        nodes = np.arange(120)
        splits = {"train": nodes[:24], "val": nodes[val], "test": nodes[test]}
        found = run(graph, PROTOCOL | {"epochs": 40, "learning_rate": 0.1}, [3, 11, 0], splits)
        return [result["epochs"] for result in sorted(found, key=lambda result: result["seed"])]

    a, b, c = slice(24, 56), slice(56, 88), slice(88, 120)
    assert epochs(a, b) == epochs(a, c) != epochs(b, c)


@pytest.mark.parametrize(
    "changed",
    [
        {"bias": True}, {"input_dropout": False}, {"decay_on": "all", "l2": 0.5}, {"optimizer": "adamw", "l2": 0.5},
        {"features": "none"}, {"dropout": 0.2}, {"propagation": "mlp"}, {"features": "identity"}, {"hidden": 5},
        {"learning_rate": 0.02}, {"l2": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_every_switch_does_something(changed: dict[str, object]) -> None:
    graph = some_graph()
    assert outcome(graph, **changed)["train_loss"] != outcome(graph)["train_loss"]


def test_a_switch_that_must_do_nothing() -> None:
    """Without listed self-loops there are none to remove; with no epochs nothing but the beginning counts."""
    graph = some_graph()
    assert outcome(graph, self_loops="removed") == outcome(graph)
    assert outcome(graph, epochs=0, optimizer="adamw", dropout=0.1) == outcome(graph, epochs=0)
    assert outcome(graph, epochs=0)["epochs"] == 0


def test_listed_self_loops_can_be_removed() -> None:
    graph = some_graph()
    looped = CitationGraph(
        "looped", graph.adjacency + sp.diags([0, 1, 1] + [0] * 57), *(getattr(graph, name) for name in (
            "features", "labels", "train", "val", "test", "num_classes", "raw")),
    )  # fmt: skip
    assert outcome(looped) != outcome(graph)
    assert outcome(looped, self_loops="removed") == outcome(graph)


def test_unlabelled_nodes_are_neighbours_only() -> None:
    """A node without a label may stand in no split, and its stand-in label changes nothing."""
    graph = some_graph()
    labels = graph.labels.copy()
    labels[20] = -1
    splits: Mapping[str, np.ndarray] = {"train": np.arange(10), "test": np.arange(40, 60)}
    for shared in (True, False):
        own = splits if shared else {name: [nodes] for name, nodes in splits.items()}
        parts = [subsets(graph, PROTOCOL, 2, own, every[None]) for every in (labels, graph.labels)]
        for part in ("train", "test"):
            chosen = parts[0][part].weights > 0
            assert float(parts[0][part].weights.sum()) == pytest.approx(1)
            assert torch.equal(parts[0][part].labels[chosen], parts[1][part].labels[chosen])
            assert int(chosen.sum()) == len(splits[part])


# ------------------------------------------------------------------ Figure 2


def test_random_graph() -> None:
    A = timing.random_graph(1000, 2000, 3)
    assert (A.shape, A.diagonal().sum()) == ((1000, 1000), 0)
    assert (A != A.T).nnz == 0
    assert set(A.data.tolist()) == {1.0}
    assert 1950 < A.nnz / 2 <= 2000
    assert (timing.random_graph(1000, 2000, 3) != A).nnz == 0
    assert (timing.random_graph(1000, 2000, 4) != A).nnz > 0


def test_epoch_time_measures_each_size() -> None:
    setting = {"smallest": 100, "largest": 1100, "hidden": 4, "epochs": 2, "edge_epochs": 10**6}
    ticks: list[float] = []
    context = Context(find_project().root, report=ticks.append)
    found = dict(timing.epoch_time(setting, [0, 1], context))
    assert list(found) == [0, 1]
    for rows in found.values():
        assert [row["edges"] for row in rows] == [100, 316, 1000]
        assert all(row["epoch_seconds"] > 0 for row in rows)
    assert ticks == sorted(ticks)
    assert ticks[-1] == 2


@pytest.mark.parametrize("largest", [1_000_000, 10_000_000])
def test_epoch_time_reaches_the_largest_size(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    tiny = timing.random_graph(50, 100, 0)
    monkeypatch.setattr(timing, "random_graph", lambda nodes, edges, seed: (measured.append(edges), tiny)[1])
    monkeypatch.setattr(timing, "Features", lambda _, nodes: Features(None, 50))
    monkeypatch.setattr(timing, "GCN", lambda widths, **options: GCN([50, 4, 2], **options))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.zeros(50, dtype=torch.int64))
    setting = {"smallest": 1000, "largest": largest, "hidden": 4, "epochs": 1, "edge_epochs": 1}
    list(timing.epoch_time(setting, [0], Context(find_project().root)))
    assert measured[-1] == largest


# ------------------------------------------------------------------ on the real files


def test_cora_seeds_are_their_own(cora: CitationGraph) -> None:
    """In the sizes that count: a seed among others and alone, bit for bit."""
    setting = PROTOCOL | {"hidden": 16, "epochs": 4}
    splits = planetoid_split(cora)
    together = {int(r["seed"]): r for r in run(cora, setting, list(range(12)), splits)}
    for seed in (0, 7):
        (alone,) = run(cora, setting, [seed], splits)
        assert alone == together[seed]
    assert len({r["test_loss"] for r in together.values()}) == 12


def test_cora_random_split(cora: CitationGraph) -> None:
    split = random_split(cora, 0)
    assert {name: len(nodes) for name, nodes in split.items()} == {"train": 140, "val": 500, "test": 1000}
    assert np.bincount(cora.labels[split["train"]]).tolist() == [20] * 7


def test_cora_is_learnt(cora: CitationGraph) -> None:
    """Forty epochs of one seed are far above chance, and of shuffled labels they are not."""
    setting = PROTOCOL | {"hidden": 16, "epochs": 40}
    (result,) = run(cora, setting, [0], planetoid_split(cora))
    assert result["test_accuracy"] > 70
    labels = shuffled_labels(cora, 0)[None]
    (control,) = run(cora, setting, [0], planetoid_split(cora), labels=labels)
    assert control["test_accuracy"] < 40
