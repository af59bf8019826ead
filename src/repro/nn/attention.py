"""Attention over the edges of a graph, for many seeds and heads at once.

Everything here works on arrays with any leading dimensions (seeds, heads): one value per edge ``(..., edges)``, one row
per node ``(..., nodes, features)``. ``torch.vmap`` over a model of one seed adds a leading dimension and nothing
else. All leading dimensions together are the blocks of one block-diagonal sparse matrix, so that a weighted sum over
neighbours is one sparse product and its gradient with respect to the weights one sampled dense product: no array
of edges × features is ever made, but for one seed at a time in :func:`additive_score`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, leaky_relu_

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
    _ends: dict[bool, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

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
        target = np.repeat(np.arange(targets), np.diff(counts))
        return cls(
            matrix,
            torch.as_tensor(target, dtype=torch.int64, device=device),
            matrix.col.to(torch.int64),
            torch.as_tensor(place, device=device),
        )

    @property
    def edges(self) -> int:
        """Number of different edges."""
        return self.matrix.nnz

    def ends(self, apart: bool) -> tuple[Tensor, Tensor]:
        """Return each edge's two rows in a table of the sources, ``(edges, 2)``, and the CSR ``(rows, edges)`` of both.

        Args:
            apart: the table lists the sources once more, and the targets are found in this second half.
        """
        if apart not in self._ends:
            sources = self.matrix.shape[1]
            pairs = torch.stack([self.own[self.target] + apart * sources, self.source], 1)
            edge = np.arange(2 * self.edges) // 2
            entries = (np.ones(len(edge), dtype=np.float32), (pairs.flatten().cpu().numpy(), edge))
            rows = sp.csr_matrix(entries, ((1 + apart) * sources, self.edges))
            self._ends[apart] = pairs, SparseMatrix.from_scipy(rows, pairs.device).csr()
        return self._ends[apart]


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
    """a · LeakyReLU(x_i + x_j) on the edges, all heads of a seed at once: sums over features are matrix products.

    Every operand of such a product is made for it, because a library's rounding can depend on where in memory a
    slice lies.
    """

    @staticmethod
    def forward(graph: Neighbourhoods, x: Tensor, a: Tensor, slope: float, apart: bool) -> Tensor:
        X, A = _blocks(x, 3), _blocks(a, 2)
        pairs, _ = graph.ends(apart)
        out = X.new_empty(X.shape[0], X.shape[2], graph.edges)
        for i in range(X.shape[0]):
            z = embedding_bag(pairs, X[i].flatten(1), mode="sum")
            out[i] = _by_head(A[i]).T @ leaky_relu_(z, slope).T
        return out.view(*x.shape[:-3], *out.shape[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph, *tensors, ctx.slope, ctx.apart = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, None, None]:
        x, a = ctx.saved_tensors
        X, A, G = _blocks(x, 3), _blocks(a, 2), _blocks(grad, 2)
        pairs, of_rows = ctx.graph.ends(ctx.apart)
        d_x, d_a = X.new_empty(X.shape), torch.empty_like(A)
        for i in range(X.shape[0]):
            g = G[i].clone()
            z = embedding_bag(pairs, X[i].flatten(1), mode="sum")
            d_z = torch.ops.aten.leaky_relu_backward(g.T @ _by_head(A[i]).T, z, ctx.slope, False)
            torch.addmm(d_x[i].flatten(1), of_rows, d_z, beta=0.0, out=d_x[i].flatten(1))
            of_heads = (g @ leaky_relu_(z, ctx.slope)).unflatten(1, A.shape[1:])
            d_a[i] = of_heads.diagonal().T
        return None, d_x.view_as(x), d_a.view_as(a), None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        graph: Neighbourhoods,
        x: Tensor,
        a: Tensor,
        slope: float,
        apart: bool,
    ) -> Any:
        return _AdditiveScore.apply(graph, *_batched(info, in_dims[1:3], (x, a)), slope, apart), 0


def _by_head(a: Tensor) -> Tensor:
    """Return the matrix ``(heads * features, heads)`` that sums each head's features with weights ``a``."""
    return torch.diag_embed(a.T).movedim(1, 0).flatten(0, 1)


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


def additive_score(
    graph: Neighbourhoods, s: Tensor, a: Tensor, slope: float, t: Tensor | None = None
) -> Tensor:
    """Return a · LeakyReLU(t_i + s_j) ``(..., heads, edges)``.

    Args:
        graph: the edges.
        s: ``(..., sources, heads, features)``.
        a: ``(..., heads, features)``.
        slope: of LeakyReLU below zero.
        t: what a source adds as a target, ``(..., sources, heads, features)``; None where that is ``s`` too.
    """
    x = s if t is None else torch.cat([s, t], -3)
    return _AdditiveScore.apply(graph, x, a, slope, t is not None)
