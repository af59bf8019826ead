"""Interaction Networks: batches, networks, domains, penalties, and the scenes as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from papers.graph_networks import calibration, chain, domains, experiments, sets
from papers.graph_networks.conftest import LEDGER, ROOT, seeds, setting
from papers.graph_networks.model import Flat, ForwardModel, InteractionNetwork, demo_network
from papers.graph_networks.training import CAP, Plateau, capped, draw, input_range, inside, pick
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.graph_network import Attributes, Widths
from repro.nn.topology import Chain, Incidence
from repro.physics import nbody, string

# ------------------------------------------------------------------ batches and errors


def test_a_seed_draws_its_own_batch() -> None:
    both, alone = draw(seeds(3, 4), "batch", 7, 5, 100), draw(seeds(4), "batch", 7, 5, 100)
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    assert 0 <= int(both.min()) <= int(both.max()) < 100
    pool = torch.arange(200).view(2, 100)
    assert torch.equal(pick(pool, both)[1] - 100, both[1])


def test_what_diverges_is_counted_and_capped_never_dropped() -> None:
    ratio, diverged = capped(torch.tensor([0.5, CAP, torch.inf, torch.nan, 2 * CAP]))
    assert ratio.tolist() == [0.5, CAP, CAP, CAP, CAP]
    assert diverged.tolist() == [False, True, True, True, True]


def test_the_input_range_leaves_half_a_percent_out_on_either_side() -> None:
    values = torch.linspace(0, 1, 1001).view(1, 1001, 1, 1)
    graph = Attributes(values, 2 * values, values[..., 0])
    support = input_range([graph])
    torch.testing.assert_close(support.nodes[:, 0, 0], torch.tensor([0.01, 1.99]))
    held = inside(graph, support)
    assert float(held.edges.float().mean()) == pytest.approx(0.99, abs=0.002)


def test_the_training_range_of_many_values_sees_every_node() -> None:
    """Of 600,000 values, four nodes in turn, every sixth or so is looked at, whichever node it is."""
    x = torch.arange(4.0).view(1, 1, 4, 1).expand(1, 150_000, 4, 1)
    found = input_range([Attributes(x, x, x[..., 0, :])])
    assert (found.nodes.flatten().tolist(), found.globe.flatten().tolist()) == ([0, 3], [0, 0])


# ------------------------------------------------------------------ networks


def test_widths_of_the_interaction_network_are_the_papers() -> None:
    network = InteractionNetwork(6, 3, 150, relations=True, energy=False, seed=0)
    assert [tuple(w.shape) for w in network.block.phi_e.weights] == [(150, 6), *[(150, 150)] * 3, (50, 150)]
    assert [tuple(w.shape) for w in network.block.phi_v.weights] == [(100, 53), (2, 100)]
    energy = InteractionNetwork(6, 3, 150, relations=True, energy=True, seed=0)
    assert [tuple(w.shape) for w in energy.phi_A.weights] == [(25, 10), (1, 25)]
    flat = Flat(6, 3, 6, 30, energy=False, seed=0)
    assert [tuple(w.shape) for w in flat.mlp.weights] == [(300, 198), (300, 300), (12, 300)]


def test_the_demo_network_has_two_layers_of_sixteen_everywhere() -> None:
    network = demo_network(Widths(2, 5, 2), Widths(0, 2, 0), 16, 0)
    for part in (network.encoder, network.core):
        for phi in (part.phi_e, part.phi_v, part.phi_u):
            assert [len(b) for b in phi.biases] == [16, 16]
            assert phi.activate_last
            assert phi.norm is not None
    assert [tuple(w.shape) for w in network.answers["nodes"].weights] == [(2, 16)]


def test_without_relations_nothing_acts() -> None:
    data = domains.pairs(setting("prediction"), seeds(0), "t", 2, 3, 4, False)
    r, o = (x.float()[0] for x in experiments.inputs(data.x, data.v, data))
    network = InteractionNetwork(r.shape[-1], o.shape[-1], 8, relations=False, energy=False, seed=0)
    other = r + torch.randn(r.shape, generator=torch.Generator().manual_seed(0))
    topology = experiments.among_moving(data.topology, 4)
    assert torch.equal(network(topology, r, o), network(topology, other, o))


@pytest.mark.parametrize("domain", ["nbody", "balls", "string"])
def test_interaction_networks_are_translation_invariant(domain: str) -> None:
    data = domains.pairs(setting("prediction", domain=domain), seeds(0), "t", 2, 3, 4, False)
    here = experiments.inputs(data.x, data.v, data)
    there = experiments.inputs(data.x + 7.0, data.v, data)
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b)


def test_the_forward_models_second_network_hears_of_all_links() -> None:
    """Through the first one's global; with no pooling, only of links two away."""
    n = 8

    def heard(pooling: str) -> list[bool]:
        network = ForwardModel(Widths(2, 3, 1), 6, 8, pooling, 0).double()
        generator = torch.Generator().manual_seed(0)
        nodes = torch.randn(1, n, 3, dtype=torch.float64, generator=generator)
        edges = torch.randn(1, 2, n - 1, 2, dtype=torch.float64, generator=generator)
        moved = nodes.clone()
        moved[:, 0] += 1
        globe = torch.zeros(1, 1, dtype=torch.float64)
        a, b = (network(Chain(n), Attributes(edges, x, globe)) for x in (nodes, moved))
        return ((a - b).abs().amax((0, 2)) > 0).tolist()

    assert heard("sum") == heard("mean") == [True] * n
    assert heard("none") == [True] * 3 + [False] * (n - 3)


# ------------------------------------------------------------------ domains


def test_relations_are_counted_as_the_paper_counts_them() -> None:
    """n (n - 1) between bodies; 2 (n - 1) springs and one to the circle per mass; four walls per ball."""
    count = {
        domain: len(
            domains.pairs(setting("prediction", domain=domain), seeds(0), "t", 1, 1, 5, False).topology.sender
        )
        for domain in ("nbody", "balls", "string")
    }
    assert count == {"nbody": 20, "balls": 20 + 20, "string": 8 + 5}


def test_the_bodies_targets_follow_from_the_moments() -> None:
    """Newton's law, written out over the relations that the network is given: v' = v + dt G m d / max(|d|, clip)³."""
    s = setting("prediction")
    data = domains.pairs(s, seeds(0), "t", 3, 50, 4, False)
    sender, receiver = data.topology.sender, data.topology.receiver
    d = data.x[:, :, sender] - data.x[:, :, receiver]
    r = d.norm(dim=-1, keepdim=True).clamp(min=s["clip"])
    pull = torch.zeros_like(data.v).index_add_(2, receiver, s["G"] * data.attributes[:, :, sender] * d / r**3)
    torch.testing.assert_close(data.target, data.v + nbody.DT * pull)


def test_the_strings_targets_follow_from_the_moments() -> None:
    """Springs along the relations that say so, gravity as the external effect; masses on the circle aside."""
    data = domains.pairs(setting("prediction", domain="string"), seeds(0), "t", 3, 50, 4, False)
    springs = data.relations[0, 0, :, 0] == 1
    sender, receiver = data.topology.sender[springs], data.topology.receiver[springs]
    d = data.x[:, :, sender] - data.x[:, :, receiver]
    length = d.norm(dim=-1, keepdim=True)
    force = string.STIFFNESS * (length - string.REST_LENGTH) * d / length
    force = force + string.DAMPING * (data.v[:, :, sender] - data.v[:, :, receiver])
    total = torch.zeros_like(data.v).index_add_(2, receiver, force)[:, :, :4]
    inverse, gravity = data.attributes[:, :, :4, :1], data.attributes[:, :, :4, 2]
    fall = torch.stack([torch.zeros_like(gravity), gravity], -1)
    away = (data.x[:, :, :4] - data.x[:, :, 4:]).norm(dim=-1) > data.attributes[:, :, 4:, 1]
    assert float(away.double().mean()) > 0.5
    expected = data.v[:, :, :4] + string.DT * (total * inverse + fall)
    torch.testing.assert_close(data.target[away], expected[away])


def test_the_balls_targets_follow_from_the_moments() -> None:
    """A ball that nothing touches keeps its velocity; one whose velocity changes touches a ball or a wall."""
    data = domains.pairs(setting("prediction", domain="balls"), seeds(0), "t", 20, 400, 4, True)
    x, r, v = data.x[:, :, :4], data.attributes[:, :, :4, 1], data.v[:, :, :4]
    gaps = (x.unsqueeze(-2) - x.unsqueeze(-3)).norm(dim=-1) - r.unsqueeze(-1) - r.unsqueeze(-2)
    gaps = gaps + 1e9 * torch.eye(4, dtype=gaps.dtype)
    box = data.x[:, :, [5, 7]].amax(-2).unsqueeze(-2)  # right and top walls are at the box's width and height
    wall = torch.minimum(x, box - x).amin(-1) - r
    near = torch.minimum(gaps.amin(-1), wall) < 0.05  # farther than two balls come closer in a step
    changed = (data.target - v).abs().sum(-1) > 1e-9
    assert int(changed.sum()) > 20
    assert bool(near[changed].all())
    assert not bool(near.all())


def test_test_scenes_are_not_training_scenes() -> None:
    """One public implementation validated on its training trajectories."""
    s = setting("prediction")
    train = domains.pairs(s, seeds(0), "train", 2, 40, 3, False)
    test = domains.pairs(s, seeds(0), "test", 2, 40, 3, False)
    masses = [set(d.attributes.flatten().tolist()) for d in (train, test)]
    assert masses[0] & masses[1] <= {100.0}, "only stars weigh the same"


def test_moments_of_a_test_are_not_balanced() -> None:
    """Else an error at training's share of collisions would be reported."""
    s = setting("prediction", domain="balls", balanced=True)
    held_out = experiments.held_out(s, [0], 4).target
    plain, balanced = (
        domains.pairs(s, seeds(0), "test", s["test_scenes"], s["test_pairs"], 4, how).target
        for how in (False, True)
    )
    assert torch.equal(held_out, plain)
    assert not torch.equal(held_out, balanced)


def test_balanced_moments_have_more_collisions() -> None:
    s = setting("prediction", domain="balls")
    changed = [
        float(((d.target - d.v[:, :, :4]).abs().sum((-1, -2)) > 0).double().mean())
        for d in (domains.pairs(s, seeds(0), "t", 20, 400, 4, balanced) for balanced in (False, True))
    ]
    assert changed[1] > 4 * changed[0] > 0


def test_noise_is_on_a_fifth_of_the_moments_and_fades() -> None:
    """Binomial with n = 1000, p = 0.2: outside 0.14 to 0.26 with probability below 1e-5; the seed is fixed anyway."""
    data = domains.pairs(setting("prediction"), seeds(0), "t", 3, 1000, 3, False)
    x, _ = experiments._noise(data, seeds(0), 0, experiments.NOISED)
    moved = (x != data.x).any(-1).any(-1)[0]
    assert 0.14 < float(moved.double().mean()) < 0.26
    size = (x - data.x)[:, moved].std() / data.x.std()
    assert float(size) == pytest.approx(experiments.NOISE, rel=0.1)
    assert experiments._noise(data, seeds(0), 0, 0.0)[0] is data.x
    assert [experiments.fade(epoch / 2000) for epoch in (0, 50, 150, 250, 2000)] == pytest.approx(
        [1, 1, 0.5, 0, 0]
    )


def test_normalisation_takes_percentiles_to_one() -> None:
    values = torch.linspace(0, 10, 1001, dtype=torch.float64).view(1, 1001, 1, 1)
    scale = experiments.Scale.of(values)
    torch.testing.assert_close(
        scale(torch.tensor([[[[0.5], [5.0], [9.5]]]]))[0, 0, :, 0], torch.tensor([-1.0, 0, 1])
    )


def test_normalisation_sees_every_object() -> None:
    """A star and a planet, in more moments than are looked at: a planet's mass is no outlier."""
    masses = torch.rand(1, 40_000, 6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masses[:, :, 0] = 100.0
    for moments in (40_000, experiments.ROWS):
        scale = experiments.Scale.of(masses.repeat(1, 2, 1, 1)[:, :moments])
        assert 0.5 < float(scale.middle) < 0.7, "the median of one star and five planets"
        assert float(scale.half) == pytest.approx(50, abs=0.1), "the 95th percentile is the star's"


def test_the_calibrated_constants_fit_better_than_their_neighbours_and_than_a_public_implementations() -> (
    None
):
    """On scenes that fitted nothing. G = 1e5 with the force clipped at 1 m, as others do, misses by a factor of ten."""
    G, clip = setting("baseline")["G"], setting("baseline")["clip"]

    def misfit(G: float, clip: float, scenes: int = 200) -> float:
        return calibration.misfit(
            calibration.errors(G, clip, [calibration.LATER - 1, calibration.LATER - 2], scenes)
        )

    here = misfit(G, clip)
    for other in ((G - 1e4, clip), (G + 1e4, clip), (G, clip - 1), (G, clip + 1)):
        assert here < misfit(*other), other
    assert misfit(1e5, 1.0, scenes=40) > 5


def test_inputs_are_scaled_by_the_own_training_set_or_by_the_transferring_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = setting("prediction", scenes=8, pairs=64, steps=0)
    moments, scales = domains.pairs(s, seeds(1), "test", 4, 8, 12, False), experiments._scales
    looked_at: list[int] = []

    def watched(data: domains.Pairs) -> tuple[experiments.Scale | None, experiments.Scale]:
        looked_at.append(data.target.shape[2])
        return scales(data)

    monkeypatch.setattr(experiments, "_scales", watched)
    found = [
        experiments.train({**s, "input_scale": whose}, [0], size, Work())
        for whose in ("own_size", "trained_size")
        for size in (6, 12)
    ]
    assert looked_at == [6, 12, 6, 6], "bodies of the set whose percentiles are taken"
    assert not torch.allclose(found[1](moments), found[3](moments)), "and they are used"


# ------------------------------------------------------------------ learning rate and penalties


def test_a_seed_whose_validation_error_does_not_fall_slows_down_alone() -> None:
    w = torch.zeros(2, 1, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.1)
    errors = iter([torch.tensor([1.0, 1.0]), torch.tensor([0.5, 1.0])])
    plateau = Plateau(lambda: next(errors), every=1)
    steps = []
    for step in range(3):
        before = w.detach().clone()
        w.grad = torch.ones_like(w)
        plateau.step(step, optimizer)
        steps.append((before - w.detach())[:, 0])
    torch.testing.assert_close(torch.stack(steps), torch.tensor([[0.1, 0.1], [0.1, 0.1], [0.1, 0.08]]))


def test_the_learning_rate_follows_validation_scenes_and_not_those_of_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def spy(setting: Any, seeds: torch.Tensor, stream: str, *rest: Any, **options: Any) -> domains.Pairs:
        asked.append(stream)
        return domains.pairs(setting, seeds, stream, *rest, **options)

    monkeypatch.setattr(experiments, "pairs", spy)
    experiments.train(setting("prediction", schedule="plateau", steps=1), [0], 3, Work())
    assert asked == ["train", "validation"]


@pytest.mark.parametrize("penalty", ["effect_penalty", "weight_penalty"])
def test_a_heavy_penalty_makes_small_what_it_punishes(penalty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Ensemble] = []
    fit = experiments.fit

    def watched(ensemble: Ensemble, *arguments: Any) -> None:
        fit(ensemble, *arguments)
        trained.append(ensemble)

    monkeypatch.setattr(experiments, "fit", watched)
    for weight in (1e-9, 1e3):  # a network without any penalty does not give its effects away
        s = setting("prediction", steps=20, learning_rate=0.01, effect_penalty=1e-9)
        experiments.train({**s, penalty: weight}, [0], 3, Work())
    topology = Incidence(*domains.everyone(3), 3)
    generator = torch.Generator().manual_seed(0)
    relations, objects = (torch.randn(1, 8, n, f, generator=generator) for n, f in ((6, 6), (3, 3)))

    def punished(ensemble: Ensemble) -> float:
        if penalty == "weight_penalty":
            return float(experiments.squares(ensemble).detach())
        _, effects = ensemble(experiments.among_moving(topology, 3), per_seed=[relations, objects])
        return float(effects.detach())

    light, heavy = map(punished, trained)
    assert heavy < 0.9 * light


def test_other_pinned_ends_are_tested_at_the_training_size() -> None:
    s = setting("prediction", domain="string", ends_pinned=2)
    planned = LEDGER.experiments["prediction"].setting["largest"]
    assert planned == max(max(sizes) for sizes in experiments.TESTED.values()), "no tested size is left out"
    for trained_on in ("one_size", "same_size"):
        ((_, rows),) = experiments.prediction({**s, "trained_on": trained_on}, [0], Context(ROOT))
        assert [row["size"] for row in rows] == [15]


# ------------------------------------------------------------------ scenes as files


def test_the_files_hold_the_scenes_that_experiments_simulate(tmp_path: Path) -> None:
    sets.write("chain", tmp_path, ROOT)
    quick = LEDGER.experiments["chain"]
    s = {**quick.setting, **quick.tiers["quick"].set}
    with np.load(tmp_path / "4.npz") as file:
        data = chain.scenes(s, seeds(sets.SEED), "test", 4, test=True)
        np.testing.assert_array_equal(file["x"], data.path.x[:, 0].float().numpy())
        np.testing.assert_array_equal(file["rest"], data.chain.rest[0].numpy())
    assert len(list(tmp_path.iterdir())) == len(chain.SIZES.tested)
    with pytest.raises(ValueError, match="no simulator 'moons'"):
        sets.write("moons", tmp_path, ROOT)
