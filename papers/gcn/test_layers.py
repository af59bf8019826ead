"""The layers: PyG and dense formulas as oracles, symmetry, parameters, dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from papers.gcn import audits
from papers.gcn.conftest import adjacency, bag_of_words
from papers.gcn.graphs import dropout_per_layer, normalise_features, prepare, propagation_matrix
from papers.gcn.model import GCN, PROPAGATION_MODELS, Features, Graph, GraphConvolution, drop
from repro import randomness
from repro.context import Context
from repro.nn.sparse import SparseMatrix
from repro.project import find_project

ROWS = list(PROPAGATION_MODELS)


ONE_HOP = ["renormalised", "first_order", "first_order_only", "single_parameter", "mlp"]


def convolution(propagation: str, width: int = 6, out: int = 4, bias: bool = False) -> GraphConvolution:
    return GraphConvolution(width, out, propagation, bias, randomness.key(3, "test"))


def tensor(M: Any) -> Tensor:
    return torch.as_tensor(np.asarray(M), dtype=torch.float32)


# ------------------------------------------------------------------ PyG as the oracle


def edge_index(A: sp.csr_matrix) -> Tensor:
    return torch.from_numpy(np.stack(A.nonzero())).long()


def both(ours: GraphConvolution, theirs: Any, S: SparseMatrix, *args: Any, **kwargs: Any) -> None:
    """Compare output, gradient of the input and of each weight under identical weights."""
    lins = list(theirs.lins) if hasattr(theirs, "lins") else [theirs.lin]
    assert len(lins) == ours.theta.shape[1]
    with torch.no_grad():
        for k, lin in enumerate(lins):
            lin.weight.copy_(ours.theta[:, k].T)
        if ours.bias is not None:
            ours.bias.uniform_(-1, 1)
            theirs.bias.copy_(ours.bias)
    generator = torch.Generator().manual_seed(0)
    H = torch.randn(S.shape[1], ours.theta.shape[0], generator=generator)
    W = torch.randn(S.shape[0], ours.theta.shape[2], generator=generator)
    mine, other = H.clone().requires_grad_(), H.clone().requires_grad_()
    out, expected = ours(mine, Graph(S)), theirs(other, *args, **kwargs)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    (out * W).sum().backward()
    (expected * W).sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=0)
    assert ours.theta.grad is not None
    for k, lin in enumerate(lins):
        torch.testing.assert_close(ours.theta.grad[:, k], lin.weight.grad.T, atol=1e-5, rtol=1e-5)
    if ours.bias is not None:
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_renormalised_layer_is_gcn_conv(bias: bool) -> None:
    """On a graph without listed self-loops: PyG leaves those at weight 1 where A + I has 2 (see below)."""
    from torch_geometric.nn import GCNConv

    A = adjacency(30, 0.15, 4)
    S = SparseMatrix.from_scipy(propagation_matrix(A, "renormalised"))
    both(convolution("renormalised", bias=bias), GCNConv(6, 4, bias=bias), S, edge_index(A))


def test_listed_self_loops_are_where_gcn_conv_differs() -> None:
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    A = adjacency(10, 0.3, 5, loops=True)
    index, weight = gcn_norm(edge_index(A), None, 10, add_self_loops=True, dtype=torch.float64)
    theirs = np.zeros((10, 10))
    np.add.at(theirs, (index[1].numpy(), index[0].numpy()), weight.numpy())
    ours = propagation_matrix(A, "renormalised").toarray()
    degree = A.toarray().sum(1) + 1
    assert ours[1, 1] == pytest.approx(2 / degree[1])
    assert theirs[1, 1] == pytest.approx(1 / (degree[1] - 1))
    without = propagation_matrix(A - sp.diags(A.diagonal()), "renormalised").toarray()
    np.testing.assert_allclose(theirs, without)


@pytest.mark.parametrize(("row", "terms"), [("chebyshev2", 3), ("chebyshev3", 4)])
def test_chebyshev_layer_is_cheb_conv(row: str, terms: int) -> None:
    """PyG's K counts the terms T_0 to T_(K-1), the paper's K is the highest; PyG takes λ_max = 2 unless told."""
    from torch_geometric.nn import ChebConv

    A = adjacency(30, 0.15, 4)
    S = propagation_matrix(A, "laplacian")
    largest = torch.tensor(float(np.linalg.eigvalsh(dense_laplacian(A.toarray())).max()))
    theirs = ChebConv(6, 4, K=terms, normalization="sym", bias=False)
    both(convolution(row), theirs, SparseMatrix.from_scipy(S), edge_index(A), lambda_max=largest)


# ------------------------------------------------------------------ dense formulas


def dense_scaled(A: np.ndarray) -> np.ndarray:
    degree = A.sum(1)
    scale = np.array([d**-0.5 if d else 0.0 for d in degree])
    return scale[:, None] * A * scale[None, :]


def dense_laplacian(A: np.ndarray) -> np.ndarray:
    return np.eye(len(A)) - dense_scaled(A)


def dense_layer(row: str, A: np.ndarray, H: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """A row of Table 3 as printed; theta: (in, K, out)."""
    identity, normalised, t = np.eye(len(A)), dense_scaled(A), [theta[:, k] for k in range(theta.shape[1])]
    if row in ("chebyshev2", "chebyshev3"):
        L = dense_laplacian(A)
        scaled = 2 * L / np.linalg.eigvalsh(L).max() - identity
        polynomials = [identity, scaled]
        while len(polynomials) < len(t):
            polynomials.append(2 * scaled @ polynomials[-1] - polynomials[-2])
        return sum(T @ H @ t_k for T, t_k in zip(polynomials, t, strict=True))
    return {
        "first_order": lambda: H @ t[0] + normalised @ H @ t[1],
        "single_parameter": lambda: (identity + normalised) @ H @ t[0],
        "renormalised": lambda: dense_scaled(A + identity) @ H @ t[0],
        "first_order_only": lambda: normalised @ H @ t[0],
        "mlp": lambda: H @ t[0],
    }[row]()


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("row", ROWS)
def test_row_of_table_3_is_its_formula(row: str, loops: bool) -> None:
    A, X = adjacency(25, 0.2, 6, loops), bag_of_words(25, 12, 7)
    model = GCN([12, 5, 3], row, seed=2)
    thetas = [layer.theta.detach().double().numpy() for layer in model.layers]
    expected = dense_layer(row, A.toarray(), X.toarray(), thetas[0])
    expected = dense_layer(row, A.toarray(), np.maximum(expected, 0), thetas[1])
    S = propagation_matrix(A, PROPAGATION_MODELS[row].matrix)
    features, graphs = prepare(S, X, row, 2, None)
    np.testing.assert_allclose(model(features, graphs).detach().numpy(), expected, atol=1e-5)
    identity, graphs = prepare(S, None, row, 2, None)
    wide = GCN([25, 5, 3], row, seed=2)
    thetas = [layer.theta.detach().double().numpy() for layer in wide.layers]
    hidden = np.maximum(dense_layer(row, A.toarray(), np.eye(25), thetas[0]), 0)
    expected = dense_layer(row, A.toarray(), hidden, thetas[1])
    np.testing.assert_allclose(wide(identity, graphs).detach().numpy(), expected, atol=1e-5)


def test_renormalised_matrix_by_hand() -> None:
    """A path of three nodes and one alone: degrees with self-loops 2, 3, 2, 1."""
    A = sp.csr_matrix(np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=float))
    a, b = 1 / 6**0.5, 1 / 2**0.5
    np.testing.assert_allclose(
        propagation_matrix(A, "renormalised").toarray(),
        [[1 / 2, a, 0, 0], [a, 1 / 3, a, 0], [0, a, 1 / 2, 0], [0, 0, 0, 1]],
    )
    np.testing.assert_allclose(
        propagation_matrix(A, "normalised").toarray(),
        [[0, b, 0, 0], [b, 0, b, 0], [0, b, 0, 0], [0, 0, 0, 0]],
    )


def test_scaled_laplacian_has_eigenvalues_from_minus_one_to_one() -> None:
    for seed in range(5):
        values = np.linalg.eigvalsh(propagation_matrix(adjacency(20, 0.2, seed), "laplacian").toarray())
        assert values.max() == pytest.approx(1)
        assert values.min() == pytest.approx(-1)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("none", [[1, 3], [0, 0], [0.25, 0.25]]),
        ("row", [[0.25, 0.75], [0, 0], [0.5, 0.5]]),
        ("clamped", [[0.25, 0.75], [0, 0], [0.25, 0.25]]),
    ],
)
def test_normalised_features(how: str, expected: list[list[float]]) -> None:
    X = sp.csr_matrix(np.array([[1, 3], [0, 0], [0.25, 0.25]]))
    np.testing.assert_allclose(normalise_features(X, how).toarray(), expected)


@pytest.mark.parametrize("residual", [False, True])
def test_depth_and_residual_connections(residual: bool) -> None:
    """H <- relu(A_hat H W) + H between hidden layers (equation 14); the first and last have other widths."""
    A, X = adjacency(20, 0.2, 8), bag_of_words(20, 9, 9)
    model = GCN([9, 5, 5, 5, 3], dropout=(0.0,) * 4, residual=residual, seed=4)
    S = propagation_matrix(A, "renormalised")
    thetas = [layer.theta.detach().double().numpy()[:, 0] for layer in model.layers]
    H = np.maximum(S @ (X @ thetas[0]), 0)
    for theta in thetas[1:-1]:
        H = np.maximum(S @ H @ theta, 0) + (H if residual else 0)
    features, graphs = prepare(S, X, "renormalised", 4, None)
    np.testing.assert_allclose(model(features, graphs).detach().numpy(), S @ H @ thetas[-1], atol=1e-5)
    targets = np.array([7, 3, 11])
    features, graphs = prepare(S, X, "renormalised", 4, targets)
    np.testing.assert_allclose(
        model(features, graphs).detach().numpy(), (S @ H @ thetas[-1])[targets], atol=1e-5
    )


def test_one_layer() -> None:
    A, X = adjacency(20, 0.2, 8), bag_of_words(20, 9, 9)
    model = GCN([9, 3], dropout=(0.0,), seed=4)
    S = propagation_matrix(A, "renormalised")
    features, graphs = prepare(S, X, "renormalised", 1, None)
    expected = S @ X.toarray() @ model.layers[0].theta.detach().double().numpy()[:, 0]
    np.testing.assert_allclose(model(features, graphs).detach().numpy(), expected, atol=1e-6)


# ------------------------------------------------------------------ only what the targets need


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("row", ROWS)
def test_leaving_out_far_nodes_changes_nothing(row: str, layers: int) -> None:
    """Logits and gradients of the whole graph, though fewer nodes are computed, in any order of the targets."""
    A, X = adjacency(60, 0.03, 10, loops=True), bag_of_words(60, 14, 11)
    S = propagation_matrix(A, PROPAGATION_MODELS[row].matrix)
    widths = [14, *[6] * (layers - 1), 3]
    targets = np.array([9, 0, 33, 1, 4])
    W = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(0))

    def outcome(chosen: np.ndarray | None) -> tuple[Tensor, list[Tensor], int]:
        model = GCN(widths, row, (0.0,) * layers, seed=1)
        features, graphs = prepare(S, X, row, layers, chosen)
        logits = model(features, graphs)
        logits = logits if chosen is not None else logits[targets]
        (logits * W).sum().backward()
        return logits.detach(), [p.grad for p in model.parameters() if p.grad is not None], features.nodes

    logits, gradients, nodes = outcome(targets)
    expected, expected_gradients, all_nodes = outcome(None)
    torch.testing.assert_close(logits, expected)
    assert len(gradients) == len(expected_gradients) == layers
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all_nodes == 60
    assert (nodes < 60) == (row in ONE_HOP), "this test needs a graph that reaches beyond the targets' field"


def test_the_field_grows_by_one_hop_a_layer() -> None:
    """On a path 0-1-2-...-9 the prediction for node 0 needs the nodes up to the depth."""
    A = sp.csr_matrix(np.diag(np.ones(9), 1) + np.diag(np.ones(9), -1))
    S, X = propagation_matrix(A, "renormalised"), sp.identity(10, format="csr")
    for layers in (1, 2, 3):
        features, graphs = prepare(S, X, "renormalised", layers, np.array([0]))
        assert features.nodes == layers + 1
        assert [graph.S.shape for graph in graphs] == [(k, k + 1) for k in range(layers, 0, -1)]
        assert prepare(S, X, "mlp", layers, np.array([0]))[0].nodes == 1


# ------------------------------------------------------------------ symmetry


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), row=st.sampled_from(ROWS), nodes=st.integers(1, 9))
def test_renumbering_the_nodes_renumbers_the_logits(data: st.DataObject, row: str, nodes: int) -> None:
    """A graph network knows its nodes by their features and neighbours only."""
    pairs = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    edges = data.draw(st.lists(pairs, max_size=15))
    order = np.array(data.draw(st.permutations(range(nodes + 3))))
    # a path of three nodes beside it: ARPACK cannot start from the ones on an exactly regular graph
    A = np.zeros((nodes + 3, nodes + 3))
    for a, b in [*edges, (nodes, nodes + 1), (nodes + 1, nodes + 2)]:
        A[a, b] = A[b, a] = 1
    X = (np.random.default_rng(nodes).random((nodes + 3, 5)) < 0.5).astype(float)
    model = GCN([5, 4, 2], row, (0.0, 0.0), seed=1)

    def logits(A: np.ndarray, X: np.ndarray) -> Tensor:
        S = propagation_matrix(sp.csr_matrix(A), PROPAGATION_MODELS[row].matrix)
        return model(*prepare(S, sp.csr_matrix(X), row, 2, None))

    with torch.no_grad():
        renumbered = logits(A[order][:, order], X[order])
        torch.testing.assert_close(renumbered, logits(A, X)[order], atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------ parameters


@pytest.mark.parametrize(("dataset", "count"), [("cora", 23_040), ("citeseer", 59_344), ("pubmed", 8_048)])
def test_parameter_count(dataset: str, count: int) -> None:
    """From the model itself; the audit of the printed widths says the same."""
    printed = audits.PRINTED[dataset]
    model = GCN([int(printed["features"]), 16, int(printed["classes"])])
    assert sum(p.numel() for p in model.parameters()) == count
    ((_, row),) = audits.parameter_count(
        {"dataset": dataset, "hidden": 16}, [0], Context(find_project().root)
    )
    assert row == {"parameters": count}


@pytest.mark.parametrize("row", ROWS)
def test_weights_of_each_row(row: str) -> None:
    terms = {"chebyshev3": 4, "chebyshev2": 3, "first_order": 2}.get(row, 1)
    model = GCN([10, 4, 3], row)
    assert sum(p.numel() for p in model.parameters()) == terms * (10 * 4 + 4 * 3)
    assert sum(p.numel() for p in GCN([10, 4, 3], row, bias=True).parameters()) == terms * 52 + 7


@pytest.mark.parametrize("row", ["renormalised", "first_order", "chebyshev3"])
def test_glorot_weights_belong_to_the_seed(row: str) -> None:
    """Each Θ_k is drawn as a matrix of its own, as the released code does, however many a layer has."""
    model, again, other = (GCN([500, 100, 20], row, seed=seed) for seed in (5, 5, 6))
    for layer, same, different in zip(model.layers, again.layers, other.layers, strict=True):
        theta = layer.theta.detach()
        limit = (6 / (theta.shape[0] + theta.shape[2])) ** 0.5
        assert 0.99 * limit < float(theta.max()) < limit
        assert -limit <= float(theta.min()) < -0.99 * limit
        assert float(theta.mean()) == pytest.approx(0, abs=0.05 * limit)
        assert torch.equal(theta, same.theta)
        assert not torch.equal(theta, different.theta)
    assert not torch.equal(model.layers[0].theta.flatten()[:2000], model.layers[1].theta.flatten())


# ------------------------------------------------------------------ dropout


def test_input_dropout_acts_on_the_non_zeros() -> None:
    X = sp.csr_matrix(np.array([[0, 2.0, 0, 3.0], [5.0, 0, 0, 0], [0, 0, 7.0, 9.0]]))
    features = Features(SparseMatrix.from_scipy(X), 3)
    key = randomness.key(4, "dropout/0", 2)
    dropped = features.dropout(key, 0.5)
    kept = randomness.keep_mask(key, 5, 0.5).numpy()
    assert set(kept.tolist()) == {True, False}, "this test needs a mask that does both"
    expected = X.copy()
    expected.data = np.where(kept, 2 * X.data, 0)
    theta = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dropped @ theta, tensor(expected.toarray()) @ theta)
    torch.testing.assert_close(features @ theta, tensor(X.toarray()) @ theta)


def test_dropout_of_the_identity() -> None:
    key = randomness.key(1, "dropout/0", 2)
    theta = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    kept = randomness.keep_mask(key, 6, 0.25).float() * randomness.keep_scale(0.25)
    torch.testing.assert_close(Features(None, 6).dropout(key, 0.25) @ theta, torch.diag(kept) @ theta)
    assert Features(None, 6) @ theta is theta


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_hidden_dropout_rescales(p: float) -> None:
    H = torch.full((40, 25), 3.0)
    out = drop(H, randomness.key(0, "dropout/1"), p)
    assert isinstance(out, Tensor)
    values = out.unique().tolist()
    assert values == [0.0, pytest.approx(3 * randomness.keep_scale(p))]
    assert values[1] == pytest.approx(3 / (1 - p), rel=1e-4)
    share = float((out > 0).float().mean())
    assert share == pytest.approx(1 - p, abs=5 * (p * (1 - p) / 1000) ** 0.5)


def test_dropout_only_with_keys() -> None:
    """And each layer's mask comes from its own key."""
    A, X = adjacency(30, 0.15, 4), bag_of_words(30, 12, 7)
    model = GCN([12, 5, 3], dropout=(0.5, 0.5), seed=2)
    features, graphs = prepare(propagation_matrix(A, "renormalised"), X, "renormalised", 2, None)
    calm = model(features, graphs)
    assert torch.equal(calm, model(features, graphs))
    keys = torch.stack([randomness.key(0, f"dropout/{layer}") for layer in (0, 1)])
    noisy = model(features, graphs, keys)
    assert torch.equal(noisy, model(features, graphs, keys))
    assert not torch.equal(noisy, calm)
    for layer in (0, 1):
        other = keys.clone()
        other[layer] += 1
        assert not torch.equal(model(features, graphs, other), noisy)
    model.dropout = (0.0, 0.0)
    assert torch.equal(model(features, graphs, keys), calm)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((2, 0.5, True), (0.5, 0.5)),
        ((4, 0.5, True), (0.5,) * 4),
        ((4, 0.5, False), (0.5, 0.0, 0.0, 0.5)),
        ((1, 0.5, False), (0.5,)),
        ((3, 0.5, True, False), (0.0, 0.5, 0.5)),
    ],
)
def test_where_dropout_is(arguments: tuple[Any, ...], expected: tuple[float, ...]) -> None:
    assert dropout_per_layer(*arguments) == expected
