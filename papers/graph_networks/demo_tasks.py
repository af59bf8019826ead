"""Two tasks of the graph_nets demos (commit adf2516): sorting, and the shortest path between two nodes.

Both are graphs whose nodes and edges have to be labelled. All is drawn from a key: leading dimensions ``*`` are seeds,
B graphs each, all of N nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from repro import randomness
from repro.nn.graph_network import Attributes
from repro.physics.motion import check, uniform

THETA = 20.0  # threshold of the geographic graphs: nodes are joined if the sum of their weights is at least THETA r²


class Task(NamedTuple):
    """Graphs with their answers.

    Attributes:
        graph: edges ``(*, B, N receivers, N senders, 1)``, nodes ``(*, B, N, F)``, globals ``(*, B, 1)``.
        mask: bool ``(*, B, N, N)``, which pairs are edges; None if all are.
        nodes, edges: bool ``(*, B, N)`` and ``(*, B, N, N)``, the labels; no edge outside the mask has one.
    """

    graph: Attributes
    mask: Tensor | None
    nodes: Tensor
    edges: Tensor


def sort(keys: Tensor, graphs: int, size: int) -> Task:
    """Return lists of uniform numbers: the smallest is to be labelled, and each edge from a number to the next larger.

    All pairs are edges, loops included.

    Raises:
        ValueError: for fewer than two numbers.
    """
    check(size, 2, "numbers to sort")
    value = uniform(keys, (graphs, size), 0.0, 1.0)
    rank = value.argsort(-1).argsort(-1)
    edges = rank.unsqueeze(-1) == rank.unsqueeze(-2) + 1
    zero = value.new_zeros(*value.shape, size, 1)
    graph = Attributes(zero.float(), value.unsqueeze(-1).float(), zero[..., 0, 0, :].float())
    return Task(graph, None, rank == 0, edges)


def closure(lengths: Tensor, joined: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the best over all walks for each pair, ``(*, N, N)``, by Floyd and Warshall's algorithm.

    Args:
        lengths: of the single steps; infinite where there is none, zero on the diagonal.
        joined: length of two walks one after the other: their sum, or the longest step in them.
    """
    for k in range(lengths.shape[-1]):
        lengths = torch.minimum(lengths, joined(lengths[..., :, k : k + 1], lengths[..., k : k + 1, :]))
    return lengths


def geographic(place: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances and edges ``(*, N, N)``: a geographic threshold graph joined with a minimum spanning tree.

    An edge is in that tree where no detour has only shorter steps.

    Args:
        place: ``(*, N, 2)``.
        weight: ``(*, N)``.
    """
    distance = (place.unsqueeze(-2) - place.unsqueeze(-3)).norm(dim=-1)
    near = weight.unsqueeze(-1) + weight.unsqueeze(-2) >= THETA * distance**2
    tree = distance == closure(distance, torch.maximum)
    return distance, (near | tree) & ~torch.eye(place.shape[-2], dtype=torch.bool)


def ends(key: Tensor, hops: Tensor) -> tuple[Tensor, Tensor]:
    """Return a start and an end ``(*, B)``, any number of hops that occurs being equally likely.

    Args:
        key: ``(*)``.
        hops: between all pairs ``(*, B, N, N)``; zero on the diagonal.
    """
    n = hops.shape[-1]
    pairs = hops.flatten(-2).long()
    count = torch.zeros(*pairs.shape[:-1], n, dtype=torch.long)
    count.scatter_add_(-1, pairs, torch.ones_like(pairs))
    chance = 1 / count.gather(-1, pairs).double() * (pairs > 0)
    total = chance.cumsum(-1)
    drawn = uniform(key, (hops.shape[-3],), 0.0, 1.0).unsqueeze(-1) * total[..., -1:]
    chosen = torch.searchsorted(total, drawn, right=True).squeeze(-1).clamp(max=n * n - 1)
    return chosen // n, chosen % n


def shortest_path(keys: Tensor, graphs: int, size: int) -> Task:
    """Return graphs with a start and an end: nodes and (directed) edges on the shortest path are to be labelled.

    An edge is labelled where it leads against the path, to the node nearer to the start, as in the demo.

    Raises:
        ValueError: for fewer than two nodes.
    """
    check(size, 2, "nodes with a path")

    def key(what: str) -> Tensor:
        return randomness.key(keys, what)

    place = uniform(key("place"), (graphs, size, 2), 0.0, 1.0)
    weight = -(1 - uniform(key("weight"), (graphs, size), 0.0, 1.0)).log()
    distance, edges = geographic(place, weight)
    here = torch.eye(size, dtype=torch.bool)
    step = distance.masked_fill(~edges, torch.inf).masked_fill(here, 0.0)
    far = closure(step, torch.add)
    start, end = ends(key("ends"), closure(step.masked_fill(edges, 1.0), torch.add))
    is_start, is_end = here[start], here[end]
    from_start, to_end = far[is_start].view_as(weight), far[is_end].view_as(weight)
    # Sums of the same steps in another order differ in the last digits; other paths as short have probability zero.
    shortest = (from_start * is_end).sum(-1, keepdim=True) * (1 + 1e-9)
    nodes = from_start + to_end <= shortest
    on_path = from_start.unsqueeze(-1) + distance + to_end.unsqueeze(-2) <= shortest.unsqueeze(-1)
    features = torch.cat([place, torch.stack([weight, is_start.double(), is_end.double()], -1)], -1)
    graph = Attributes(
        (distance * edges).unsqueeze(-1).float(), features.float(), torch.zeros_like(weight[..., :1]).float()
    )
    return Task(graph, edges, nodes, on_path & edges)


TASKS: dict[str, Callable[[Tensor, int, int], Task]] = {"sort": sort, "shortest_path": shortest_path}
