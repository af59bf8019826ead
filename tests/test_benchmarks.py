"""The benchmarks compare equals: on a small graph PyG's loops and ours give the same losses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import gcn_pyg, memory, peer, quick_tiers  # noqa: E402
from benchmarks import run as bench  # noqa: E402
from benchmarks.gcn_pyg_networks import Dense, Network, Sparse, Tuned  # noqa: E402
from tests.conftest import Toy  # noqa: E402

from repro.data.planetoid import CitationGraph, RawCounts  # noqa: E402
from repro.errors import DataUnavailable, ReproError  # noqa: E402

KINDS = [Dense, Sparse, Tuned]


@pytest.fixture(scope="module")
def graph() -> CitationGraph:
    """60 nodes in 3 classes, a sparse random graph without self-loops, one node without any edge."""
    random = np.random.default_rng(0)
    nodes, features = 60, 40
    A = np.triu(random.random((nodes, nodes)) < 0.06, 1)
    A[:, -1] = False
    X = (random.random((nodes, features)) < 0.1).astype(np.float32)
    X[:, 0] = 1  # no row without features
    labels = random.integers(0, 3, nodes)
    parts = np.split(random.permutation(nodes), [15, 35])
    return CitationGraph(
        "small",
        sp.csr_matrix((A | A.T).astype(np.float32)),
        sp.csr_matrix(X),
        labels,
        *(np.sort(part) for part in parts),
        num_classes=3,
        raw=RawCounts(0, 0, 0),
    )


@pytest.fixture(scope="module")
def setting() -> dict:
    return {**gcn_pyg.protocol(ROOT), "epochs": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_from_equal_weights_all_losses_agree(
    kind: type[Network], graph: CitationGraph, setting: dict
) -> None:
    assert gcn_pyg.loss_difference(kind, graph, setting, [3, 5], epochs=10) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change", [{"l2": 0.05}, {"learning_rate": 0.011}, {"propagation": "first_order_only"}]
)
def test_another_protocol_on_our_side_would_be_noticed(
    kind: type[Network], graph: CitationGraph, setting: dict, change: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = gcn_pyg.ours
    monkeypatch.setattr(gcn_pyg, "ours", lambda g, s, seeds: honest(g, {**s, **change}, seeds))
    with pytest.raises(peer.DisagreementError, match="a loss differs"):
        gcn_pyg.check_losses(kind, graph, setting, [3], epochs=10)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_keeps_the_mean_and_drops_the_stated_share(
    kind: type[Network], graph: CitationGraph, setting: dict
) -> None:
    torch.manual_seed(0)
    network, part = kind(graph, 16), kind.prepare(graph, "none")["train"]
    h = torch.ones(200, 100)
    assert network.drop_hidden(h, 0.25).mean() == pytest.approx(1, abs=0.02)
    assert (network.drop_hidden(h, 0.25) == 0).double().mean() == pytest.approx(0.25, abs=0.02)
    x, draws = part.x.to_dense(), [network.drop_input(part.x, 0.5).to_dense() for _ in range(400)]
    assert all(bool(((draw == 0) | (draw == 2 * x)).all()) for draw in draws)
    torch.testing.assert_close(torch.stack(draws).mean(0), x, atol=0.3, rtol=0)


def test_the_transpose_of_dropped_features_is_that_of_the_same_draw(graph: CitationGraph) -> None:
    part = Tuned.prepare(graph, "row")["train"]
    dropped = Tuned(graph, 16).drop_input(part.x, 0.5)
    torch.testing.assert_close(dropped.transposed().to_dense(), dropped.to_dense().T)
    for edges in part.edges:
        torch.testing.assert_close(edges.transposed().to_dense(), edges.to_dense().T)


def test_accuracies_must_agree() -> None:
    gcn_pyg.check_accuracies("x", [81, 82, 81, 82, 81, 82], [82, 81, 82, 81, 82, 81])
    with pytest.raises(peer.DisagreementError, match="percentage points"):
        gcn_pyg.check_accuracies("x", [81, 82, 81, 82, 81, 82], [78, 79, 78, 79, 78, 79])
    with pytest.raises(peer.DisagreementError):  # two runs that spread widely show nothing
        gcn_pyg.check_accuracies("x", [81, 82], [79, 84])


def test_sides_run_in_turns_and_ratios_are_per_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    times = iter([0, 4, 0, 6, 0, 2, 0, 3, 0, 1, 0, 5])  # ours, peer, ours, peer, ...
    monkeypatch.setattr(peer.time, "perf_counter", lambda: next(times))
    ours = peer.Work(lambda: calls.append("ours"), units=4, warm_up=lambda: calls.append("warm"))
    other = peer.Work(lambda: calls.append("peer"))
    found = peer.compare("name", ours, other, repeats=3, warmup=2)
    assert calls == ["warm", "warm", "peer", "peer"] + ["ours", "peer"] * 3
    assert found.ratios == (6, 6, 20)
    assert found.line() == "name  6 (6, 20)"
    assert found.entry() == {"name": "name", "ratio": 6, "min": 6, "max": 20}


def test_a_side_that_takes_more_threads_does_not_count() -> None:
    threads = torch.get_num_threads()
    greedy = peer.Work(lambda: torch.set_num_threads(threads + 1), warm_up=lambda: None)
    try:
        with pytest.raises(peer.DisagreementError, match="threads"):
            peer.compare("name", peer.Work(lambda: None), greedy)
    finally:
        torch.set_num_threads(threads)


def test_the_whole_comparison_and_its_file(
    graph: CitationGraph, setting: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_this_graph(root: Path, quick: bool):
        for described in gcn_pyg.PEERS:
            yield gcn_pyg.race(described, graph, setting, range(2), quick)

    def without_data(root: Path, quick: bool):
        raise DataUnavailable("no such file")
        yield

    output = tmp_path / "bench.json"
    assert bench.run([on_this_graph, without_data], ROOT, output, quick=True) == 0
    written = json.loads(output.read_text())
    assert [set(entry) for entry in written] == [{"name", "ratio", "min", "max"}] * len(gcn_pyg.PEERS)
    assert all(0 < entry["min"] <= entry["ratio"] <= entry["max"] for entry in written)
    shown = capsys.readouterr()
    assert [line.split("  ")[0] for line in shown.out.splitlines()] == [entry["name"] for entry in written]
    assert "left out: no such file" in shown.err


def test_one_benchmark_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    for name in bench.BENCHMARKS:
        monkeypatch.setitem(
            bench.BENCHMARKS, name, lambda root, quick, name=name: iter(asked.append(name) or ())
        )
    output = ["--output", str(tmp_path / "bench.json")]
    assert bench.main(["--only", "memory", "--only", "gcn_pyg", *output]) == 0
    assert asked == ["memory", "gcn_pyg"]
    asked.clear()
    bench.main(output)
    assert asked == list(bench.BENCHMARKS)
    with pytest.raises(SystemExit):
        bench.main(["--only", "nothing", *output])


def test_nothing_is_written_where_sides_disagree(tmp_path: Path) -> None:
    def broken(root: Path, quick: bool):
        yield peer.Comparison("fine", (1.0,))
        raise peer.DisagreementError("not the same")

    assert bench.run([broken], ROOT, tmp_path / "bench.json") == 1
    assert not list(tmp_path.iterdir())


def test_the_peak_is_this_process_own() -> None:
    # A process started from a large one must not report that one's peak.
    big = bytearray(2**30)
    program = "from benchmarks import memory; print(memory.peak_bytes())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    assert 2**20 < int(done.stdout) < 0.9 * len(big) < memory.peak_bytes()


def test_memory_is_a_share_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "require", lambda name, root: None)
    monkeypatch.setattr(memory, "measure", lambda root, dataset, seeds, epochs: 3 * 2**30)
    (found,) = memory.comparisons(ROOT)
    assert found.entry() == {
        "name": "peak memory of 100 seeds on Pubmed, share of 4 GiB",
        "ratio": 0.75,
        "min": 0.75,
        "max": 0.75,
    }


def test_a_tier_is_timed_only_if_all_of_it_ran(toy: Toy) -> None:
    with pytest.raises(DataUnavailable, match="smoke tier of toy"):
        quick_tiers.seconds(toy.root, "toy", "smoke")
    toy.give_data()
    assert quick_tiers.seconds(toy.root, "toy", "smoke") > 0
    assert not toy.folder.exists()
    toy.edit('"count": 12', '"count": missing', "audits.py")
    with pytest.raises(ReproError, match="failed"):
        quick_tiers.seconds(toy.root, "toy", "smoke")


def test_a_quick_tier_is_a_share_of_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_tiers, "seconds", lambda root, paper, tier: 150.0)
    found = {c.name: c.ratio for c in quick_tiers.comparisons(ROOT)}
    assert found["gcn, quick tier, share of 5 minutes"] == 0.5
    assert len(found) == 5
