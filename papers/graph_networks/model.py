"""The networks as printed: of the demos, of 1612.00222 (Interaction Network, MLP), of 1806.01242 (forward model)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.nn.graph_network import Attributes, Block, EncodeProcessDecode, MLPShape, Pooling, Widths
from repro.nn.mlp import MLP
from repro.nn.topology import AllPairs, Topology


def demo_network(
    inputs: Widths, outputs: Widths, width: int, seed: int, variant: str = "full", pooling: str = "sum"
) -> EncodeProcessDecode:
    """Return the graph_nets demos' network: every update two ReLU layers of ``width`` and a layer norm, sums."""
    shape = MLPShape((width,), True, True, Pooling(pooling, pooling, pooling))
    return EncodeProcessDecode(inputs, outputs, shape, seed, variant)


class Labeller(nn.Module):
    """The demos' network on graphs whose edges are any of all pairs: two scores for each node and each edge.

    Args:
        inputs: feature widths.
        width: of all layers.
        pooling: of all aggregations; the demos sum.
        steps: how often the core is applied.
        seed: of the weights.
    """

    def __init__(self, inputs: Widths, width: int, pooling: str, steps: int, seed: int) -> None:
        super().__init__()
        self.network = demo_network(inputs, Widths(2, 2, 0), width, seed, pooling=pooling)
        self.steps = steps

    def forward(self, graph: Attributes, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the scores of nodes ``(steps, *, N, 2)`` and edges ``(steps, *, N, N, 2)`` after each step."""
        found = self.network(AllPairs(graph.nodes.shape[-2], mask), self.steps, graph)
        return torch.stack([step.nodes for step in found]), torch.stack([step.edges for step in found])


class InteractionNetwork(nn.Module):
    """Battaglia et al. 2016 (1612.00222), equations 3 to 6 and Section 4.2.

    .. math::
        e_k = f_R(o_r - o_s, a_r, a_s, r_k), \\quad p_i = f_O(v_i, a_i, x_i, \\sum_{k: r_k = i} e_k)

    Relations see differences of states, objects no positions: so it is translation invariant.

    Args:
        relation_inputs, object_inputs: features of a relation and of an object.
        hidden: width of f_R's four hidden layers; f_O has one of 100.
        relations: False leaves all effects out, the paper's "dynamics-only" baseline.
        energy: answer with one number per scene instead, an MLP on the sum of ten features per object.
        seed: of the weights.
        effects: answer with the mean square of the effects as well, which the paper penalises.
    """

    def __init__(
        self,
        relation_inputs: int,
        object_inputs: int,
        hidden: int,
        relations: bool,
        energy: bool,
        seed: int,
        effects: bool = False,
    ) -> None:
        super().__init__()
        self.effects = effects
        self.block = Block(
            "interaction" if relations else "independent",
            Widths(relation_inputs if relations else 0, object_inputs, 0),
            Widths(50 if relations else 0, 10 if energy else 2, 0),
            (MLPShape([hidden] * 4), MLPShape([100]), MLPShape()),
            seed,
            "interaction",
        )
        self.phi_A = MLP([10], [25, 1], seed, "energy") if energy else None

    def forward(
        self, topology: Topology, relations: Tensor, objects: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return what is predicted of each object ``(*, N, 2)``, or of each scene ``(*, 1)``."""
        after = self.block(topology, Attributes(relations, objects, objects[..., 0, :0]))
        found = after.nodes if self.phi_A is None else self.phi_A.of(after.nodes.sum(-2))
        return (found, after.edges.square().mean()) if self.effects else found


class Flat(nn.Module):
    """The paper's MLP baseline: everything about all objects in one vector, two hidden layers of 300."""

    def __init__(
        self, relation_inputs: int, object_inputs: int, objects: int, relations: int, energy: bool, seed: int
    ):
        super().__init__()
        outputs = 1 if energy else 2 * objects
        self.mlp = MLP(
            [relations * relation_inputs + objects * object_inputs], [300, 300, outputs], seed, "flat"
        )
        self.energy = energy

    def forward(self, topology: Topology, relations: Tensor, objects: Tensor) -> Tensor:
        """Return what is predicted of each object ``(*, N, 2)``, or of each scene ``(*, 1)``."""
        x = torch.cat([relations.flatten(-2), objects.flatten(-2)], -1)
        found = self.mlp.of(x)
        return found if self.energy else found.unflatten(-1, (-1, 2))


class ForwardModel(nn.Module):
    """Sanchez-Gonzalez et al. 2018 (1806.01242), Section 3: two graph networks in sequence, unshared.

    The second receives the first one's output joined with the input, so that what the first gathers in its global
    reaches every link. All aggregations are sums in the paper.

    Args:
        inputs: feature widths.
        outputs: features of the predicted change per node.
        width: of two hidden layers and of what the first network hands on.
        pooling: into the global: ``sum``, ``mean`` or ``none``.
        seed: of the weights.
    """

    def __init__(self, inputs: Widths, outputs: int, width: int, pooling: str, seed: int) -> None:
        super().__init__()
        shape = MLPShape([width, width], pooling=Pooling("sum", pooling, pooling))
        between = Widths(width, width, width)
        joined = Widths(*(a + b for a, b in zip(inputs, between, strict=True)))
        self.first = Block("full", inputs, between, shape, seed, "first")
        self.second = Block("full", joined, Widths(width, outputs, width), shape, seed, "second")

    def forward(self, topology: Topology, graph: Attributes) -> Tensor:
        """Return the predicted change of every node ``(*, N, outputs)``."""
        first = self.first(topology, graph)
        both = Attributes(*(torch.cat([a, b], -1) for a, b in zip(first, graph, strict=True)))
        return self.second(topology, both).nodes
