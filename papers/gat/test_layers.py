"""GAT and GATv2: the layers against PyG's, and attention over edges."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.nn import GATConv, GATv2Conv

from papers.gat.conftest import SETTING, toy
from papers.gat.model import GAT, Dropout, GraphAttention, citation_layers
from papers.gat.training import Part, build, propagation
from repro import randomness
from repro.nn import attention
from repro.nn.attention import Neighbourhoods, adjacency
from repro.nn.features import SparseFeatures
from repro.nn.sparse import SparseMatrix

NO_DROPOUT = Dropout()
steady = settings(max_examples=40, deadline=None, derandomize=True)


# ------------------------------------------------------------------ attention over edges


def graphs(seed: int, nodes: int = 7, edges: int = 15) -> np.ndarray:
    """Random edges, some of them twice; the last node has none."""
    draw = np.random.default_rng(seed)
    edge_index = draw.integers(0, nodes - 1, size=(2, edges))
    return np.concatenate([edge_index, edge_index[:, :4]], axis=1)


@steady
@given(st.integers(0, 10_000))
def test_softmax_and_sum_are_those_of_a_dense_matrix(seed: int) -> None:
    A = adjacency(graphs(seed), 7)
    graph = Neighbourhoods.from_scipy(A)
    draw = torch.Generator().manual_seed(seed)
    e = torch.randn(2, 3, graph.edges, generator=draw, dtype=torch.float32, requires_grad=True)
    H = torch.randn(2, 3, 7, 4, generator=draw, requires_grad=True)
    ours = attention.weighted_sum(graph, attention.softmax(graph, e), H)
    weight = torch.zeros(2, 3, 7, 7)
    weight[..., graph.target, graph.source] = e.exp() * graph.matrix.values
    dense = (weight / weight.sum(-1, keepdim=True)) @ H
    assert torch.allclose(ours, dense, atol=1e-5)
    up = torch.randn(dense.shape, generator=draw)
    for a, b in zip(*(torch.autograd.grad((x * up).sum(), (e, H)) for x in (ours, dense)), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    under_vmap = torch.vmap(lambda e, H: attention.weighted_sum(graph, attention.softmax(graph, e), H))(e, H)
    assert torch.equal(under_vmap, ours)


@pytest.mark.parametrize(
    ("nodes", "edges", "heads", "features"), [(6, 0, 2, 3), (23, 101, 1, 7), (80, 477, 8, 8)]
)
def test_additive_scores_do_not_depend_on_who_else_is_in_the_batch(
    nodes: int, edges: int, heads: int, features: int
) -> None:
    """Odd sizes let the rows of a batch begin anywhere in memory; to the last bit, with gradients."""
    graph = Neighbourhoods.from_scipy(adjacency(graphs(0, nodes, edges)[:, :edges], nodes, self_loops=False))
    draw = torch.Generator().manual_seed(edges)
    s, t = (torch.randn(5, nodes, heads, features, generator=draw) for _ in range(2))
    a, up = (
        torch.randn(5, heads, features, generator=draw),
        torch.randn(5, heads, graph.edges, generator=draw),
    )

    def scores(seeds: slice) -> list[torch.Tensor]:
        x, b, y = (v[seeds].clone().requires_grad_() for v in (s, a, t))
        out = attention.additive_score(graph, x, b, 0.2, y)
        assert torch.allclose(out, _plainly(graph, x, b, y), atol=1e-5)
        return [out, *torch.autograd.grad((out * up[seeds]).sum(), (x, b, y))]

    together = scores(slice(None))
    for i in range(5):
        for one, among in zip(scores(slice(i, i + 1)), together, strict=True):
            assert torch.equal(one[0], among[i])


def _plainly(graph: Neighbourhoods, s: torch.Tensor, a: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    pairs = torch.nn.functional.leaky_relu(t[:, graph.target] + s[:, graph.source], 0.2)
    return torch.einsum("behf,bhf->bhe", pairs, a)


def test_softmax_survives_scores_that_lie_far_apart() -> None:
    """One target's scores are 200 above another's: exp of their difference is no number of single precision."""
    graph = Neighbourhoods.from_scipy(sp.csr_matrix(np.ones((2, 2), dtype=np.float32)))
    alpha = attention.softmax(graph, torch.tensor([300.0, 301.0, 100.0, 101.0]))
    expected = torch.softmax(torch.tensor([0.0, 1.0]), 0)
    assert torch.allclose(alpha, expected.repeat(2), atol=1e-6)


def test_a_target_without_edges_gets_zeros() -> None:
    graph = Neighbourhoods.from_scipy(adjacency(np.array([[0], [1]]), 3, self_loops=False))
    out = attention.weighted_sum(graph, attention.softmax(graph, torch.zeros(1)), torch.ones(3, 2))
    assert out.tolist() == [[0, 0], [1, 1], [0, 0]]
    empty = Neighbourhoods.from_scipy(sp.csr_matrix((3, 3), dtype=np.float32))
    alpha = attention.softmax(empty, torch.zeros(2, 0))
    assert attention.weighted_sum(empty, alpha, torch.ones(2, 3, 4)).tolist() == [[[0.0] * 4] * 3] * 2


@pytest.mark.parametrize(("bad", "said"), [(7, "names node 7"), (-1, "names node -1")])
def test_an_index_out_of_range_is_refused(bad: int, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}; the 7 nodes are 0 to 6"):
        adjacency(np.array([[0, bad], [1, 1]]), 7)


def test_targets_that_are_not_all_sources_must_be_named() -> None:
    A = sp.csr_matrix(np.ones((2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="say which by `own`"):
        Neighbourhoods.from_scipy(A)
    for own in ([0], [0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="from 0 to 2"):
            Neighbourhoods.from_scipy(A, np.array(own))


# ------------------------------------------------------------------ the layers


def pair(
    scores: str, concat: bool, share: bool, dtype: torch.dtype
) -> tuple[GraphAttention, torch.nn.Module]:
    """Our layer and PyG's with our weights."""
    ours = GraphAttention(5, 4, 3, concat, scores, randomness.key(1, "test"), share)
    torch.nn.init.normal_(ours.b)
    W = ours.W.detach().flatten(1).T
    if scores == "gat":
        theirs = GATConv(5, 4, 3, concat=concat)
        state = {
            "lin.weight": W,
            "att_dst": ours.a.detach()[None, ..., 0],
            "att_src": ours.a.detach()[None, ..., 1],
        }
    else:
        theirs = GATv2Conv(5, 4, 3, concat=concat, share_weights=share)
        zero = torch.zeros(12)
        W_target = W if share else ours.W_target.detach().flatten(1).T
        state = {
            "lin_l.weight": W,
            "lin_l.bias": zero,
            "lin_r.weight": W_target,
            "lin_r.bias": zero,
            "att": ours.a.detach()[None],
        }
    theirs.load_state_dict({**state, "bias": ours.b.detach()})
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize(("scores", "share"), [("gat", True), ("gatv2", True), ("gatv2", False)])
def test_the_layer_is_that_of_pyg(scores: str, share: bool, concat: bool) -> None:
    """Forward and gradient, with repeated edges, an own loop listed and a node without edges."""
    edge_index = graphs(3)
    edge_index = np.concatenate([edge_index, [[2], [2]]], axis=1)
    ours, theirs = pair(scores, concat, share, torch.float32)
    graph = Neighbourhoods.from_scipy(adjacency(edge_index, 7))
    draw = torch.Generator().manual_seed(0)
    h = torch.randn(7, 5, generator=draw, requires_grad=True)
    a = ours(h, graph, None, NO_DROPOUT)
    b = theirs(h, torch.as_tensor(edge_index))
    assert torch.allclose(a, b, atol=1e-5)
    up = torch.randn(a.shape, generator=draw)
    (of_ours,) = torch.autograd.grad((a * up).sum(), h, retain_graph=True)
    (of_theirs,) = torch.autograd.grad((b * up).sum(), h, retain_graph=True)
    assert torch.allclose(of_ours, of_theirs, atol=1e-5)
    (of_ours,) = torch.autograd.grad((a * up).sum(), ours.W, retain_graph=True)
    weight = theirs.lin.weight if scores == "gat" else theirs.lin_l.weight
    (of_theirs,) = torch.autograd.grad((b * up).sum(), weight, retain_graph=True)
    assert torch.allclose(of_ours.flatten(1).T, of_theirs, atol=1e-5)
    (of_ours,) = torch.autograd.grad((a * up).sum(), ours.a)
    if scores == "gat":
        halves = torch.autograd.grad((b * up).sum(), (theirs.att_dst, theirs.att_src))
        assert torch.allclose(of_ours, torch.stack([x[0] for x in halves], -1), atol=1e-5)
    else:
        (of_theirs,) = torch.autograd.grad((b * up).sum(), theirs.att)
        assert torch.allclose(of_ours, of_theirs[0], atol=1e-5)


def test_on_the_nodes_that_count_the_layer_is_that_of_the_whole_graph() -> None:
    graph = toy()
    setting = {**SETTING, "model": "gat"}
    network = build(setting, 12, 3, 4)
    S = propagation(graph.adjacency, "gat")
    whole = Neighbourhoods.from_scipy(S)
    X = SparseFeatures(SparseMatrix.from_scipy(graph.features))
    everything = network(X, [whole, whole])
    from papers.gat.training import Part

    part = Part.of(S, graph.features, graph.test, graph.labels[None], "cpu")
    assert torch.allclose(network(part.X, part.graphs), everything[graph.test], atol=1e-6)


def test_gcn_coefficients_are_those_of_kipf_and_welling() -> None:
    A = toy().adjacency
    S = propagation(A, "gcn").toarray()
    tilde = (A - sp.diags(A.diagonal())).toarray() + np.eye(A.shape[0])
    d = tilde.sum(1)
    assert np.allclose(S, tilde / np.sqrt(d[:, None] * d[None, :]))
    layer = GraphAttention(12, 4, 1, True, "gcn", randomness.key(0, "x"), bias=False)
    graph = Neighbourhoods.from_scipy(propagation(A, "gcn"))
    h = torch.as_tensor(toy().features.toarray())
    expected = torch.as_tensor(S, dtype=torch.float32) @ h @ layer.W.flatten(1)
    assert torch.allclose(layer(h, graph, None, NO_DROPOUT), expected, atol=1e-6)


def test_constant_attention_is_the_mean_over_the_neighbourhood() -> None:
    S = propagation(toy().adjacency, "constant")
    layer = GraphAttention(12, 4, 2, True, "constant", randomness.key(0, "x"))
    h = torch.as_tensor(toy().features.toarray())
    mean = torch.as_tensor(S.toarray() / S.toarray().sum(1, keepdims=True), dtype=torch.float32)
    expected = mean @ h @ layer.W.flatten(1)
    assert torch.allclose(layer(h, Neighbourhoods.from_scipy(S), None, NO_DROPOUT), expected, atol=1e-6)


def test_initial_weights_fill_glorots_range() -> None:
    """Uniform within √(6 / (in + out)) of each head: of 16,000 the largest is nearly that; the seed is fixed."""
    layer = GraphAttention(100, 20, 8, True, "gat", randomness.key(0, "x"))
    limit = (6 / (100 + 20)) ** 0.5
    W = layer.W.detach()
    assert float(W.abs().max()) == pytest.approx(limit, rel=1e-3)
    assert float(W.std()) == pytest.approx(limit / 3**0.5, rel=0.02)


@pytest.mark.parametrize("model", ["gat", "gatv2"])
@pytest.mark.parametrize("share", [True, False])
def test_what_some_nodes_need_predicts_them_as_the_whole_graph_does(model: str, share: bool) -> None:
    graph = toy()
    network = build({**SETTING, "model": model, "share_weights": share}, 12, 3, 4)
    S = propagation(graph.adjacency, model)
    whole = Neighbourhoods.from_scipy(S)
    expected = network(SparseFeatures(SparseMatrix.from_scipy(graph.features)), [whole, whole])[graph.test]
    part = Part.of(S, graph.features, graph.test, graph.labels[None], "cpu")
    torch.testing.assert_close(network(part.X, part.graphs), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("features", "classes", "output_heads", "count"),
    [(1433, 7, 1, 92_373), (3703, 6, 1, 237_586), (500, 3, 8, 33_779)],
)
def test_parameter_counts(features: int, classes: int, output_heads: int, count: int) -> None:
    network = GAT(features, citation_layers(8, 8, classes, output_heads))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("bad", [{"hidden": 0}, {"heads": 0}, {"output_heads": -1}])
def test_a_layer_needs_a_head_and_a_feature(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must each be at least 1"):
        citation_layers(**{"hidden": 8, "heads": 8, "classes": 3, "output_heads": 1, **bad})


@pytest.mark.parametrize("place", ["input", "attention", "projected"])
def test_dropout_falls_where_it_is_told(place: str) -> None:
    """It changes the output, leaves its mean, and does nothing at evaluation."""
    layer = GraphAttention(5, 4, 3, True, "gat", randomness.key(1, "test"))
    graph = Neighbourhoods.from_scipy(adjacency(graphs(1), 7))
    h = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = layer(h, graph, None, Dropout(**{place: 0.5}))
        assert torch.equal(plain, layer(h, graph, None, NO_DROPOUT))
        keys = randomness.key(torch.arange(4000), "d").unsqueeze(1) + torch.arange(3)
        dropped = torch.vmap(lambda k: layer(h, graph, k, Dropout(**{place: 0.5})))(keys)
    assert not torch.allclose(dropped[0], plain)
    # The scores are not linear in h, so dropping inputs shifts the mean; the other two must not.
    if place != "input":
        spread = dropped.std(0) / 4000**0.5
        # 84 means, five standard errors: a false alarm in 5e-5 of all choices of keys; these are fixed.
        assert ((dropped.mean(0) - plain).abs() <= 5 * spread + 1e-6).all()
