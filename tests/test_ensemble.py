"""Many seeds at once: a seed's numbers are its own, sparse products are right, and randomness is what it claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import grad, vmap

from papers.gcn.model import PROPAGATION_MODELS
from papers.gcn.training import run
from repro import randomness
from repro.data.planetoid import CitationGraph, RawCounts
from repro.ensemble import Ensemble, train
from repro.nn.sparse import SparseMatrix, propagate, propagate_with_values
from repro.randomness import bits, drop_threshold, keep_mask, keep_scale, key, permutation, uniform
from repro.stopping import AboveRecentMean, Never, Patience

FALSE_ALARM = 1e-6  # of each test that could fail by chance, were its seeds drawn anew; they are fixed


# ------------------------------------------------------------------ a toy model


class Line(nn.Module):
    """A straight line whose beginning belongs to the seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        start = 6 * uniform(key(seed, "start"), 2)
        self.slope, self.offset = nn.Parameter(start[:1].clone()), nn.Parameter(start[1:].clone())

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return x * self.slope + self.offset + (0.0 if noise is None else noise)


RATE = 0.3
X = torch.linspace(-1, 1, 8)
TARGET = 3 * X - 1


def fit(
    seeds: Sequence[int],
    epochs: int,
    stopping: object | None = None,
    best: str | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    metrics: Callable[[Ensemble, int], Mapping[str, Tensor]] | None = None,
) -> dict[int, tuple[float, float, int]]:
    """Fit lines; return seed to (slope, offset, epochs run)."""
    ensemble, epoch_now = Ensemble(Line, seeds), 0

    def loss(group: Ensemble, epoch: int) -> Tensor:
        nonlocal epoch_now
        epoch_now = epoch
        noise = uniform(key(group.seeds, "noise", epoch), len(X)) - 0.5
        return (group(X, per_seed=(noise,)) - TARGET).square().mean(-1)

    def validate(group: Ensemble) -> Mapping[str, Tensor]:
        if metrics:
            return metrics(group, epoch_now)
        return {"loss": (group(X) - TARGET).square().mean(-1)}

    found = {}
    for finished, ran in train(
        ensemble,
        optimizer(ensemble.parameters.values(), lr=RATE),
        loss,
        validate,
        stopping or Never(),
        epochs,
        best=best,
    ):
        for i, seed in enumerate(finished.seeds.tolist()):
            slope, offset = (float(finished.parameters[name][i]) for name in ("slope", "offset"))
            found[seed] = (slope, offset, int(ran[i]))
    return found


SEEDS = [7, 0, 3, 12, 100, 5, 2**40]


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("rule", [Never, lambda: Patience("loss", 3), lambda: AboveRecentMean("loss", 4)])
def test_a_seed_alone_is_the_seed_among_others(rule: Callable[[], object], optimizer) -> None:
    """Bit for bit, in any company and order, also after others have stopped and left."""
    together = fit(SEEDS, 60, rule(), optimizer=optimizer)
    assert list(sorted(together)) == sorted(SEEDS)
    for seed in SEEDS:
        assert fit([seed], 60, rule(), optimizer=optimizer)[seed] == together[seed]
    assert fit(SEEDS[::-1], 60, rule(), optimizer=optimizer) == together
    if rule is not Never:
        assert len({epochs for _, _, epochs in together.values()}) > 2, (
            "this test needs seeds that stop at different epochs"
        )


@pytest.mark.parametrize("best", [None, "loss"])
def test_a_seed_alone_with_its_best_weights(best: str | None) -> None:
    together = fit(SEEDS, 40, Patience("loss", 4), best)
    assert {seed: fit([seed], 40, Patience("loss", 4), best)[seed] for seed in SEEDS} == together


def test_each_seed_gets_its_own_gradient() -> None:
    """The batch's loss is a sum: a mean would make the step depend on how many there are."""
    single = fit([4], 1, optimizer=torch.optim.SGD)
    model = Line(4)
    noise = uniform(key(4, "noise", 0), len(X)) - 0.5
    (model(X, noise) - TARGET).square().mean().backward()
    assert model.slope.grad is not None
    assert single[4][0] == pytest.approx(float(model.slope.detach() - RATE * model.slope.grad), abs=1e-7)
    assert fit([4, 5, 6], 1, optimizer=torch.optim.SGD)[4] == single[4]


class Scaled(nn.Module):
    """A number that belongs to the seed, in a buffer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("scale", torch.tensor([float(seed)]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * self.scale


def test_seeds_that_are_chosen_keep_their_own_buffers() -> None:
    chosen = Ensemble(Scaled, [2, 3, 5]).select(torch.tensor([False, True, True]))
    assert chosen(torch.ones(1)).flatten().tolist() == [3.0, 5.0]


def stop_at(epochs: Mapping[int, int]) -> Callable[[Ensemble, int], Mapping[str, Tensor]]:
    """A metric that says 1 in the epoch in which a seed shall stop."""
    return lambda group, epoch: {
        "loss": torch.tensor([float(epoch + 1 == epochs[s]) for s in group.seeds.tolist()])
    }


class WhenOne(Never):
    """Stop where the metric is 1; checks that it is asked about those seeds that it was told to keep."""

    def __init__(self, n: int) -> None:
        self.n = n

    def update(self, epoch: int, metrics: Mapping[str, Tensor]) -> Tensor:
        assert len(metrics["loss"]) == self.n
        return metrics["loss"] == 1

    def keep(self, index: Tensor) -> None:
        self.n = int(index.sum())


def test_optimizer_state_stays_with_its_seed() -> None:
    """Adam's moments of those who go on are theirs; mixed up or forgotten, the later steps would differ."""
    epochs = {1: 2, 2: 30, 3: 5, 4: 30, 5: 5}
    together = fit(list(epochs), 30, WhenOne(5), metrics=stop_at(epochs))
    assert {seed: found[2] for seed, found in together.items()} == epochs
    assert list(together) == [1, 3, 5, 2, 4], "in the order in which they stop"
    for seed, n in epochs.items():
        assert fit([seed], n)[seed] == together[seed]


def test_weights_of_the_best_epoch() -> None:
    """Seed by seed, the first of equally good epochs."""
    losses = {
        1: [5.0, 3.0, 4.0, 3.0, 9.0],
        2: [1.0, 2.0, 3.0, 4.0, 5.0],
        3: [5.0, 4.0, 3.0, 2.0, 1.0],
        4: [float("nan"), 2.0, float("nan"), 3.0, 4.0],
    }
    found = fit(
        list(losses), 5, best="loss",
        metrics=lambda group, epoch: {"loss": torch.tensor([losses[s][epoch] for s in group.seeds.tolist()])},
    )  # fmt: skip
    for seed, best_epoch in {1: 2, 2: 1, 3: 5, 4: 2}.items():
        slope, offset, epochs = found[seed]
        assert epochs == 5
        assert (slope, offset) == fit([seed], best_epoch)[seed][:2], seed


def test_no_epochs_yield_the_untrained() -> None:
    found = fit([1, 2], 0)
    assert found == {s: (float(Line(s).slope.detach()), float(Line(s).offset.detach()), 0) for s in (1, 2)}


def test_without_validation_all_epochs_run() -> None:
    ensemble = Ensemble(Line, [1, 2])
    optimizer = torch.optim.SGD(ensemble.parameters.values(), lr=0.1)
    seen: list[tuple[int, int]] = []
    loss = lambda group, epoch: group(X).square().mean(-1)  # noqa: E731
    (one,) = train(
        ensemble, optimizer, loss, None, Patience("loss", 1), 4, on_epoch=lambda *a: seen.append(a)
    )
    assert one[1].tolist() == [4, 4]
    assert seen == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_selected_seeds_share_no_memory() -> None:
    ensemble = Ensemble(Line, [1, 2, 3])
    chosen = ensemble.select(torch.tensor([True, False, True]))
    assert chosen.seeds.tolist() == [1, 3]
    assert torch.equal(chosen.parameters["slope"], ensemble.parameters["slope"][[0, 2]])
    with torch.no_grad():
        chosen.parameters["slope"].zero_()
    assert ensemble.parameters["slope"].abs().min() > 0
    assert all(p.is_leaf and p.requires_grad for p in chosen.parameters.values())


# ------------------------------------------------------------------ the real model, on a small random graph


def small_graph(nodes: int = 40, features: int = 30, classes: int = 3, seed: int = 5) -> CitationGraph:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((nodes, nodes)) < 0.08, 1)
    A = sp.csr_matrix((upper | upper.T).astype(np.float32))
    X = sp.csr_matrix((rng.random((nodes, features)) < 0.15).astype(np.float32))
    labels = rng.integers(0, classes, nodes)
    return CitationGraph(
        "small",
        A,
        X,
        labels,
        np.arange(12),
        np.arange(12, 24),
        np.arange(24, 40),
        classes,
        RawCounts(0, 0, 0),
    )


SETTING = {
    "propagation": "renormalised", "hidden": 8, "dropout": 0.5, "dropout_on": "every_layer", "input_dropout": True,
    "l2": 0.0005, "decay_on": "first_layer", "optimizer": "adam", "learning_rate": 0.05, "epochs": 25,
    "early_stopping": "paper", "weights": "last", "bias": False, "features": "row", "self_loops": "kept",
}  # fmt: skip
SPLITS = {"train": np.arange(12), "val": np.arange(12, 24), "test": np.arange(24, 40)}


def results(seeds: Sequence[int], **changed: object) -> dict[int, dict[str, float]]:
    found = run(small_graph(), {**SETTING, **changed}, seeds, SPLITS)
    return {int(result["seed"]): result for result in found}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"weights": "best_validation"},
        {"early_stopping": "released_code", "optimizer": "adamw"},
        {"propagation": "chebyshev2"},
        {"propagation": "first_order", "features": "identity"},
        {"propagation": "mlp", "input_dropout": False},
    ],
    ids=str,
)
def test_gcn_alone_is_gcn_among_others(changed: dict[str, object]) -> None:
    """Losses and accuracies of each seed, bit for bit, with different stop epochs."""
    seeds = [3, 11, 0, 42, 8]
    together = results(seeds, **changed)
    assert set(together) == set(seeds)
    for seed in (3, 8):
        assert results([seed], **changed)[seed] == together[seed]
    if not changed:
        assert len({r["epochs"] for r in together.values()}) > 1, "this test needs different stop epochs"
        assert len({r["test_loss"] for r in together.values()}) == len(seeds)


def test_gcn_with_bias_alone_and_among_others() -> None:
    """torch sums a bias's gradient in an order that depends on the batch: equal only to rounding."""
    together = results([3, 11, 0, 42, 8], bias=True)
    for seed in (3, 11):
        alone = results([seed], bias=True)[seed]
        for name, value in alone.items():
            exact = not name.endswith("loss")
            assert together[seed][name] == (value if exact else pytest.approx(value, abs=1e-5)), name


def test_gcn_with_own_splits_and_labels() -> None:
    graph, seeds = small_graph(), [1, 2, 3]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(40) for _ in seeds]
    labels = np.stack([rng.permutation(graph.labels) for _ in seeds])

    def go(chosen: Sequence[int]) -> dict[int, dict[str, float]]:
        splits = {"train": [orders[i][:20] for i in chosen], "test": [orders[i][20:] for i in chosen]}
        setting = {**SETTING, "early_stopping": "none", "epochs": 5}
        found = run(graph, setting, [seeds[i] for i in chosen], splits, labels=labels[list(chosen)])
        return {int(result["seed"]): result for result in found}

    together = go([0, 1, 2])
    for i, seed in enumerate(seeds):
        assert go([i])[seed] == together[seed]


# ------------------------------------------------------------------ sparse products


def random_sparse(rows: int, cols: int, density: float, seed: int) -> sp.csr_matrix:
    """With an empty row and an empty column, if there is room."""
    M = sp.random(rows, cols, density, random_state=np.random.default_rng(seed), dtype=np.float32).tolil()
    M[0, :] = 0
    M[:, cols - 1] = 0
    return sp.csr_matrix(M)


SHAPES = [(6, 9, 0.4), (9, 6, 0.4), (8, 8, 0.4), (1, 1, 1.0), (7, 7, 0.0), (30, 20, 0.1)]


@pytest.mark.parametrize(("rows", "cols", "density"), SHAPES)
def test_fixed_product_equals_dense(rows: int, cols: int, density: float) -> None:
    M = random_sparse(rows, cols, density, 1)
    matrix, dense = SparseMatrix.from_scipy(M), torch.from_numpy(M.toarray())
    H = torch.randn(5, cols, 4, generator=torch.Generator().manual_seed(0))
    W = torch.randn(5, rows, 4, generator=torch.Generator().manual_seed(1))
    one = H[0].clone().requires_grad_()
    out = propagate(matrix, one)
    torch.testing.assert_close(out, dense @ H[0])
    (out * W[0]).sum().backward()
    torch.testing.assert_close(one.grad, dense.T @ W[0])

    out = vmap(lambda h: propagate(matrix, h))(H)
    torch.testing.assert_close(out, dense @ H)
    slope = vmap(grad(lambda h, w: (propagate(matrix, h) * w).sum()))(H, W)
    torch.testing.assert_close(slope, dense.T @ W)
    for axis in (1, 2):  # the seeds may be any dimension
        out = vmap(lambda h: propagate(matrix, h), in_dims=axis)(H.movedim(0, axis))
        torch.testing.assert_close(out, dense @ H)


@pytest.mark.parametrize(("rows", "cols", "density"), SHAPES)
def test_product_with_own_values_equals_dense(rows: int, cols: int, density: float) -> None:
    M = random_sparse(rows, cols, density, 2)
    matrix, generator = SparseMatrix.from_scipy(M), torch.Generator().manual_seed(0)
    seeds = 5
    values = torch.randn(seeds, matrix.nnz, generator=generator)
    H, W = torch.randn(seeds, cols, 4, generator=generator), torch.randn(seeds, rows, 4, generator=generator)
    at = torch.from_numpy(
        np.stack(sp.coo_matrix(M).coords if hasattr(sp.coo_matrix(M), "coords") else M.nonzero())
    )
    dense = torch.zeros(seeds, rows, cols)
    dense[:, at[0].long(), at[1].long()] = values

    one = H[0].clone().requires_grad_()
    out = propagate_with_values(matrix, values[0], one)
    torch.testing.assert_close(out, dense[0] @ H[0])
    (out * W[0]).sum().backward()
    torch.testing.assert_close(one.grad, dense[0].T @ W[0])

    product = lambda v, h: propagate_with_values(matrix, v, h)  # noqa: E731
    torch.testing.assert_close(vmap(product)(values, H), dense @ H)
    slope = vmap(grad(lambda h, v, w: (product(v, h) * w).sum()))(H, values, W)
    torch.testing.assert_close(slope, dense.mT @ W)
    # shared weights, shared values, fewer seeds after more (the blocks are kept)
    torch.testing.assert_close(vmap(product, in_dims=(0, None))(values, H[0]), dense @ H[0])
    torch.testing.assert_close(vmap(product, in_dims=(None, 0))(values[0], H), dense[0] @ H)
    torch.testing.assert_close(vmap(product)(values[:2], H[:2]), dense[:2] @ H[:2])


@pytest.mark.parametrize("features", [1, 3, 4, 7, 8, 12, 16, 20, 24, 28, 32, 33, 64])
def test_products_do_not_depend_on_the_number_of_seeds(features: int) -> None:
    M = random_sparse(50, 40, 0.3, 3)
    matrix, generator = SparseMatrix.from_scipy(M), torch.Generator().manual_seed(0)
    values = torch.randn(9, matrix.nnz, generator=generator)
    H = torch.randn(9, 40, features, generator=generator)
    together = vmap(lambda v, h: propagate_with_values(matrix, v, h))(values, H)
    fixed = vmap(lambda h: propagate(matrix, h))(H)
    for i in range(9):
        assert torch.equal(propagate_with_values(matrix, values[i], H[i]), together[i])
        assert torch.equal(propagate(matrix, H[i]), fixed[i])


def test_sparse_matrix_of_scipy() -> None:
    """Any order and duplicates in, sorted and summed out; the transpose's transpose is the matrix."""
    M = sp.coo_matrix((np.array([1.0, 2.0, 4.0, 8.0]), ([1, 0, 1, 1], [0, 2, 2, 0])), shape=(2, 3))
    matrix = SparseMatrix.from_scipy(M)
    assert (matrix.nnz, matrix.shape, matrix.T.shape) == (3, (2, 3), (3, 2))
    assert matrix.T.T is matrix
    torch.testing.assert_close(matrix.csr().to_dense(), torch.tensor([[0.0, 0.0, 2.0], [9.0, 0.0, 4.0]]))
    torch.testing.assert_close(matrix.T.csr().to_dense(), matrix.csr().to_dense().T)
    assert torch.equal(matrix.values[matrix.to_transpose], matrix.T.values)
    assert torch.equal(matrix.T.values[matrix.T.to_transpose], matrix.values)


# ------------------------------------------------------------------ randomness

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """SplitMix64's output function in Python's whole numbers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def splitmix64(state: int, n: int) -> list[int]:
    return [mix((state + (i + 1) * GAMMA) & MASK) for i in range(n)]


def unsigned(x: Tensor) -> list[int]:
    return [value & MASK for value in x.flatten().tolist()]


def test_published_answers_of_splitmix64() -> None:
    """The first numbers of the reference implementation (Vigna, splitmix64.c) from the state 1234567."""
    known = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix64(1234567, 5) == known
    assert unsigned(bits(torch.tensor(1234567), 5)) == known


@pytest.mark.parametrize("state", [0, 1, -1, 2**63 - 1, -(2**63), 0x0123456789ABCDEF, -0x0123456789ABCDEF])
def test_bits_are_splitmix64(state: int) -> None:
    assert unsigned(bits(torch.tensor(state), 70)) == splitmix64(state & MASK, 70)


@pytest.mark.parametrize("seed", [0, 1, 99, -5, 2**63 - 1])
@pytest.mark.parametrize("step", [0, 1, 199, 10**12])
def test_key_is_three_rounds(seed: int, step: int) -> None:
    import hashlib

    stream = int.from_bytes(hashlib.sha256(b"dropout/0").digest()[:8], "little")
    expected = mix((mix((mix((seed + GAMMA) & MASK) + stream) & MASK) + (step + 1) * GAMMA) & MASK)
    assert unsigned(key(seed, "dropout/0", step)) == [expected]


def test_frozen_numbers() -> None:
    """What seed 7 draws is part of every record: it must never change, on any machine."""
    assert unsigned(key(7, "dropout/0", 3)) == [6085349421376198787]
    assert uniform(key(7, "glorot/0"), 3).tolist() == [
        0.6778387427330017,
        0.6519663333892822,
        0.37105923891067505,
    ]
    assert permutation(key(7, "split"), 8).tolist() == [0, 2, 1, 7, 6, 5, 4, 3]
    assert keep_mask(key(7, "dropout/0", 3), 12, 0.5).int().tolist() == [1, 1, 1, 0, 1, 0, 1, 1, 0, 0, 0, 0]


def test_numbers_do_not_depend_on_the_batch() -> None:
    seeds = torch.tensor([[5, 0, 7], [8, 9, 2**40]])
    keys = key(seeds, "x", 2)
    assert keys.shape == seeds.shape
    for draw in (
        lambda k: bits(k, 11),
        lambda k: uniform(k, 11),
        lambda k: permutation(k, 11),
        lambda k: keep_mask(k, 11, 0.3),
    ):
        together = draw(keys)
        assert together.shape == (2, 3, 11)
        for i in range(2):
            for j in range(3):
                assert torch.equal(draw(key(int(seeds[i, j]), "x", 2)), together[i, j])
        assert torch.equal(draw(vmap(lambda k: k)(keys)), together)
    assert torch.equal(bits(keys, 5), bits(keys, 11)[..., :5]), "fewer numbers are the first of more"
    assert torch.equal(key([1, 2], "x"), key(torch.tensor([1, 2]), "x"))


def test_key_leaves_its_argument_alone() -> None:
    seeds = torch.arange(4)
    key(seeds, "x")
    bits(seeds, 3)
    assert seeds.tolist() == [0, 1, 2, 3]


def test_uniform_numbers_are_below_one() -> None:
    numbers = uniform(key(range(40), "u"), 25_000)
    assert (numbers.dtype, numbers.shape) == (torch.float32, (40, 25_000))
    assert 0 <= float(numbers.min()) < 1e-4
    assert 1 - 1e-4 < float(numbers.max()) < 1
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.8, 0.999, 1 / 3])
def test_dropout_rate(p: float) -> None:
    """A mask keeps with probability 1 - p, to a multiple of 2^-16, in each of its four lanes."""
    n = 400_000
    kept = keep_mask(key(range(2), "mask", 1), n // 2, p)
    real = 1 / keep_scale(p)
    assert abs(real - (1 - p)) <= 2**-17
    assert (drop_threshold(p) + 32768) / 65536 == pytest.approx(1 - real)
    test = stats.binomtest(int(kept.sum()), n, real)
    assert test.pvalue > FALSE_ALARM
    for lane in range(4):
        count = kept[:, lane::4]
        assert stats.binomtest(int(count.sum()), count.numel(), real).pvalue > FALSE_ALARM / 4
    if p == 0:
        assert bool(kept.all())


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_rate_that_is_none(p: float) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        keep_mask(key(0, "x"), 4, p)


def test_masks_are_the_first_of_longer_masks() -> None:
    """The pruned graph of the training nodes must not draw other masks only because it is smaller."""
    for n in range(1, 10):
        assert torch.equal(keep_mask(key(3, "m"), n, 0.5), keep_mask(key(3, "m"), 12, 0.5)[:n])


def agreement(a: Tensor, b: Tensor) -> float:
    """P-value of two masks of rate one half being independent: they agree in half of the places."""
    return float(stats.binomtest(int((a == b).sum()), a.numel(), 0.5).pvalue)


def test_streams_steps_seeds_and_lanes_are_unrelated() -> None:
    n = 100_000
    base = keep_mask(key(7, "dropout/0", 3), n, 0.5)
    others = {
        "seed": keep_mask(key(8, "dropout/0", 3), n, 0.5),
        "stream": keep_mask(key(7, "dropout/1", 3), n, 0.5),
        "step": keep_mask(key(7, "dropout/0", 4), n, 0.5),
        "seed for step": keep_mask(key(4, "dropout/0", 6), n, 0.5),
        "next element": base.roll(1),
        "next number": base.roll(4),
    }
    for name, other in others.items():
        assert not torch.equal(base, other), name
        assert agreement(base, other) > FALSE_ALARM / len(others), name


def test_no_two_keys_are_equal() -> None:
    keys = torch.cat([key(range(300), f"s{stream}", step) for stream in range(6) for step in range(50)])
    assert len(keys.unique()) == 300 * 6 * 50
    # and none of their counters run into each other
    numbers = bits(keys[:20_000], 8)
    assert len(numbers.unique()) == numbers.numel()


def test_permutations_are_uniform() -> None:
    """All 24 orders of four things, equally often."""
    orders = permutation(key(range(48_000), "p"), 4)
    assert orders.sort(-1).values.tolist()[0] == [0, 1, 2, 3]
    assert bool((orders.sort(-1).values == torch.arange(4)).all())
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(-1)
    counts = torch.unique(codes, return_counts=True)[1].numpy()
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_the_caches_hand_out_nothing_that_can_be_changed() -> None:
    before = bits(key(1, "x"), 6)
    bits(key(1, "x"), 6).zero_()
    uniform(key(1, "x"), 6).zero_()
    assert torch.equal(bits(key(1, "x"), 6), before)
    assert randomness._counters(6, torch.device("cpu"))[0] == randomness._GAMMA


# ------------------------------------------------------------------ stopping


def stops(rule: Never, *sequences: Sequence[float]) -> list[int | None]:
    """The epoch, from 0, in which each of some equally long sequences stops; all run to the end together."""
    found: list[int | None] = [None] * len(sequences)
    for epoch, values in enumerate(zip(*sequences, strict=True)):
        stop = rule.update(
            epoch,
            {"other": torch.full((len(values),), -1.0), "loss": torch.tensor(values, dtype=torch.float32)},
        )
        assert stop.dtype == torch.bool
        for i, now in enumerate(stop.tolist()):
            if now and found[i] is None:
                found[i] = epoch
    return found


def test_never() -> None:
    assert stops(Never(), [1.0, 2.0, 3.0]) == [None]


@pytest.mark.parametrize(
    ("values", "epoch"),
    [
        ([5, 4, 3, 2, 1, 0, -1], None),
        ([5, 6, 7, 8, 9, 9, 9], 3),
        ([5, 5, 5, 5, 5, 5, 5], 3),
        ([5, 6, 7, 4, 5, 6, 7], 6),
        ([5, 6, 7, 4.999, 6, 4.998, 7], None),
        ([5, 4, 4.5, 4.4, 4.3, 0, 0], 4),
        ([5, float("nan"), float("nan"), float("nan"), 0, 0, 0], 3),
    ],
)
def test_patience(values: list[float], epoch: int | None) -> None:
    """Three epochs without a new lowest value; falling from one bad value to a less bad one is no new lowest."""
    assert stops(Patience("loss", 3), values) == [epoch]


@pytest.mark.parametrize(
    ("values", "epoch"),
    [
        ([1, 1, 1, 9, 0, 0, 0], None),
        ([3, 2, 1, 0, 2, 0, 0], 4),
        ([3, 2, 1, 0, 1, 0, 0], None),
        ([9, 9, 9, 1, 1, 1, 1], None),
        ([0, 0, 0, 0, 0, 0, 0.01], 6),
        ([1, 2, 3, 4, 5, 6, 7], 4),
    ],
)
def test_above_recent_mean(values: list[float], epoch: int | None) -> None:
    """tkipf/gcn: `if epoch > window and cost[-1] > mean(cost[-(window+1):-1])`, here with a window of three."""
    assert stops(AboveRecentMean("loss", 3), values) == [epoch]
    by_hand = next(
        (e for e in range(len(values)) if e > 3 and values[e] > np.mean(values[: e + 1][-4:-1])), None
    )
    assert by_hand == epoch


def test_rules_keep_what_belongs_to_who_stays() -> None:
    """Seeds that leave take their memory with them."""
    for make in (lambda: Patience("loss", 2), lambda: AboveRecentMean("loss", 2)):
        sequences = torch.tensor([[5.0, 6, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 9]])
        rule, found, here = make(), {}, [0, 1, 2]
        for epoch in range(6):
            stop = rule.update(epoch, {"loss": sequences[here, epoch]})
            found.update({seed: epoch for seed, now in zip(here, stop.tolist(), strict=True) if now})
            if stop.any():
                rule.keep(~stop)
                here = [seed for seed, now in zip(here, stop.tolist(), strict=True) if not now]
        alone = {i: e for i, e in enumerate(stops(make(), *sequences.tolist())) if e is not None}
        assert found == alone
        assert len(set(found.values())) > 1


def test_every_propagation_model_has_a_test() -> None:
    assert set(PROPAGATION_MODELS) == {
        "chebyshev3", "chebyshev2", "first_order", "single_parameter", "renormalised", "first_order_only", "mlp",
    }  # fmt: skip
