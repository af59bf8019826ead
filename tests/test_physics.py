"""Simulators against closed forms and invariants."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from repro.errors import DataUnavailable
from repro.physics import balls, mass_spring, nbody, string, swimmer
from repro.physics.motion import State, semi_implicit_euler, trajectory

SEEDS = torch.tensor([0, 1])
F64 = torch.float64


def doubles(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


# ------------------------------------------------------------------ integrator


def test_the_integrator_is_of_first_order_and_symplectic() -> None:
    """A harmonic oscillator: after a quarter period the error halves with the step; the energy never drifts."""

    def run(steps: int, quarters: int = 1) -> State:
        dt = math.pi / 2 / steps
        start = State(doubles([1.0, 0.0]), doubles([0.0, 0.0]))
        return trajectory(lambda s: semi_implicit_euler(s, -s.x, dt), start, steps * quarters)

    errors = [
        float(run(n).x[-1].norm() + (run(n).v[-1] + doubles([1.0, 0.0])).norm()) for n in (50, 100, 200)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)
    far = run(50, quarters=200)
    energy = (far.x**2 + far.v**2).sum((-1, -2)) / 2
    assert float((energy - 0.5).abs().max()) < 0.02


# ------------------------------------------------------------------ n-body

G, CLIP = 1e4, 5.0


def two_bodies(r: float = 50.0) -> nbody.Bodies:
    """A light planet on a circle around a star."""
    x = doubles([[0.0, 0.0], [r, 0.0]])
    v = doubles([[0.0, 0.0], [0.0, math.sqrt(G * 100 / r)]])
    return nbody.Bodies(State(x, v), doubles([100.0, 1e-9]).squeeze(0))


def test_kepler_circle_closes_after_its_period() -> None:
    r = 50.0
    period = 2 * math.pi * math.sqrt(r**3 / (G * 100))
    steps = 4000
    path = nbody.simulate(two_bodies(r), G, CLIP, steps, dt=period / steps)
    distance = (path.x[:, 0, 1] - path.x[:, 0, 0]).norm(dim=-1)
    assert float((distance / r - 1).abs().max()) < 2e-3
    assert float((path.x[-1, 0, 1] - path.x[0, 0, 1]).norm()) < 0.01 * r


def test_keplers_third_law_on_an_ellipse() -> None:
    """A planet that starts slower than on a circle comes back after the period of its semi-major axis."""
    bodies = two_bodies(50.0)
    bodies.start.v[..., 1, 1] *= 0.9
    speed2 = float(bodies.start.v[0, 1, 1] ** 2)
    axis = 1 / (2 / 50.0 - speed2 / (G * 100))
    period = 2 * math.pi * math.sqrt(axis**3 / (G * 100))
    path = nbody.simulate(bodies, G, CLIP, 8000, dt=period / 8000)
    assert float((path.x[-1, 0, 1] - path.x[0, 0, 1]).norm()) < 0.01 * axis


def test_energy_drift_of_bodies_is_of_first_order() -> None:
    bodies = two_bodies()
    bodies.start.v[..., 1, 1] *= 0.7
    bodies = bodies._replace(masses=doubles([100.0, 5.0]).squeeze(0))

    def drift(steps: int) -> float:
        path = nbody.simulate(bodies, G, CLIP, steps, dt=0.4 / steps)
        kinetic = (bodies.masses * (path.v**2).sum(-1)).sum(-1) / 2
        total = kinetic + nbody.potential_energy(path.x, bodies.masses, G, CLIP)
        return float((total / total[0] - 1).abs().max())

    assert drift(400) / drift(800) == pytest.approx(2, rel=0.1)
    assert drift(800) < 0.02


def test_force_is_minus_the_gradient_of_the_energy_also_within_the_clip() -> None:
    x = doubles([[0.0, 0.0], [2.0, 1.0], [30.0, -20.0]]).squeeze(0).requires_grad_()
    masses = doubles([3.0, 4.0, 5.0]).squeeze(0)
    nbody.potential_energy(x, masses, G, CLIP).backward()
    force = nbody.acceleration(x.detach(), masses, G, CLIP) * masses.unsqueeze(-1)
    torch.testing.assert_close(-x.grad, force)


@pytest.mark.parametrize("bodies", [1, 3, 6])
def test_bodies_keep_their_momentum(bodies: int) -> None:
    scene = nbody.sample(SEEDS, "test", 4, bodies, G)
    path = nbody.simulate(scene, G, CLIP, 200)
    momentum = (scene.masses.unsqueeze(-1) * path.v).sum(-2)
    assert float((momentum - momentum[0]).abs().max()) < 1e-8 * float(1 + momentum.abs().max())


def test_half_of_the_scenes_have_a_star_with_planets_on_circles() -> None:
    scene = nbody.sample(SEEDS, "test", 6, 3, G)
    assert (scene.masses == nbody.STAR).nonzero().tolist() == [[s, i, 0] for s in (0, 1) for i in (0, 1, 2)]
    r = scene.start.x[:, :3, 1:].norm(dim=-1)
    torch.testing.assert_close(scene.start.v[:, :3, 1:].norm(dim=-1), (G * nbody.STAR / r).sqrt())
    assert float(scene.start.v[:, 3:].abs().max()) <= nbody.SPEED


def test_planets_go_either_way_round_or_all_one_way() -> None:
    """Of 2 × 50 × 4 planets half, ± 0.1: four standard deviations of a fair coin; the seeds are fixed anyway."""
    for one_way, share in ((False, 0.5), (True, 1.0)):
        x, v = nbody.sample(SEEDS, "test", 100, 5, G, one_way).start
        spin = (x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0])[:, :50, 1:]
        assert float((spin > 0).double().mean()) == pytest.approx(share, abs=0.1 * (share < 1))


def test_a_seed_draws_the_same_scenes_alone() -> None:
    both, alone = nbody.sample(SEEDS, "test", 3, 4, G), nbody.sample(SEEDS[1:], "test", 3, 4, G)
    assert torch.equal(both.start.x[1], alone.start.x[0])
    assert torch.equal(
        balls.sample(SEEDS, "t", 3, 4).start.x[1], balls.sample(SEEDS[1:], "t", 3, 4).start.x[0]
    )


# ------------------------------------------------------------------ balls


def head_on(restitution: float, masses: tuple[float, float] = (1.0, 1.0)) -> balls.Balls:
    x = doubles([[0.5, 1.5], [2.5, 1.5]])
    v = doubles([[2.0, 0.0], [-1.0, 0.0]])
    return balls.Balls(
        State(x, v), doubles(masses), doubles([0.1, 0.1]), doubles([3.0, 3.0]), doubles(restitution)
    )


def test_an_elastic_collision_of_equal_balls_exchanges_velocities() -> None:
    path = balls.simulate(head_on(1.0), 700)
    torch.testing.assert_close(path.v[-1], doubles([[-1.0, 0.0], [2.0, 0.0]]))


def test_a_collision_of_unequal_balls() -> None:
    """Closed form in one dimension with restitution e."""
    e, (m, M), (v, w) = 0.6, (0.8, 1.2), (2.0, -1.0)
    path = balls.simulate(head_on(e, (m, M)), 700)
    after = ((m * v + M * w - M * e * (v - w)) / (m + M), (m * v + M * w + m * e * (v - w)) / (m + M))
    torch.testing.assert_close(path.v[-1, 0, :, 0], doubles(*after))


def test_elastic_balls_keep_their_energy_and_stay_in_the_box() -> None:
    scene = balls.sample(SEEDS, "test", 20, 6)
    scene = scene._replace(restitution=torch.ones_like(scene.restitution))
    path = balls.simulate(scene, 1000)
    energy = (scene.masses * (path.v**2).sum(-1)).sum(-1)
    # A ball that two others hit within one step gets both impulses at once, which does not keep the energy: rare.
    kept = ((energy[1:] / energy[:-1] - 1).abs() < 1e-9).double().mean()
    assert 0.999 < float(kept) < 1
    assert float(path.x.min()) > -0.05
    assert bool((path.x < scene.box.unsqueeze(-2) + 0.05).all())


def test_balls_that_part_do_not_collide_again() -> None:
    scene = head_on(0.0)
    path = balls.simulate(scene, 1200)
    torch.testing.assert_close(path.v[-1, 0, 0, 0], path.v[-1, 0, 1, 0])
    assert float(path.v[-1, 0, 0, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_balls_start_apart_and_inside(count: int) -> None:
    scene = balls.sample(SEEDS, "test", 50, count)
    x, r = scene.start.x, scene.radii
    gap = (x.unsqueeze(-2) - x.unsqueeze(-3)).norm(dim=-1) + 10 * torch.eye(count, dtype=F64)
    assert bool((gap > r.unsqueeze(-1) + r.unsqueeze(-2)).all())
    assert bool((x >= r.unsqueeze(-1)).all())
    assert bool((x <= scene.box.unsqueeze(-2) - r.unsqueeze(-1)).all())


def test_balls_fly_in_all_directions() -> None:
    """1,200 numbers, uniform between -5 and 5: their mean within five standard errors of zero; the seed is fixed."""
    v = balls.sample(torch.tensor([0]), "test", 100, 6).start.v
    assert float(v.mean()) == pytest.approx(0, abs=5 * 5 / 3**0.5 / v.numel() ** 0.5)


def test_balls_collide_rarely() -> None:
    """The paper says that a ball collides on less than 1 % of a scene's 1000 steps; here on the average over balls."""
    scene = balls.sample(SEEDS, "test", 50, 6)
    v = balls.simulate(scene, 1000).v
    changed = ((v[1:] - v[:-1]).abs().sum(-1) > 1e-9).double().mean()
    assert 0.001 < float(changed) < 0.01


# ------------------------------------------------------------------ string


def test_a_hanging_string_stretches_by_the_weight_below() -> None:
    """At rest each spring carries what hangs below it: Hooke's law in closed form."""
    scene = string.sample(torch.tensor([0]), "test", 1, 4, 1)
    n = 4
    weight = scene.masses[0, 0] * -scene.gravity[0, 0]
    below = torch.stack([weight[i + 1 :].sum() for i in range(n - 1)])
    y = -torch.cat([torch.zeros(1, dtype=F64), (string.REST_LENGTH + below / string.STIFFNESS).cumsum(0)])
    x = torch.stack([torch.zeros(n, dtype=F64), y], -1)[None, None]
    pinned = torch.tensor([[[True, False, False, False]]])
    far = scene.centre + 100.0
    scene = scene._replace(start=State(x, torch.zeros_like(x)), pinned=pinned, centre=far)
    path = string.simulate(scene, 500)
    assert float((path.x - x).abs().max()) < 1e-9


def test_a_free_string_falls_with_its_centre_of_mass() -> None:
    scene = string.sample(SEEDS, "test", 3, 15, 0)
    scene = scene._replace(centre=scene.centre + 100.0)
    path = string.simulate(scene, 200)
    mean = (scene.masses.unsqueeze(-1) * path.v[-1]).sum(-2) / scene.masses.sum(-1, keepdim=True)
    torch.testing.assert_close(mean[..., 1], scene.gravity * 0.2)
    torch.testing.assert_close(mean[..., 0], torch.zeros_like(mean[..., 0]))


def test_pinned_ends_stay_and_masses_stay_out_of_the_circle() -> None:
    scene = string.sample(SEEDS, "test", 20, 15, 1)
    path = string.simulate(scene, 1000)
    assert bool(scene.pinned.sum(-1).eq(1).all())
    assert float((path.x - path.x[0])[:, scene.pinned].abs().max()) == 0
    depth = scene.radius[..., None] - (path.x - scene.centre.unsqueeze(-2)).norm(dim=-1)
    assert float(depth.max()) < 0.03
    assert float((depth.amax((0, -1)) > 0).double().mean()) > 0.3, "some strings do hit their circle"


@pytest.mark.parametrize("restitution", [0.0, 0.4, 1.0])
def test_a_mass_leaves_the_circle_with_its_restitution(restitution: float) -> None:
    """The first of two masses flies into a circle of radius 0.3 with speed 1; no spring pulls, no gravity."""
    zero = torch.zeros(1, 1, dtype=F64)
    start = State(doubles([[[0.0, 0.299], [0.0, 0.499]]]), doubles([[[0.0, -1.0], [0.0, -1.0]]]))
    scene = string.sample(torch.tensor([0]), "test", 1, 2, 0)._replace(
        start=start,
        centre=zero[..., None].expand(1, 1, 2),
        radius=zero + 0.3,
        restitution=zero + restitution,
        gravity=zero,
    )
    v = string.simulate(scene, 1).v[1, 0, 0, 0]
    assert v.tolist() == pytest.approx([0.0, restitution])


def test_potential_energy_of_the_string_is_what_the_springs_and_gravity_do() -> None:
    scene = string.sample(torch.tensor([0]), "test", 2, 5, 0)
    noise = torch.linspace(-0.1, 0.1, 20, dtype=F64).view(1, 2, 5, 2)
    x = (scene.start.x + noise).requires_grad_()
    string.potential_energy(scene, x).sum().backward()
    weight = scene.masses * scene.gravity.unsqueeze(-1)
    force = string._springs(State(x.detach(), torch.zeros_like(x)))
    force = force + torch.stack([torch.zeros_like(weight), weight], -1)
    torch.testing.assert_close(-x.grad, force)


# ------------------------------------------------------------------ mass-spring chain


def test_the_chain_starts_at_its_rest_lengths_and_only_gravity_moves_it() -> None:
    chain = mass_spring.sample(SEEDS, "test", 8, 6, (0.2, 1.0))
    a = mass_spring.acceleration(chain, chain.start.x)
    torch.testing.assert_close(a[..., 1:-1, 1], chain.gravity.unsqueeze(-1).expand(2, 8, 4))
    assert float(a[..., 0].abs().max()) < 1e-12
    assert float(a[..., (0, -1), :].abs().max()) == 0
    still = mass_spring.sample(SEEDS, "test", 8, 6, (0.2, 1.0), gravity=False)
    assert float((mass_spring.simulate(still).x - still.start.x).abs().max()) == 0


def test_what_differs_between_chains_is_drawn_independently() -> None:
    """Correlations over 400 chains within five standard errors of zero; the seed is fixed."""
    chain = mass_spring.sample(torch.tensor([0]), "test", 400, 4, (0.2, 1.0))
    x = chain.start.x[0]
    spacing = x[:, 1:, 0].diff(dim=-1).mean(-1)
    drawn = np.stack([chain.gravity[0], spacing, chain.stiffness[0, :, 0, 0], x[:, 0, 1]])
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 5 / 400**0.5


def test_one_mass_between_two_stretched_springs_oscillates_with_the_known_frequency() -> None:
    """Along the chain, omega² = 2 k / m; after one period it is back."""
    chain = mass_spring.sample(torch.tensor([0]), "test", 1, 3, (0.5, 0.5), gravity=False)
    x = doubles([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]).view(1, 1, 3, 2)
    k = 50.0
    chain = chain._replace(
        start=State(x + doubles([[0.0, 0.0], [0.01, 0.0], [0.0, 0.0]]), torch.zeros_like(x)),
        stiffness=torch.full_like(chain.stiffness, k),
        rest=torch.full_like(chain.rest, 0.5),
    )
    period = 2 * math.pi / math.sqrt(2 * k)
    path = mass_spring.simulate(chain, 2000, period / 2000)
    assert float(path.x[-1, 0, 0, 1, 0]) == pytest.approx(0.51, abs=1e-4)
    assert float(path.x[1000, 0, 0, 1, 0]) == pytest.approx(0.49, abs=1e-4)


def test_the_chains_energy_error_is_of_first_order_if_its_springs_are_symmetric() -> None:
    chain = mass_spring.sample(SEEDS, "test", 4, 6, (0.3, 0.6))
    chain = chain._replace(stiffness=torch.full_like(chain.stiffness, 50.0))

    def drift(steps: int) -> float:
        path = mass_spring.simulate(chain, steps, 1.0 / steps)
        energy = mass_spring.energy(chain, path)
        return float((energy - energy[0]).abs().max())

    assert drift(2000) / drift(4000) == pytest.approx(2, rel=0.1)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nbody.sample(SEEDS, "t", 1, 0, G), "bodies needs at least 1, not 0"),
        (lambda: nbody.simulate(two_bodies(), G, CLIP, 1, dt=-0.1), "time step is positive, not -0.1"),
        (lambda: nbody.simulate(two_bodies(), G, 0.0, 1), "clipped is positive"),
        (lambda: balls.sample(SEEDS, "t", 1, 0), "balls needs at least 1"),
        (lambda: balls.simulate(head_on(1.0), 1, dt=0.0), "time step is positive"),
        (lambda: string.sample(SEEDS, "t", 1, 1, 0), "at least 2, not 1"),
        (lambda: string.sample(SEEDS, "t", 1, 5, 3), "0, 1 or 2 of them are pinned, not 3"),
        (lambda: mass_spring.sample(SEEDS, "t", 1, 2, (0.5, 0.5)), "at least 3, not 2"),
        (
            lambda: mass_spring.simulate(mass_spring.sample(SEEDS, "t", 1, 3, (0.5, 0.5)), 1, dt=-1.0),
            "time step is positive",
        ),
    ],
)
def test_systems_that_cannot_be(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_balls_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balls, "ATTEMPTS", 2)
    with pytest.raises(ValueError, match="40 balls do not fit boxes with sides of 1 to 3 m"):
        balls.sample(SEEDS, "t", 1, 40)


# ------------------------------------------------------------------ swimmer


@pytest.fixture(scope="module")
def swimmers() -> swimmer.Episodes:
    pytest.importorskip("dm_control")
    return swimmer.simulate(6, 3, 40, seed=0, stream="test")


def test_links_hang_together(swimmers: swimmer.Episodes) -> None:
    """Neighbours share a joint half a link's length from either centre; a joint keeps its limit, softly."""
    along = 0.05 * torch.stack([-swimmers.angle.sin(), swimmers.angle.cos()], -1)
    front, back = swimmers.x - along, swimmers.x + along
    torch.testing.assert_close(back[:, :, :-1], front[:, :, 1:], atol=1e-9, rtol=0)
    assert swimmers.limit == pytest.approx(math.radians(60))
    assert float(swimmers.angle.diff(dim=-1).abs().max()) < swimmers.limit + 0.35
    assert float(swimmers.action.abs().max()) <= 1


def test_velocities_are_those_of_the_positions(swimmers: swimmer.Episodes) -> None:
    """Within a control step they change little on average: the chord against the mean of both ends."""
    for place, speed in ((swimmers.x, swimmers.v), (swimmers.angle, swimmers.omega)):
        chord = place.diff(dim=1) / swimmer.CONTROL_DT
        mean = (speed[:, 1:] + speed[:, :-1]) / 2
        assert float((chord - mean).norm() / chord.norm()) < 0.15


def test_an_episode_is_the_same_among_others(swimmers: swimmer.Episodes) -> None:
    alone = swimmer.simulate(6, 1, 40, seed=0, stream="test")
    assert torch.equal(alone.x[0], swimmers.x[0])
    other = swimmer.simulate(6, 1, 40, seed=1, stream="test")
    assert not torch.equal(other.x[0], swimmers.x[0])


def test_actions_pass_linearly_from_one_value_to_the_next() -> None:
    signal = swimmer.actions(torch.tensor([3]), 2 * swimmer.KNOT + 1, 1)[0, :, 0]
    bends = signal[:-1].view(2, swimmer.KNOT).diff(dim=1).diff(dim=1)
    torch.testing.assert_close(bends, torch.zeros_like(bends))
    assert float(signal[: swimmer.KNOT].std()) > 0.01


def test_an_action_moves_the_next_state_and_none_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    still = torch.zeros(1, 6, 3, dtype=F64)
    pushed = still.clone()
    pushed[0, 3] = 1.0
    paths = []
    for control in (still, pushed):
        monkeypatch.setattr(swimmer, "actions", lambda *_, control=control: control)
        paths.append(swimmer.simulate(4, 1, 6, 0, "t").omega[0])
    differ = (paths[0] - paths[1]).abs().amax(-1) > 0
    assert differ.tolist() == [False] * 4 + [True] * 3


def test_joint_limits_can_be_held_fixed() -> None:
    pytest.importorskip("dm_control")
    native, fixed = (swimmer.simulate(12, 1, 1, 0, "t", limit) for limit in (None, 60.0))
    assert math.degrees(native.limit) == pytest.approx(30)
    assert math.degrees(fixed.limit) == pytest.approx(60)


@pytest.mark.parametrize("links", [0, 2])
def test_swimmers_too_short(links: int) -> None:
    with pytest.raises(ValueError, match=f"links of a swimmer needs at least 3, not {links}"):
        swimmer.simulate(links, 1, 1, 0, "t")


def test_a_missing_simulator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dm_control.suite", None)
    with pytest.raises(
        DataUnavailable, match=r"simulator is not installed.*pip install dm-control 'mujoco<4'"
    ):
        swimmer.simulate(3, 1, 1, 0, "t")
