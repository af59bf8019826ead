"""The graph network block of Battaglia et al. 2018 (arXiv:1806.01261), Section 3, and the variants of its Figure 4.

A graph is a triple of tensors, with any number of leading batch dimensions ``*``:

- edges ``(*, <edge dimensions of the topology>, edge features)``,
- nodes ``(*, N, node features)``,
- globals ``(*, global features)``;

and a :class:`~repro.nn.topology.Topology`, shared by the whole batch, that says who sends to whom. One block updates
edges, then nodes, then globals (Algorithm 1):

.. math::
    e'_k = \\phi^e(e_k, v_{r_k}, v_{s_k}, u), \\quad
    v'_i = \\phi^v(\\rho^{e \\to v}(E'_i), v_i, u), \\quad
    u' = \\phi^u(\\rho^{e \\to u}(E'), \\rho^{v \\to u}(V'), u)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from repro import randomness
from repro.nn.topology import Topology, reduce


class Widths(NamedTuple):
    """Numbers of features per edge, per node and of the whole graph."""

    edges: int
    nodes: int
    globe: int


class Attributes(NamedTuple):
    """The tensors of a batch of graphs."""

    edges: Tensor
    nodes: Tensor
    globe: Tensor


class MLP(nn.Module):
    """A multilayer perceptron on the concatenation of its inputs, which is never made.

    The first layer uses ``W [a; b] = W_a a + W_b b``: what is known per node is multiplied per node and only then
    handed to the many edges, so ``forward`` takes *products* with the blocks of W from :meth:`project`.

    Args:
        inputs: widths of the inputs, in order.
        widths: of the layers; an empty sequence is refused.
        seed: of the weights, which are uniform with variance 1/(inputs), like their biases 0.
        stream: name of the weights' random stream.
        activate_last: ReLU after the last layer as well.
        layer_norm: normalise the output over its features (with gain and offset).

    Raises:
        ValueError: if there is no layer or no input.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        widths: Sequence[int],
        seed: int,
        stream: str,
        activate_last: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        if not widths or sum(inputs) < 1:
            raise ValueError(
                f"{stream}: an MLP needs a layer and an input, not widths {list(widths)} of {list(inputs)}"
            )
        self.inputs = list(inputs)
        self.activate_last = activate_last
        sizes = [sum(inputs), *widths]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer, (a, b) in enumerate(pairwise(sizes)):
            draw = randomness.uniform(randomness.key(seed, f"{stream}/{layer}"), a * b).view(b, a)
            self.weights.append(nn.Parameter((2 * draw - 1) * (3 / a) ** 0.5))
            self.biases.append(nn.Parameter(torch.zeros(b)))
        self.norm = nn.LayerNorm(widths[-1]) if layer_norm else None

    def project(self, *inputs: Tensor) -> list[Tensor]:
        """Return each input times its block of the first layer's weights."""
        blocks = self.weights[0].split(self.inputs, dim=-1)
        return [_linear(x, block) for x, block in zip(inputs, blocks, strict=True)]

    def forward(self, *products: Tensor) -> Tensor:
        """Return the output for the products of :meth:`project`, which are broadcast against each other."""
        shape = torch.broadcast_shapes(*(p.shape for p in products))
        # From the smallest up: what is known per node or per graph is added up there, not on every edge.
        x = self.biases[0]
        for product in sorted(products, key=Tensor.numel):
            x = x + product
        # Two dimensions from here on: torch multiplies those fastest, for one seed and for many at once.
        x = x.expand(shape).reshape(-1, shape[-1])
        if len(self.weights) > 1 or self.activate_last:
            x = torch.relu(x)
        return self._layers(x, 1, shape)

    def of(self, x: Tensor) -> Tensor:
        """Return the output for a single input, without a pass over the products for the bias."""
        return self._layers(x.reshape(-1, x.shape[-1]), 0, x.shape)

    def _layers(self, x: Tensor, first: int, shape: Sequence[int]) -> Tensor:
        if first < len(self.weights):
            weights, biases = list(self.weights)[first:], list(self.biases)[first:]
            x = Layers.apply(x, self.activate_last, *weights, *biases)[0]
        if self.norm is not None:
            x = self.norm(x)
        return x.view(*shape[:-1], x.shape[-1])


MANY = 2**17  # from this many numbers in a seed's widest layer on, seeds are taken one after the other


def _seeds(x: Tensor, weights: Sequence[Tensor]) -> Iterable[Any]:
    """Return what to take of everything in turn: all seeds, or one that fills the processor's caches by itself.

    Which of the two does not depend on the number of seeds.
    """
    numbers = x.shape[-2] * max(weight.shape[-2] for weight in weights)
    return range(len(x)) if x.dim() == 3 and numbers >= MANY else (...,)


class Layers(torch.autograd.Function):
    """Layers ``x W^T + b`` with ReLU between them, of ``(R, m)``, ``(n, m)``, ``(n)``, with or without seeds in front.

    One function, so that activations overwrite what they are made of, both ways, and large seeds go through all layers
    one after the other, while they are in the caches.
    """

    @staticmethod
    def forward(x: Tensor, activate_last: bool, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return the output, and the hidden layers for the gradient."""
        weights, biases = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        found = [x.new_empty(*x.shape[:-1], weight.shape[-2]) for weight in weights]
        for own in _seeds(x, weights):
            h = x[own]
            for layer, y in enumerate(found):
                weight, bias, after = weights[layer][own], biases[layer][own].unsqueeze(-2), y[own]
                if weight.shape[-2] == 1:
                    # A product with a single column is rounded differently for one seed and for many.
                    torch.add((h * weight).sum(-1, keepdim=True), bias, out=after)
                else:
                    # The bias afterwards: as the product's starting value it would be written out first.
                    torch.matmul(h, weight.mT, out=after).add_(bias)
                if layer < len(found) - 1 or activate_last:
                    after.relu_()
                h = after
        return found[-1], *found[:-1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradient needs."""
        x, ctx.activate_last, *parts = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # zeros for the hidden layers would be written and never read
        ctx.save_for_backward(x, *output[1:], output[0], *parts[: len(parts) // 2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weights and biases."""
        saved, layers = ctx.saved_tensors, len(ctx.saved_tensors) // 2
        values, weights = saved[: layers + 1], saved[layers + 1 :]
        cut = torch.ops.aten.threshold_backward
        of_x = torch.empty_like(values[0]) if ctx.needs_input_grad[0] else None
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_biases = [weight.new_empty(weight.shape[:-1]) for weight in weights]
        for own in _seeds(values[0], weights):
            g = gradient[own].contiguous()
            if ctx.activate_last:
                g = cut(g, values[-1][own], 0)
            for layer in reversed(range(layers)):
                x, weight = values[layer][own], weights[layer][own]
                if weight.shape[-2] == 1:
                    torch.sum(g * x, -2, keepdim=True, out=of_weights[layer][own])
                else:
                    torch.matmul(g.mT, x, out=of_weights[layer][own])
                torch.sum(g, -2, out=of_biases[layer][own])
                if layer:
                    g = g @ weight
                    cut.grad_input(g, x, 0, grad_input=g)
                elif of_x is not None:
                    torch.matmul(g, weight, out=of_x[own])
        return of_x, None, *of_weights, *of_biases

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, activate_last: bool, *parts: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Return the same for stacked seeds."""

        def stacked(p: Tensor, d: int | None) -> Tensor:
            return p.expand(info.batch_size, *p.shape) if d is None else p.movedim(d, 0)

        together = [stacked(p, d) for p, d in zip(parts, in_dims[2:], strict=True)]
        found = Layers.apply(stacked(x, in_dims[0]), activate_last, *together)
        return found, (0,) * len(found)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return (x.reshape(-1, x.shape[-1]) @ weight.mT).view(*x.shape[:-1], weight.shape[-2])


@dataclass(frozen=True)
class Variant:
    """Which inputs the three updates of a block read: a row of Figure 4. An update that reads nothing is left out.

    Attributes:
        edge: of ``edge``, ``receiver``, ``sender``, ``globe``.
        node: of ``edges`` (aggregated), ``node``, ``globe``.
        globe: of ``edges``, ``nodes`` (both aggregated), ``globe``.
        attention: the edge update's last output is a score; a node receives the mean of the other outputs, weighted
            by the softmax of the scores of its incoming edges.
    """

    edge: tuple[str, ...] = ("edge", "receiver", "sender", "globe")
    node: tuple[str, ...] = ("edges", "node", "globe")
    globe: tuple[str, ...] = ("edges", "nodes", "globe")
    attention: bool = False


VARIANTS: Mapping[str, Variant] = {
    "full": Variant(),
    "independent": Variant(("edge",), ("node",), ("globe",)),
    "message_passing": Variant(("edge", "receiver", "sender"), ("edges", "node"), ("nodes",)),
    "non_local": Variant(("receiver", "sender"), ("edges",), (), attention=True),
    "relation": Variant(("receiver", "sender"), (), ("edges",)),
    "deep_sets": Variant((), ("node", "globe"), ("nodes",)),
    # Interaction Networks (1612.00222) read relative states, which are the features of their edges.
    "interaction": Variant(("edge",), ("edges", "node"), ()),
}


@dataclass(frozen=True)
class Pooling:
    """The three aggregations, each ``sum``, ``mean`` or ``max``; ``none`` cuts a connection to the globals."""

    edges_to_node: str = "sum"
    edges_to_globe: str = "sum"
    nodes_to_globe: str = "sum"


@dataclass(frozen=True)
class MLPShape:
    """What the update functions look like, besides their inputs and outputs."""

    hidden: Sequence[int] = ()
    activate_last: bool = False
    layer_norm: bool = False
    pooling: Pooling = field(default_factory=Pooling)


class Block(nn.Module):
    """One graph network block.

    Args:
        variant: a key of :data:`VARIANTS`.
        inputs, outputs: feature widths; what the variant does not update keeps its input width, whatever
            ``outputs`` says.
        shape: of the update functions: one, or (edge, node, global) where they differ.
        seed, stream: of the weights.

    Raises:
        ValueError: for an unknown variant, with the known ones.
    """

    def __init__(
        self,
        variant: str,
        inputs: Widths,
        outputs: Widths,
        shape: MLPShape | tuple[MLPShape, MLPShape, MLPShape],
        seed: int,
        stream: str,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"no graph network variant {variant!r}; there are {', '.join(VARIANTS)}")
        reads = VARIANTS[variant]
        self.attention = reads.attention
        shapes = shape if isinstance(shape, tuple) else (shape, shape, shape)
        self.pooling = shapes[0].pooling
        globe_reads = tuple(
            name
            for name in reads.globe
            if {"edges": self.pooling.edges_to_globe, "nodes": self.pooling.nodes_to_globe}.get(name)
            != "none"
        )
        self.reads = Variant(reads.edge, reads.node, globe_reads, reads.attention)
        message = outputs.edges if reads.edge else inputs.edges
        self.outputs = Widths(
            message,
            outputs.nodes if reads.node else inputs.nodes,
            outputs.globe if globe_reads else inputs.globe,
        )

        def mlp(
            part: str, sizes: dict[str, int], names: tuple[str, ...], width: int, form: MLPShape
        ) -> MLP | None:
            if sum(sizes[name] for name in names) == 0:
                return None
            widths = [*form.hidden, width]
            return MLP(
                [sizes[name] for name in names],
                widths,
                seed,
                f"{stream}/{part}",
                form.activate_last,
                form.layer_norm,
            )

        edge_sizes = {
            "edge": inputs.edges,
            "receiver": inputs.nodes,
            "sender": inputs.nodes,
            "globe": inputs.globe,
        }
        node_sizes = {"edges": message, "node": inputs.nodes, "globe": inputs.globe}
        globe_sizes = {"edges": message, "nodes": self.outputs.nodes, "globe": inputs.globe}
        self.phi_e = mlp("edge", edge_sizes, reads.edge, message + self.attention, shapes[0])
        self.phi_v = mlp("node", node_sizes, reads.node, self.outputs.nodes, shapes[1])
        self.phi_u = mlp("globe", globe_sizes, globe_reads, self.outputs.globe, shapes[2])

    def forward(self, topology: Topology, graph: Attributes) -> Attributes:
        """Return the updated graph; what the variant does not update is handed on."""
        edges, nodes, globe = graph
        if self.phi_e is not None:
            edges = self.update_edges(self.phi_e, graph, topology)
        if self.phi_v is not None:
            nodes = self.update_nodes(self.phi_v, edges, graph, topology)
        if self.attention:
            edges = edges[..., :-1]
        if self.phi_u is not None:
            globe = self.update_globe(self.phi_u, edges, nodes, globe, topology)
        return Attributes(edges, nodes, globe)

    def update_edges(self, phi: MLP, graph: Attributes, topology: Topology) -> Tensor:
        """Return all e'_k."""
        given = {"edge": graph.edges, "receiver": graph.nodes, "sender": graph.nodes, "globe": graph.globe}
        spread = {
            "edge": lambda x: x,
            "receiver": topology.receivers,
            "sender": topology.senders,
            "globe": topology.globe_to_edges,
        }
        if self.reads.edge == ("edge",):
            return phi.of(graph.edges)
        products = phi.project(*(given[name] for name in self.reads.edge))
        return phi(*(spread[name](p) for name, p in zip(self.reads.edge, products, strict=True)))

    def update_nodes(self, phi: MLP, edges: Tensor, graph: Attributes, topology: Topology) -> Tensor:
        """Return all v'_i."""
        given = {"node": graph.nodes, "globe": graph.globe}
        if "edges" in self.reads.node:
            how = "attention" if self.attention else self.pooling.edges_to_node
            given["edges"] = topology.aggregate(edges, how)
        if self.reads.node == ("node",):
            return phi.of(graph.nodes)
        products = phi.project(*(given[name] for name in self.reads.node))
        return phi(
            *(
                p.unsqueeze(-2) if name == "globe" else p
                for name, p in zip(self.reads.node, products, strict=True)
            )
        )

    def update_globe(
        self, phi: MLP, edges: Tensor, nodes: Tensor, globe: Tensor, topology: Topology
    ) -> Tensor:
        """Return u'."""
        given = {"globe": globe}
        if "edges" in self.reads.globe:
            given["edges"] = topology.pool_edges(edges, self.pooling.edges_to_globe)
        if "nodes" in self.reads.globe:
            given["nodes"] = reduce(nodes, -2, self.pooling.nodes_to_globe)
        return phi(*phi.project(*(given[name] for name in self.reads.globe)))


class EncodeProcessDecode(nn.Module):
    """Independent encoder, a core applied M times to (encoded input, latent), independent decoder (Section 4.3).

    The same core is applied in every step: a recurrent graph network whose hidden graph is the latent.

    Args:
        inputs: feature widths of the given graph.
        outputs: feature widths of the answer; a linear layer on the decoder's output. 0 leaves that part undecoded.
        shape: of all update functions; the last width is the latent's.
        variant: of the core.
        seed: of the weights.
    """

    def __init__(
        self, inputs: Widths, outputs: Widths, shape: MLPShape, seed: int, variant: str = "full"
    ) -> None:
        super().__init__()
        width = shape.hidden[-1]
        latent = Widths(width, width, width)
        self.encoder = Block("independent", inputs, latent, shape, seed, "encoder")
        twice = Widths(2 * width, 2 * width, 2 * width)
        self.core = Block(variant, twice, latent, shape, seed, "core")
        # What the core's variant does not update stays the concatenation that it was given.
        self.narrow = [a != b for a, b in zip(self.core.outputs, latent, strict=True)]
        self.decoders, self.answers = nn.ModuleDict(), nn.ModuleDict()
        for part, n in outputs._asdict().items():
            if n:
                form = (seed, f"decoder/{part}", shape.activate_last, shape.layer_norm)
                self.decoders[part] = MLP([width], [*shape.hidden, width], *form)
                self.answers[part] = MLP([width], [n], seed, f"answer/{part}")

    def forward(self, topology: Topology, steps: int, graph: Attributes) -> list[Attributes]:
        """Return the answer after each of ``steps`` steps of the core; parts without an answer stay latent."""
        encoded = self.encoder(topology, graph)
        latent, found = encoded, []
        for _ in range(steps):
            both = Attributes(*(torch.cat([a, b], -1) for a, b in zip(encoded, latent, strict=True)))
            after = self.core(topology, both)
            latent = Attributes(
                *(old if n else new for n, old, new in zip(self.narrow, latent, after, strict=True))
            )
            found.append(Attributes(*(self._decode(part, x) for part, x in latent._asdict().items())))
        return found

    def _decode(self, part: str, x: Tensor) -> Tensor:
        for mlps in (self.decoders, self.answers):
            if part in mlps:
                mlp = mlps[part]
                assert isinstance(mlp, MLP)
                x = mlp.of(x)
        return x
