"""The graph network block against its definition, its variants' containments, and its symmetries."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repro.ensemble import Ensemble
from repro.nn import mlp
from repro.nn.graph_network import (
    VARIANTS,
    Attributes,
    Block,
    EncodeProcessDecode,
    MLPShape,
    Pooling,
    Widths,
)
from repro.nn.topology import AllPairs, Chain, Incidence, reduce

INPUTS, OUTPUTS = Widths(3, 4, 2), Widths(5, 6, 7)
SHAPE = MLPShape(hidden=(8,))


def random_graph(seed: int, nodes: int, edges: int, batch: int = 2) -> tuple[Attributes, Incidence]:
    """A multigraph with loops and isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(nodes, (2, edges), generator=generator)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    graph = Attributes(draw(batch, edges, 3), draw(batch, nodes, 4), draw(batch, 2))
    return graph, Incidence(ends[0], ends[1], nodes)


def block(variant: str = "full", shape: MLPShape = SHAPE, seed: int = 0) -> Block:
    return Block(variant, INPUTS, OUTPUTS, shape, seed, "test").to(torch.float64)


def dense(mlp: torch.nn.Module, *inputs: Tensor) -> Tensor:
    """The MLP applied to the concatenation of its inputs, as it is printed."""
    x = torch.cat(inputs, -1)
    for layer, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
        x = torch.nn.functional.linear(x if layer == 0 else torch.relu(x), w, b)
    if mlp.activate_last:
        x = torch.relu(x)
    return x if mlp.norm is None else mlp.norm(x)


graphs = st.tuples(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 15))
poolings = st.sampled_from(["sum", "mean", "max"])


# ------------------------------------------------------------------ definition


@given(graphs, poolings)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_full_block_is_algorithm_1(drawn: tuple[int, int, int], how: str) -> None:
    """Edge by edge and node by node, as the algorithm is printed."""
    seed, nodes, edges = drawn
    graph, topology = random_graph(seed, nodes, edges)
    b = block(shape=MLPShape((8,), True, True, Pooling(how, how, how)))
    found = b(topology, graph)
    e = [
        dense(b.phi_e, graph.edges[:, k], graph.nodes[:, r], graph.nodes[:, s], graph.globe)
        for k, (r, s) in enumerate(zip(topology.receiver.tolist(), topology.sender.tolist(), strict=True))
    ]
    v = []
    for i in range(nodes):
        own = [e[k] for k in range(edges) if topology.receiver[k] == i]
        received = reduce(torch.stack(own, 1), 1, how) if own else torch.zeros_like(e[0])
        v.append(dense(b.phi_v, received, graph.nodes[:, i], graph.globe))
    u = dense(b.phi_u, reduce(torch.stack(e, 1), 1, how), reduce(torch.stack(v, 1), 1, how), graph.globe)
    torch.testing.assert_close(found.edges, torch.stack(e, 1))
    torch.testing.assert_close(found.nodes, torch.stack(v, 1))
    torch.testing.assert_close(found.globe, u)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("nodes", [3, 4, 7])
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_all_layouts_compute_the_same(variant: str, nodes: int, how: str) -> None:
    b = block(variant, MLPShape((8,), pooling=Pooling(how, how, how)))
    for layout in ("loose", "fixed", "pairs"):
        if layout == "pairs":
            mask = torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(nodes)) < 0.6
            mask[0, 1] = True
            mask[2] = False  # a node without incoming edges
            topology: AllPairs | Chain = AllPairs(nodes, mask)
            receivers, senders = mask.nonzero().T
            shape = (nodes, nodes)
        else:
            fixed = layout == "fixed"
            topology = Chain(nodes, fixed_ends=fixed)
            k = torch.arange(nodes - 1)
            ends = ((k, k + 1), (k + 1, k))
            if fixed:
                ends = ((k[:-1], k[:-1] + 1), (k[1:] + 1, k[1:]))
            senders, receivers = (torch.cat([ends[0][i], ends[1][i]]) for i in (0, 1))
            shape = (2, len(ends[0][0]))
        graph, _ = random_graph(0, nodes, shape[0] * shape[1])
        folded = graph._replace(edges=graph.edges.view(2, *shape, 3))
        loose = graph if layout != "pairs" else graph._replace(edges=folded.edges[:, mask])
        ours, same = b(topology, folded), b(Incidence(senders, receivers, nodes), loose)
        torch.testing.assert_close(ours.nodes, same.nodes)
        torch.testing.assert_close(ours.globe, same.globe)
        edges = ours.edges.flatten(1, 2) if layout != "pairs" else ours.edges[:, mask]
        torch.testing.assert_close(edges, same.edges)


def test_copies_of_many_seeds_compute_what_each_would_alone() -> None:
    """In float64: a layer norm of few features enlarges the last digits of float32, in which the two may differ."""
    graph, topology = random_graph(0, 5, 9)
    shape = MLPShape((8, 8), True, True)

    def build(seed: int) -> EncodeProcessDecode:
        return EncodeProcessDecode(INPUTS, Widths(0, 2, 0), shape, seed).double()

    together = Ensemble(build, [3, 4])(topology, 2, graph)
    for i, seed in enumerate((3, 4)):
        for ours, own in zip(together, build(seed)(topology, 2, graph), strict=True):
            torch.testing.assert_close(ours.nodes[i], own.nodes)


@pytest.mark.parametrize("widths", [(8, 3), (8, 1), (8,)])
@pytest.mark.parametrize("activate_last", [False, True])
@pytest.mark.parametrize("many", [0, 2**40])
def test_layers_have_the_gradients_of_their_formula(
    widths: tuple[int, ...], activate_last: bool, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one seed, for several at once and for several one after the other, against torch's own operations."""
    monkeypatch.setattr(mlp, "MANY", many)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    sizes = (4, *widths)
    x = draw(3, 5, 4)
    weights = [draw(3, b, a) for a, b in pairwise(sizes)]
    biases = [draw(3, b) for b in widths]
    plain = x
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        plain = plain @ weight.mT + bias.unsqueeze(-2)
        if activate_last or i < len(weights) - 1:
            plain = plain.relu()
    wanted = torch.autograd.grad(plain.square().sum(), [x, *weights, *biases])
    together = mlp.Layers.apply(x, activate_last, *weights, *biases)[0]
    alone = [mlp.Layers.apply(x[s], activate_last, *(p[s] for p in (*weights, *biases)))[0] for s in range(3)]
    mapped = torch.vmap(lambda *p: mlp.Layers.apply(p[0], activate_last, *p[1:])[0])(x, *weights, *biases)
    for found in (together, torch.stack(alone), mapped):
        torch.testing.assert_close(found, plain)
        gradients = torch.autograd.grad(found.square().sum(), [x, *weights, *biases])
        for a, b in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(a, b)


# ------------------------------------------------------------------ symmetries


def permuted(
    graph: Attributes, topology: Incidence, seed: int
) -> tuple[Attributes, Incidence, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p = torch.randperm(topology.num_nodes, generator=generator)
    q = torch.randperm(len(topology.sender), generator=generator)
    place = p.argsort()
    other = Incidence(place[topology.sender[q]], place[topology.receiver[q]], topology.num_nodes)
    return Attributes(graph.edges[:, q], graph.nodes[:, p], graph.globe), other, p, q


@given(graphs, poolings, st.sampled_from(sorted(VARIANTS)), st.integers(0, 99))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_blocks_are_equivariant_and_their_globals_invariant(
    drawn: tuple[int, int, int], how: str, variant: str, order: int
) -> None:
    graph, topology = random_graph(*drawn)
    b = block(variant, MLPShape((8,), pooling=Pooling(how, how, how)))
    here = b(topology, graph)
    moved, other, p, q = permuted(graph, topology, order)
    there = b(other, moved)
    torch.testing.assert_close(there.nodes, here.nodes[:, p])
    torch.testing.assert_close(there.edges, here.edges[:, q])
    torch.testing.assert_close(there.globe, here.globe)


@given(graphs, st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_encode_process_decode_is_equivariant(drawn: tuple[int, int, int], steps: int, order: int) -> None:
    graph, topology = random_graph(*drawn)
    network = EncodeProcessDecode(INPUTS, Widths(2, 2, 2), MLPShape((8, 8), True, True), 0).to(torch.float64)
    moved, other, p, q = permuted(graph, topology, order)
    for here, there in zip(network(topology, steps, graph), network(other, steps, moved), strict=True):
        torch.testing.assert_close(there.nodes, here.nodes[:, p])
        torch.testing.assert_close(there.edges, here.edges[:, q])
        torch.testing.assert_close(there.globe, here.globe)


def test_every_step_of_the_core_reads_the_encoded_input_again() -> None:
    """Written out: each step takes what is encoded and what the step before gave, and each is decoded."""
    graph, topology = random_graph(0, 5, 9)
    network = EncodeProcessDecode(INPUTS, Widths(2, 2, 2), MLPShape((8, 8), True, True), 0).double()
    encoded = latent = network.encoder(topology, graph)
    for found in network(topology, 3, graph):
        joined = Attributes(*(torch.cat(parts, -1) for parts in zip(encoded, latent, strict=True)))
        latent = network.core(topology, joined)
        for part, x in latent._asdict().items():
            answer = network.answers[part].of(network.decoders[part].of(x))
            torch.testing.assert_close(getattr(found, part), answer)


def test_initial_weights_have_a_variance_of_one_over_the_inputs() -> None:
    """40,000 of them: the standard error of their deviation is a third of a percent, and the seed is fixed."""
    weights = mlp.MLP([100], [400], 0, "test").weights[0].detach()
    assert float(weights.std()) == pytest.approx(100**-0.5, rel=0.02)


def test_a_block_is_not_invariant_to_what_it_should_see() -> None:
    """So that the tests above could fail: other features, or other edges, give other answers."""
    graph, topology = random_graph(1, 5, 9)
    b = block()
    here = b(topology, graph)
    swapped = b(topology, graph._replace(nodes=graph.nodes.flip(1)))
    assert not torch.allclose(swapped.globe, here.globe)
    turned = b(Incidence(topology.receiver, topology.sender, 5), graph)
    assert not torch.allclose(turned.nodes, here.nodes)


def test_information_travels_one_edge_per_step() -> None:
    """A change at one end of a chain reaches node M after M steps, not before (no globals in between)."""
    n, shape = 6, MLPShape((8, 8), True, True, Pooling("sum", "none", "none"))
    network = EncodeProcessDecode(INPUTS, Widths(0, 1, 0), shape, 0, "message_passing").to(torch.float64)
    graph, _ = random_graph(0, n, 2 * (n - 1))
    graph = graph._replace(edges=graph.edges.view(2, 2, n - 1, 3))
    other = graph._replace(nodes=graph.nodes.clone())
    other.nodes[:, 0] += 1.0
    steps = zip(network(Chain(n), n, graph), network(Chain(n), n, other), strict=True)
    for m, (a, b) in enumerate(steps, start=1):
        reached = ((a.nodes - b.nodes).abs().amax((0, 2)) > 0).tolist()
        assert reached == [i <= m for i in range(n)]


# ------------------------------------------------------------------ containments


def test_deep_sets_are_graph_networks() -> None:
    """A full block with the weights of the edges and of what deep sets do not read set to zero."""
    graph, topology = random_graph(0, 5, 9)
    small = block("deep_sets")
    assert small.outputs.edges == INPUTS.edges, "deep sets hand the edges on"
    full = Block("full", INPUTS, Widths(3, 6, 7), SHAPE, 1, "test").to(torch.float64)
    copy_weights(small.phi_v, full.phi_v, {"node": 1, "globe": 2}, ("edges", "node", "globe"))
    copy_weights(small.phi_u, full.phi_u, {"nodes": 1}, ("edges", "nodes", "globe"))
    ours, theirs = full(topology, graph), small(topology, graph)
    torch.testing.assert_close(ours.nodes, theirs.nodes)
    torch.testing.assert_close(ours.globe, theirs.globe)


@torch.no_grad()
def copy_weights(
    source: torch.nn.Module, target: torch.nn.Module, places: dict[str, int], names: tuple
) -> None:
    blocks = target.weights[0].split(target.inputs, -1)
    for b in blocks:
        b.zero_()
    for part, place in zip(source.weights[0].split(source.inputs, -1), places.values(), strict=True):
        blocks[place].copy_(part)
    for mine, yours in zip(list(target.weights)[1:], list(source.weights)[1:], strict=True):
        mine.copy_(yours)
    for mine, yours in zip(target.biases, source.biases, strict=True):
        mine.copy_(yours)


class Convolution(torch.nn.Module):
    """h_i = phi(x_i, sum over j of c_ij psi(x_j)), with fixed coefficients c, the only edge feature."""

    def __init__(self) -> None:
        super().__init__()
        self.psi, self.phi = torch.nn.Linear(4, 5), torch.nn.Linear(9, 6)

    def forward(self, x: Tensor, c: Tensor, topology: Incidence) -> Tensor:
        received = topology.aggregate(c * topology.senders(self.psi(x)), "sum")
        return self.phi(torch.cat([x, received], -1))


class Attentional(torch.nn.Module):
    """h_i = phi(x_i, sum over j of a(c_ij, x_i, x_j) psi(x_j)), with a scalar function a."""

    def __init__(self) -> None:
        super().__init__()
        self.psi, self.phi, self.a = torch.nn.Linear(4, 5), torch.nn.Linear(9, 6), torch.nn.Linear(9, 1)

    def forward(self, x: Tensor, c: Tensor, topology: Incidence) -> Tensor:
        ends = torch.cat([c, topology.receivers(x), topology.senders(x)], -1)
        received = topology.aggregate(self.a(ends) * topology.senders(self.psi(x)), "sum")
        return self.phi(torch.cat([x, received], -1))


class MessagePassing(torch.nn.Module):
    """h_i = phi(x_i, sum over j of m(c_ij, x_i, x_j)), with any function m."""

    def __init__(self, m: torch.nn.Module, phi: torch.nn.Module) -> None:
        super().__init__()
        self.m, self.phi = m, phi

    def forward(self, x: Tensor, c: Tensor, topology: Incidence) -> Tensor:
        messages = self.m(torch.cat([c, topology.receivers(x), topology.senders(x)], -1))
        return self.phi(torch.cat([x, topology.aggregate(messages, "sum")], -1))


class Product(torch.nn.Module):
    """The message of an attentional layer: a(c, x_i, x_j) psi(x_j)."""

    def __init__(self, layer: Attentional) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, ends: Tensor) -> Tensor:
        return self.layer.a(ends) * self.layer.psi(ends[..., 5:])


@given(graphs)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_convolution_is_attention_is_message_passing(drawn: tuple[int, int, int]) -> None:
    """With the weights constructed: attention that reads c_ij alone convolves; messages may be products."""
    graph, topology = random_graph(*drawn)
    c, x = graph.edges[..., :1], graph.nodes
    convolution, attention = Convolution().double(), Attentional().double()
    attention.psi, attention.phi = convolution.psi, convolution.phi
    with torch.no_grad():
        attention.a.weight.zero_()
        attention.a.weight[0, 0] = 1.0
        attention.a.bias.zero_()
    torch.testing.assert_close(attention(x, c, topology), convolution(x, c, topology))
    free = Attentional().double()
    passing = MessagePassing(Product(free), free.phi)
    torch.testing.assert_close(passing(x, c, topology), free(x, c, topology))


@given(graphs)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_the_non_local_block_is_message_passing(drawn: tuple[int, int, int]) -> None:
    """Softmax attention: send exp(score) times the value and exp(score), add up, divide (Figure 4 d)."""
    graph, topology = random_graph(*drawn)
    b = block("non_local")
    messages = dense(b.phi_e, topology.receivers(graph.nodes), topology.senders(graph.nodes))
    weight = messages[..., -1:].exp()
    total = topology.aggregate(torch.cat([weight * messages[..., :-1], weight], -1), "sum")
    received = torch.where(total[..., -1:] > 0, total[..., :-1] / total[..., -1:], 0.0)
    torch.testing.assert_close(b(topology, graph).nodes, dense(b.phi_v, received))


def test_containments_are_strict() -> None:
    """A convolution cannot see its receiver when it weighs a sender: attention can."""
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    topology = Incidence(torch.tensor([0, 0]), torch.tensor([1, 2]), 3)
    c = torch.ones(1, 2, 1, dtype=torch.float64)
    attention, convolution = Attentional().double(), Convolution().double()
    sent = [topology.aggregate(c * topology.senders(convolution.psi(x)), "sum")[0, i] for i in (1, 2)]
    torch.testing.assert_close(*sent)
    ends = torch.cat([c, topology.receivers(x), topology.senders(x)], -1)
    sent = [(attention.a(ends) * topology.senders(attention.psi(x)))[0, i] for i in (0, 1)]
    assert not torch.allclose(*sent)


# ------------------------------------------------------------------ what a variant reads


@pytest.mark.parametrize(
    ("variant", "edges", "nodes", "globe"),
    [
        ("full", (3, 4, 4, 2), (5, 4, 2), (5, 6, 2)),
        ("independent", (3,), (4,), (2,)),
        ("message_passing", (3, 4, 4), (5, 4), (6,)),
        ("non_local", (4, 4), (5,), None),
        ("relation", (4, 4), None, (5,)),
        ("deep_sets", None, (4, 2), (6,)),
        ("interaction", (3,), (5, 4), None),
    ],
)
def test_variants_read_what_figure_4_says(variant: str, edges: object, nodes: object, globe: object) -> None:
    b = block(variant)
    found = [None if phi is None else tuple(phi.inputs) for phi in (b.phi_e, b.phi_v, b.phi_u)]
    assert found == [edges, nodes, globe]


def test_pooling_none_cuts_the_globals_off() -> None:
    graph, topology = random_graph(0, 5, 9)
    b = block(shape=MLPShape((8,), pooling=Pooling("sum", "none", "none")))
    assert b.phi_u.inputs == [2]
    other = graph._replace(nodes=graph.nodes + 1)
    torch.testing.assert_close(b(topology, graph).globe, b(topology, other).globe)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: block("fuller"), "no graph network variant 'fuller'; there are full, independent"),
        (lambda: Chain(1), "at least 2 nodes, not 1"),
        (lambda: Chain(2, fixed_ends=True), "fixed ends has at least 3 nodes, not 2"),
        (lambda: AllPairs(0), "at least one node"),
        (
            lambda: Incidence(torch.tensor([0]), torch.tensor([3]), 3),
            "an edge leads to the node 3, there are 3",
        ),
        (lambda: reduce(torch.ones(2), 0, "median"), "no aggregation 'median'"),
    ],
)
def test_what_cannot_be(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
