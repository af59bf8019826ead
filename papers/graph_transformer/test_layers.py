"""Encodings, and the layers against a sparse oracle."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.graph_transformer_sparse import SparseGraphTransformer, as_pyg
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Batch as PygBatch
from torch_geometric.nn import GCNConv, SimpleConv

from papers.graph_transformer import encodings
from papers.graph_transformer.attention import softmax_weights
from papers.graph_transformer.baselines import MODELS, GatedGCNLayer, GATLayer, GCNLayer
from papers.graph_transformer.conftest import random_graph, small, some_graphs
from papers.graph_transformer.graphs import Graphs, encode, pad
from papers.graph_transformer.model import Batch, Edges, apart, split_heads, together
from repro.ensemble import Ensemble
from repro.errors import ReproError

# ------------------------------------------------------------------ encodings


RING = np.roll(np.eye(8), 1, 0) + np.roll(np.eye(8), -1, 0)


@given(st.integers(3, 12), st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_eigenvectors_solve_the_eigenproblem_and_their_sign_does_not_depend_on_the_input_order(
    n: int, density: float, seed: int
) -> None:
    A = random_graph(n, density, seed).astype(float)
    k = min(3, n - 1)
    V = encodings.laplacian_eigenvectors(A, k)
    L = encodings.laplacian(A)
    values = np.linalg.eigvalsh(L)
    assert np.allclose(L @ V, V * values[1 : k + 1], atol=1e-8)
    assert np.allclose(V.T @ V, np.eye(k), atol=1e-8)
    assert np.array_equal(encodings.with_sign(-V), encodings.with_sign(V))
    assert np.array_equal(encodings.laplacian_eigenvectors(A, k), V)


def test_more_eigenvectors_than_nodes_is_refused() -> None:
    with pytest.raises(ReproError, match=r"3 eigenvectors .* graph with 3 nodes, which has 2"):
        encodings.laplacian_eigenvectors(np.ones((3, 3)) - np.eye(3), 3)
    assert encodings.laplacian_eigenvectors(np.zeros((1, 1)), 0).shape == (1, 0)


@pytest.mark.parametrize("A", [np.zeros((4, 4)), np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3)), RING])
def test_graphs_without_edges_or_in_parts_have_eigenvectors(A: np.ndarray) -> None:
    assert np.isfinite(encodings.laplacian_eigenvectors(A, 3)).all()


def test_the_cache_gives_back_what_it_was_given_and_never_another_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = [RING, np.ones((3, 3)) - np.eye(3)], [RING, np.zeros((3, 3))]
    once = encodings.cached_eigenvectors(first, 2, tmp_path)
    different = encodings.cached_eigenvectors(other, 2, tmp_path)
    assert not np.allclose(once[1], different[1])
    monkeypatch.setattr(encodings, "laplacian_eigenvectors", None)  # from here on only the cache can answer
    for a, b in zip(once, encodings.cached_eigenvectors(first, 2, tmp_path), strict=True):
        assert np.array_equal(a, b)
    assert len(list(tmp_path.iterdir())) == 2


def released_wl(A: np.ndarray) -> list[int]:
    """What the released algorithm does, step by step: two counted iterations, the second one's colours dropped."""
    import hashlib

    colours = [1] * len(A)
    for iteration in (1, 2):
        strings = [
            "_".join([str(colours[i]), *sorted(str(colours[j]) for j in np.flatnonzero(A[i]))])
            for i in range(len(A))
        ]
        hashed = [hashlib.md5(s.encode()).hexdigest() for s in strings]
        index = {h: r + 1 for r, h in enumerate(sorted(set(hashed)))}
        new = [index[h] for h in hashed]
        if new == colours or iteration == 2:
            return colours
        colours = new
    return colours


@pytest.mark.parametrize("seed", range(5))
def test_wl_roles_are_those_of_the_released_code(seed: int) -> None:
    A = random_graph(12, 0.15 * seed, seed)
    assert encodings.wl_roles(A).tolist() == released_wl(A)


# ------------------------------------------------------------------ the layers against the sparse oracle


def sparse_batch(graphs: Graphs) -> PygBatch:
    return PygBatch.from_data_list(
        [
            as_pyg(graphs.tokens[g, :n], graphs.edges[g, :n, :n], graphs.encoding[g, :n], graphs.full)
            for g, n in enumerate(graphs.sizes.tolist())
        ]
    )


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("bonds", "block"), [(0, None), (0, 400), (0, 1), (4, None)]
)  # of four, two, one graph
def test_dense_equals_sparse_forward_and_gradient(
    bonds: int, block: int | None, full: bool, norm: str
) -> None:
    graphs = some_graphs([14, 11, 9, 5], full, types=3 if bonds else 1)  # largest first, as batches are
    graph_level = bonds > 0
    ours = small(bonds, norm, graph_level)
    peer = SparseGraphTransformer(3, bonds, 1 if graph_level else 2, 16, 2, 4, 2, graph_level, norm)
    peer.take_weights(ours)
    batch, _ = graphs.batch(torch.arange(4), block, edge_stream=ours.edge_stream)
    weights = torch.linspace(-1, 1, 39 * 2)  # any linear function of the output gives all gradients
    for training in (True, False):  # the second time with running statistics
        for network_ in (ours, peer):
            network_.train(training)
            network_.zero_grad()
        dense = ours(batch)
        sparse = peer(sparse_batch(graphs))
        assert (dense - sparse).abs().max() <= 1e-5
        for out in (dense, sparse):
            (out.flatten() * weights[: out.numel()]).sum().backward()
        theirs = dict(peer.named_parameters())
        for name, parameter in ours.named_parameters():
            grad = theirs[name].grad
            if parameter.grad is None:
                assert grad is None or not grad.any(), name
                continue
            assert (parameter.grad - (0 if grad is None else grad)).abs().max() <= 1e-5 * max(
                1, float(parameter.grad.abs().max())
            ), name


def test_gcn_gathers_a_mean_or_as_kipf_and_welling_do() -> None:
    """As PyG's mean and its symmetric normalisation; where all nodes are alike a mean is one everywhere."""
    star = np.zeros((9, 9))
    star[0, 1:] = star[1:, 0] = star[1, 2] = star[2, 1] = 1
    pairs, h = torch.tensor(star).float().unsqueeze(0), torch.linspace(-1, 1, 36).view(1, 9, 4).sin()
    edge_index = pairs[0].nonzero().T  # symmetric, so that either end may be the receiver
    for symmetric, peer in (
        (False, SimpleConv("mean")),
        (True, GCNConv(4, 4, add_self_loops=False, bias=False)),
    ):
        if symmetric:
            peer.lin.weight.data = torch.eye(4)
        ours = GCNLayer(4, symmetric).gather(pairs, h)
        torch.testing.assert_close(ours[0], peer(h[0], edge_index))
    alike = torch.ones(1, 9, 1)
    assert torch.allclose(GCNLayer(1).gather(pairs, alike), alike)
    assert float(GCNLayer(1, symmetric=True).gather(pairs, alike).std()) > 0.05


DIRECTED = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 1, 0]])  # entry (i, j): i gathers from j


class Same(torch.nn.Module):
    """In place of a normalisation."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_gat_attends_as_it_is_printed() -> None:
    """Node by node and head by head: e_ij = LeakyReLU(a · [z_i ‖ z_j]), softmax over j, sum of z_j."""
    torch.manual_seed(0)
    layer, h = GATLayer(4, 2), drawn(1, 3, 4)
    z = layer.U(h)[0].view(3, 2, 2)
    found = layer.attend(DIRECTED[None], layer.U(h))[0].view(3, 2, 2)
    for i in range(3):
        senders = DIRECTED[i].nonzero()[:, 0]
        for head in range(2):
            own = layer.a_own.weight[head] @ z[i, head]
            e = torch.stack([own + layer.a_other.weight[head] @ z[j, head] for j in senders])
            alpha = torch.nn.functional.leaky_relu(e, 0.2).softmax(0)
            torch.testing.assert_close(found[i, head], (alpha[:, None] * z[senders, head]).sum(0))


def test_gatedgcn_gates_its_edges_as_it_is_printed() -> None:
    """ê_ij = C e_ij + D h_j + E h_i; gates σ(ê_ij) over their sum at i; BatchNorm, still at its start, and ReLU."""
    torch.manual_seed(0)
    layer, h = GatedGCNLayer(4).eval(), drawn(3, 4)
    receiver, sender = DIRECTED.nonzero().T
    e = drawn(len(receiver), 4)
    edges = Edges(receiver, sender, torch.ones(len(receiver)), torch.zeros(len(receiver), dtype=torch.uint8))
    found_h, found_e = layer(h, e, edges, torch.ones(3))
    e_hat = layer.C(e) + layer.D(h)[sender] + layer.E(h)[receiver]
    gate, sent = e_hat.sigmoid(), layer.B(h)[sender]
    received = torch.stack(
        [(gate * sent)[receiver == i].sum(0) / (gate[receiver == i].sum(0) + 1e-6) for i in range(3)]
    )
    eps = 1e-5  # of BatchNorm, whose running mean is 0 and variance 1
    torch.testing.assert_close(found_h, h + torch.relu((layer.A(h) + received) / math.sqrt(1 + eps)))
    torch.testing.assert_close(found_e, e + torch.relu(e_hat / math.sqrt(1 + eps)))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("model", ["gt", "gatedgcn"])
def test_seeds_with_batches_of_their_own_get_what_each_gets_alone(model: str, full: bool) -> None:
    """Their batches differ in how many edges they have, and the shorter list is filled up."""
    graphs = some_graphs([14, 11, 9, 5], full, types=3)
    ensemble = Ensemble(lambda seed: small(4, model=model, seed=seed), [1, 2])
    index = torch.tensor([[0, 1, 3], [1, 2, 3]])
    batch, _ = graphs.batch(index, edge_stream=True)
    filled = Edges(*batch.pairs).there.mean(-1).sort().values
    assert 0 < filled[0] < filled[1] == 1
    ensemble.template.train()
    together = ensemble(per_seed=(batch,))
    (together * batch.nodes.unsqueeze(-1)).square().sum().backward()
    for s, seed in enumerate(ensemble.seeds.tolist()):
        net = small(4, model=model, seed=seed)
        own, _ = graphs.batch(index[s], edge_stream=True)
        alone = net(own)
        there = own.nodes > 0
        torch.testing.assert_close(together[s, : len(there)][there], alone[there], rtol=0, atol=1e-5)
        alone[there].square().sum().backward()
        for name, parameter in net.named_parameters():
            stacked = ensemble.parameters[name].grad
            assert (stacked is None) == (parameter.grad is None), name
            if stacked is not None:
                torch.testing.assert_close(stacked[s], parameter.grad, rtol=1e-4, atol=1e-4)


def test_the_last_edge_stream_gets_no_gradient() -> None:
    """A fact of the architecture: it is counted among the parameters and never trained."""
    ours = small(4, graph_level=True)
    batch, _ = some_graphs([9, 14], types=3).batch(torch.arange(2), edge_stream=True)
    ours(batch).sum().backward()
    unused = {name for name, p in ours.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in unused if name.startswith("layers.1.e.")} == {
        f"layers.1.e.{name}" for name, _ in ours.layers[1].e.named_parameters()
    }
    assert not any(name.startswith("layers.0.e.O") for name in unused)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_padding_and_order_of_nodes_change_nothing(model: str, full: bool) -> None:
    graphs = some_graphs([13, 7], full)
    net = small(model=model)

    def batch(graphs: Graphs, *which: int) -> Batch:
        return graphs.batch(torch.tensor(which), edge_stream=net.edge_stream)[0]

    net.train()
    net(batch(graphs, 0, 1))  # running statistics that are not the initial ones
    net.eval()
    together = batch(graphs, 0, 1)
    both = net(together)[13:]
    assert (net(batch(graphs, 1)) - both).abs().max() < 1e-5
    order = torch.cat([torch.randperm(7, generator=torch.Generator().manual_seed(0)), torch.arange(7, 13)])
    moved = replace(
        graphs,
        tokens=graphs.tokens[:, order],
        edges=graphs.edges[:, order][:, :, order],
        encoding=graphs.encoding[:, order],
    )
    assert (net(batch(moved, 1)) - both[order[:7]]).abs().max() < 1e-5


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bonds", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_graphs_with_one_node_no_edges_or_two_parts(model: str, bonds: bool, full: bool) -> None:
    parts = np.kron(np.eye(2, dtype=np.uint8), np.ones((2, 2), np.uint8) - np.eye(2, dtype=np.uint8))
    edges = [parts, np.zeros((4, 4), np.uint8), np.zeros((1, 1), np.uint8)]
    if bonds and not full:
        edges[0][:] = 0  # no edge in the whole batch: nothing to normalise over
    sizes = [4, 4, 1]
    codes = [np.zeros((n, 2), np.float32) for n in sizes]
    tokens = [np.zeros(n, np.int64) for n in sizes]
    graphs = pad(tokens, edges, tokens, codes, full)
    net = small(4 if bonds else 0, model=model)
    batch, _ = graphs.batch(torch.arange(3), edge_stream=net.edge_stream)
    out = net(batch)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(torch.isfinite(b).all() for b in net.buffers())


@pytest.mark.parametrize("clamp", ["before_exp", "after_exp"])
def test_weights_over_their_sum_are_a_softmax_of_scores_within_the_clamp(clamp: str) -> None:
    """exp is clamped to [-5, 5] in one of them: scores above log 5 weigh as much as log 5."""
    scores = torch.tensor([[0.3, -1.2, 1.5], [0.0, 0.7, -4.0]])
    w = softmax_weights(scores.clone(), clamp)
    torch.testing.assert_close(w / w.sum(-1, keepdim=True), scores.softmax(-1))
    far = torch.tensor([100.0, 1.0], requires_grad=True)
    softmax_weights(far, clamp).sum().backward()
    assert far.grad.tolist() == pytest.approx([0.0, math.e]), "exp overflows there, its slope must not"
    beyond = softmax_weights(torch.tensor([7.0, -7.0]), clamp)
    wanted = [math.exp(5), math.exp(-5)] if clamp == "before_exp" else [5.0, math.exp(-7)]
    torch.testing.assert_close(beyond, torch.tensor(wanted))


def test_weights_are_of_neighbours_alone() -> None:
    net = small()
    batch, _ = some_graphs([9, 14]).batch(torch.arange(2))
    h, _ = net.embed(batch)
    (links,) = batch.pairs.links
    layer, own = net.layers[0], apart(h, batch.pairs)
    w = layer.weights(own, links)
    assert w.shape == (2, 4, 14, 14)
    assert ((w > 0) == (links > 0).unsqueeze(1)).all()


def test_weights_are_those_that_the_layer_attends_with() -> None:
    """O is set to one, the norms leave things as they are and the FFN gives zero: a layer adds what it attends to."""
    net = small(norm="layer")
    batch, _ = some_graphs([14, 9]).batch(torch.arange(2))
    h, _ = net.embed(batch)
    layer, (links,) = net.layers[0], batch.pairs.links
    layer.h.norm1, layer.h.norm2 = Same(), Same()
    with torch.no_grad():
        layer.h.O.weight.copy_(torch.eye(16))
        for parameter in (layer.h.O.bias, layer.h.W2.weight, layer.h.W2.bias):
            parameter.zero_()
    out, _ = layer(h, h, batch.pairs, batch.nodes)
    own = apart(h, batch.pairs)
    w = layer.weights(own, links)
    total = w.sum(-1, keepdim=True)
    attended = (w / (total + (total == 0))) @ split_heads(layer.V(own), 4)
    expected = together(attended.transpose(1, 2).flatten(2), batch.pairs)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(out - h, expected, rtol=1e-4, atol=1e-5)


def test_the_seed_decides_the_weights() -> None:
    def weights(seed: int) -> Tensor:
        return torch.cat([p.detach().flatten() for p in small(seed=seed).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
    embedding = small(
        tokens=4000, seed=0
    ).tokens.weight.detach()  # 64,000 numbers: three sigma of mean and spread
    assert abs(float(embedding.mean())) < 3 / 64000**0.5
    assert abs(float(embedding.std()) - 1) < 3 / (2 * 64000) ** 0.5


@pytest.mark.parametrize("bonds", [0, 4])
@pytest.mark.parametrize("encoding", encodings.ENCODINGS)
def test_encodings_enter_the_network(encoding: str, bonds: int, tmp_path: Path) -> None:
    E = [random_graph(n, 0.5, n) for n in (6, 9)]
    codes = encode([A > 0 for A in E], encoding, 2, tmp_path)
    graphs = pad(
        [np.zeros(n, np.int64) for n in (6, 9)], E, [np.zeros(n, np.int64) for n in (6, 9)], codes, True
    )
    net = small(bonds, encoding=encoding)
    batch, _ = graphs.batch(torch.arange(2), edge_stream=net.edge_stream)
    out = net(batch)[:9]  # of the larger graph
    spread = (out - out[:1]).abs().max()
    assert (spread < 1e-5) == (encoding == "none"), "without an encoding, nodes of one type are alike"
