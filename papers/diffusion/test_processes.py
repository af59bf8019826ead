"""Schedules, forward processes, the bound, posteriors and what followed: closed forms against integration."""

from __future__ import annotations

from math import e, log, pi
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from torch import Tensor

from papers.diffusion import (
    bound,
    ddpm,
    heartbeat,
    image_model,
    schedules,
    swiss,
)
from papers.diffusion.audits import gaussian_bound
from papers.diffusion.conftest import SWISS, one
from papers.diffusion.mixture import MIXTURES, Mixture, corners, kolmogorov_smirnov
from papers.diffusion.posterior import recipe_on_gaussians, times_gaussian, times_smooth
from papers.diffusion.processes import (
    Binomial,
    Gaussian,
    bernoulli_entropy,
    bernoulli_kl,
    gaussian_kl,
)
from papers.diffusion.sde import SDE, flow_log_likelihood, probability_flow, reverse_sde
from papers.diffusion.sets import heartbeats
from repro import randomness
from repro.errors import SettingError
from repro.noise import normal

rates = st.lists(st.floats(0.001, 0.6), min_size=2, max_size=8)


# ------------------------------------------------------------------ schedules


@pytest.mark.parametrize("make", [schedules.binomial, schedules.ddpm])
@pytest.mark.parametrize("T", [0, 1])
def test_fewer_than_two_steps_are_refused(make, T: int) -> None:
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


@settings(max_examples=10, deadline=None, derandomize=True)
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


@settings(max_examples=20, deadline=None, derandomize=True)
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


@settings(max_examples=30, deadline=None, derandomize=True)
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


def test_sampled_times_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    """KL terms that grow with t, at the times that a model draws: the full sum, within five standard errors."""
    T, n, repeats = 101, 50, 400
    kl_of = torch.arange(2, T + 1, dtype=torch.float64) ** 2 / 1000

    def pretended(process: object, reverse: object, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        assert int(t.min()) >= 2
        assert int(t.max()) <= T
        return (kl_of[t - 2] + noise.flatten(2).sum(-1))[..., None]

    monkeypatch.setattr(image_model, "kl_terms", pretended)
    model: Any = SimpleNamespace(process=SimpleNamespace(T=T), seeds=torch.tensor([0]), reverse=None)
    x0 = torch.zeros(1, n, 1, 1, 1)
    drawn = torch.cat([image_model.Model.kl(model, x0, "test", i) for i in range(repeats)])
    found = bound.from_stratified_times(drawn[None].double(), T, 0.0)
    exact = -float(kl_of.sum()) / log(2)
    assert abs(float(found.bits[0]) - exact) < 5 * float(found.standard_error[0])
    assert float(found.standard_error[0]) < 2


def test_a_bound_at_stratified_times_by_hand() -> None:
    """KL terms of 1 nat at each of the T - 1 = 4 times, and no entropies: -4 nats."""
    found = bound.from_stratified_times(torch.ones(1, 2, 3), 5, 0.0)
    assert float(found.bits) == pytest.approx(-4 / log(2))


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
