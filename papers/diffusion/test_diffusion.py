"""Tests of the diffusion papers' module: closed forms against integration, seeds apart, errors by name."""

from __future__ import annotations

from math import e, log, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from papers.diffusion import (
    bound,
    chain,
    ddpm,
    experiments,
    heartbeat,
    leaves,
    leaves_set,
    pictures,
    schedules,
    swiss,
)
from papers.diffusion.audits import gaussian_bound
from papers.diffusion.images import ImageReverse, bumps
from papers.diffusion.mixture import MIXTURES, Mixture, corners, kolmogorov_smirnov
from papers.diffusion.model import HeartbeatNetwork, RadialBasis
from papers.diffusion.parzen import log_likelihood
from papers.diffusion.posterior import recipe_on_gaussians, times_gaussian, times_smooth
from papers.diffusion.processes import (
    Binomial,
    Gaussian,
    bernoulli_entropy,
    bernoulli_kl,
    gaussian_kl,
)
from papers.diffusion.sde import SDE, flow_log_likelihood, probability_flow, reverse_sde
from papers.diffusion.sets import dead_leaves, heartbeats, spiral, swiss_roll
from repro import randomness
from repro.context import Context
from repro.data.cifar10 import RECORD, read_batch
from repro.data.fetch import require
from repro.data.mnist import read_idx
from repro.errors import DataCorrupt, DataUnavailable, SettingError
from repro.noise import bernoulli, normal
from repro.project import find_project

HERE = Context(Path())
rates = st.lists(st.floats(0.001, 0.6), min_size=2, max_size=8)


@pytest.fixture
def few_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A folder with a small set of dead leaves, written as the stage of dvc.yaml writes the real one."""
    monkeypatch.setattr(leaves_set, "SIDES", (16,))
    monkeypatch.setattr(leaves_set, "SEEDS", 3)
    monkeypatch.setattr(leaves_set, "PIXELS", 16 * 16**2)
    leaves_set.write(tmp_path)
    monkeypatch.setattr(leaves_set, "require", lambda name, root: tmp_path)
    return Context(tmp_path)


def one(function, **setting):  # type: ignore[no-untyped-def]
    """The rows of seed 0."""
    return next(iter(function(setting, [0], HERE)))[1]


def test_every_experiment_of_the_ledger_is_listed() -> None:
    ledger = find_project(Path(__file__).parent).ledger("diffusion")
    named = {experiment.function.split(".")[1] for experiment in ledger.experiments.values()}
    assert named == set(experiments.__all__)


# ------------------------------------------------------------------ schedules


@pytest.mark.parametrize("make", [schedules.binomial, schedules.ddpm])
@pytest.mark.parametrize("T", [0, 1])
def test_fewer_than_two_steps_are_refused(make, T: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingError, match=f"T = {T}; a diffusion needs at least 2 steps"):
        make(T)


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([0.1], "1 steps"),
        ([0.1, 1.2], "β_2 = 1.2 does not lie in"),
        ([0.0, 0.5], "β_1 = 0 does not lie in"),
        ([0.1, 1.0, 0.5], "β_2 = 1 does not lie in"),
        ([0.1, float("nan")], "β_2 = nan"),
        ([0.1, 0.3, 0.2], "β_3 = 0.2 is smaller than β_2 = 0.3"),
    ],
)
def test_a_wrong_schedule_is_refused_by_name(betas: list[float], message: str) -> None:
    with pytest.raises(SettingError, match=f"schedule `mine`: .*{message}"):
        schedules.checked(torch.tensor(betas, dtype=torch.float64), "mine")


@pytest.mark.parametrize("change", [{"T": 1}, {"first_beta": 0.0}, {"first_beta": 1.5}])
@pytest.mark.parametrize("schedule", ["learned", "fixed", "released_code"])
def test_experiments_refuse_a_wrong_schedule(schedule: str, change: dict[str, float]) -> None:
    message = "T = 1; a diffusion needs" if "T" in change else r"β_1 = .* does not lie in \(0, 1\)"
    with pytest.raises(SettingError, match=f"schedule `{schedule}`: {message}"):
        swiss.Model({**SWISS, "schedule": schedule, **change}, [0])


def test_binomial_schedule_erases_equal_shares_and_ends_with_everything() -> None:
    kept = (1 - schedules.binomial(50)).cumprod(0)
    np.testing.assert_allclose(kept, 1 - np.arange(1, 51) / 50, atol=1e-12)


def test_released_schedule_keeps_a_thousandth() -> None:
    betas = schedules.released_code(1000)
    assert float((1 - betas).prod()) == pytest.approx(9.9e-4, rel=0.02)
    assert betas[0] > betas[1]


def test_learning_start_multiplies_noise_to_signal() -> None:
    variance = Gaussian(schedules.learning_start(40, 1e-5)).variance
    ratio = variance / (1 - variance)
    np.testing.assert_allclose(ratio[1:] / ratio[:-1], float(ratio[1] / ratio[0]), rtol=1e-9)
    assert float(variance[0]) == pytest.approx(1e-5)


# ------------------------------------------------------------------ forward processes


def _density(x: float, mean: float, variance: float) -> float:
    return float(stats.norm.pdf(x, mean, variance**0.5))


@settings(max_examples=10, deadline=None)
@given(rates, st.floats(-2, 2), st.floats(-2, 2))
def test_gaussian_marginal_and_posterior_are_those_of_the_steps(
    betas: list[float], x0: float, z: float
) -> None:
    """Bayes' rule and the Chapman-Kolmogorov equation by integration over x_{t-1}."""
    process, t = Gaussian(torch.tensor(betas, dtype=torch.float64)), torch.tensor([len(betas)])
    scale, variance = (float(v) for v in process.marginal(t))
    before_scale, before_variance = (float(v) for v in process.marginal(t - 1))
    beta, xt = betas[-1], scale * x0 + variance**0.5 * z

    def joint(x: float) -> float:
        step = _density(xt, x * (1 - beta) ** 0.5, beta)
        return step * _density(x, before_scale * x0, before_variance)

    of_start, of_end, spread = (float(v) for v in process.posterior(t))
    found = of_start * x0 + of_end * xt
    # Where the formulas say that the mass is: if they were wrong, the integrals would miss it and not agree.
    limits = (found - 12 * spread**0.5, found + 12 * spread**0.5)
    total = quad(joint, *limits, limit=200)[0]
    assert total == pytest.approx(_density(xt, scale * x0, variance), rel=1e-6)
    mean = quad(lambda x: x * joint(x), *limits, limit=200)[0] / total
    assert found == pytest.approx(mean, rel=1e-6, abs=1e-8)
    second = quad(lambda x: (x - mean) ** 2 * joint(x), *limits, limit=200)[0] / total
    assert spread == pytest.approx(second, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 2), st.floats(0.05, 3), st.floats(-2, 2), st.floats(0.05, 3))
def test_gaussian_kl_by_integration(m1: float, v1: float, m2: float, v2: float) -> None:
    def term(x: float) -> float:
        p = _density(x, m1, v1)
        return p * (stats.norm.logpdf(x, m1, v1**0.5) - stats.norm.logpdf(x, m2, v2**0.5))

    width = 10 * v1**0.5
    found = float(gaussian_kl(*(torch.tensor(v, dtype=torch.float64) for v in (m1, v1, m2, v2))))
    assert found == pytest.approx(quad(term, m1 - width, m1 + width, limit=200)[0], rel=1e-6, abs=1e-9)
    assert found >= 0


def test_gaussian_entropy_by_integration() -> None:
    process = Gaussian(schedules.ddpm(10, 0.01, 0.3))
    for t in (1, 5, 10):
        v = float(process.variance[t - 1])
        found = quad(lambda x, v=v: -_density(x, 0, v) * stats.norm.logpdf(x, 0, v**0.5), -8, 8)[0]
        assert float(process.entropy(t)) == pytest.approx(found, rel=1e-6)
    assert process.equilibrium_entropy() == pytest.approx(0.5 * log(2 * pi * e))


def test_variance_close_to_nothing_loses_no_digits() -> None:
    betas = torch.tensor([1e-12, 0.5], dtype=torch.float64)
    assert float(Gaussian(betas).variance[0]) == pytest.approx(1e-12, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(rates, st.floats(0.05, 0.95), st.integers(0, 1), st.integers(0, 1))
def test_binomial_marginal_and_posterior_by_enumerating_all_paths(
    betas: list[float], p: float, x0: int, xt: int
) -> None:
    process, T = Binomial(torch.tensor(betas, dtype=torch.float64), p), len(betas)
    law = np.array([1.0 - x0, float(x0)])
    for beta in betas:
        step = np.array([[1 - p * beta, p * beta], [beta * (1 - p), 1 - beta * (1 - p)]])
        before, law = law, law @ step
    start, end = torch.tensor([float(x0)]).double(), torch.tensor([float(xt)]).double()
    t = torch.tensor([T])
    assert float(process.marginal(t, start)) == pytest.approx(law[1])
    joint = before * step[:, xt]
    assert float(process.posterior(t, end, start)) == pytest.approx(joint[1] / joint.sum())
    entropy = -sum(q * log(q) for q in law if q > 0)
    assert float(process.entropy(T, start)) == pytest.approx(entropy)


def test_bernoulli_kl_at_the_edges() -> None:
    q = torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64)
    p = torch.tensor([0.5, 0.5, 0.3], dtype=torch.float64)
    np.testing.assert_allclose(bernoulli_kl(q, p), [log(2), log(2), 0], atol=1e-15)
    np.testing.assert_array_equal(bernoulli_entropy(q[:2]), [0, 0])


def test_equilibrium_is_left_as_it_is() -> None:
    process = Binomial(schedules.binomial(7), 0.2)
    assert float(process.step(torch.tensor(0.2).double(), process.betas[3])) == pytest.approx(0.2)


# ------------------------------------------------------------------ the bound


def test_bound_is_the_true_likelihood_for_normal_data_with_the_exact_reverse() -> None:
    """Four numbers within five standard errors: a false alarm once in 400,000 runs, with these seeds never."""
    for row in one(gaussian_bound, variance=0.5, reverse_variance=1.0, draws=4000):
        assert row["z"] < 5
        assert row["k_error_bits"] < 0.15


def test_sampled_times_are_unbiased() -> None:
    """KL terms that grow with t: one time per stratum gives the full sum, within five standard errors."""
    T, n, repeats = 101, 50, 400
    kl_of = torch.arange(2, T + 1, dtype=torch.float64) ** 2 / 1000
    drawn = torch.rand(repeats, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = ((torch.arange(n) + drawn) / n * (T - 1)).long()
    noise = torch.randn(repeats, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = bound.from_stratified_times((kl_of[times] + noise)[None], T, 0.0)
    exact = -float(kl_of.sum()) / log(2)
    assert abs(float(found.bits[0]) - exact) < 5 * float(found.standard_error[0])
    assert float(found.standard_error[0]) < 2


def test_ceiling_of_the_heartbeat_is_the_best_of_all_kernels() -> None:
    """With one step less to learn (T = 2) the best factorised kernel is found by enumerating x_1 and x_2."""
    process, data = Binomial(torch.tensor([0.1, 0.5], dtype=torch.float64), 0.2), heartbeats(5)
    best, states = 0.0, torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 5)
    two = torch.tensor([2])
    for x2 in states:
        ones = process.marginal(two, data)
        likelihood = (x2 * ones + (1 - x2) * (1 - ones)).prod(-1) / 5
        per_phase = process.posterior(two, x2.expand(5, 5), data)
        mean = (likelihood.unsqueeze(-1) * per_phase).sum(0) / likelihood.sum()
        best += float((likelihood * bernoulli_kl(per_phase, mean.expand(5, 5)).sum(-1)).sum())
    exact = (heartbeat.entropies(process, data) - best) / log(2)
    found = heartbeat.exact_ceiling(process, data, 0, 20000)
    assert abs(float(found.bits[0]) - exact) < 5 * float(found.standard_error[0])
    assert float(found.standard_error[0]) < 0.02


def test_heartbeat_entropies_of_pure_noise_are_l_null() -> None:
    """Where everything is erased in one step, K + KL is the log likelihood of π."""
    process = Binomial(torch.tensor([1 - 1e-12, 1.0], dtype=torch.float64), 0.2)
    assert heartbeat.entropies(process, heartbeats(20)) / log(2) == pytest.approx(-14.4386, abs=1e-4)


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


SWISS = {
    "T": 8, "hidden": 4, "schedule": "learned", "first_beta": 1e-3, "steps": 5, "batch": 4, "learning_rate": 0.05,
    "test_draws": 20,
}  # fmt: skip
HEARTBEAT = {
    "T": 12, "length": 10, "base_rate": 0.2, "schedule": "binomial", "hidden": 8, "output": "offset", "steps": 5,
    "batch": 3, "learning_rate": 0.02, "test_draws": 20, "samples": 4,
}  # fmt: skip
LEAVES = {
    "T": 20, "first_beta": 1e-3, "schedule": "fixed", "network": "multi_scale", "basis_width": 1.0,
    "mean": "equation_65", "channels": 4, "images": 16, "batch": 4, "steps": 4, "learning_rate": 0.01, "test_draws": 1,
    "trained_on": "smallest", "largest_side": 16,
}  # fmt: skip
PICTURES = {
    "dataset": "mnist", "T": 8, "first_beta": 1e-3, "schedule": "released_code", "network": "dense", "dense_width": 6,
    "basis_width": 1.0, "mean": "equation_65", "channels": 4, "steps": 3, "batch": 6, "learning_rate": 1e-3,
    "samples": 10, "at_once": 4, "validation": 5, "test": 12, "shown": 2, "power": 1.0, "product": "shift",
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "setting"),
    [
        (swiss.swiss_roll_bound, SWISS),
        (heartbeat.heartbeat, HEARTBEAT),
        (leaves.dead_leaves_bound, LEAVES),
        (leaves.dead_leaves_samples, {**LEAVES, "samples": 2}),
    ],
)
def test_a_seed_does_not_depend_on_its_neighbours(  # type: ignore[no-untyped-def]
    function, setting, few_leaves: Context
) -> None:
    together = dict(function(setting, [0, 2, 1], few_leaves))
    (alone,) = dict(function(setting, [2], few_leaves)).values()
    for a, b in zip(*(r if isinstance(r, list) else [r] for r in (together[2], alone)), strict=True):
        assert a == b


def test_training_raises_the_bound_and_moves_learned_rates_only() -> None:
    before = swiss.Model(SWISS, [0])
    after = swiss.train({**SWISS, "steps": 60}, [0], HERE)
    with torch.no_grad():
        assert float(after.bound(500, "t").bits) > float(before.bound(500, "t").bits) + 0.05
    assert not torch.equal(before.logits, after.logits)
    assert torch.equal(before.first, after.first)
    fixed = swiss.train({**SWISS, "schedule": "fixed"}, [0], HERE)
    assert torch.equal(fixed.logits, swiss.Model({**SWISS, "schedule": "fixed"}, [0]).logits)


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


# ------------------------------------------------------------------ posteriors


def test_products_with_r_are_exact() -> None:
    m, v, y, s2 = (torch.tensor(x, dtype=torch.float64) for x in (0.4, 0.3, 1.5, 0.7))
    mean, variance = times_gaussian(m, v, y, s2)

    def weight(x: float) -> float:
        return _density(x, 0.4, 0.3) * _density(1.5, x, 0.7)

    total = quad(weight, -5, 5)[0]
    assert float(mean) == pytest.approx(quad(lambda x: x * weight(x), -5, 5)[0] / total)
    assert float(variance) == pytest.approx(
        quad(lambda x: (x - float(mean)) ** 2 * weight(x), -5, 5)[0] / total
    )
    # log r linear: the shift by Σ ∇ log r is the whole truth.
    shifted, same = times_smooth(m, v, torch.tensor(2.0).double())

    def tilted(x: float) -> float:
        return _density(x, 0.4, 0.3) * np.exp(2 * x)

    total = quad(tilted, -6, 8)[0]
    assert float(shifted) == pytest.approx(quad(lambda x: x * tilted(x), -6, 8)[0] / total)
    assert float(same) == 0.3


def test_recipe_followed_exactly_agrees_with_simulating_it() -> None:
    """The recursion of means and variances beside 20,000 simulated chains of 100 steps; five standard errors."""
    rows = {
        r["steps"]: r for r in one(recipe_on_gaussians, y=2.0, noise=1.0, power=1.0, weighting="constant")
    }
    n, betas = 20000, schedules.ddpm(100, 1e-3, 0.2)
    x = 1.0 + 0.5**0.5 * normal(randomness.key(0, "start"), n).double()
    for t in range(100, 0, -1):
        b = betas[t - 1]
        mean, variance = times_gaussian((1 - b).sqrt() * x, b, torch.tensor(2.0), torch.tensor(1.0))
        x = mean + variance.sqrt() * normal(randomness.key(0, "step", t), n)
    exact_mean, exact_variance = 1.0, 0.5
    error = abs(float(x.mean()) - exact_mean) / exact_variance**0.5
    assert error == pytest.approx(rows[100]["mean_error"], abs=5 / n**0.5)
    ratio = abs(float(x.var()) / exact_variance - 1)
    assert ratio == pytest.approx(rows[100]["variance_error"], abs=5 * (2 / n) ** 0.5)


# ------------------------------------------------------------------ what followed


@pytest.mark.parametrize("name", list(MIXTURES))
def test_score_and_laplacian_are_derivatives(name: str) -> None:
    mixture = MIXTURES[name]()
    x = mixture.sample(randomness.key(0, "x"), 3).requires_grad_()
    np.testing.assert_allclose(
        torch.autograd.grad(mixture.log_density(x).sum(), x)[0], mixture.score(x).detach(), atol=1e-9
    )
    for point, found in zip(x.detach(), mixture.laplacian(x.detach()), strict=True):
        hessian = torch.autograd.functional.hessian(lambda y: mixture.log_density(y[None])[0], point)
        assert float(found) == pytest.approx(float(hessian.trace()), rel=1e-8)


def test_tilted_mixture_by_integration_on_a_grid() -> None:
    mixture, slope = corners(), torch.tensor([1.0, 0.5], dtype=torch.float64)
    tilted, normaliser = mixture.tilted(slope, curvature=0.3)
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    weight = (mixture.log_density(grid) + grid @ slope - 0.15 * (grid**2).sum(-1)).exp() * 0.02**2
    assert float(weight.sum().log()) == pytest.approx(float(normaliser), abs=1e-6)
    np.testing.assert_allclose(tilted.log_density(grid).exp() * 0.02**2, weight / weight.sum(), atol=1e-8)


def test_statistic_tells_the_target_from_its_neighbour() -> None:
    mixture = corners()
    points = mixture.sample(randomness.key(1, "ks"), 2000)
    assert kolmogorov_smirnov(points, mixture) < 2.5
    assert kolmogorov_smirnov(points, mixture.diffused(1.0, 0.2)) > 2.5
    assert kolmogorov_smirnov(points * float("nan"), mixture) == float("inf")


@pytest.mark.parametrize("name", ["VE", "VP", "sub-VP"])
def test_reverse_of_a_single_normal_is_that_normal(name: str) -> None:
    sde = SDE(name)
    single = Mixture(
        torch.ones(1).double(), torch.tensor([[0.3, -0.2]]).double(), torch.tensor([0.2]).double()
    )
    score = sde.exact_score(single)
    assert kolmogorov_smirnov(reverse_sde(sde, score, 0, 1000, 300), single) < 2.5
    assert kolmogorov_smirnov(probability_flow(sde, score, 0, 1000, 150), single) < 2.5
    x = single.sample(randomness.key(0, "x"), 50)
    np.testing.assert_allclose(flow_log_likelihood(sde, single, x), single.log_density(x), atol=0.05)


def test_ddpm_samples_have_the_mixtures_law_and_its_weights_are_the_kl() -> None:
    mixture, process = corners(), Gaussian(schedules.ddpm(200, 1e-4, 0.1))
    predict = ddpm.exact_noise(mixture, process)
    assert kolmogorov_smirnov(ddpm.sample(predict, process, 0, 1000), mixture) < 2.5
    # |ε - ε_θ|² times the weight is the KL of the two posteriors, at any x_0, x_t and guess of the noise.
    t, x0, noise, guess = torch.tensor([7]), 0.3, -1.1, 0.4
    scale, variance = (float(v) for v in process.marginal(t))
    of_start, of_end, spread = (float(v) for v in process.posterior(t))
    xt = scale * x0 + variance**0.5 * noise
    means = [of_start * start + of_end * xt for start in (x0, (xt - variance**0.5 * guess) / scale)]
    kl = (means[0] - means[1]) ** 2 / (2 * spread)
    assert float(ddpm.weights(process)[5]) * (noise - guess) ** 2 == pytest.approx(kl)


def test_unknown_process_is_refused() -> None:
    with pytest.raises(ValueError, match="VE, VP or sub-VP"):
        SDE("vp")


# ------------------------------------------------------------------ MNIST and the Parzen estimate


def test_parzen_estimate_is_the_log_of_a_mean() -> None:
    points, samples = torch.rand(3, 4), torch.rand(5, 4)
    found = log_likelihood(points, samples, [0.3, 0.7])
    for row, width in zip(found, (0.3, 0.7), strict=True):
        for point, value in zip(points, row, strict=True):
            densities = [stats.norm.pdf(point.numpy(), s.numpy(), width).prod() for s in samples]
            assert float(value) == pytest.approx(log(np.mean(densities)), rel=1e-4, abs=1e-4)


IDX = b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))


def test_idx_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good"
    path.write_bytes(IDX)
    np.testing.assert_array_equal(read_idx(path, (2, 3)), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file: it starts with nothing"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"PNG!" + IDX, "not an idx file"),
        (IDX[:6], "cut short within its header"),
        (IDX[:-1], "cut short: 17 bytes, expected 18"),
        (IDX + b"\0", "too long"),
        (IDX[:2] + b"\x0d" + IDX[3:], "element type 0x0d"),
        (IDX[:4] + (3).to_bytes(4, "big") + IDX[8:], r"holds an array of \(3, 3\), expected \(2, 3\)"),
    ],
)
def test_damaged_idx_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(DataCorrupt, match=f"train-images: .*{message}"):
        read_idx(path, (2, 3))


# ------------------------------------------------------------------ CIFAR-10, and the experiment of both


def batch(records: int) -> bytes:
    """Record i: label i, and planes of 10 i, 10 i + 1 and 10 i + 2 but for one brighter pixel of the red one."""
    made = b""
    for i in range(records):
        planes = bytearray(b"".join(bytes([10 * i + colour]) * 1024 for colour in range(3)))
        planes[2 * 32 + 5] = 200
        made += bytes([i]) + bytes(planes)
    return made


def test_cifar_batch_is_read_plane_by_plane_and_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(batch(3))
    images, labels = read_batch(path, 3)
    assert images.shape == (3, 3, 32, 32)
    assert labels.tolist() == [0, 1, 2]
    assert images[1, :, 0, 0].tolist() == [10, 11, 12]
    assert np.argwhere(images == 200).tolist() == [[i, 0, 2, 5] for i in range(3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", rf"cut short: 0 bytes, expected {2 * RECORD} \(2 records of {RECORD}\)"),
        (b"\x1f\x8b" + batch(2)[2:], "a gzip file"),
        (batch(2)[:-1], "cut short"),
        (batch(3), "too long"),
        (batch(1) + b"\x0a" + batch(1)[1:], "record 1 has the label 10, expected 0 to 9"),
    ],
)
def test_damaged_cifar_batch_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataCorrupt, match=rf"test_batch\.bin: .*{message}"):
        read_batch(path, 2)


def test_cifar_is_missing_by_name(tmp_path: Path) -> None:
    pointer = find_project(Path(__file__).parent).root / "data" / "cifar10.dvc"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10.dvc").write_bytes(pointer.read_bytes())
    with pytest.raises(
        DataUnavailable, match=r"cifar10: missing(.|\n)*data_batch_1\.bin(.|\n)*cs\.toronto\.edu"
    ):
        pictures.read("cifar10", tmp_path)


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of tiny data sets in place of the real ones: smooth blobs of 8 by 12 pixels, one colour and three."""
    axes = [np.arange(n)[:, None, None] for n in (8, 12)]
    phase = np.arange(60)
    blobs = np.cos(axes[0] / 3 + phase)[:, None] * np.cos(axes[1] / 4 + 2 * phase)[None]
    one_colour = np.round(127.5 + 127.5 * blobs[:, :, 0]).astype(np.uint8).transpose(2, 0, 1)

    def load(colours: int):  # type: ignore[no-untyped-def]
        images = np.stack([one_colour] * colours, axis=1) if colours > 1 else one_colour
        return lambda root: {"train": images[:48], "test": images[48:]}

    pictures.read.cache_clear()
    monkeypatch.setitem(pictures.LOAD, "mnist", load(1))
    monkeypatch.setitem(pictures.LOAD, "cifar10", load(3))


@pytest.mark.parametrize(
    ("dataset", "network", "colours"),
    [("mnist", "dense", 1), ("cifar10", "both", 3), ("cifar10", "multi_scale", 3)],
)
def test_pictures_of_any_size_and_colours_go_the_whole_way(
    small_pictures: None, dataset: str, network: str, colours: int
) -> None:
    rows = one(pictures.pictures_model, **{**PICTURES, "dataset": dataset, "network": network})
    assert [row["entry"] for row in rows] == list(range(2 * colours * 8 * 12))
    assert rows[0]["k_minus_l_null"] - rows[0]["k"] == pytest.approx(colours * 2.0471, abs=1e-4)
    for row in rows:
        assert all(np.isfinite(list(row.values())))
        assert row["k_error"] > 0
        # Inpainting leaves known pixels alone; masked ones are at the mean.
        assert row["masked"] == 0 or row["inpainted"] == row["masked"] == row["original"]


def test_pictures_are_data_of_mean_zero_and_variance_one(small_pictures: None) -> None:
    found = pictures.read("mnist", Path())
    noise = torch.rand(found.train.shape, generator=torch.Generator().manual_seed(0))
    data = found.standardised(found.train, noise)
    assert abs(float(data.mean())) < 0.01
    assert float(data.var(correction=0)) == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(
        found.grey(found.standardised(found.train, torch.tensor(0.5))), found.train / 255, atol=1e-6
    )
    assert len(found.train) + len(found.held_out) == 48


def test_a_seed_of_pictures_does_not_depend_on_its_neighbours(small_pictures: None) -> None:
    together = dict(pictures.pictures_model(PICTURES, [4, 9], HERE))
    assert dict(pictures.pictures_model(PICTURES, [9], HERE))[9] == together[9]


def test_training_on_pictures_raises_the_bound(small_pictures: None) -> None:
    short, long = (one(pictures.pictures_model, **{**PICTURES, "steps": n})[0]["k"] for n in (0, 150))
    assert long > short + 0.1
