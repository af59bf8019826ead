"""The audits' arithmetic, against formulas by hand and on tables made for the purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from papers.gat import audits
from papers.gat.audits import Compared, Runs, p_value
from papers.gat.ppi_data import Structure
from repro.context import Context

HERE = Context(Path("unused"))
SPREAD = st.floats(0.1, 10)


def row(function, **setting: object) -> dict[str, float]:
    ((seed, found),) = function(setting, [3], HERE)
    assert seed == 3
    return found


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 100), SPREAD, st.floats(0, 100), SPREAD, st.integers(2, 100))
def test_p_is_that_of_students_test(a: float, s: float, b: float, t: float, n: int) -> None:
    c = Compared(Runs(a, s, n), Runs(b, t, n))
    statistic = (b - a) / np.sqrt((s**2 + t**2) / n)
    assert p_value(c) == pytest.approx(stats.t.sf(statistic, 2 * n - 2), abs=1e-12)
    assert p_value(Compared(c.gatv2, c.gat)) == pytest.approx(1 - p_value(c), abs=1e-12)


def test_what_p_exceeds() -> None:
    proteins = row(audits.significance, data="ogbn-proteins", runs="printed")
    assert proteins["p_two_sided"] == pytest.approx(2 * proteins["p_one_sided"])
    assert proteins["p_beyond_5_percent"] == pytest.approx(proteins["p_two_sided"] - 0.05)
    products = row(audits.significance, data="ogbn-products", runs="printed")
    assert products["p_beyond_bound"] == products["p_beyond_5_percent"] == 0
    fewer = row(audits.significance, data="ogbn-products", runs="10")
    assert fewer["p_beyond_bound"] == fewer["p_one_sided"] - 1e-4 > 0


def test_two_sided_p_of_a_model_that_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = Compared(Runs(5.0, 1.0, 9), Runs(4.0, 1.0, 9))
    monkeypatch.setattr(audits, "THIRTY_RUNS", {"x": worse})
    found = row(audits.significance, data="x", runs="printed")
    both = stats.ttest_ind_from_stats(5, 1, 9, 4, 1, 9).pvalue
    assert found["p_one_sided"] > 0.5
    assert found["p_two_sided"] == pytest.approx(both)


def test_a_row_is_repeated_only_if_all_four_numbers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    thirty = audits._table(30, {"a": (1, 2, 3, 4), "b": (5, 6, 7, 8), "c": (1, 2, 3, 4)})
    ten = {
        1: audits._table(10, {"a": (0, 0, 0, 0), "b": (5, 6, 7, 9), "c": (2, 1, 4, 3)}),
        8: audits._table(10, {"a": (1, 2, 3, 4), "b": (0, 0, 0, 0), "c": (0, 0, 0, 0)}),
    }
    monkeypatch.setattr(audits, "THIRTY_RUNS", thirty)
    monkeypatch.setattr(audits, "TEN_RUNS", ten)
    assert row(audits.repeated_rows) == {"repeated_rows": 1}


def test_the_average_over_qm9(monkeypatch: pytest.MonkeyPatch) -> None:
    thirteen = np.full(13, 2.0)
    half = np.where(np.arange(13) == 5, 1.0, thirteen)  # property 6 at half of GAT's error
    monkeypatch.setattr(audits, "QM9", {"GAT-8": thirteen, "X": half, "DPGAT-8": 0.99 * thirteen})
    found = row(audits.qm9_average, model="X", without_property=0)
    assert found == pytest.approx({"relative_change": -50 / 13, "share_of_6": -50 / 13, "behind_dpgat": 0.0})
    found = row(audits.qm9_average, model="X", without_property=6)
    assert found["relative_change"] == 0
    assert found["behind_dpgat"] == pytest.approx(1.0)


@pytest.mark.parametrize("p", [1e-5, 0.5])
def test_a_printed_p_that_cannot_be(monkeypatch: pytest.MonkeyPatch, p: float) -> None:
    """The other property's p is as it should be."""
    printed = audits.QM9_TWENTY_RUNS
    changed = tuple(p if i == 7 else x for i, x in enumerate(printed["p"], 1))
    monkeypatch.setattr(audits, "QM9_TWENTY_RUNS", {**printed, "p": changed})
    assert row(audits.qm9_significance)["p_too_small"] == (p < 0.05)


def test_where_gatv2_is_not_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one head "a" is worse, with eight "b" is equal; each with its better number of heads, all are better."""
    one = audits._table(10, {"a": (3, 1, 2, 1), "b": (1, 1, 5, 1), "c": (1, 1, 2, 1)})
    eight = audits._table(10, {"a": (1, 1, 4, 1), "b": (2, 1, 2, 1), "c": (1, 1, 2, 1)})
    monkeypatch.setattr(audits, "TEN_RUNS", {1: one, 8: eight})
    assert audits.exceptions("ogb", "1") == ["a"]
    assert audits.exceptions("ogb", "8") == ["b"]
    assert audits.exceptions("ogb", "best") == []
    errors = {"GAT-1": (3, 3), "GATv2-1": (2, 4), "GAT-8": (2, 2), "GATv2-8": (2, 1)}
    monkeypatch.setattr(audits, "QM9", errors)
    assert audits.exceptions("qm9", "1") == ["property 2"]
    assert audits.exceptions("qm9", "8") == audits.exceptions("qm9", "best") == ["property 1"]


def test_gains_over_the_better_gcn() -> None:
    for data in ("cora", "citeseer", "pubmed"):
        over = [row(audits.gain, data=data, over=name)["gain"] for name in ("GCN", "GCN-64")]
        assert row(audits.gain, data=data, over="best_gcn")["gain"] == min(over)


def test_changed_quotations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "QUOTED", {**audits.SOURCE, "LP": (0.0, 45.3, 0.0)})
    assert row(audits.quotations) == {"changed_quotations": 2}
    assert set(audits.QUOTED) == set(audits.SOURCE)


def test_the_graphs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge of two nodes is two directed ones, a self-loop none."""
    graphs = [
        Structure("train", "x", 4, np.array([[0, 1], [1, 2], [3, 3]])),
        Structure("train", "y", 2, np.array([[0, 1]])),
        Structure("val", "z", 3, np.array([[0, 2]])),
    ]
    monkeypatch.setattr(audits, "structures", lambda root: graphs)
    train = row(audits.ppi_statistics, split="train")
    assert train == {"graphs": 2, "nodes": 6, "mean_nodes": 3.0, "directed_edges": 6}
    assert row(audits.ppi_statistics, split="all")["nodes"] == 9


@pytest.mark.parametrize("dataset", list(audits.WIDTHS))
def test_parameters_by_hand(dataset: str) -> None:
    """Eight heads of eight features, then K averaged heads of the classes."""
    F, C, K = audits.WIDTHS[dataset]
    ours = 8 * (F * 8 + 2 * 8) + 64 + K * (64 * C + 2 * C) + C
    theirs = 8 * (F * 8 + (8 + 1) * 2 + 8) + K * (64 * C + (C + 1) * 2 + C)
    assert row(audits.parameter_count, dataset=dataset, layout="pyg")["parameters"] == ours
    assert row(audits.parameter_count, dataset=dataset, layout="tensorflow")["parameters"] == theirs


def test_a_head_of_another_size_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = audits.GraphAttention
    monkeypatch.setattr(audits, "GraphAttention", lambda *args, bias: layer(*args, bias=True))
    assert row(audits.parameters_per_head, model="gat")["parameters_off"] == 128
