"""Rows read and added up by number."""

from __future__ import annotations

import pytest
import torch
from torch.func import vmap

from repro.nn.rows import add_up, take

X = torch.arange(12, dtype=torch.float64).view(4, 3)
INDEX = torch.tensor([2, 0, 2, 1, 2])


def test_rows_are_read_and_added_up() -> None:
    assert torch.equal(take(X, INDEX), X[INDEX])
    assert torch.equal(take(X, INDEX[:0]), X[:0])
    rows = take(X, INDEX)
    assert torch.equal(add_up(rows, INDEX, 4), torch.stack([X[0], X[1], 3 * X[2], torch.zeros(3)]))
    assert not add_up(rows[:0], INDEX[:0], 4).any()


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0]), dtype=dtype)


def test_each_is_the_others_gradient() -> None:
    x, rows = (draw(n, 3, dtype=torch.float64).requires_grad_() for n in (4, 5))
    assert torch.autograd.gradcheck(lambda x: take(x, INDEX), x)
    assert torch.autograd.gradcheck(lambda rows: add_up(rows, INDEX, 4), rows)


@pytest.mark.parametrize(("x_dim", "index_dim"), [(0, 0), (1, 0), (0, None), (2, 1), (None, 0)])
def test_every_seed_reads_its_own_rows_by_its_own_numbers(x_dim: int | None, index_dim: int | None) -> None:
    def stacked(parts: list[torch.Tensor], dim: int | None) -> torch.Tensor:
        return (
            parts[0] if dim is None else torch.stack(parts, dim).requires_grad_(parts[0].is_floating_point())
        )

    xs, indices = list(draw(2, 4, 3)), [INDEX, INDEX.flip(0)]
    rows = list(draw(2, 5, 3))
    x, index, r = stacked(xs, x_dim), stacked(indices, index_dim), stacked(rows, x_dim)
    dims = (x_dim, index_dim)
    taken = vmap(take, in_dims=dims)(x, index)
    added = vmap(lambda rows, index: add_up(rows, index, 4), in_dims=dims)(r, index)
    own = [parts if dim is not None else parts[:1] * 2 for parts, dim in ((xs, x_dim), (indices, index_dim))]
    for s in range(2):
        assert torch.equal(taken[s], own[0][s][own[1][s]])
        alone = add_up(rows[s if x_dim is not None else 0], own[1][s], 4)
        assert torch.equal(added[s], alone)
    if x_dim is not None:
        weights = draw(*taken.shape)
        (taken * weights).sum().backward()
        for s in range(2):
            assert torch.equal(x.grad.select(x_dim, s), add_up(weights[s], own[1][s], 4))
