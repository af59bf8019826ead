"""The stopping rules, the protocol, many seeds at once, random edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.gat import experiments, training
from papers.gat.conftest import SETTING, toy
from papers.gat.stopping import OUTLASTS, RULES, LossOrAccuracy, Trajectory
from papers.gat.training import build, trajectories
from repro.context import Context
from repro.data.planetoid import CitationGraph

# ------------------------------------------------------------------ stopping


def told(loss: list[float], accuracy: list[float]) -> Trajectory:
    return Trajectory(*(torch.tensor(x, dtype=torch.float64) for x in (loss, accuracy, range(len(loss)))))


def test_the_rules_differ_as_they_are_told() -> None:
    """After epoch 2 nothing improves, but accuracy equals its best up to epoch 5."""
    run = told([3, 2, 1, 2, 2, 2, 2, 2, 2], [10, 20, 30, 30, 20, 30, 20, 20, 20])
    assert run.stops("paper", 3) == 6
    assert run.stops("released_code", 3) == 9
    assert run.stops("accuracy", 3) == 9
    assert run.stops("loss", 3) == 6
    assert run.stops("none", 3) == 9
    falling = told([9, 8, 7, 6, 5, 4], [10, 9, 9, 9, 9, 9])
    assert falling.stops("accuracy", 3) == 4
    assert falling.stops("released_code", 3) == 6


def test_the_weights_that_count() -> None:
    """`test` holds the epoch's number. Accuracy is best at 1 and 3, the loss at 2, both at once at 1."""
    run = told([3, 2, 1, 1.5, 2], [10, 30, 20, 30, 20])
    assert run.tested("released_code", 5, "last") == 4
    assert run.tested("released_code", 5, "best") == 1
    assert run.tested("accuracy", 5, "best") == 3
    assert run.tested("released_code", 1, "best") == 0
    run.test[4] = float("nan")
    with pytest.raises(ValueError, match="after epoch 5 of 5 the network was not tested"):
        run.tested("released_code", 5, "last")


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40), st.integers(1, 6))
def test_one_rule_outlasts_the_other(values: list[tuple[int, int]], patience: int) -> None:
    run = told(*(list(map(float, x)) for x in zip(*values, strict=True)))
    for rule, longer in OUTLASTS.items():
        assert run.stops(rule, patience) <= run.stops(longer, patience)


def test_a_rule_forgets_seeds_that_left() -> None:
    """Each of three seeds is judged on its own values, whoever leaves."""
    rule = LossOrAccuracy(2, ties=False)
    loss = torch.tensor([[3.0, 3.0, 3.0], [3.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    flat = torch.zeros(3)
    assert rule.update(0, {"loss": loss[0], "accuracy": flat}).tolist() == [False] * 3
    assert rule.update(1, {"loss": loss[1], "accuracy": flat}).tolist() == [False] * 3
    stops = rule.update(2, {"loss": loss[2], "accuracy": flat})
    assert stops.tolist() == [True, False, False]
    rule.keep(~stops)
    for loss_of_the_rest, stopped in (([1.0, 1.9], [False, False]), ([1.0, 1.8], [True, False])):
        left = {"loss": torch.tensor(loss_of_the_rest), "accuracy": torch.zeros(2)}
        assert rule.update(3, left).tolist() == stopped


# ------------------------------------------------------------------ the protocol


def run(seeds: list[int], **changes: object) -> dict[int, Trajectory]:
    return dict(trajectories(toy(), {**SETTING, **changes}, seeds))


@pytest.mark.parametrize("model", ["gat", "gatv2", "constant", "gcn"])
def test_a_seed_does_not_depend_on_its_neighbours(model: str) -> None:
    """Seeds stop at different epochs; alone and among others each gives the same numbers to the last bit."""
    together = run([0, 1, 2, 3], model=model)
    assert len({len(t.loss) for t in together.values()}) > 1
    for seed in (1, 3):
        alone = run([seed], model=model)[seed]
        assert torch.equal(alone.loss, together[seed].loss)
        assert torch.equal(alone.test.nan_to_num(-1), together[seed].test.nan_to_num(-1))


def watched(graph: CitationGraph) -> torch.Tensor:
    """The validation losses of three epochs."""
    return dict(trajectories(graph, {**SETTING, "epochs": 3, "early_stopping": "none"}, [0]))[0].loss


def test_test_nodes_do_not_enter_what_a_rule_watches() -> None:
    graph = toy()
    assert torch.equal(watched(graph), watched(replace(graph, test=graph.test[:10])))
    assert not torch.equal(watched(graph), watched(replace(graph, val=graph.test, test=graph.val)))


def test_features_count_by_their_share_of_a_row() -> None:
    """Rows that are multiples by a power of two are the same to the last bit; other features are not."""
    graph = toy()
    times = sp.diags(2.0 ** (np.arange(graph.num_nodes) % 3))
    scaled = replace(graph, features=sp.csr_matrix(times @ graph.features, dtype=np.float32))
    assert torch.equal(watched(graph), watched(scaled))
    other = replace(graph, features=sp.csr_matrix(graph.features[::-1]))
    assert not torch.equal(watched(graph), watched(other))


def test_every_epoch_drops_other_entries_at_each_of_six_places(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: set[tuple[str, int]] = set()
    key = training.randomness.key

    def spy(seeds, stream: str, step: int = 0) -> torch.Tensor:
        drawn.add((stream, step))
        return key(seeds, stream, step)

    monkeypatch.setattr(training.randomness, "key", spy)
    run([0], epochs=3, early_stopping="none")
    masks = {(stream, step) for stream, step in drawn if stream.startswith("dropout/")}
    assert {step for _, step in masks} == {0, 1, 2}
    assert len({stream for stream, _ in masks}) == 6
    assert len(masks) == 18


def test_training_ends_where_the_rule_says() -> None:
    for trajectory in run([0, 1, 2], epochs=150).values():
        assert trajectory.stops("released_code", 3) == len(trajectory.loss) < 150
    assert all(len(t.loss) == 10 for t in run([0], early_stopping="none", epochs=10).values())


def test_the_network_learns_and_the_controls_do_not() -> None:
    """Chance is 33 %; five seeds."""

    def mean(**changes: object) -> float:
        seeds = list(range(5))
        labels = None
        if changes.pop("labels", "true") == "shuffled":
            labels = np.stack([experiments.shuffled_labels(toy(), seed) for seed in seeds])
        trained = dict(trajectories(toy(), {**SETTING, **changes}, seeds, labels=labels))
        return float(np.mean([t.tested("released_code", len(t.loss), "best") for t in trained.values()]))

    assert mean(patience=20) > 70
    assert mean(labels="shuffled", patience=20) < 60
    assert mean(epochs=1, learning_rate=0.0) < 60


@pytest.mark.parametrize("decay_on", ["all", "weights", "first_layer"])
def test_what_decays(decay_on: str) -> None:
    from papers.gat.training import optimizer_for
    from repro.ensemble import Ensemble

    ensemble = Ensemble(lambda seed: build(SETTING, 12, 3, seed), [0])
    groups = optimizer_for(ensemble, {**SETTING, "decay_on": decay_on}).param_groups
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    names = {name for name, p in ensemble.parameters.items() if id(p) in decayed}
    first, second = {"layers.0.W", "layers.0.a"}, {"layers.1.W", "layers.1.a"}
    biases = {"layers.0.b", "layers.1.b"}
    assert (
        names
        == {
            "all": first | second | biases,
            "weights": first | second,
            "first_layer": first | {"layers.0.b"},
        }[decay_on]
    )


def test_rules_that_read_the_same_training_train_once(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    calls: list[list[int]] = []

    def spy(graph, setting, seeds, **kwargs):
        calls.append(list(seeds))
        return trajectories(graph, setting, seeds, **kwargs)

    monkeypatch.setattr(experiments, "trajectories", spy)
    monkeypatch.setattr(experiments.planetoid, "load", lambda name, root: toy())
    monkeypatch.setattr(experiments, "_TRAINED", {})
    found = {
        (rule, weights): dict(
            experiments.transductive(
                {**SETTING, "early_stopping": rule, "weights": weights}, [0, 1], Context(tmp_path)
            )
        )
        for rule in ("released_code", "paper", "accuracy")
        for weights in ("best", "last")
    }
    assert calls == [[0, 1]] * 3, "one for all rules, and one for the last weights of each shorter one"
    for weights in ("best", "last"):
        own = dict(trajectories(toy(), {**SETTING, "early_stopping": "paper", "weights": "last"}, [1]))[1]
        expected = own.tested("paper", own.stops("paper", 3), weights)
        assert found["paper", weights][1]["test_accuracy"] == expected
    dict(experiments.transductive({**SETTING, "dropout": 0.5}, [0], Context(tmp_path)))
    assert calls[3:] == [[0]], "another protocol is another run"


def test_every_rule_of_the_ledger_exists() -> None:
    from pathlib import Path

    from repro.project import Project

    ledger = Project(Path(__file__).parents[2]).ledger("gat")
    assert set(ledger.experiments["transductive"].choices["early_stopping"]) == set(RULES)


# ------------------------------------------------------------------ random edges


def test_random_edges_are_new_and_nested() -> None:
    graph = toy()
    less, more = (experiments.with_random_edges(graph, p, 7).adjacency for p in (0.2, 0.5))
    for share, noisy in ((0.2, less), (0.5, more)):
        extra = noisy - graph.adjacency
        assert extra.min() >= 0
        assert noisy.max() == 1
        assert extra.nnz == 2 * round(share * graph.num_edges)
        assert (extra != extra.T).nnz == 0
        assert not extra.diagonal().any()
    assert (more - less).min() >= 0
    other = experiments.with_random_edges(graph, 0.5, 8).adjacency
    assert (other != more).nnz > 0
    assert (experiments.with_random_edges(graph, 0.0, 7).adjacency != graph.adjacency).nnz == 0


def test_noise_has_a_row_for_each_share(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(experiments.planetoid, "load", lambda name, root: toy())
    ((seed, rows),) = experiments.noise({**SETTING, "epochs": 3}, [5], Context(tmp_path))
    assert seed == 5
    assert [row["noise"] for row in rows] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    clean = dict(trajectories(toy(), {**SETTING, "epochs": 3}, [5]))[5]
    assert rows[0]["test_accuracy"] == clean.tested("released_code", 3, "best")
