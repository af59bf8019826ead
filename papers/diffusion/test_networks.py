"""The networks and the sets they learn: shapes, seeds apart, errors by name."""

from __future__ import annotations

from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from papers.diffusion import (
    bound,
    chain,
    heartbeat,
    leaves,
    leaves_set,
    schedules,
    swiss,
)
from papers.diffusion.conftest import HEARTBEAT, LEAVES, SWISS
from papers.diffusion.images import ImageReverse, bumps
from papers.diffusion.model import HeartbeatNetwork, RadialBasis
from papers.diffusion.processes import (
    Binomial,
    Gaussian,
)
from papers.diffusion.sets import dead_leaves, heartbeats, spiral, swiss_roll
from papers.diffusion.training import adam
from repro import randomness
from repro.context import Context, Work
from repro.data.fetch import require
from repro.errors import DataCorrupt, DataUnavailable, SettingError
from repro.noise import bernoulli, normal
from repro.project import find_project

# ------------------------------------------------------------------ models


def test_reverse_of_zero_readouts_is_pure_diffusion() -> None:
    betas = schedules.ddpm(10, 0.01, 0.3)
    x, t = torch.ones(9, 3, 2, dtype=torch.float64), bound.times(10)
    mean, variance = RadialBasis(10, 0)(x, t, betas)
    np.testing.assert_allclose(variance[:, 0, 0].detach(), betas[1:])
    np.testing.assert_allclose(mean[:, 0, 0].detach(), 1 - betas[1:])


def test_heartbeat_network_starts_as_the_reverse_in_equilibrium() -> None:
    process = Binomial(schedules.binomial(10), 0.2)
    x = torch.tensor([0.0, 1.0] * 10).expand(9, 4, 20)
    p = torch.sigmoid(HeartbeatNetwork(process, 20, 0)(x, bound.times(10)))
    expected = process.step(x.double(), process.betas[1:, None, None])
    np.testing.assert_allclose(p.detach(), expected, atol=1e-6)


def test_parameter_counts() -> None:
    """Swiss roll: 16 centres and widths, 39 times 2 readouts of 16 x 2; heartbeat: 20-50-50-50, readouts per time."""
    assert sum(p.numel() for p in RadialBasis(40, 0).parameters()) == 16 * 3 + 39 * 2 * 16 * 2
    network = HeartbeatNetwork(Binomial(schedules.binomial(5), 0.2), 20, 0)
    hidden = 20 * 50 + 50 + 2 * (50 * 50 + 50)
    assert sum(p.numel() for p in network.parameters()) == hidden + 4 * (50 + 1) * 20


def test_bumps_sum_to_one_and_peak_in_order() -> None:
    g = bumps(torch.arange(1, 101), 100, 5)
    np.testing.assert_allclose(g.sum(-1), 1, atol=1e-6)
    assert g.argmax(0)[1:4].diff().gt(0).all()


@pytest.mark.parametrize("side", [8, 16, 20])
def test_image_model_takes_any_side_and_moves_with_its_input(side: int) -> None:
    model = ImageReverse(10, 0, layers=1, channels=4)
    torch.nn.init.normal_(model.readout, generator=torch.Generator().manual_seed(0))
    x = normal(randomness.key(0, "x"), 1, 1, side, side)
    t, betas = torch.tensor([5]), schedules.ddpm(10, 0.01, 0.3).float()
    mean, variance = model(x, t, betas)
    assert mean.shape == variance.shape == x.shape
    # A shift by the coarsest pooling's block shifts the result, away from the border.
    moved, _ = model(x.roll(4, -1), t, betas)
    inside = slice(8, side - 4)
    if side > 12:
        np.testing.assert_allclose(
            moved.detach()[..., 8:-8, inside], mean.detach().roll(4, -1)[..., 8:-8, inside], atol=1e-5
        )


@pytest.mark.parametrize(
    ("function", "setting"),
    [
        (swiss.swiss_roll_bound, SWISS),
        (heartbeat.heartbeat, HEARTBEAT),
        (leaves.dead_leaves_bound, LEAVES),
        (leaves.dead_leaves_samples, {**LEAVES, "samples": 2}),
    ],
)
def test_a_seed_does_not_depend_on_its_neighbours(function, setting, few_leaves: Context) -> None:
    together = dict(function(setting, [0, 2, 1], few_leaves))
    (alone,) = dict(function(setting, [2], few_leaves)).values()
    for a, b in zip(*(r if isinstance(r, list) else [r] for r in (together[2], alone)), strict=True):
        assert a == b


def test_training_raises_the_bound_and_moves_learned_rates_only() -> None:
    before = swiss.Model(SWISS, [0])
    after = swiss.train({**SWISS, "steps": 60}, [0], Work())
    with torch.no_grad():
        assert float(after.bound(500, "t").bits) > float(before.bound(500, "t").bits) + 0.05
    assert not torch.equal(before.logits, after.logits)
    assert torch.equal(before.first, after.first)
    fixed = swiss.train({**SWISS, "schedule": "fixed"}, [0], Work())
    assert torch.equal(fixed.logits, swiss.Model({**SWISS, "schedule": "fixed"}, [0]).logits)


def test_the_learning_rate_falls_to_nothing_in_the_second_half() -> None:
    """Where every gradient is 1, a step of Adam is the learning rate itself."""
    w = torch.zeros(1, requires_grad=True)
    seen: list[float] = []

    def loss(step: int) -> torch.Tensor:
        seen.append(float(w.detach()))
        return w

    adam([w], loss, 8, 0.1, Work())
    seen.append(float(w.detach()))
    steps = -np.diff(seen) / 0.1
    assert steps.tolist() == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25], abs=1e-4)


def test_other_means_and_bumps_are_those_of_the_released_code() -> None:
    """Where the readouts are 0: the mean is x √(1 - β), the variance β; bumps half as wide overlap less."""
    betas, t = schedules.released_code(10).float(), torch.tensor([5])
    x = normal(randomness.key(0, "x"), 1, 3, 8, 8)
    mean, variance = ImageReverse(10, 0, channels=4, colours=3, relative_mean=False)(x, t, betas)
    np.testing.assert_allclose(mean.detach(), (1 - betas[4]).sqrt() * x, rtol=1e-6)
    np.testing.assert_allclose(variance.detach(), betas[4].expand_as(x), rtol=1e-5)
    wide, narrow = (bumps(torch.arange(1, 101), 100, 5, width).max(-1).values for width in (1.0, 0.5))
    assert (narrow > wide).all()


@pytest.mark.parametrize("network", ["dense", "both"])
def test_dense_path_sees_the_whole_image(network: str) -> None:
    """The last pixel's readout depends on the first pixel, which no convolution of so few layers reaches."""
    shape, layers = (3, 16, 16), 1 if network == "both" else 0
    model = ImageReverse(10, 0, layers, 1, 4, colours=3, dense=(shape, 8))
    torch.nn.init.normal_(model.readout, generator=torch.Generator().manual_seed(0))
    x = normal(randomness.key(0, "x"), 1, *shape).requires_grad_()
    mean, _ = model(x, torch.tensor([5]), schedules.ddpm(10, 0.01, 0.3).float())
    assert mean.shape == x.shape
    (gradient,) = torch.autograd.grad(mean[0, 2, 15, 15], x)
    assert (gradient[0, :, 0, 0] != 0).all()


def test_chain_is_followed_backwards_to_the_data_of_a_known_normal() -> None:
    """Exact reverse kernels of N(0, 1/4) data: 20,000 chains end there, within five standard errors."""
    process, s2, n = Gaussian(schedules.ddpm(100, 1e-4, 0.3)), 0.25, 20000
    scale, variance = process.marginal(torch.arange(1, 101))

    def reverse(x: torch.Tensor, t: int) -> tuple[torch.Tensor, torch.Tensor]:
        of_start, of_end, posterior = (float(v) for v in process.posterior(torch.tensor([t])))
        a, v = float(scale[t - 1]), float(variance[t - 1])
        expected, left = a * s2 / (a**2 * s2 + v), s2 * v / (a**2 * s2 + v)
        return (of_start * expected + of_end) * x, torch.full_like(x, posterior + of_start**2 * left)

    steps = list(
        chain.backwards(
            process,
            reverse,
            normal(randomness.key(0, "start"), n).double(),
            lambda t: normal(randomness.key(0, "noise", t), n),
        )
    )
    assert [t for t, _, _ in steps] == list(range(100, 0, -1))
    x0 = steps[-1][2]
    # The last step blurs by the forward kernel instead: variance β_1 twice over, which is nothing beside the error.
    assert abs(float(x0.var()) / s2 - 1) < 5 * (2 / n) ** 0.5
    assert abs(float(x0.mean())) < 5 * (s2 / n) ** 0.5


# ------------------------------------------------------------------ data


def test_dead_leaves_stage_writes_what_is_read(few_leaves: Context) -> None:
    a = leaves_set.load(few_leaves.root, "test", 16, [2, 0], 5)
    assert a.shape == (2, 5, 1, 16, 16)
    drawn = dead_leaves(randomness.key(2, "dead_leaves/test/16"), 16, 16)[:5]
    np.testing.assert_allclose(a[0, :, 0], (drawn - 0.5) * 12**0.5, atol=2**-15)
    for wrong in ({"seeds": [3]}, {"n": 17}, {"side": 64}):
        asked = {"split": "train", "side": 16, "seeds": [0], "n": 1, **wrong}
        with pytest.raises(SettingError, match="holds sides 16, seeds 0 to 2"):
            leaves_set.load(few_leaves.root, **asked)


def test_dead_leaves_of_another_shape_are_refused_by_name(few_leaves: Context) -> None:
    np.save(few_leaves.root / "test_16.npy", np.zeros((3, 16, 16, 15), dtype=np.uint16))
    with pytest.raises(DataCorrupt, match=r"test_16\.npy: holds uint16 of \(3, 16, 16, 15\), expected"):
        leaves_set.load(few_leaves.root, "test", 16, [0], 1)


def test_the_stage_makes_the_committed_bytes() -> None:
    """Three images of each side again: rounding alike everywhere is what makes the md5 in dvc.lock hold."""
    root = find_project(Path(__file__).parent).root
    try:
        require("dead_leaves", root)
    except DataUnavailable as missing:
        pytest.skip(f"data that is not here: {missing}")
    for side in leaves_set.SIDES:
        # What an image is does not depend on how many are drawn after it.
        drawn = dead_leaves(randomness.key(1, f"dead_leaves/train/{side}"), 3, side)
        read = leaves_set.load(root, "train", side, [1], 3)[0, :, 0]
        np.testing.assert_allclose(read, (drawn - 0.5) * 12**0.5, atol=2**-15)


def test_swiss_roll_has_mean_zero_and_variance_one() -> None:
    phi = 1.5 * pi + 3 * pi * (torch.arange(200000, dtype=torch.float64) + 0.5) / 200000
    points = spiral(phi)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-6)
    assert float((points**2).mean()) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(
        swiss_roll(randomness.key([1, 2], "s"), 5)[1], swiss_roll(randomness.key(2, "s"), 5)
    )


@pytest.mark.parametrize(("beta", "expected"), [(1e-3, -0.72), (1e-4, 0.94), (1e-5, 2.60)])
def test_cap_of_the_swiss_roll(beta: float, expected: float) -> None:
    found, error = swiss.cap(beta, 0, 400)
    assert abs(found - expected) < 5 * error + 0.01


@pytest.mark.parametrize("schedule", ["learned", "fixed", "released_code"])
def test_the_cap_is_that_of_the_first_rate_in_use(schedule: str) -> None:
    setting = {**SWISS, "schedule": schedule}
    model = swiss.Model(setting, [3])
    (row,) = swiss.measures(model, setting)
    first = float(model.process().betas[0, 0].detach())
    assert (first == pytest.approx(setting["first_beta"], rel=1e-6)) == (schedule != "released_code")
    assert row["cap"] == pytest.approx(swiss.cap(first, 3)[0], abs=1e-6)


@pytest.mark.parametrize("above", [1.0, -1.0])
def test_what_is_over_the_cap_is_what_exceeds_it(above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In standard errors of both; and the bound is that of points which no training draws."""
    model, asked = swiss.Model(SWISS, [3]), []
    top, error = swiss.cap(round(float(model.first[0, 0]), 12), 3)

    def pretended(draws: int, stream: str, i: int) -> bound.Bound:
        asked.append(stream)
        return bound.Bound(torch.tensor([top + above]), torch.tensor([0.1]))

    monkeypatch.setattr(model, "bound", pretended)
    (row,) = swiss.measures(model, SWISS)
    over = max(0.0, above) / (0.1**2 + error**2) ** 0.5
    assert row["over_cap"] == pytest.approx(over, rel=1e-4)
    assert "train" not in asked


def test_the_bound_on_dead_leaves_is_that_of_test_images(
    few_leaves: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked, load = leaves.train(LEAVES, [0], 16, few_leaves, Work()), [], leaves_set.load

    def spy(root: Path, split: str, *rest: Any) -> torch.Tensor:
        asked.append(split)
        return load(root, split, *rest)

    monkeypatch.setattr(leaves_set, "load", spy)
    leaves.per_pixel(model, LEAVES, 16, [0], few_leaves)
    assert asked == ["test"]


def test_heartbeats() -> None:
    data = heartbeats(20)
    assert data.sum().item() == 20
    assert (data.sum(-1) == 4).all()
    np.testing.assert_array_equal(data.sum(0), 1)


def test_dead_leaves_are_of_variance_one_twelfth_and_correlated() -> None:
    images = dead_leaves(randomness.key(0, "leaves"), 200, 16)
    assert float(images.var()) == pytest.approx(1 / 12, rel=0.1)
    right = np.corrcoef(images[..., 1:].flatten(), images[..., :-1].flatten())[0, 1]
    assert 0.5 < right < 0.95
    assert images.min() >= 0
    assert images.max() <= 1


def test_normal_draws_are_normal() -> None:
    """Kolmogorov-Smirnov at a level of 1e-4, of a fixed key."""
    drawn = normal(randomness.key(0, "normal"), 100001)
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-4
    assert abs(float((drawn[::2][:50000] * drawn[1::2]).mean())) < 5 / 50000**0.5
    assert torch.equal(normal(randomness.key([4, 9], "n"), 3, 2)[1], normal(randomness.key(9, "n"), 3, 2))


def test_bernoulli_draws_have_their_probability() -> None:
    p = torch.tensor([0.001, 0.5, 0.999]).repeat_interleave(100000)
    mean = bernoulli(randomness.key(0, "b"), p).view(3, -1).mean(-1)
    assert ((mean - p[::100000]).abs() < 5 * (p * (1 - p))[::100000].sqrt() / 100000**0.5).all()
