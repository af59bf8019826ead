"""Who sends to whom in a batch of graphs, without scatter operations.

A topology is shared by all graphs of a batch and knows the layout of their edges: ``edge_dims`` dimensions in front
of the features. Scenes of different sizes are different batches. All three layouts give the same graph network.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


def reduce(x: Tensor, dims: int | tuple[int, int], how: str) -> Tensor:
    """Return the ``sum``, ``mean`` or ``max`` over some dimensions.

    Two dimensions are joined first: torch adds over several in an order that depends on all the others, and a seed's
    sum would not be the same alone and among others.

    Raises:
        ValueError: for any other ``how``.
    """
    if isinstance(dims, tuple):
        x, dims = x.flatten(dims[0], dims[1]), dims[0] + 1
    if how == "sum":
        return x.sum(dims)
    if how == "mean":
        return x.mean(dims)
    if how == "max":
        return x.amax(dims)
    raise ValueError(f"no aggregation {how!r}; there are sum, mean, max")


class Topology(Protocol):
    """What a graph network needs to know of the edges."""

    num_nodes: int
    edge_dims: int

    def receivers(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its receiver: ``(*, N, F)`` to ``(*, <edges>, F)`` or broadcastable."""
        ...

    def senders(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its sender, likewise."""
        ...

    def aggregate(self, edges: Tensor, how: str) -> Tensor:
        """Return what each node receives, ``(*, N, F)``; zero for a node without incoming edges.

        ``how`` is ``sum``, ``mean``, ``max``, or ``attention``: the last feature is then a score and the others are
        averaged with the softmax of the scores as weights, ``(*, N, F - 1)``.
        """
        ...

    def pool_edges(self, edges: Tensor, how: str) -> Tensor:
        """Return one vector for all edges, ``(*, F)``."""
        ...

    def globe_to_edges(self, globe: Tensor) -> Tensor:
        """Return the globals broadcastable to the edges."""
        ...


class _Shared:
    edge_dims: int

    def globe_to_edges(self, globe: Tensor) -> Tensor:
        """Return the globals broadcastable to the edges."""
        for _ in range(self.edge_dims):
            globe = globe.unsqueeze(-2)
        return globe


class Incidence(_Shared):
    """Any graph, by binary matrices R_r and R_s, as in Interaction Networks (1612.00222, equation 4).

    Edges are ``(*, E, F)``.

    Args:
        senders, receivers: int64 ``(E,)``.
        num_nodes: N.

    Raises:
        ValueError: for node numbers outside the graph.
    """

    edge_dims = 1

    def __init__(self, senders: Tensor, receivers: Tensor, num_nodes: int) -> None:
        if senders.shape != receivers.shape or num_nodes < 1:
            raise ValueError(
                f"{len(senders)} senders, {len(receivers)} receivers and {num_nodes} nodes make no graph"
            )
        ends = torch.cat([senders, receivers])
        if bool(((ends < 0) | (ends >= num_nodes)).any()):
            raise ValueError(f"an edge leads to the node {int(ends.max())}, there are {num_nodes}")
        self.num_nodes = num_nodes
        self.sender, self.receiver = senders, receivers
        self.R_r = torch.nn.functional.one_hot(receivers, num_nodes).to(torch.float32)
        self.R_s = torch.nn.functional.one_hot(senders, num_nodes).to(torch.float32)
        self.degree = self.R_r.sum(0)
        each = len(receivers) // num_nodes
        # Where every node has equally many incoming edges, one after the other, no matrix is needed to add them up.
        self.regular = each if torch.equal(receivers, torch.arange(num_nodes).repeat_interleave(each)) else 0

    def receivers(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its receiver."""
        return self.R_r.to(nodes.dtype) @ nodes

    def senders(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its sender."""
        return self.R_s.to(nodes.dtype) @ nodes

    def aggregate(self, edges: Tensor, how: str) -> Tensor:
        """Return what each node receives."""
        if how == "sum" and self.regular:
            return edges.unflatten(-2, (self.num_nodes, self.regular)).sum(-2)
        if how == "sum":
            return self.R_r.to(edges.dtype).mT @ edges
        if how == "mean":
            return self.aggregate(edges, "sum") / self.degree.clamp(min=1).to(edges.dtype).unsqueeze(-1)
        if how == "max":
            each = edges.unsqueeze(-2).masked_fill(self.R_r.unsqueeze(-1) == 0, -torch.inf)
            return each.amax(-3).masked_fill(self.degree.unsqueeze(-1) == 0, 0.0)
        if how == "attention":
            value, score = edges[..., :-1], edges[..., -1:]
            weight = (score - self.receivers(self.aggregate(score, "max"))).exp()
            total = self.aggregate(weight, "sum").clamp(min=torch.finfo(edges.dtype).tiny)
            return self.aggregate(weight * value, "sum") / total
        raise ValueError(f"no aggregation {how!r}; there are sum, mean, max, attention")

    def pool_edges(self, edges: Tensor, how: str) -> Tensor:
        """Return one vector for all edges."""
        return reduce(edges, -2, how)


class AllPairs(_Shared):
    """Every pair of nodes that ``mask`` allows; what is masked counts nothing.

    Edges are ``(*, N receivers, N senders, F)``.

    Args:
        num_nodes: N.
        mask: bool ``(*, N, N)``, which may differ within the batch; None allows all pairs, loops included.
    """

    edge_dims = 2

    def __init__(self, num_nodes: int, mask: Tensor | None = None) -> None:
        if num_nodes < 1:
            raise ValueError(f"a graph has at least one node, not {num_nodes}")
        self.num_nodes = num_nodes
        self.mask = None if mask is None else mask.unsqueeze(-1)

    def receivers(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its receiver."""
        return nodes.unsqueeze(-2)

    def senders(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its sender."""
        return nodes.unsqueeze(-3)

    def _masked(self, edges: Tensor, dims: int | tuple[int, int], how: str) -> Tensor:
        if self.mask is None:
            return reduce(edges, dims, how)
        if how == "max":
            found = reduce(edges.masked_fill(~self.mask, -torch.inf), dims, "max")
            return found.masked_fill(found == -torch.inf, 0.0)
        # A product with the mask as a matrix adds up while it reads; torch multiplies slowly where features are few.
        mask = self.mask.squeeze(-1).to(edges.dtype)
        if dims != -2:
            mask, edges = mask.flatten(-2), edges.flatten(-3, -2)
        total = (mask.unsqueeze(-2) @ edges).squeeze(-2)
        if how == "sum":
            return total
        if how == "mean":
            return total / self.mask.sum(dims).clamp(min=1)
        raise ValueError(f"no aggregation {how!r}; there are sum, mean, max")

    def aggregate(self, edges: Tensor, how: str) -> Tensor:
        """Return what each node receives."""
        if how != "attention":
            return self._masked(edges, -2, how)
        score = edges[..., -1:]
        if self.mask is not None:
            score = score.masked_fill(~self.mask, torch.finfo(edges.dtype).min)
        found = (score.softmax(-2) * edges[..., :-1]).sum(-2)
        return found if self.mask is None else found * self.mask.any(-2)

    def pool_edges(self, edges: Tensor, how: str) -> Tensor:
        """Return one vector for all edges."""
        return self._masked(edges, (-3, -2), how)


class Chain(_Shared):
    """A chain of N nodes with an edge each way between neighbours, by shifts. Edges ``(*, 2, E, F)``, E per direction.

    Edge k of direction 0 is sent forwards, of direction 1 backwards. With ``fixed_ends`` no edge leads into the first
    or the last node (E = N - 2), without all neighbours are joined (E = N - 1).

    Raises:
        ValueError: for chains too short to have an edge.
    """

    edge_dims = 2

    def __init__(self, num_nodes: int, fixed_ends: bool = False) -> None:
        least = 3 if fixed_ends else 2
        if num_nodes < least:
            raise ValueError(
                f"a chain {'between fixed ends ' * fixed_ends}has at least {least} nodes, not {num_nodes}"
            )
        self.num_nodes = num_nodes
        self.fixed_ends = fixed_ends

    def receivers(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its receiver."""
        if self.fixed_ends:
            return nodes[..., 1:-1, :].unsqueeze(-3)
        return torch.stack([nodes[..., 1:, :], nodes[..., :-1, :]], -3)

    def senders(self, nodes: Tensor) -> Tensor:
        """Return what each edge sees of its sender."""
        if self.fixed_ends:
            return torch.stack([nodes[..., :-2, :], nodes[..., 2:, :]], -3)
        return torch.stack([nodes[..., :-1, :], nodes[..., 1:, :]], -3)

    def aggregate(self, edges: Tensor, how: str) -> Tensor:
        """Return what each node receives."""
        forwards, backwards = edges.unbind(-3)
        pad = torch.nn.functional.pad
        if self.fixed_ends:
            if how == "attention":
                weight = edges[..., -1:].softmax(-3)
                return pad((weight * edges[..., :-1]).sum(-3), (0, 0, 1, 1))
            return pad(reduce(edges, -3, how), (0, 0, 1, 1))
        first, last = backwards[..., :1, :], forwards[..., -1:, :]
        inner = torch.stack([forwards[..., :-1, :], backwards[..., 1:, :]], -3)
        if how == "attention":
            middle = (inner[..., -1:].softmax(-3) * inner[..., :-1]).sum(-3)
            return torch.cat([first[..., :-1], middle, last[..., :-1]], -2)
        return torch.cat([first, reduce(inner, -3, how), last], -2)

    def pool_edges(self, edges: Tensor, how: str) -> Tensor:
        """Return one vector for all edges."""
        return reduce(edges, (-3, -2), how)
