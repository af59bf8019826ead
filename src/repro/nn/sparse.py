"""Sparse matrix products that serve many seeds at once.

A model is written for one seed and vectorised by ``torch.vmap``; the two products here carry their own vmap
rules, because that is where the speed comes from:

- a matrix with *fixed* values (an adjacency) times S dense matrices is one product, with the seeds folded
  into the feature dimension;
- a matrix whose *values differ by seed* (dropped-out bag-of-words features) is one product with the
  block-diagonal matrix of the S copies.

Values of the sparse matrix carry no gradient. Row i of a product is always summed in the order of row i's
entries, whatever the number of seeds, so on a CPU a seed's result does not depend on its neighbours: see
``NARROWEST`` (a GPU's library may choose another algorithm for another width). Offsets are 32-bit: S times the
entries stays below 2^31.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")

# On some processors MKL sums products of 4, 8, ... 24 columns in another order than wider ones, and one seed's
# features are as narrow as that where many seeds' are not. No product is narrower than this; a test holds it.
NARROWEST = 32


@dataclass(eq=False)
class SparseMatrix:
    """A CSR matrix with fixed structure, its transpose, and block-diagonal repetitions of both.

    Attributes:
        crow: int32 ``(rows + 1,)`` row pointers.
        col: int32 ``(nnz,)`` column of each entry.
        values: float32 ``(nnz,)``.
        shape: ``(rows, cols)``.
        to_transpose: int64 ``(nnz,)``; ``values[to_transpose]`` are the values in the transpose's order.
    """

    crow: Tensor
    col: Tensor
    values: Tensor
    shape: tuple[int, int]
    to_transpose: Tensor
    _transpose: SparseMatrix | None = field(default=None, repr=False)
    _blocks: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_scipy(cls, matrix: sp.spmatrix, device: torch.device | str = "cpu") -> SparseMatrix:
        """Build from any scipy sparse matrix; entries are sorted by row and column, duplicates summed."""
        forward = sp.csr_matrix(matrix, dtype=np.float32)
        forward.sum_duplicates()
        order = sp.csr_matrix(
            (np.arange(forward.nnz, dtype=np.int64), forward.indices, forward.indptr), shape=forward.shape
        )
        backward = order.T.tocsr()
        backward.sort_indices()
        permutation = backward.data
        inverse = np.empty_like(permutation)
        inverse[permutation] = np.arange(len(permutation))
        a = cls._of(forward.indptr, forward.indices, forward.data, forward.shape, permutation, device)
        b = cls._of(
            backward.indptr, backward.indices, forward.data[permutation], backward.shape, inverse, device
        )
        a._transpose, b._transpose = b, a
        return a

    @classmethod
    def _of(
        cls,
        crow: np.ndarray,
        col: np.ndarray,
        values: np.ndarray,
        shape: tuple[int, int],
        permutation: np.ndarray,
        device: torch.device | str,
    ) -> SparseMatrix:
        return cls(
            torch.as_tensor(crow, dtype=torch.int32, device=device),
            torch.as_tensor(col, dtype=torch.int32, device=device),
            torch.as_tensor(values, dtype=torch.float32, device=device),
            (int(shape[0]), int(shape[1])),
            torch.as_tensor(permutation, dtype=torch.int64, device=device),
        )

    @property
    def T(self) -> SparseMatrix:  # noqa: D102
        assert self._transpose is not None
        return self._transpose

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.col.numel()

    def csr(self) -> Tensor:
        """Return the matrix as a torch CSR tensor."""
        if "csr" not in self._blocks:
            self._blocks["csr"] = torch.sparse_csr_tensor(self.crow, self.col, self.values, self.shape)
        return self._blocks["csr"]

    def block_diagonal(self, values: Tensor) -> Tensor:
        """Return ``diag(A_1, ..., A_S)`` in CSR, A_s having this structure and ``values[s]`` (``(S, nnz)``).

        The index arrays for the largest S seen so far are kept; those of a smaller S are their beginnings.
        """
        n_blocks, (rows, cols) = values.shape[0], self.shape
        if self._blocks.get("n", 0) < n_blocks:
            block = torch.arange(n_blocks, dtype=torch.int32, device=self.col.device).unsqueeze(1)
            starts = (self.crow[:-1] + block * self.nnz).flatten()
            end = torch.tensor([n_blocks * self.nnz], dtype=torch.int32, device=starts.device)
            self._blocks.update(
                n=n_blocks, crow=torch.cat([starts, end]), col=(self.col + block * cols).flatten()
            )
        return torch.sparse_csr_tensor(
            self._blocks["crow"][: n_blocks * rows + 1],
            self._blocks["col"][: n_blocks * self.nnz],
            values.reshape(-1),
            (n_blocks * rows, n_blocks * cols),
        )


class _Fixed(torch.autograd.Function):
    """``A @ dense`` for one matrix ``A`` without gradient."""

    @staticmethod
    def forward(matrix: SparseMatrix, dense: Tensor) -> Tensor:
        width = dense.shape[1]
        if width >= NARROWEST or dense.is_cuda:
            return matrix.csr() @ dense
        return (matrix.csr() @ functional.pad(dense, (0, NARROWEST - width)))[:, :width].contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.matrix = inputs[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, _Fixed.apply(ctx.matrix.T, grad)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], matrix: SparseMatrix, dense: Tensor) -> Any:
        folded = dense.movedim(in_dims[1], 1)  # type: ignore[arg-type]  # (cols, S, features)
        out = _Fixed.apply(matrix, folded.reshape(folded.shape[0], -1))
        return out.view(matrix.shape[0], *folded.shape[1:]), 1


class _PerSeed(torch.autograd.Function):
    """``A_s @ dense_s``, S matrices of one structure: values ``(S, nnz)``, dense ``(S, cols, features)``."""

    @staticmethod
    def forward(matrix: SparseMatrix, values: Tensor, dense: Tensor) -> Tensor:
        n, _, features = dense.shape
        out = matrix.block_diagonal(values) @ dense.reshape(-1, features)
        return out.view(n, matrix.shape[0], features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.matrix = inputs[0]
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        (values,) = ctx.saved_tensors
        transposed = values.index_select(1, ctx.matrix.to_transpose)
        return None, None, _PerSeed.apply(ctx.matrix.T, transposed, grad)

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], matrix: SparseMatrix, values: Tensor, dense: Tensor
    ) -> Any:
        # One seed arrives as (1, nnz) and (1, cols, features); the batch of seeds takes the place of the 1.
        batched = [
            (x if d is None else x.movedim(d, 0).squeeze(1)).expand(info.batch_size, *x.shape[-k:])
            for x, d, k in ((values, in_dims[1], 1), (dense, in_dims[2], 2))
        ]
        return _PerSeed.apply(matrix, *batched).unsqueeze(1), 0


def propagate(matrix: SparseMatrix, dense: Tensor) -> Tensor:
    """Return ``matrix @ dense`` for a matrix with fixed values.

    Args:
        matrix: ``(rows, cols)``.
        dense: ``(cols, features)``; under vmap, one per seed.
    """
    return _Fixed.apply(matrix, dense)


def propagate_with_values(matrix: SparseMatrix, values: Tensor, dense: Tensor) -> Tensor:
    """Return ``A @ dense`` where A has the structure of ``matrix`` and the entries ``values`` ``(nnz,)``.

    Use it where the entries differ by seed. No gradient flows to ``values``.
    """
    return _PerSeed.apply(matrix, values.unsqueeze(0), dense.unsqueeze(0)).squeeze(0)
