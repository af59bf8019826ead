"""Chain, labelling demos and swimmers: what is measured at other sizes, and that training learns."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree

from papers.graph_networks import chain, demo_tasks, demos, domains, experiments, limits, swimming
from papers.graph_networks.conftest import ROOT, seeds, setting
from papers.graph_networks.model import InteractionNetwork
from papers.graph_networks.training import CAP, Sizes, capped, draw
from repro.context import Context, Work
from repro.ensemble import Ensemble
from repro.nn.graph_network import Attributes
from repro.nn.topology import AllPairs, Chain, Incidence
from repro.physics import mass_spring
from repro.physics.motion import State

# ------------------------------------------------------------------ chain


def test_features_are_the_demos() -> None:
    s = setting("chain")
    data = chain.scenes(s, seeds(0), "t", 5, test=True)
    graph = chain.features(data.chain, data.chain.start, "absolute")
    x, v = data.chain.start
    fixed = torch.tensor([1.0, 0, 0, 0, 1]).double().view(1, 1, 5, 1).expand(1, 16, 5, 1)
    torch.testing.assert_close(graph.nodes, torch.cat([x, v, fixed], -1).float())
    assert graph.edges.shape == (1, 16, 2, 3, 2)
    assert float(graph.globe[..., 0].abs().max()) == 0
    moved = State(x + 5.0, v)
    for positions, same in (("absolute", False), ("relative", True)):
        a, b = (chain.features(data.chain, state, positions) for state in (data.chain.start, moved))
        assert all(torch.allclose(p, q, atol=1e-5) for p, q in zip(a, b, strict=True)) == same


def test_the_training_sizes_leave_the_nine_out() -> None:
    """The demo writes the half-open range (5, 9)."""
    assert tuple(range(5, 9)) == chain.SIZES.trained
    assert not set(chain.SIZES.trained) & {4, 9}


def exact(graph: Attributes, topology: Chain) -> torch.Tensor:
    """A network that knows the physics: the simulator's own next velocity, from the features alone."""
    k, rest, d = graph.edges[..., 0], graph.edges[..., 1], graph.edges[..., 2:]
    length = d.norm(dim=-1)
    pull = ((k * (length - rest) / length).unsqueeze(-1) * d).sum(-3)
    inner = pull + graph.globe.unsqueeze(-2)
    return graph.nodes[..., :2] + mass_spring.DT * torch.nn.functional.pad(inner, (0, 0, 1, 1))


def test_a_perfect_network_has_no_error_at_any_size() -> None:
    """Measures features, targets, one-step error, rollout from own predictions and support at once."""
    s = setting("chain", positions="relative", test_scenes=3)
    for n in (4, 12):
        everything = Attributes(*(torch.tensor([-1e9, 1e9]).view(2, 1, 1).expand(2, 1, w) for w in (4, 3, 2)))
        found = chain.evaluate(s, seeds(0), n, (exact, everything))
        assert float(found["one_step_error"]) < 1e-6
        assert float(found["rollout_error"]) < 1e-3
        assert float(found["outside_share"]) == float(found["diverged_share"]) == 0
        assert float(found["matched_error"]) < 1e-6


def test_a_constant_velocity_has_error_one() -> None:
    s = setting("chain", positions="relative", test_scenes=3)
    everything = Attributes(*(torch.tensor([-1e9, 1e9]).view(2, 1, 1).expand(2, 1, w) for w in (4, 3, 2)))
    found = chain.evaluate(s, seeds(0), 6, (lambda graph, topology: graph.nodes[..., :2], everything))
    torch.testing.assert_close(found["one_step_error"], torch.ones(1))
    torch.testing.assert_close(found["matched_error"], torch.ones(1))


def test_a_constant_state_of_a_chain_has_error_one() -> None:
    data = chain.scenes(setting("chain", test_scenes=3), seeds(0), "t", 5, test=True)
    still = State(*(part[:1].expand_as(part) for part in data.path))
    torch.testing.assert_close(chain.relative_error(still, data.path), torch.ones(1, 3).double())


def test_the_matched_error_leaves_out_masses_at_springs_that_training_never_saw() -> None:
    """The network is exact but at the stiffest spring, and the range of its springs ends below that."""
    s = setting("chain", positions="relative", test_scenes=3)
    stiffest = chain.scenes(s, seeds(0), "test", 5, test=True).chain.stiffness.max() - 1e-3
    low, high = (Attributes(*(torch.full((1, w), end) for w in (4, 3, 2))) for end in (-1e9, 1e9))
    high.edges[:, 0] = stiffest

    def predict(graph: Attributes, topology: Chain) -> torch.Tensor:
        wrong = (graph.edges[..., 0] > stiffest).any(-2).unsqueeze(-1)  # at one of a mass's two springs
        return exact(graph, topology) + torch.nn.functional.pad(wrong.float(), (0, 0, 1, 1))

    support = Attributes(*(torch.stack(ends) for ends in zip(low, high, strict=True)))
    found = chain.evaluate(s, seeds(0), 5, (predict, support))
    assert float(found["matched_error"]) < 1e-6
    everything = Attributes(*(torch.tensor([-1e9, 1e9]).view(2, 1, 1).expand(2, 1, w) for w in (4, 3, 2)))
    assert float(chain.evaluate(s, seeds(0), 5, (predict, everything))["matched_error"]) > 0.01


def test_every_step_of_training_takes_another_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[int]] = []

    def spy(*arguments: object) -> torch.Tensor:
        index = draw(*arguments)
        batches.append(index.flatten().tolist())
        return index

    monkeypatch.setattr(chain, "draw", spy)
    chain.train(setting("chain", steps=3, train_scenes=2), [0], [5], Work())
    assert len(batches) == len(set(map(tuple, batches))) == 3


def test_the_floor_is_that_of_an_error_of_the_stated_mean_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 chains of four masses that move: the mean of so many pushes is within a twentieth; the seed is fixed."""
    pushes: list[torch.Tensor] = []

    def spy(found: State, true: State) -> torch.Tensor:
        pushes.append(found.v[1] - true.v[1])
        return torch.ones(1, 1)

    monkeypatch.setattr(chain, "relative_error", spy)
    chain.floor_error(setting("chain", test_scenes=1000), seeds(0), 6, torch.tensor([0.04]))
    found = float(pushes[0][..., 1:-1, :].square().sum(-1).mean())
    assert found == pytest.approx(0.04, rel=0.05)


def test_the_floor_is_zero_without_noise_and_grows_with_it() -> None:
    s = setting("chain", test_scenes=3)
    floors = [float(chain.floor_error(s, seeds(0), 6, torch.tensor([m]))) for m in (0.0, 1e-4, 1e-2)]
    assert floors[0] == 0
    assert floors[0] < floors[1] < floors[2]


def test_least_squares_finds_a_linear_law() -> None:
    """Straight springs without gravity move along their line, where Hooke's law is linear in what it is given."""
    s = setting("chain", model="linear", positions="relative", gravity=False, train_scenes=40, test_scenes=10)
    trained = chain.train(s, [0], (5, 6), Work())
    found = chain.evaluate(s, seeds(0), 7, trained)
    assert float(found["one_step_error"]) < 1.0


@pytest.mark.parametrize("wrong", [torch.inf, torch.nan, 1e30])
def test_a_rollout_that_explodes_counts_as_diverged_with_the_largest_error(wrong: float) -> None:
    """The network is exact but for one chain in three, which it throws away in every step."""
    s = setting("chain", positions="relative", test_scenes=3)
    everything = Attributes(*(torch.tensor([-1e9, 1e9]).view(2, 1, 1).expand(2, 1, w) for w in (4, 3, 2)))

    def predict(graph: Attributes, topology: Chain) -> torch.Tensor:
        v = exact(graph, topology).clone()
        if v.shape[1] == 3:  # a step of a rollout; else all steps of all chains at once
            v[:, 1] = wrong
        return v

    found = chain.evaluate(s, seeds(0), 5, (predict, everything))
    assert float(found["diverged_share"]) == pytest.approx(1 / 3)
    assert float(found["rollout_error"]) < 1e-3  # a median, over all three
    data = chain.scenes(s, seeds(0), "test", 5, test=True)
    rolled = chain.relative_error(chain.trajectory(s, data, predict, Chain(5, True)), data.path)
    assert float(capped(rolled)[0][0, 1]) == CAP


# ------------------------------------------------------------------ demos that label


def test_lists_are_labelled_in_order() -> None:
    data = demo_tasks.sort(seeds(0, 1), 3, 6)
    value = data.graph.nodes[..., 0]
    ordered, order = value.sort(-1)
    assert torch.equal(value[data.nodes].view(2, 3), ordered[..., 0])
    for s in range(2):
        for b in range(3):
            links = {
                (int(k), int(j)) for j, k in data.edges[s, b].nonzero()
            }  # from a sender k to a receiver j
            assert links == set(pairwise(order[s, b].tolist()))


def test_shortest_paths_are_those_of_dijkstra() -> None:
    """By scipy; edges are labelled against the path, towards its start."""
    data = demo_tasks.shortest_path(seeds(0, 1), 20, 12)
    assert bool((data.mask == data.mask.mT).all())
    for s, b in product(range(2), range(20)):
        lengths = (data.graph.edges[s, b, ..., 0] * data.mask[s, b]).double().numpy()
        start, end = (int(data.graph.nodes[s, b, :, i].argmax()) for i in (3, 4))
        _, before = dijkstra(csr_array(lengths), indices=start, return_predecessors=True)
        path = [end]
        while path[-1] != start:
            path.append(int(before[path[-1]]))
        assert set(data.nodes[s, b].nonzero()[:, 0].tolist()) == set(path)
        labelled = {(int(sender), int(receiver)) for receiver, sender in data.edges[s, b].nonzero()}
        assert labelled == set(pairwise(path))


def test_geographic_graphs_hold_a_minimum_spanning_tree_and_what_is_near() -> None:
    place = torch.rand(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    distance, edges = demo_tasks.geographic(place, torch.zeros(30))  # without weight nothing is near
    tree = minimum_spanning_tree(csr_array(distance.numpy())).toarray() > 0
    assert torch.equal(edges, torch.from_numpy(tree | tree.T))
    heavy = demo_tasks.geographic(place, torch.full((30,), 1.0))[1]
    here = torch.eye(30, dtype=torch.bool)
    assert torch.equal(heavy, ((demo_tasks.THETA * distance**2 <= 2.0) & ~here) | edges)


def test_every_length_of_path_is_equally_likely() -> None:
    """A path of 4 nodes has 6, 4 and 2 ordered pairs 1, 2 and 3 apart; 3000 draws, four standard deviations."""
    far = (torch.arange(4)[:, None] - torch.arange(4)).abs().double()
    start, end = demo_tasks.ends(seeds(0), far.expand(1, 3000, 4, 4))
    share = torch.bincount((start - end).abs()[0], minlength=4) / 3000
    torch.testing.assert_close(share, torch.tensor([0, 1, 1, 1]) / 3, atol=4 * (2 / 9 / 3000) ** 0.5, rtol=0)


@pytest.mark.parametrize("name", ["sort", "shortest_path"])
def test_right_labels_have_hardly_an_error_and_no_labels_have_one(name: str) -> None:
    s = setting("demo", task=name)
    blank = demos.measured(s, [0], 9, lambda d: (torch.zeros_like(d.nodes), torch.zeros_like(d.edges)))
    assert blank[0]["label_error"] == 1.0
    right = demos.measured(s, [0], 9, lambda d: (d.nodes, d.edges))
    assert right[0]["label_error"] < 0.02
    assert right[0]["unsolved_share"] == 0.0


def test_the_reach_is_counted_on_the_graphs_that_networks_are_tested_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demos, "AT_ONCE", 16 * 9**2)  # three passes
    s = setting("demo", task="shortest_path", test_graphs=48, core_steps=3, size=9)
    seen: list[torch.Tensor] = []

    def look(data: demo_tasks.Task) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(data.nodes.sum(-1).flatten())
        return data.nodes, data.edges

    demos.measured(s, [4], 9, look)
    assert len(seen) == 3
    nodes = torch.cat(seen)
    ((_, row),) = limits.beyond_reach(s, [4], Context(ROOT))
    assert row == {"beyond_reach": pytest.approx(float((nodes > 4).float().mean()))}
    assert 0 < row["beyond_reach"] < 1


def test_a_rule_that_copies_is_right_where_there_is_nothing_to_search() -> None:
    """Of two nodes the path is the edge between them; of more it goes through others now and then."""
    s = setting("given", size=2, test_graphs=16)
    assert [row for _, row in limits.given(s, [4, 5], Context(ROOT))] == [{"copied_error": 0.0}] * 2
    ((_, row),) = limits.given({**s, "size": 12}, [4], Context(ROOT))
    assert 0.5 < row["copied_error"] < 1


@pytest.mark.parametrize("name", ["sort", "shortest_path"])
def test_a_task_of_one_node_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least 2, not 1"):
        demo_tasks.TASKS[name](seeds(0), 1, 1)


def test_the_surprise_is_the_cross_entropy_of_the_edges_there_are() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, 2, generator=generator)
    labels, mask = (torch.rand(2, 4, 5, generator=generator) < 0.5 for _ in range(2))
    expected = [
        torch.stack(
            [
                torch.nn.functional.cross_entropy(step[mask[s]], labels[s][mask[s]].long())
                for step in scores[s]
            ]
        ).mean()
        for s in range(2)
    ]
    torch.testing.assert_close(demos.surprise(scores, labels, mask), torch.stack(expected))


def test_the_last_step_of_the_core_labels_nodes_and_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that say no after every step of the core but the last."""
    s = setting("demo", task="sort", steps=0)
    predict = demos.train(s, [0], [8], Work())
    graphs = demos.task(s, seeds(0), "t", 0, 2, 4)

    def scores(*shape: int) -> torch.Tensor:
        says_yes = torch.zeros(1, s["core_steps"], 2, *shape, 2)
        says_yes[..., 0] = 0.5
        says_yes[:, -1, ..., 1] = 1.0
        return says_yes

    assert s["core_steps"] > 1
    monkeypatch.setattr(Ensemble, "__call__", lambda self, *_, per_seed: (scores(4), scores(4, 4)))
    assert all(bool(labels.all()) for labels in predict(graphs))


# ------------------------------------------------------------------ swimmers


def test_swimmers_turn_only_the_short_way() -> None:
    truth = torch.zeros(1, 1, 1, 6)
    found = truth.clone()
    found[..., 2] = 2 * torch.pi - 0.1
    torch.testing.assert_close(
        swimming.kinds(found, truth)[..., 1], torch.tensor([[0.01]]), atol=1e-6, rtol=0
    )


def test_a_constant_state_has_error_one_and_the_truth_none() -> None:
    pytest.importorskip("dm_control")
    data = swimming.episodes(setting("swimmer"), [0], "t", 2, 3)
    start, after = data.states[:, :, :1], data.states[:, :, 1:]
    torch.testing.assert_close(
        swimming.relative(start.expand_as(after), after, start), torch.ones(1, 2).double()
    )
    assert float(swimming.relative(after, after, start).max()) == 0


def test_a_rollout_is_given_the_action_of_each_step() -> None:
    pytest.importorskip("dm_control")
    s = setting("swimmer")
    data = swimming.episodes(s, [0], "test", s["test_episodes"], 3)
    graph = swimming.features(s, data.states[:, :, :-1], data.actions, data.limit)
    ends = torch.tensor([-1e9, 1e9]).view(2, 1, 1)
    everything = Attributes(*(ends.expand(2, 1, part.shape[-1]) for part in graph))
    given: list[torch.Tensor] = []

    def predict(state: torch.Tensor, action: torch.Tensor, limit: float) -> torch.Tensor:
        given.append(action)
        return state

    swimming.measured(s, [0], 3, (predict, everything))
    torch.testing.assert_close(torch.stack(given[1:], 2), data.actions)  # the first is of all steps at once


def test_an_answer_of_one_is_one_standard_deviation_of_the_change(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    s = setting("swimmer", steps=0)
    predict, _ = swimming.train(s, [0], [3], Work())
    data = swimming.episodes(s, [0], "train", s["episodes"], 3)
    change = (data.states[:, :, 1:] - data.states[:, :, :-1]).flatten(0, 3)
    state = data.states[:, :, 0]
    monkeypatch.setattr(Ensemble, "__call__", lambda self, *_, per_seed: torch.ones(state.shape))
    answer = predict(state, data.actions[:, :, 0], data.limit) - state
    torch.testing.assert_close(answer[0, 0, 0], change.std(0))


@pytest.mark.parametrize("positions", ["centred", "relative"])
def test_swimmers_see_no_absolute_place(positions: str) -> None:
    s = setting("swimmer", positions=positions)
    state = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    moved = state.clone()
    moved[..., :2] += 3.0
    action = torch.zeros(1, 2, 3, dtype=torch.float64)
    for a, b in zip(*(swimming.features(s, x, action, 1.0) for x in (state, moved)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_limit_that_all_swimmers_share_lies_in_its_range() -> None:
    pytest.importorskip("dm_control")
    s = setting("swimmer", limits="fixed", joint_range=True, steps=0, episodes=4)
    trained = swimming.train(s, [0], [3, 4], Work())
    (at_three,), (at_nine,) = (swimming.measured(s, [0], n, trained) for n in (3, 9))
    assert at_three["outside_share"] < 0.1  # the limit alone is an eighth
    assert at_three["outside_share"] < at_nine["outside_share"]


def test_held_out_sizes_are_held_out() -> None:
    assert 7 not in swimming.SIZES.trained
    assert max(swimming.SIZES.trained) == 9
    assert set(range(3, 16)) <= set(swimming.SIZES.tested)


# ------------------------------------------------------------------ training learns


def test_training_learns_and_the_untrained_network_has_not() -> None:
    context = Context(ROOT)
    error = {}
    for steps in (0, 150):
        s = setting("chain", steps=steps, train_scenes=20, test_scenes=5, batch=32, positions="relative")
        ((_, rows),) = chain.chain(s, [0], context)
        error[steps] = next(row["one_step_error"] for row in rows if row["size"] == 8)
    assert error[150] < 0.7 * error[0]


def test_the_layouts_of_a_batch_make_no_difference_to_an_interaction_network() -> None:
    """All pairs with a mask, as matrices: the block is the same."""
    data = domains.pairs(setting("prediction"), seeds(0), "t", 2, 3, 4, False)
    r, o = (x.float()[0] for x in experiments.inputs(data.x, data.v, data))
    network = InteractionNetwork(r.shape[-1], o.shape[-1], 8, relations=True, energy=False, seed=0)
    sender, receiver = data.topology.sender, data.topology.receiver
    full = r.new_zeros(3, 4, 4, r.shape[-1])
    full[:, receiver, sender] = r
    mask = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(
        network(AllPairs(4, mask), full, o), network(Incidence(sender, receiver, 4), r, o)
    )


@pytest.mark.parametrize(
    ("experiment", "sizes"),
    [
        ("chain", chain.SIZES),
        ("demo", demos.SIZES),
        ("swimmer", swimming.SIZES),
        ("swimmer_longer", swimming.SIZES),
    ],
)
def test_the_smoke_tier_has_a_size_to_train_alone_at(experiment: str, sizes: Sizes) -> None:
    """Or what proves the wiring of networks trained at each size would train none."""
    assert min(sizes.alone) <= setting(experiment)["largest"]
