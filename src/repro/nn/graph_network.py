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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from repro.nn.mlp import MLP
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
