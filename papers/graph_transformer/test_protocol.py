"""The protocol, the ledger, and the small tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import graph_transformer_pyg
from benchmarks.graph_transformer_sparse import SparseGraphTransformer
from benchmarks.peer import DisagreementError

from papers.graph_transformer import (
    audits,
    encodings,
    experiments,
    properties,
    tasks,
    training,
    trees,
    trivial,
)
from papers.graph_transformer.baselines import MODELS
from papers.graph_transformer.conftest import random_graph, small, some_graphs
from papers.graph_transformer.graphs import TASKS, Graphs, join, pad, with_arbitrary_signs
from papers.graph_transformer.model import initialise
from papers.graph_transformer.training import (
    Accuracy,
    Plateau,
    Trainer,
    class_weights,
    classification_loss,
    flip_signs,
    hits,
    run,
)
from repro.checkpoint import Checkpoint
from repro.claims import OrderingClaim, ValueClaim
from repro.context import Context, Work
from repro.data import sbm
from repro.data.pointers import find_root
from repro.plan import claim_arms, comparisons
from repro.project import Project

# ------------------------------------------------------------------ the protocol


SETTING: dict[str, object] = {
    "model": "gt", "width": 16, "layers": 2, "heads": 4, "encoding": "laplacian", "eigenvectors": 2, "norm": "batch",
    "clamp": "before_exp", "learning_rate": 1e-2, "factor": 0.5, "patience": 0, "lowest_rate": 1e-6,
    "loss_weights": True, "sign": "canonical", "sign_flip": "batch", "batch": 3, "epochs": 3, "weights": "last",
}  # fmt: skip


def test_loss_weights_are_those_of_the_code() -> None:
    labels = torch.tensor([[0, 0, 0, 1, 1, 4, -1, -1]])
    assert class_weights(labels, 5)[0].tolist() == pytest.approx([3 / 6, 4 / 6, 0, 0, 5 / 6])
    logits = torch.randn(1, 8, 5, generator=torch.Generator().manual_seed(0))
    weights = class_weights(labels, 5)[0]
    torch_s = torch.nn.functional.cross_entropy(logits[0], labels[0], weight=weights, ignore_index=-1)
    ours = classification_loss(logits, labels, weighted=True)
    assert float(ours) == pytest.approx(float(torch_s), abs=1e-6)
    plain = torch.nn.functional.cross_entropy(logits[0], labels[0], ignore_index=-1)
    assert float(classification_loss(logits, labels, False)) == pytest.approx(float(plain), abs=1e-6)


def test_three_accuracies_of_one_result() -> None:
    accuracy = Accuracy()
    accuracy.add(torch.tensor([[9.0, 1.0]]), torch.tensor([[10.0, 2.0]]))  # recalls 0.9 and 0.5
    accuracy.add(torch.tensor([[5.0, 0.0]]), torch.tensor([[10.0, 0.0]]))  # the second class does not occur
    assert float(accuracy.value("batch_mean")) == pytest.approx(100 * (0.7 + 0.5) / 2)
    assert float(accuracy.value("pooled")) == pytest.approx(100 * (14 / 20 + 1 / 2) / 2)
    assert float(accuracy.value("plain")) == pytest.approx(100 * 15 / 22)


def test_nodes_that_only_fill_up_are_not_counted() -> None:
    """Four places, the last of them no node; the third node is taken for one of class 1."""
    logits = torch.eye(2)[torch.tensor([[0, 1, 1, 0]])]
    right, there = hits(logits, torch.tensor([[0, 1, 0, -1]]))
    assert (right.tolist(), there.tolist()) == ([[1, 1]], [[2, 1]])


def test_the_schedule_is_that_of_torch() -> None:
    losses = [1.0, 0.9, 0.95, 0.9, 0.89999, 0.91, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    ours = Plateau(2, 0.5, 2)
    for step, loss in enumerate(losses):
        theirs.step(loss)
        ours.update(torch.tensor([loss, 10.0 - step]))
        assert float(ours.scale[0]) == optimizer.param_groups[0]["lr"]
    assert float(ours.scale[1]) == 1.0, "a seed that improves keeps its rate"
    assert float(ours.scale[0]) < 0.5


def test_a_lowered_rate_shortens_the_steps_of_its_own_seed() -> None:
    """Where every gradient is 1, Adam's first step is the learning rate itself."""
    trainer = Trainer(SETTING, TASKS["pattern"], [0, 1], "cpu")
    trainer.plateau.scale = torch.tensor([1.0, 0.25], dtype=torch.float64)
    before = [p.detach().clone() for p in trainer.parameters]
    for p in trainer.parameters:
        p.grad = torch.ones_like(p)
    trainer._step()
    for old, p in zip(before, trainer.parameters, strict=True):
        step = (old - p.detach()).flatten(1).mean(1) / SETTING["learning_rate"]
        assert step.tolist() == pytest.approx([1.0, 0.25], rel=1e-3)


def test_the_schedule_watches_the_validation_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    evaluate = Trainer.evaluate

    def watched(self: Trainer, data: Graphs) -> dict[str, torch.Tensor]:
        seen.append(len(data))
        return evaluate(self, data)

    monkeypatch.setattr(Trainer, "evaluate", watched)
    train, val = some_graphs([8, 9, 12, 7]), some_graphs([6, 5, 9])
    list(run({**SETTING, "epochs": 2}, TASKS["pattern"], [0], train, val))
    assert seen == [3, 3]


def test_every_epoch_and_every_seed_has_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[int]] = []
    permutation = training.randomness.permutation

    def watched(keys: torch.Tensor, n: int) -> torch.Tensor:
        drawn = permutation(keys, n)
        orders.extend(drawn.tolist())
        return drawn

    monkeypatch.setattr(training.randomness, "permutation", watched)
    graphs = some_graphs([8, 9, 12, 7, 10, 6, 11])
    list(run({**SETTING, "epochs": 2}, TASKS["pattern"], [0, 1], graphs, graphs))
    assert [sorted(order) for order in orders] == [list(range(7))] * 4
    assert len(set(map(tuple, orders))) == 4


def test_evaluation_changes_nothing() -> None:
    """Not even the running statistics: it is repeatable, and a trained network is what training has left."""
    trainer, graphs = Trainer(SETTING, TASKS["pattern"], [0, 1], "cpu"), some_graphs([8, 9, 12, 7])
    kept = {name: x.detach().clone() for name, x in trainer.weights.items()}
    first, again = (trainer.evaluate(graphs)["loss"] for _ in range(2))
    assert torch.equal(first, again)
    for name, x in trainer.weights.items():
        assert torch.equal(x, kept[name]), name


@pytest.mark.parametrize("how", ["none", "batch", "graph"])
@pytest.mark.parametrize("edge_stream", [False, True])
def test_signs_are_drawn_per_batch_or_per_graph(how: str, edge_stream: bool) -> None:
    batch, _ = some_graphs([6] * 6, k=3).batch(torch.arange(6).expand(2, -1), edge_stream=edge_stream)
    batch = batch._replace(encoding=torch.ones_like(batch.encoding))
    signs = set()
    for step in range(20):
        drawn = flip_signs(batch, how, torch.arange(2), step).encoding.view(2, 6, 6, 3)
        assert (drawn == drawn[:, :, :1]).all(), "a graph's nodes have one sign"
        signs.add(tuple(map(tuple, drawn[:, :, 0].flatten(0, 1).tolist())))
    per_graph = max(len(set(drawn[:6])) for drawn in signs)
    assert (per_graph == 1) == (how != "graph")
    assert (len(signs) == 1) == (how == "none")


def trained(seeds: list[int], work: Work | None = None, **changes: object) -> dict[int, list[float]]:
    data = some_graphs([8, 9, 12, 7, 10, 6, 11], k=2)
    found = {}
    for trainer, at, epochs in run({**SETTING, **changes}, TASKS["pattern"], seeds, data, data, work=work):
        values = trainer.evaluate(data)
        for i in at:
            found[seeds[i]] = [epochs, *(float(values[name][i]) for name in ("loss", "batch_mean"))]
    return found


@pytest.mark.parametrize("model", MODELS)
def test_stacked_seeds_train_as_they_do_alone(model: str) -> None:
    together = trained([3, 8], model=model)
    for seed in (3, 8):
        # Rounding differs in the last bits, and Adam makes whole steps of it where a gradient is nothing else (a bias
        # before BatchNorm): an accuracy may then differ by a node, the loss hardly.
        assert together[seed][:2] == pytest.approx(trained([seed], model=model)[seed][:2], rel=1e-3)
    assert together[3] != together[8]


def test_each_seed_ends_by_its_own_learning_rate() -> None:
    found = trained([0, 1, 2], lowest_rate=4e-3, epochs=40, learning_rate=3e-2)
    assert all(epochs < 40 for epochs, *_ in found.values())
    assert len(found) == 3


@pytest.mark.parametrize("weights", ["last", "best_validation"])
def test_a_killed_training_ends_as_one_that_was_not(weights: str, tmp_path: Path) -> None:
    """Seeds that had ended before are tested again, with the weights that they ended with."""
    own = {"weights": weights, "lowest_rate": 4e-3, "epochs": 40, "learning_rate": 3e-2}
    ends = trained([0, 1, 2], **own)
    first, last = (choose(epochs for epochs, *_ in ends.values()) for choose in (min, max))
    assert first < last, "one has to end before the others"

    def kill(share: float) -> None:
        if share * 40 > first + 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained([0, 1, 2], Work(kill, Checkpoint(tmp_path / "t.pt", every=0.0)), **own)
    told: list[float] = []
    assert trained([0, 1, 2], Work(told.append, Checkpoint(tmp_path / "t.pt")), **own) == ends
    assert told[0] * 40 > first, "it began anew"


def test_training_lowers_the_loss_and_best_weights_are_no_worse() -> None:
    untrained, last = trained([0], epochs=0)[0], trained([0], epochs=20, patience=50)[0]
    assert last[1] < 0.95 * untrained[1]
    best = trained([0], epochs=20, patience=50, weights="best_validation")[0]
    assert best[1] <= last[1]


def test_molecules_are_a_regression() -> None:
    E = [random_graph(n, 0.3, n, 3) for n in (10, 12, 14)]
    codes = [encodings.laplacian_eigenvectors(A > 0, 2).astype(np.float32) for A in E]
    data = pad([np.arange(len(A)) % (i + 1) for i, A in enumerate(E)], E, [0.5, -1.0, 2.0], codes, False)
    for trainer, _, _ in run(
        {**SETTING, "epochs": 60, "patience": 50, "norm": "layer"}, TASKS["zinc"], [0], data, data
    ):
        assert float(trainer.evaluate(data)["mae"]) < 0.8  # the median's is 1


@pytest.mark.parametrize("model", ["gt", "gcn", "gat"])
def test_nothing_comes_from_out_of_reach_to_the_last_bit(model: str) -> None:
    """Two layers on a path of six: the first node's output does not depend on the last node's token."""
    path = np.diag(np.ones(5, np.uint8), 1)
    tokens = [np.array([0, 1, 2, 0, 1, t]) for t in (0, 2)]
    zeros = np.zeros((6, 2), np.float32)
    graphs = pad(tokens, [path + path.T] * 2, tokens, [zeros] * 2, False)
    out = small(model=model).eval()(graphs.batch(torch.arange(2))[0])
    assert torch.equal(out[:3], out[6:9])
    assert not torch.equal(out[3], out[9])


# ------------------------------------------------------------------ the ledger


def test_orderings_go_the_way_of_the_printed_tables() -> None:
    """On ZINC an error is better if it is smaller, and `greater` is the worse arm."""
    ledger = Project(find_root(Path(__file__).parent)).ledger("graph_transformer")
    tables = ("zinc", "cluster", "pattern")
    printed = {
        claim_arms(ledger, claim)[0]: claim.published.value
        for claim in ledger.all_claims()
        if isinstance(claim, ValueClaim) and claim.measure.experiment in tables
    }
    assert len(printed) == 36
    checked = set()
    for claim in ledger.all_claims():
        if isinstance(claim, OrderingClaim) and claim.measure.experiment in tables:
            for a, b in comparisons(ledger, claim).values():
                if a in printed and b in printed:
                    assert printed[a] > printed[b], claim.id
                    checked.add(claim.id)
    assert {f"GT-T1-batch-above-layer-{name}" for name in tables} <= checked
    assert {f"GT-T2-below-gatedgcn-{name}" for name in tables} <= checked
    assert len(checked) >= 24


# ------------------------------------------------------------------ rules, tasks, the benchmark


def test_the_audited_table_is_the_ledgers() -> None:
    ledger = Project(find_root(Path(__file__).parent)).ledger("graph_transformer")
    claims = {claim.id: claim for claim in ledger.all_claims()}
    for (dataset, graph), rows in audits.TABLE_1.items():
        for norm, pair in zip(("LN", "BN"), rows, strict=True):
            for encoding, value in zip(("", "_LapPE"), pair, strict=True):
                assert claims[f"GT-T1-{dataset}-{norm}{encoding}-{graph}"].published.value == value


def test_the_best_threshold_and_the_best_guess() -> None:
    """Stars of different sizes: the hub has the label 1, and nodes of token 2 are hubs half of the time."""
    edges, tokens, labels = [], [], []
    for n in (5, 6, 7, 8):
        A = np.zeros((n, n), np.uint8)
        A[0, 1:] = A[1:, 0] = 1
        edges.append(A)
        labels.append(np.eye(n, dtype=np.int64)[0])
        tokens.append(np.r_[2, 2, np.zeros(n - 2, np.int64)])
    graphs = pad(tokens, edges, labels, None, False)
    t = trivial.degree_threshold(graphs)
    assert 1 / 4 < t < 1
    assert trivial.degree_accuracy(t, graphs, 2, "pooled") == 100
    assert trivial.blind_accuracy(graphs, graphs, 2, "pooled") == pytest.approx(100 * (1 + 18 / 22) / 2)
    assert trivial.majority_accuracy(graphs, 2, "pooled") == 50
    assert trivial.majority_accuracy(graphs, 2, "plain") == pytest.approx(100 * 22 / 26)


def test_rings_ask_for_the_opposite_token() -> None:
    setting = {**SETTING, "distance": 3, "eigenvectors": 5, "graph": "sparse"}
    data = tasks.rings(setting, 0, "train", 4)
    for A, tokens, targets in zip(data.edges > 0, data.tokens, data.targets, strict=True):
        assert (A.sum(-1) == 2).all()
        far = torch.linalg.matrix_power(A.double() + torch.eye(6), 2) == 0  # three steps away: one node
        assert (far.sum(-1) == 1).all()
        assert (targets == tokens[far.double().argmax(-1)]).all()


def test_trees_ask_for_the_value_of_the_leaf_with_the_key_of_the_root() -> None:
    setting = {**SETTING, "depth": 3, "graph": "sparse"}
    data = trees.trees(setting, 0, "train", 20)
    keys = 8
    answers = set()
    for A, tokens, targets in zip(data.edges > 0, data.tokens, data.targets, strict=True):
        assert sorted(A.sum(-1).tolist()) == [1] * 8 + [2] + [3] * 6
        (root,) = (targets >= 0).nonzero().flatten().tolist()
        assert int(A[root].sum()) == 2
        leaves = tokens[A.sum(-1) == 1] - 1
        assert sorted((leaves // trees.VALUES).tolist()) == list(range(keys))
        asked = int(tokens[root]) - 1 - keys * trees.VALUES
        (answer,) = leaves[leaves // trees.VALUES == asked] % trees.VALUES
        assert int(targets[root]) == int(answer)
        answers.add(int(answer))
    assert answers == set(range(trees.VALUES))
    assert int(data.tokens.max()) < trees.task(3).tokens


def test_message_passing_reaches_the_root_of_a_tree_and_no_layer_fewer_does() -> None:
    """As many layers as are given are needed: what tells networks apart is not how far they see."""
    A = trees.tree(2)
    tokens = [np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 1, 1, 1, 2])]
    graphs = pad(tokens, [A, A], tokens, [np.zeros((7, 2), np.float32)] * 2, False)
    out = small(model="gcn").eval()(graphs.batch(torch.arange(2))[0])
    assert not torch.equal(out[0], out[7]), "two layers, depth two"
    A = trees.tree(3)
    tokens = [np.r_[np.zeros(14, np.int64), x] for x in (1, 2)]
    graphs = pad(tokens, [A, A], tokens, [np.zeros((15, 2), np.float32)] * 2, False)
    out = small(model="gcn").eval()(graphs.batch(torch.arange(2))[0])
    assert torch.equal(out[0], out[15]), "two layers, depth three"


def test_each_seed_gets_its_own_graphs() -> None:
    sets = [some_graphs([8, 9, 12]), some_graphs([7, 10, 6, 11])]
    sets[1] = pad(
        [t[:n].numpy() for t, n in zip(sets[1].tokens[:3], (7, 10, 6), strict=True)],
        [e[:n, :n].numpy() for e, n in zip(sets[1].edges[:3], (7, 10, 6), strict=True)],
        [t[:n].numpy() for t, n in zip(sets[1].targets[:3], (7, 10, 6), strict=True)],
        [c[:n].numpy() for c, n in zip(sets[1].encoding[:3], (7, 10, 6), strict=True)],
        False,
    )
    both = join(sets)
    assert len(both) == 3
    batch, targets = both.batch(torch.tensor([[0, 2], [1, 0]]))
    for s, index in enumerate([[0, 2], [1, 0]]):
        alone, own = sets[s].batch(torch.tensor(index))
        N, (links,), (theirs,) = len(own), alone.pairs.links, batch.pairs.links
        assert torch.equal(targets[s][:N], own)
        assert (targets[s][N:] == -1).all()
        assert torch.equal(batch.tokens[s][:N], alone.tokens)
        n = links.shape[-1]
        assert torch.equal(theirs[s][:, :n, :n], links)
        assert torch.equal(batch.encoding[s][:N], alone.encoding)
        assert torch.equal(batch.graph[s][:N], alone.graph)
        assert batch.nodes[s].sum() == N


def test_stacked_seeds_with_their_own_graphs_train_as_they_do_alone() -> None:
    setting = {**SETTING, "distance": 3, "eigenvectors": 5, "graph": "full", "train": 12, "val": 4, "test": 6}
    both = dict(tasks.opposite(setting, [2, 5], Context(Path())))
    for seed in (2, 5):
        ((trainer, _, test),) = tasks.train_on_own(setting, tasks.TASK, tasks.rings, [seed], Context(Path()))
        assert both[seed] == {"opposite_accuracy": pytest.approx(float(trainer.evaluate(test)["plain"]))}
    drawn = [tasks.rings(setting, seed, "train", 12).tokens for seed in (2, 5)]
    assert not torch.equal(*drawn)


def test_arbitrary_signs_are_one_per_graph_and_eigenvector() -> None:
    graphs = some_graphs([8, 9, 12, 10], k=3)
    changed = with_arbitrary_signs(graphs, 0, "train").encoding
    assert torch.equal(changed.abs(), graphs.encoding.abs())
    assert torch.equal(changed, with_arbitrary_signs(graphs, 0, "train").encoding), "drawn once and for all"
    ratio = (changed * graphs.encoding).sum(1).sign()
    assert {-1.0, 1.0} <= set(ratio.flatten().tolist())
    kept = changed * torch.where(ratio == 0, 1, ratio).unsqueeze(1)
    assert torch.equal(kept, graphs.encoding)


def test_larger_graphs_are_drawn_anew_for_every_seed(tmp_path: Path) -> None:
    setting = {
        **SETTING, "dataset": "pattern", "graph": "sparse", "train": 3, "smallest_community": 5,
        "largest_community": 6, "encoding_scale": "unit",
    }  # fmt: skip
    first, again, other = (experiments.sized(setting, "train", seed, 2, tmp_path) for seed in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.edges, again.edges)
    assert first.edges.shape != other.edges.shape or not torch.equal(first.edges, other.edges)
    assert first.sizes.min() >= 5 * 10 + 10


def test_a_table_reports_the_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested says, in place of an accuracy, how many graphs it was given."""
    parts = {"train": some_graphs([8, 9, 12, 7]), "val": some_graphs([6, 5, 9]), "test": some_graphs([7, 8])}
    monkeypatch.setattr(experiments, "data", lambda setting, part, root: parts[part])
    monkeypatch.setattr(
        Trainer,
        "evaluate",
        lambda self, data: {"loss": torch.zeros(1), "pooled": torch.tensor([float(len(data))])},
    )
    setting = {**SETTING, "dataset": "pattern", "metric": "pooled", "epochs": 1}
    found = dict(experiments.node_classification(setting, [5], Context(Path())))
    assert found == {5: {"test_accuracy": 2.0}}


def test_the_median_is_what_zinc_is_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {"train": [1.0, 2.0, 9.0], "test": [2.0, 3.0, 5.0]}

    def fake(setting: object, part: str, root: Path) -> Graphs:
        A = [np.zeros((2, 2), np.uint8)] * 3
        return pad([np.zeros(2, np.int64)] * 3, A, targets[part], None, False)

    monkeypatch.setattr(experiments, "data", fake)
    found = dict(experiments.regression({"model": "median"}, [0, 1], Context(Path())))
    assert found == {0: {"test_mae": pytest.approx(4 / 3)}, 1: {"test_mae": pytest.approx(4 / 3)}}


def test_dirichlet_energy_is_a_sum_over_edges() -> None:
    setting = {"model": "gcn", "graph": "sparse", "width": 16, "depth": 0}
    ((_, rows),) = properties.smoothing(setting, [2], Context(Path()))
    net = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(7, 16)})
    initialise(net, 2)
    energy = norm = 0.0
    for i in range(8):
        g = sbm.graph("cluster", "train", 16 + i)
        h = net["embedding"](torch.from_numpy(g.features)).detach().double().numpy()
        scaled = h / np.sqrt(g.adjacency.sum(1))[:, None]
        a, b = np.triu(g.adjacency).nonzero()
        energy += np.square(scaled[a] - scaled[b]).sum()
        norm += np.square(h).sum()
    assert rows[0]["dirichlet_energy"] == pytest.approx(energy / norm, rel=1e-4)


def test_size_transfer_gives_a_positive_error_at_every_size(tmp_path: Path) -> None:
    setting = {
        **SETTING, "dataset": "pattern", "graph": "sparse", "train": 4, "val": 2, "test": 2, "epochs": 1,
        "smallest_community": 5, "largest_community": 6, "largest_factor": 4, "encoding_scale": "size_free",
        "trained_on": "base",
    }  # fmt: skip
    for change in ({}, {"trained_on": "same_size"}, {"model": "degree", "encoding": "none"}):
        ((_, rows),) = experiments.size_transfer({**setting, **change}, [0], Context(tmp_path))
        assert [row["size"] for row in rows] == [1, 2, 4]
        assert all(0 < row["test_error"] <= 100 for row in rows)


@pytest.mark.parametrize("case", graph_transformer_pyg.CASES, ids=lambda case: case.dataset)
def test_the_benchmark_compares_equals_and_would_notice(
    case: graph_transformer_pyg.Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case._replace(width=16, eigenvectors=2)
    graphs = some_graphs([9, 14, 5, 11], k=2)  # not in the order of a batch
    if case.dataset == "zinc":
        graphs = replace(graphs, targets=torch.tensor([0.5, -1.0, 2.0, 0.0]))
    graph_transformer_pyg.agree(case, graphs, 2)
    take = SparseGraphTransformer.take_weights

    def other(peer: SparseGraphTransformer, ours: torch.nn.Module) -> None:
        take(peer, ours)
        with torch.no_grad():
            peer.layers[1].V.weight *= 1.01

    monkeypatch.setattr(SparseGraphTransformer, "take_weights", other)
    with pytest.raises(DisagreementError):
        graph_transformer_pyg.agree(case, graphs, 2)
