"""Attention over the edges of a graph, for many seeds and heads at once.

Everything here works on arrays with any leading dimensions (seeds, heads): one value per edge ``(..., edges)``, one row
per node ``(..., nodes, features)``. ``torch.vmap`` over a model of one seed adds a leading dimension and nothing
else. All leading dimensions together are the blocks of one block-diagonal sparse matrix, so that a weighted sum over
neighbours is one sparse product and its gradient with respect to the weights one sampled dense product: no array
of edges × features is ever made, but for one block at a time in :func:`additive_score`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_

from repro.nn.sparse import SparseMatrix

SMALLEST = 1e-20  # sum of exponentials below which single precision starts to lose digits of its terms


@dataclass(eq=False)
class Neighbourhoods:
    """Who attends to whom: target i of ``(targets, sources)`` to each source j of row i.

    Edges are in the order of the rows. An edge that is listed twice counts twice.

    Attributes:
        matrix: sparse ``(targets, sources)``; its values are how often an edge is listed.
        target, source: int64 ``(edges,)``.
        own: int64 ``(targets,)``, the targets' positions among the sources.
    """

    matrix: SparseMatrix
    target: Tensor
    source: Tensor
    own: Tensor
    of_source: SparseMatrix
    of_target: SparseMatrix

    @classmethod
    def from_scipy(
        cls, A: sp.spmatrix, own: np.ndarray | None = None, device: torch.device | str = "cpu"
    ) -> Neighbourhoods:
        """Build from an adjacency ``(targets, sources)`` whose entries count the edges j → i.

        Args:
            A: no entry is negative; a target without sources gets zeros from any weighted sum.
            own: the targets' positions among the sources; None where targets and sources are the same nodes.
            device: where the tensors live.

        Raises:
            ValueError: if ``own`` is needed, or points outside the sources.
        """
        matrix = SparseMatrix.from_scipy(A, device)
        targets, sources = matrix.shape
        if own is None and targets != sources:
            raise ValueError(f"{targets} targets among {sources} sources: say which by `own`")
        place = np.arange(targets) if own is None else np.asarray(own, dtype=np.int64)
        if place.shape != (targets,) or (targets and not 0 <= place.min() <= place.max() < sources):
            raise ValueError(
                f"`own` must name a source from 0 to {sources - 1} for each of {targets} targets"
            )
        counts = matrix.crow.cpu().numpy()
        target, source = np.repeat(np.arange(targets), np.diff(counts)), matrix.col.cpu().numpy()
        edges, one = np.arange(matrix.nnz), np.ones(matrix.nnz, dtype=np.float32)
        return cls(
            matrix,
            torch.as_tensor(target, dtype=torch.int64, device=device),
            matrix.col.to(torch.int64),
            torch.as_tensor(place, device=device),
            SparseMatrix.from_scipy(sp.csr_matrix((one, (edges, source)), (matrix.nnz, sources)), device),
            SparseMatrix.from_scipy(sp.csr_matrix((one, (edges, target)), (matrix.nnz, targets)), device),
        )

    @property
    def edges(self) -> int:
        """Number of different edges."""
        return self.matrix.nnz


def adjacency(edge_index: np.ndarray, nodes: int, self_loops: bool = True) -> sp.csr_matrix:
    """Return the adjacency ``(nodes, nodes)`` of ``edge_index`` ``(2, edges)``: entry (i, j) counts edges j → i.

    Args:
        edge_index: source and target of each edge.
        nodes: number of nodes.
        self_loops: give every node exactly one edge to itself in place of those listed.

    Raises:
        ValueError: if an index lies outside the nodes.
    """
    edge_index = np.asarray(edge_index)
    outside = edge_index[(edge_index < 0) | (edge_index >= nodes)]
    if outside.size:
        raise ValueError(f"edge_index names node {outside[0]}; the {nodes} nodes are 0 to {nodes - 1}")
    source, target = edge_index
    A = sp.csr_matrix((np.ones(len(source), dtype=np.float32), (target, source)), shape=(nodes, nodes))
    if self_loops:
        A = sp.csr_matrix(A - sp.diags(A.diagonal()) + sp.identity(nodes, dtype=np.float32))
        A.eliminate_zeros()
    return A


def _blocks(x: Tensor, trailing: int) -> Tensor:
    """Fold all leading dimensions into one."""
    leading = x.shape[: x.dim() - trailing]
    return x.reshape(leading.numel(), *x.shape[x.dim() - trailing :])


def _product(matrix: Tensor, dense: Tensor) -> Tensor:
    """Return ``matrix @ dense`` for a CSR matrix; torch's own operator fills and copies the result first."""
    out = dense.new_empty(matrix.shape[0], dense.shape[1])
    return torch.addmm(out, matrix, dense, beta=0.0, out=out)


def _row_sums(matrix: SparseMatrix, values: Tensor) -> Tensor:
    """Sum ``(B, nnz)`` over each row's entries: ``(B, rows)``."""
    ones = torch.ones(values.shape[0] * matrix.shape[1], 1, dtype=values.dtype, device=values.device)
    return _product(matrix.block_diagonal(values), ones).view(values.shape[0], -1)


def _vmapped(apply: Callable[..., Tensor]) -> Any:
    """Make the vmap rule of a function whose tensors take any leading dimensions."""

    def rule(info: Any, in_dims: Sequence[int | None], graph: Neighbourhoods, *tensors: Tensor) -> Any:
        return apply(graph, *_batched(info, in_dims[1:], tensors)), 0

    return staticmethod(rule)


def _batched(info: Any, in_dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Give each tensor the batch as its first dimension."""
    return [
        x.unsqueeze(0).expand(info.batch_size, *x.shape) if d is None else x.movedim(d, 0)
        for x, d in zip(tensors, in_dims, strict=True)
    ]


class _Softmax(torch.autograd.Function):
    """Softmax of each target's edge scores."""

    @staticmethod
    def forward(graph: Neighbourhoods, scores: Tensor) -> Tensor:
        e = _blocks(scores, 1)
        if not e.numel():
            return scores.clone()

        def weighted(shift: Tensor) -> tuple[Tensor, Tensor]:
            # Counting an edge twice is adding its exponential twice.
            weight = (e - shift).exp_().mul_(graph.matrix.values)
            return weight, _row_sums(graph.matrix, weight).index_select(1, graph.target)

        # One shift for a whole block is fast; where a target's scores all lie far below it, each needs its own.
        weight, total = weighted(e.amax(1, keepdim=True))
        if total.amin() < SMALLEST:
            top = e.new_full((e.shape[0], graph.matrix.shape[0]), -torch.inf)
            top.scatter_reduce_(1, graph.target.expand_as(e), e, "amax")
            weight, total = weighted(top.index_select(1, graph.target))
        return weight.div_(total).view_as(scores)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph = inputs[0]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (alpha,) = ctx.saved_tensors
        weighted = _blocks(alpha * grad, 1)
        total = _row_sums(ctx.graph.matrix, weighted).index_select(1, ctx.graph.target)
        return None, (weighted - _blocks(alpha, 1) * total).view_as(grad)

    vmap = _vmapped(lambda graph, scores: _Softmax.apply(graph, scores))


class _WeightedSum(torch.autograd.Function):
    """Σ_j α_ij H_j over each target's edges."""

    @staticmethod
    def forward(graph: Neighbourhoods, alpha: Tensor, H: Tensor) -> Tensor:
        out = _product(graph.matrix.block_diagonal(_blocks(alpha, 1)), H.reshape(-1, H.shape[-1]))
        return out.view(*alpha.shape[:-1], graph.matrix.shape[0], H.shape[-1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (alpha, H), matrix = ctx.saved_tensors, ctx.graph.matrix
        values, rows = _blocks(alpha, 1), grad.reshape(-1, grad.shape[-1])
        d_alpha = d_H = None
        if ctx.needs_input_grad[1]:
            # The products grad_i · H_j on the edges only.
            pattern = matrix.block_diagonal(torch.zeros_like(values))
            sampled = torch.sparse.sampled_addmm(pattern, rows, H.reshape(-1, H.shape[-1]).t(), beta=0.0)
            d_alpha = sampled.values().view_as(alpha)
        if ctx.needs_input_grad[2]:
            transposed = matrix.T.block_diagonal(values[:, matrix.to_transpose])
            d_H = _product(transposed, rows).view_as(H)
        return None, d_alpha, d_H

    vmap = _vmapped(lambda graph, alpha, H: _WeightedSum.apply(graph, alpha, H))


class _PairSum(torch.autograd.Function):
    """t_i + s_j on the edges; the gradient sums over the edges of each node."""

    @staticmethod
    def forward(graph: Neighbourhoods, t: Tensor, s: Tensor) -> Tensor:
        out = _blocks(t, 1).index_select(1, graph.target) + _blocks(s, 1).index_select(1, graph.source)
        return out.view(*t.shape[:-1], graph.edges)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph = inputs[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        matrix, g = ctx.graph.matrix, _blocks(grad, 1)
        of_target = _row_sums(matrix, g)
        of_source = _row_sums(matrix.T, g[:, matrix.to_transpose])
        leading = grad.shape[:-1]
        return None, of_target.view(*leading, -1), of_source.view(*leading, -1)

    vmap = _vmapped(lambda graph, t, s: _PairSum.apply(graph, t, s))


class _AdditiveScore(torch.autograd.Function):
    """a · LeakyReLU(t_i + s_j) on the edges, block by block: edges × features numbers of one block fit a cache.

    Sums are plain ones, because a library's matrix-vector product rounds by where in memory its operands lie.
    """

    @staticmethod
    def forward(graph: Neighbourhoods, t: Tensor, s: Tensor, a: Tensor, slope: float) -> Tensor:
        T, S, A = _blocks(t, 2), _blocks(s, 2), _blocks(a, 1)
        out = T.new_empty(T.shape[0], graph.edges)
        for i in range(T.shape[0]):
            torch.sum(leaky_relu_(_pairs(graph, T[i], S[i]), slope).mul_(A[i]), -1, out=out[i])
        return out.view(*t.shape[:-2], graph.edges)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph, *tensors, ctx.slope = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, Tensor, None]:
        (t, s, a), graph = ctx.saved_tensors, ctx.graph
        T, S, A, g = _blocks(t, 2), _blocks(s, 2), _blocks(a, 1), _blocks(grad, 1)
        d_t, d_s, d_a = torch.empty_like(T), torch.empty_like(S), torch.empty_like(A)
        to_target, to_source = graph.of_target.T.csr(), graph.of_source.T.csr()
        for i in range(T.shape[0]):
            z = _pairs(graph, T[i], S[i])
            below = z < 0
            activated = leaky_relu_(z, ctx.slope)
            torch.sum(activated.mul_(g[i].unsqueeze(-1)), 0, out=d_a[i])
            d_z = torch.outer(g[i], A[i])
            d_z = torch.where(below, ctx.slope * d_z, d_z)
            torch.addmm(d_t[i], to_target, d_z, beta=0.0, out=d_t[i])
            torch.addmm(d_s[i], to_source, d_z, beta=0.0, out=d_s[i])
        return None, d_t.view_as(t), d_s.view_as(s), d_a.view_as(a), None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        graph: Neighbourhoods,
        t: Tensor,
        s: Tensor,
        a: Tensor,
        slope: float,
    ) -> Any:
        tensors = _batched(info, in_dims[1:4], (t, s, a))
        return _AdditiveScore.apply(graph, *tensors, slope), 0


def _pairs(graph: Neighbourhoods, t: Tensor, s: Tensor) -> Tensor:
    return t.index_select(0, graph.target).add_(s.index_select(0, graph.source))


def softmax(graph: Neighbourhoods, scores: Tensor) -> Tensor:
    """Return attention coefficients ``(..., edges)``: softmax of the scores over each target's edges.

    A target without edges has none, which is no error.
    """
    return _Softmax.apply(graph, scores)


def weighted_sum(graph: Neighbourhoods, alpha: Tensor, H: Tensor) -> Tensor:
    """Return Σ_j α_ij H_j ``(..., targets, features)``; alpha is ``(..., edges)``, H ``(..., sources, features)``.

    ``alpha`` is taken as it is: how often an edge is listed is :func:`softmax`'s business.
    """
    return _WeightedSum.apply(graph, alpha, H)


def pair_sum(graph: Neighbourhoods, t: Tensor, s: Tensor) -> Tensor:
    """Return t_i + s_j ``(..., edges)`` of one number per target and one per source, each ``(..., nodes)``."""
    return _PairSum.apply(graph, t, s)


def additive_score(graph: Neighbourhoods, t: Tensor, s: Tensor, a: Tensor, slope: float) -> Tensor:
    """Return a · LeakyReLU(t_i + s_j) ``(..., edges)``.

    Args:
        graph: the edges.
        t: of the targets, ``(..., targets, features)``.
        s: of the sources, ``(..., sources, features)``.
        a: ``(..., features)``.
        slope: of LeakyReLU below zero.
    """
    return _AdditiveScore.apply(graph, t, s, a, slope)
