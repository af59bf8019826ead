"""Interaction Networks: a training step beside PyG's MessagePassing, and beside its own matrix products alone.

The network is the paper's for n-body scenes (1612.00222, Section 4.2): relations of 6 features, four hidden layers of
150, effects of 50; 6 bodies, batches of 96 scenes, three seeds. A step is forward pass, squared error, backward pass
and Adam. The peer is one PyG network per seed on the disjoint union of the batch's graphs, as its users write it.

The third line is the simulator: a million steps of 6 bodies, whose limit is a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from benchmarks.peer import Comparison, DisagreementError, Work, compare
from papers.graph_networks.domains import everyone
from papers.graph_networks.experiments import among_moving
from papers.graph_networks.model import InteractionNetwork
from repro.ensemble import Ensemble
from repro.nn.topology import Incidence
from repro.physics import nbody
from repro.project import Project

SEEDS, SCENES, BODIES, HIDDEN = 3, 96, 6, 150
RELATION, OBJECT = 6, 3  # features
TOLERANCE = 1e-4  # of outputs and gradients, relative to the largest
LIMIT = 60.0  # seconds for a million simulated steps


class Peer(MessagePassing):
    """The same network in PyG, with the weights of ours."""

    def __init__(self, ours: InteractionNetwork) -> None:
        super().__init__(aggr="add")
        self.phi_e, self.phi_v = (self.sequence(phi) for phi in (ours.block.phi_e, ours.block.phi_v))

    @staticmethod
    def sequence(mlp: nn.Module) -> nn.Sequential:
        layers: list[nn.Module] = []
        for weight, bias in zip(mlp.weights, mlp.biases, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight.data.copy_(weight)
            linear.bias.data.copy_(bias)
            layers += [linear, nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.phi_v(torch.cat([self.propagate(edge_index, x=x, edge_attr=edge_attr), x], -1))

    def message(self, edge_attr: Tensor) -> Tensor:
        return self.phi_e(edge_attr)


def build(seed: int) -> InteractionNetwork:
    return InteractionNetwork(RELATION, OBJECT, HIDDEN, relations=True, energy=False, seed=seed)


def matrix_products(rows: dict[str, int]) -> Callable[[], None]:
    """Return what does only the matrix products of a step: forward, and both of the backward pass."""
    work = []
    network = build(0)
    for part in ("phi_e", "phi_v"):
        for layer, weight in enumerate(getattr(network.block, part).weights):
            n, m = weight.shape
            x, w, y = (
                torch.randn(SEEDS, rows[part], m),
                torch.randn(SEEDS, n, m),
                torch.randn(SEEDS, rows[part], n),
            )
            # No gradient is wanted of the inputs; the first layer of phi_v needs it for the effects.
            work.append((x, w, y, layer > 0 or part == "phi_v"))

    def run() -> None:
        for x, w, y, backwards in work:
            torch.bmm(x, w.mT)
            torch.bmm(y.mT, x)
            if backwards:
                torch.bmm(y, w)

    return run


def agree(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Refuse sides that compute different things."""
    difference = float((ours.detach() - theirs.detach()).abs().max() / theirs.detach().abs().max())
    if not difference < TOLERANCE:
        raise DisagreementError(f"{what} differ by {difference:.2g} of the largest")


def comparisons(root: Path, quick: bool) -> Iterator[Comparison]:
    """Yield the three comparisons."""
    torch.manual_seed(0)
    sender, receiver = everyone(BODIES)
    topology = among_moving(Incidence(sender, receiver, BODIES), BODIES)
    relations = torch.randn(SEEDS, SCENES, len(sender), RELATION)
    objects, target = torch.randn(SEEDS, SCENES, BODIES, OBJECT), torch.randn(SEEDS, SCENES, BODIES, 2)
    ensemble = Ensemble(build, range(SEEDS))
    ours_optimizer = torch.optim.Adam(ensemble.parameters.values(), lr=1e-3, fused=True)

    def forward() -> Tensor:
        return ensemble(topology, per_seed=[relations, objects])

    def ours() -> None:
        ours_optimizer.zero_grad(set_to_none=True)
        (forward() - target).square().flatten(1).mean(1).sum().backward()
        ours_optimizer.step()

    peers = [Peer(build(seed)) for seed in range(SEEDS)]
    optimizers = [torch.optim.Adam(peer.parameters(), lr=1e-3, fused=True) for peer in peers]
    offset = torch.arange(SCENES).repeat_interleave(len(sender)) * BODIES
    edge_index = torch.stack([sender.repeat(SCENES), receiver.repeat(SCENES)]) + offset

    def theirs() -> None:
        for s, (peer, optimizer) in enumerate(zip(peers, optimizers, strict=True)):
            optimizer.zero_grad(set_to_none=True)
            found = peer(objects[s].flatten(0, 1), edge_index, relations[s].flatten(0, 1))
            (found - target[s].flatten(0, 1)).square().mean().backward()
            optimizer.step()

    for s, peer in enumerate(peers):
        found = peer(objects[s].flatten(0, 1), edge_index, relations[s].flatten(0, 1))
        agree(forward()[s].flatten(0, 1), found, "predictions")
    ours()
    theirs()
    for s, peer in enumerate(peers):
        agree(ensemble.parameters["block.phi_e.weights.0"].grad[s], peer.phi_e[0].weight.grad, "gradients")

    times = 2 if quick else 20

    def repeated(step: Callable[[], None]) -> Work:
        return Work(lambda: [step() for _ in range(times)], units=times, warm_up=step)

    repeats = 2 if quick else 5
    name = f"Interaction Network, {SEEDS} seeds, {SCENES} scenes of {BODIES} bodies, per training step"
    yield compare(f"{name}, beside PyG's MessagePassing", repeated(ours), repeated(theirs), repeats)
    products = matrix_products({"phi_e": SCENES * len(sender), "phi_v": SCENES * BODIES})
    yield compare(f"{name}, part of its matrix products' rate", repeated(ours), repeated(products), repeats)

    scenes, steps = 1000, 10 if quick else 1000
    setting = Project(root).ledger("graph_networks").experiments["baseline"].setting
    bodies = nbody.sample(torch.tensor([0]), "benchmark", scenes, BODIES, setting["G"])

    def run() -> object:
        return nbody.simulate(bodies, setting["G"], setting["clip"], steps)

    simulate = Work(run, units=scenes * steps / 1e6)
    yield share_of_limit("n-body, a million steps of 6 bodies, share of a minute", simulate, repeats)


def share_of_limit(name: str, work: Work, repeats: int) -> Comparison:
    """Return the time of a million steps over the limit, per run."""
    ratios = []
    for _ in range(repeats):
        started = time.perf_counter()
        work.run()
        ratios.append((time.perf_counter() - started) / work.units / LIMIT)
    return Comparison(name, tuple(ratios))
