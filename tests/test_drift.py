"""Drift: reruns are not flagged, injected shifts are found as often as stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from repro.drift import Drift, compare, corrected, drift, power
from repro.records import Record


def records(
    toy, shift: float = 0.0, seeds: range = range(20), draw_seed: int = 0, arms: int = 3
) -> list[Record]:
    draw = np.random.default_rng(draw_seed)
    return [
        toy.record("train", seed, {"accuracy": 80.0 + level + shift + draw.normal()}, {"level": float(level)})
        for level in range(arms)
        for seed in seeds
    ]


def between(toy, a: list[Record], b: list[Record]) -> Drift:
    (found,) = corrected([drift(toy.ledger, a, b)])
    return found


def test_an_identical_rerun_is_not_flagged(toy) -> None:
    toy.run("full")
    toy.run("full", folder=toy.root / "again")
    from repro.records import read_folder

    a, b = read_folder(toy.folder, "toy")[0], read_folder(toy.root / "again", "toy")[0]
    found = between(toy, a, b)
    assert len(found.shifts) > 10
    assert all(s.identical for s in found.shifts)
    assert (found.found, found.untested, found.only_a, found.only_b, found.other_code) == ([], [], 0, 0, [])


def test_a_shift_of_one_standard_deviation_on_the_same_seeds_is_found(toy) -> None:
    """The seeds repeat what they drew, as in a rerun elsewhere: 20 of them leave no doubt."""
    found = between(toy, records(toy), records(toy, shift=1.0)).found
    assert len(found) == 4, "in each of the three arms, and in all of them together"
    assert all(s.paired and s.p == 0 for s in found)
    assert [s.sds for s in found if not s.pooled] == pytest.approx([1.0] * 3, abs=0.4)


def test_the_stated_power_is_that_of_independent_seeds(toy) -> None:
    """20 other seeds, one shifted quantity: found in 80 % of cases, as `power` says.

    False-alarm rate: 200 cases, Binomial(200, 0.80); outside 0.68 to 0.91 with probability below 1e-4.
    """
    stated = power(1.0, 20)
    assert 0.75 < stated < 0.85
    hits = 0
    for k in range(200):
        a = records(toy, draw_seed=2 * k, arms=1)
        b = records(toy, 1.0, range(20, 40), 2 * k + 1, arms=1)
        hits += bool(between(toy, a, b).found)
    assert 0.68 < hits / 200 < 0.91


def test_sets_of_the_same_law_are_rarely_flagged(toy) -> None:
    """At most ALPHA over all comparisons: 300 cases, more than 29 flagged with probability below 1e-3."""
    flagged = 0
    for k in range(300):
        a = records(toy, draw_seed=2 * k, seeds=range(8))
        b = records(toy, draw_seed=2 * k + 1, seeds=range(8 * (k % 2), 8 + 8 * (k % 2)))
        flagged += bool(between(toy, a, b).found)
    assert flagged <= 29


@pytest.mark.parametrize(("few", "many"), [(2, 20), (3, 20), (5, 60)])
def test_a_few_seeds_against_many_are_rarely_flagged(toy, few: int, many: int) -> None:
    """At most ALPHA over all comparisons: 200 cases, more than 21 flagged with probability below 1e-3."""
    flagged = 0
    for k in range(200):
        a = records(toy, draw_seed=2 * k, seeds=range(few))
        b = records(toy, draw_seed=2 * k + 1, seeds=range(100, 100 + many))
        flagged += bool(between(toy, a, b).found)
    assert flagged <= 21


def test_a_small_shift_of_all_arms_shows_in_all_arms_together(toy) -> None:
    """Half a standard deviation in each of 60 arms, 10 other seeds: hardly one arm shows it alone."""
    a, b = records(toy, arms=60, seeds=range(10)), records(toy, 0.5, range(10, 20), 1, arms=60)
    found = between(toy, a, b).found
    assert "train" in [s.arm for s in found]
    assert len(found) < 5


def test_rounding_is_no_drift_however_regular(toy) -> None:
    a = records(toy)
    b = [replace(r, rows=[{"accuracy": r.rows[0]["accuracy"] + 1e-4}]) for r in a]
    found = between(toy, a, b)
    assert found.found == []
    assert not any(s.identical for s in found.shifts)


def test_what_cannot_be_tested_is_named(toy) -> None:
    a = [toy.record("counting", 0, {"count": 12, "excess": 0})]
    b = [toy.record("counting", 0, {"count": 13, "excess": 0})]
    found = between(toy, a, b)
    assert [s.quantity for s in found.untested] == ["count"]
    assert found.found == []


def test_values_that_stop_being_finite_are_drift(toy) -> None:
    a = records(toy, arms=1)
    b = [replace(r, rows=[{"accuracy": float("nan")}]) if r.seed < 15 else r for r in a]
    found = between(toy, a, b)
    assert [s.quantity for s in found.found] == ["accuracy is finite"]


def test_times_do_not_count(toy) -> None:
    toy.edit("    function: experiments.train", "    alone: true\n    function: experiments.train")
    found = between(toy, records(toy), records(toy, shift=9.0))
    assert found.found == []
    assert any(s.drifted for s in found.shifts)


def test_other_code_and_arms_of_one_set_only_are_named(toy) -> None:
    a = records(toy)
    b = [replace(r, code="f" * 16) for r in records(toy, arms=2)]
    found = between(toy, a, b)
    assert (found.only_a, found.only_b, found.other_code) == (1, 0, ["train"])


@pytest.mark.parametrize(("n", "paired"), [(20, True), (11, True), (9, False), (0, False)])
def test_seeds_are_paired_where_most_are_the_same(n: int, paired: bool) -> None:
    a = {s: float(s % 3) for s in range(20)}
    b = {s: float(s % 3) for s in range(20 - n, 40 - n)}
    assert compare(a, b)[0] is paired


def test_drift_on_the_command_line(toy, ask) -> None:
    toy.run("full", "train")
    other = toy.root / "other"
    toy.run("full", "train", folder=other)
    same = ask("drift", "local", str(other))
    assert (same.code, "0 of" in same.out) == (0, True)
    toy.write_records([replace(r, rows=[{"accuracy": 99.0 + r.seed}]) for r in records(toy)], other)
    toy.write_records(records(toy))
    assert ask("drift", "local", str(other)).code == 1
    nothing = ask("drift", "local", "reference")
    assert (nothing.code, "nothing to compare" in nothing.err) == (2, True)
