"""Attention and BatchNorm with backward passes of their own, beside what autograd makes of the same formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

from papers.graph_transformer import attention, norms
from papers.graph_transformer.attention import BOUNDS, attend, softmax_weights
from repro import noise, randomness

HEADS, SIZES = 2, (7, 5, 5, 3)


def drawn(name: str, *shape: int) -> Tensor:
    return noise.normal(randomness.key(0, name), *shape).double()


def some_links(name: str, b: int, m: int, own: tuple[int, ...]) -> Tensor:
    """Random directed links among the nodes that each of b graphs has, the first node of each attending to none."""
    there = (drawn(name, b, m, m) > -0.3).double()
    there[:, 0] = 0
    for graph, n in enumerate(own):
        there[graph, n:] = 0
        there[graph, :, n:] = 0
    return there


def blocks(cut: tuple[int, ...], name: str = "links") -> tuple[Tensor, ...]:
    """Four graphs in blocks of so many."""
    found, first = [], 0
    for b in cut:
        own = SIZES[first : first + b]
        found.append(some_links(f"{name}/{first}", b, max(own), own))
        first += b
    return tuple(found)


def by_autograd(q: Tensor, k: Tensor, v: Tensor, links: tuple[Tensor, ...], clamp: str) -> Tensor:
    """The formula itself, graph by graph."""
    out, first = torch.zeros_like(v), 0
    for P in links:
        b, m = len(P), P.shape[-1]
        here = slice(first, first + b)
        w = softmax_weights(q[here, :, :m] @ k[here, :, :m].mT, clamp) * P.unsqueeze(1)
        total = w.sum(-1, keepdim=True)
        out[here, :, :m] = (w @ v[here, :, :m]) / torch.where(total == 0, 1, total)
        first += b
    return out


@pytest.mark.parametrize("clamp", BOUNDS)
@pytest.mark.parametrize("cut", [(4,), (1, 2, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("tile", [1, 120, 2**19])  # a row, some rows, a block at once
@pytest.mark.parametrize("size", [3, 15, 16])  # of a head; a register holds 16
def test_attention_and_its_slopes_are_autograds(
    clamp: str, cut: tuple[int, ...], tile: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores reach beyond the clamp on both sides."""
    monkeypatch.setattr(attention, "TILE", tile)
    links = blocks(cut)
    q, k, v, g = (drawn(name, 4, HEADS, 7, size) for name in "qkvg")
    q = q * 8 / size**0.5
    scores = q @ k.mT
    assert float(scores.min()) < -5 < 5 < float(scores.max())
    slopes = []
    for how in (attend, by_autograd):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = how(*inputs, links, clamp)
        (out * g).sum().backward()
        slopes.append((out.detach(), *(x.grad for x in inputs)))
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs)
    out = slopes[0][0]
    assert not out[:, :, 0].any(), "a node that attends to none"
    assert not out[3, :, 3:].any(), "padding"
    assert out[0, :, 1:].all()


def test_a_score_at_its_bound_has_no_slope() -> None:
    """Nor has one that lies nearer to it than exp can be trusted, by a millionth."""
    last = float(torch.nextafter(torch.tensor(5.0), torch.tensor(0.0)))
    for clamp, score in (("before_exp", 6.0), ("before_exp", -6.0), ("before_exp", last), ("after_exp", 2.0)):
        # One graph, two heads, of which the first is beyond the bound; each node attends to both nodes.
        q = torch.tensor([score, 0.5]).view(1, 2, 1, 1).expand(1, 2, 2, 1).clone().requires_grad_()
        k, v = (torch.tensor(x).view(1, 1, 2, 1).expand(1, 2, 2, 1) for x in ([1.0, 0.0], [1.0, 2.0]))
        attend(q, k, v, (torch.ones(1, 2, 2),), clamp).sum().backward()
        assert not q.grad[0, 0].any()
        assert q.grad[0, 1].all()


def test_a_block_of_graphs_without_nodes_is_none() -> None:
    x = torch.ones(2, 1, 2, 3)
    out = attend(x, x, x, (torch.ones(1, 2, 2), torch.ones(1, 0, 0)), "before_exp")
    torch.testing.assert_close(out, torch.stack([x[0], torch.zeros(1, 2, 3)]))


@pytest.mark.parametrize("cut", [(4,), (1, 3)])
def test_seeds_under_vmap_get_what_each_gets_alone(cut: tuple[int, ...]) -> None:
    """Their own graphs or the same for all, in one block or two, and slopes as well."""
    own = tuple(torch.stack(x) for x in zip(blocks(cut, "a"), blocks(cut, "b"), strict=True))
    q, k, v, g = (drawn(name, 2, 4, HEADS, 7, 3) for name in "qkvg")
    for shared in (False, True):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        alone = [x.clone().requires_grad_() for x in (q, k, v)]
        given = tuple(P[0] for P in own) if shared else own
        dims = (0, 0, 0, None if shared else 0)
        together = vmap(lambda a, b, c, P: attend(a, b, c, P, "before_exp"), in_dims=dims)(*inputs, given)
        (together * g).sum().backward()
        for s in range(2):
            links = given if shared else tuple(P[s] for P in own)
            out = attend(*(x[s] for x in alone), links, "before_exp")
            torch.testing.assert_close(together[s], out)
            (out * g[s]).sum().backward()
        for x, y in zip(inputs, alone, strict=True):
            torch.testing.assert_close(x.grad, y.grad)


def test_batch_norm_is_torchs_over_the_rows_that_count() -> None:
    x, g = drawn("x", 9, 4) * 3 + 2, drawn("g", 9, 4)
    mask = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1, 1]).double()
    there = mask > 0
    ours, theirs = norms.BatchNorm(4).double(), nn.BatchNorm1d(4).double()
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
            layer.bias.copy_(torch.tensor([0.1, 0.0, -1.0, 2.0]))
    for training in (True, True, False):
        mine, other = x.clone().requires_grad_(), x[there].clone().requires_grad_()
        for layer in (ours.train(training), theirs.train(training)):
            layer.zero_grad()
        found, wanted = ours(mine, mask), theirs(other)
        torch.testing.assert_close(found[there], wanted)
        (found * g * mask.unsqueeze(-1)).sum().backward()
        (wanted * g[there]).sum().backward()
        torch.testing.assert_close(mine.grad[there], other.grad)
        assert not mine.grad[~there].any()
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
        torch.testing.assert_close(ours.mean, theirs.running_mean)
        torch.testing.assert_close(ours.var, theirs.running_var)


def test_rows_that_do_not_count_are_normalised_by_those_that_do() -> None:
    """The slopes too, checked by differences: such a row moves no statistic."""
    mask = torch.tensor([1, 0, 1, 1]).double()
    weight, bias = (
        torch.tensor([1.5, -0.5]).double().requires_grad_(),
        torch.zeros(2).double().requires_grad_(),
    )
    x = drawn("x", 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *a: norms._Normalised.apply(a[0], mask, *a[1:])[0], (x, weight, bias)
    )
    none = norms.BatchNorm(2).double()
    out = none(x, torch.zeros(4).double())
    assert torch.isfinite(out).all()
    assert torch.equal(none.mean, torch.zeros(2).double()), "a batch without rows says nothing"
    assert torch.equal(none.var, torch.ones(2).double())
