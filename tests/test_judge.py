"""Verdicts on hand-made records: each kind of claim, and what must never reach a comparison."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from repro.deviations import effects, turned
from repro.errors import LedgerError
from repro.evidence import Evidence
from repro.judge import Verdict, judge
from repro.junit import write_junit
from repro.known_exceptions import excuse, known_exceptions
from repro.plan import claim_arms, comparisons, setting_hash
from repro.records import Record
from repro.statistics import ALPHA, Outcome, Published, judge_value
from repro.words import interval, number, tally

NAN, INF = math.nan, math.inf
SPREAD = (-0.5, 0.5, -0.25, 0.25, 0.0, 0.4, -0.4, 0.1, -0.1, 0.0)  # mean 0


def train(
    toy, mean: float, n: int = 5, first: int = 0, scale: float = 1.0, **setting: object
) -> list[Record]:
    """Records of `train` at a setting, around a mean."""
    return [
        toy.record("train", first + i, {"accuracy": mean + scale * SPREAD[i]}, setting=setting)
        for i in range(n)
    ]


def growth(toy, exponent: float, n: int = 4, **setting: object) -> list[Record]:
    return [
        toy.record(
            "growth",
            seed,
            [
                {"size": float(s), "cost": s**exponent * (1 + 0.01 * SPREAD[seed] * i)}
                for i, s in enumerate((1, 2, 4, 8, 16))
            ],
            setting=setting,
        )
        for seed in range(n)
    ]


def counting(toy, *rows: tuple[float, float]) -> list[Record]:
    return [toy.record("counting", i, {"count": c, "excess": e}) for i, (c, e) in enumerate(rows)]


def orderings(toy, b_minus_a: Sequence[float], n: int = 5, scale: float = 0.3) -> list[Record]:
    """Arms a and b at both levels, b ahead by so much at each."""
    records = []
    for level, ahead in zip((70.0, 90.0), b_minus_a, strict=True):
        records += train(toy, level, n, level=level, variant="a")
        records += [
            toy.record("train", i, {"accuracy": level + SPREAD[i] + ahead + scale * SPREAD[-1 - i]},
                       setting={"level": level, "variant": "b"})
            for i in range(n)
        ]  # fmt: skip
    return records


def one(toy, claim: str, records: Sequence[Record]) -> Verdict:
    return toy.judge(records)[claim]


# ------------------------------------------------------------------ each kind


@pytest.mark.parametrize(
    ("mean", "scale", "outcome"),
    [
        (80.2, 1.0, "reproduced"),
        (77.5, 0.5, "reproduced"),
        (90.0, 1.0, "better"),
        (70.0, 1.0, "contradicted"),
        (82.9, 1.0, "inconclusive"),
        (80.0, 30.0, "inconclusive"),
    ],
)
def test_value(toy, mean: float, scale: float, outcome: str) -> None:
    verdict = one(toy, "V1", train(toy, mean, scale=scale))
    assert verdict.outcome == outcome
    assert verdict.measured == pytest.approx(mean)
    assert verdict.interval is not None
    assert verdict.interval[0] < mean < verdict.interval[1]
    assert (verdict.published, verdict.margin, verdict.n, verdict.tier) == (80.0, 3.0, 5, "quick")
    assert len(verdict.records) == 5
    assert all(name.startswith("toy/train/") for name in verdict.records)


def test_a_lower_value_is_better_where_the_ledger_says_so(toy) -> None:
    toy.edit("    better: higher\n", "    better: lower\n")
    assert one(toy, "V1", train(toy, 70.0)).outcome == "better"
    assert one(toy, "V1", train(toy, 90.0)).outcome == "contradicted"


def test_no_side_is_better_where_the_ledger_does_not_say(toy) -> None:
    toy.edit("    better: higher\n", "")
    assert [one(toy, "V1", train(toy, mean)).outcome for mean in (70.0, 90.0)] == ["contradicted"] * 2


def test_a_baseline_that_is_better_than_printed_is_no_success_of_the_paper(toy) -> None:
    toy.edit("    published: {value: 80.0}\n", "    published: {value: 80.0}\n    baseline: true\n")
    outcomes = [one(toy, "V1", train(toy, mean)).outcome for mean in (70.0, 80.0, 90.0)]
    assert outcomes == ["contradicted", "reproduced", "contradicted"]


def test_value_at_one_index(toy) -> None:
    toy.edit(
        "  - id: C1\n",
        "  - id: V2\n    kind: value\n    statement: At 8 it is 8.\n    anchor: {place: page 9, evidence: paper}\n"
        "    measure: {experiment: growth, quantity: cost, setting: {size: 8}}\n"
        "    published: {value: 8.0}\n    margin: {value: 2.0, reason: it is a toy}\n  - id: C1\n",
    )
    verdict = one(toy, "V2", growth(toy, 1.0))
    assert (verdict.outcome, verdict.n, verdict.measured) == ("reproduced", 4, pytest.approx(8.0, abs=0.1))


@pytest.mark.parametrize(
    ("ahead", "outcome"),
    [
        ((2.0, 2.0), "reproduced"),
        ((2.0, -2.0), "contradicted"),
        ((-2.0, 2.0), "contradicted"),
        ((2.0, 0.01), "inconclusive"),
    ],
)
def test_ordering_holds_in_every_place(toy, ahead: tuple[float, float], outcome: str) -> None:
    verdict = one(toy, "O1", orderings(toy, ahead))
    assert verdict.outcome == outcome
    assert verdict.measured == pytest.approx(min(ahead), abs=0.2), "the weakest difference"
    assert len(verdict.records) == 20
    assert verdict.n == 5


def test_ordering_is_paired_by_seed(toy) -> None:
    """Seeds differ by tens, arms by a tenth: only pairs show it. Seeds of one arm alone do not count."""
    records = [
        toy.record("train", seed, {"accuracy": 50 + 10 * seed + (0.1 + 0.01 * SPREAD[seed]) * (variant == "b")},
                   setting={"variant": variant, "level": level})
        for variant in "ab" for level in (70.0, 90.0) for seed in range(5)
    ]  # fmt: skip
    extra = train(toy, 99.0, 3, first=7, level=70.0, variant="a")
    verdict = one(toy, "O1", records + extra)
    assert (verdict.outcome, verdict.n) == ("reproduced", 5)
    assert verdict.measured == pytest.approx(0.1, abs=0.01)


def test_ordering_by_a_stated_difference(toy) -> None:
    toy.edit("    across: {level: [70.0, 90.0]}\n", "    across: {level: [70.0, 90.0]}\n    at_least: 3.0\n")
    assert one(toy, "O1", orderings(toy, (2.0, 2.0))).outcome == "contradicted"
    assert one(toy, "O1", orderings(toy, (4.0, 4.0))).outcome == "reproduced"
    assert one(toy, "O1", orderings(toy, (4.0, 4.0))).published == 3.0


def test_ordering_along_the_index(toy) -> None:
    toy.edit(
        "    greater: {variant: b}\n    than: [{variant: a}]\n    across: {level: [70.0, 90.0]}\n",
        "    greater: {size: 8}\n    than: [{size: 1}, {size: 4}]\n",
    )
    before = "Variant b is better than a.\n    anchor: {place: page 2, evidence: paper}\n    measure: "
    toy.edit(
        before + "{experiment: train, quantity: accuracy}", before + "{experiment: growth, quantity: cost}"
    )
    verdict = one(toy, "O1", growth(toy, 1.0))
    assert (verdict.outcome, verdict.n) == ("reproduced", 4)
    assert verdict.measured == pytest.approx(4.0, abs=0.2)
    assert one(toy, "O1", growth(toy, -1.0)).outcome == "contradicted"


@pytest.mark.parametrize(
    ("mean", "outcome"), [(80.0, "reproduced"), (60.0, "contradicted"), (70.05, "inconclusive")]
)
def test_threshold(toy, mean: float, outcome: str) -> None:
    verdict = one(toy, "H1", train(toy, mean))
    assert (verdict.outcome, verdict.published) == (outcome, 70.0)
    assert verdict.measured == pytest.approx(mean)


def test_an_interval_of_folds_is_wider_by_what_they_share(toy) -> None:
    """Of five folds: √(1/5 + 1/4) for √(1/5)."""
    seeds = one(toy, "H1", train(toy, 80.0)).interval
    toy.edit("    function: experiments.train\n", "    function: experiments.train\n    folds: 5\n")
    folds = one(toy, "H1", train(toy, 80.0)).interval
    assert seeds is not None
    assert folds is not None
    assert folds[1] - folds[0] == pytest.approx(1.5 * (seeds[1] - seeds[0]))


@pytest.mark.parametrize(
    ("power", "outcome"),
    [(1.05, "reproduced"), (1.5, "contradicted"), (0.5, "contradicted"), (1.2, "inconclusive")],
)
def test_scaling(toy, power: float, outcome: str) -> None:
    verdict = one(toy, "S1", growth(toy, power))
    assert verdict.outcome == outcome
    assert verdict.measured == pytest.approx(power, abs=0.01), "the slope itself"
    assert verdict.interval is not None
    assert verdict.interval[0] <= verdict.measured <= verdict.interval[1]
    assert (verdict.published, verdict.margin, verdict.n) == (1.0, 0.2, 4)


def test_scaling_leaves_out_small_sizes(toy) -> None:
    """The toy's claim begins at size 2: what happens at 1 is not its subject."""
    records = growth(toy, 1.0)
    bent = [
        replace(r, rows=[{**row, "cost": 50.0} if row["size"] == 1 else row for row in r.rows])
        for r in records
    ]
    assert one(toy, "S1", bent).measured == pytest.approx(one(toy, "S1", records).measured)
    toy.edit("    smallest: 2\n", "")
    assert one(toy, "S1", bent).outcome == "contradicted"


@pytest.mark.parametrize(
    ("power", "outcome"), [(1.0, "reproduced"), (-1.0, "contradicted"), (0.0, "inconclusive")]
)
def test_curve(toy, power: float, outcome: str) -> None:
    """Cost is better when it is lower: the best point is the cheapest."""
    assert one(toy, "C1", growth(toy, power)).outcome == outcome


@pytest.mark.parametrize(
    ("rows", "outcome", "measured"),
    [
        ([(12, 0), (12, 0)], "reproduced", 0),
        ([(12, 0), (12, 3)], "contradicted", 3),
        ([(12, 3), (12, 0)], "contradicted", 3),
        ([(12, 0), (12, INF)], "contradicted", INF),
        ([(12, 0)], "inconclusive", 0),
    ],
)
def test_property(toy, rows: list[tuple[float, float]], outcome: str, measured: float) -> None:
    verdict = one(toy, "P1", counting(toy, *rows))
    assert (verdict.outcome, verdict.measured, verdict.n) == (outcome, measured, len(rows))


def test_property_holds_in_every_row_of_every_place(toy) -> None:
    toy.edit(
        "measure: {experiment: counting, quantity: excess}\n    at_most: 0",
        "measure: {experiment: growth, quantity: cost}\n    at_most: 20\n    across: {power: [1.0, 0.5]}",
    )
    toy.edit("    quantities: [count, excess]\n", "    quantities: [count]\n")
    text = toy.file.read_text()
    toy.write("paper.yaml", text.replace("  excess:\n    meaning: how much too much\n    unit: things\n", ""))
    records = growth(toy, 1.0) + growth(toy, 0.5, power=0.5)
    verdict = one(toy, "P1", records)
    assert (verdict.outcome, verdict.n) == ("reproduced", len(records))
    assert verdict.measured == pytest.approx(16.0, abs=1)
    records[-1].rows[3]["cost"] = 20.5
    verdict = one(toy, "P1", records)
    assert (verdict.outcome, verdict.measured) == ("contradicted", 20.5)
    assert one(toy, "P1", growth(toy, 1.0)).outcome == "not_run", "one place has no runs"


@pytest.mark.parametrize(
    ("found", "rounding", "outcome"),
    [
        (12.0, 0.0, "reproduced"),
        (12.0 + 1e-12, 0.0, "reproduced"),
        (13.0, 0.0, "contradicted"),
        (12.05, 0.05, "reproduced"),
        (12.06, 0.05, "contradicted"),
        (11.94, 0.05, "contradicted"),
    ],
)
def test_audit(toy, found: float, rounding: float, outcome: str) -> None:
    toy.edit("published: {value: 12}", f"published: {{value: 12, rounding: {rounding}}}")
    verdict = one(toy, "A1", counting(toy, (found, 0)))
    assert (verdict.outcome, verdict.published, verdict.measured, verdict.n) == (outcome, 12.0, found, 1)
    assert "printed 12" in verdict.reasons[0]


@pytest.mark.parametrize(("found", "outcome"), [(12.35, "reproduced"), (12.36, "contradicted")])
def test_an_audit_allows_for_the_rounding_of_what_it_is_recomputed_from(
    toy, found: float, outcome: str
) -> None:
    toy.edit("published: {value: 12}", "published: {value: 12, rounding: 0.05}\n    inputs: 0.3")
    verdict = one(toy, "A1", counting(toy, (found, 0)))
    assert verdict.outcome == outcome
    assert ("can move it by 0.3" in verdict.reasons[0]) == (outcome == "reproduced")


def test_audit_whose_runs_disagree_is_an_error(toy) -> None:
    assert one(toy, "A1", counting(toy, (12, 0), (13, 0))).outcome == "error"


# ------------------------------------------------------------------ what must not reach the comparison


def test_nothing_was_run(toy) -> None:
    verdicts = toy.judge([])
    assert {v.outcome for v in verdicts.values()} == {"not_run"}
    assert {tuple(v.reasons) for v in verdicts.values()} == {("no runs yet",)}
    assert list(verdicts) == [c.id for c in toy.ledger.all_claims()]


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": "shuffled"},
        {"variant": "b"},
        {"steps": 3},
        {"steps": 101},
        {"level": 80.5},
        {"steps": 100.0},
    ],
)
def test_another_setting_is_not_compared(toy, wrong: dict[str, object]) -> None:
    """A perfect number of another split, another protocol, or the smoke tier's shortened one."""
    verdict = one(toy, "V1", train(toy, 80.0, 10, **wrong))
    assert (verdict.outcome, verdict.measured, verdict.records, verdict.n) == ("not_run", None, [], 0)


def test_other_settings_are_not_mixed_in(toy) -> None:
    right = train(toy, 70.0, 4)
    wrong = (
        train(toy, 80.0, 10, labels="shuffled")
        + train(toy, 80.0, 10, steps=3)
        + train(toy, 80.0, 10, variant="c")
    )
    verdict = one(toy, "V1", right + wrong)
    assert (verdict.n, verdict.measured) == (4, pytest.approx(70.0))
    assert sorted(verdict.records) == sorted(r.id for r in right)
    assert verdict.controls == {"shuffled": "reproduced"}


def test_another_experiment_or_quantity_is_not_compared(toy) -> None:
    toy.edit("    quantities: [count, excess]\n", "    quantities: [count, excess, accuracy]\n")
    strays = [toy.record("counting", s, {"count": 12, "excess": 0, "accuracy": 80.0}) for s in range(5)]
    verdicts = toy.judge(strays)
    assert verdicts["V1"].outcome == "not_run"
    assert verdicts["A1"].measured == 12, "not the accuracy beside it"


def test_smoke_records_are_not_compared(toy) -> None:
    records = train(toy, 80.0, 10, steps=3) + growth(toy, 1.0, largest=4)
    verdicts = toy.judge(records)
    assert {verdicts[c].outcome for c in ("V1", "H1", "S1", "C1", "T1-a-low")} == {"not_run"}


def test_a_reduced_tier_supports_only_the_kinds_it_lists(toy) -> None:
    quick = growth(toy, 1.0, 3, largest=16)
    verdicts = toy.judge(quick)
    assert (verdicts["S1"].outcome, verdicts["S1"].tier) == ("reproduced", "quick")
    assert (verdicts["C1"].outcome, verdicts["C1"].measured) == ("inconclusive", None)
    both = toy.judge(quick + growth(toy, 1.5, 4))
    assert (both["S1"].outcome, both["S1"].tier, both["S1"].n) == ("contradicted", "full", 4)


def test_a_tier_that_has_begun_does_not_take_the_word_from_one_that_is_done(toy) -> None:
    quick = growth(toy, 1.0, 3, largest=16)
    tiers = {n: toy.judge(quick + growth(toy, 1.5, n))["S1"].tier for n in (1, 2, 3, 4)}
    assert tiers == {1: "quick", 2: "quick", 3: "full", 4: "full"}
    found = toy.judge(quick + growth(toy, 1.5, 3))["S1"]
    assert found.reasons[-1] == "3 of the 4 seeds that the full tier plans are there."
    unsupported = toy.judge(quick + growth(toy, 1.0, 2))["C1"]
    assert (unsupported.tier, unsupported.n) == ("full", 2), "quick has no word to lose"


def test_a_property_is_not_reproduced_before_all_seeds_are_there(toy) -> None:
    toy.edit("full: {seeds: 2}}\n  reading", "full: {seeds: 3}}\n  reading")
    toy.edit("quick: {seeds: 2}, full: {seeds: 3}", "full: {seeds: 3}")
    assert one(toy, "P1", counting(toy, (12, 0), (12, 0))).outcome == "inconclusive"
    assert one(toy, "P1", counting(toy, (12, 0), (12, 0), (12, 0))).outcome == "reproduced"
    assert one(toy, "P1", counting(toy, (12, 0), (12, 1))).outcome == "contradicted"


def test_a_failed_property_says_what_a_single_run_would_have_shown(toy) -> None:
    found = one(toy, "P1", counting(toy, (12, 0), (12, 0), (12, 0), (12, 3)))
    assert found.reasons[0].endswith("a single run would show no failure with probability 0.75.")
    assert "single run" not in one(toy, "P1", counting(toy, (12, 3), (12, 3))).reasons[0]


def test_times_are_of_one_machine(toy) -> None:
    toy.edit("    index: size\n", "    index: size\n    alone: true\n")
    assert "Times of one machine" in one(toy, "S1", growth(toy, 1.0, 4)).reasons[-1]


def test_the_long_tier_goes_before_quick_and_after_full(toy) -> None:
    toy.edit(
        "supports: [scaling]}\n      full",
        "supports: [scaling]}\n      long: {seeds: 4, set: {largest: 32}}\n      full",
    )
    quick, longer, full = (growth(toy, 1.0, 3, largest=n) for n in (16, 32, 64))
    assert toy.judge(quick)["S1"].tier == "quick"
    found = toy.judge(quick + longer)["S1"]
    assert (found.tier, found.outcome) == ("long", "inconclusive"), (
        "it is reduced, and lists no kind of claim"
    )
    assert toy.judge(quick + longer + full)["S1"].tier == "full"


def test_runs_that_two_tiers_share_are_named_by_how_many_there_are(toy) -> None:
    toy.edit("      quick: {seeds: 5}\n", "      quick: {seeds: 5}\n      long: {seeds: 7}\n")
    tiers = {n: toy.judge(train(toy, 80.0, n))["H1"].tier for n in (5, 6, 7, 9, 10)}
    assert tiers == {5: "quick", 6: "quick", 7: "long", 9: "long", 10: "full"}


def test_a_claim_is_judged_only_in_the_tiers_that_run_it(toy) -> None:
    """Another claim's records do not count for one that leaves the tier out."""
    toy.edit("    slope: 1.0\n", "    slope: 1.0\n    tiers: [smoke, full]\n")
    quick = growth(toy, 1.0, 3, largest=16)
    assert toy.judge(quick)["S1"].outcome == "not_run"
    assert toy.judge(quick + growth(toy, 1.0, 2))["S1"].tier == "full"


def test_a_claim_needs_all_its_arms(toy) -> None:
    records = orderings(toy, (2.0, 2.0))
    without = [r for r in records if not (r.setting["variant"] == "b" and r.setting["level"] == 90.0)]
    assert one(toy, "O1", records).outcome == "reproduced"
    assert one(toy, "O1", without).outcome == "not_run"


def test_one_run_never_reproduces(toy) -> None:
    """Except an audit, where nothing is drawn."""
    records = (
        train(toy, 80.0, 1) + growth(toy, 1.0, 1) + counting(toy, (12, 0)) + orderings(toy, (2.0, 2.0), 1)
    )
    records += [toy.record("reading", 0, {"answer": 5.0})]
    verdicts = toy.judge(records)
    assert verdicts["A1"].outcome == "reproduced"
    for claim in ("T1-a-low", "V1", "O1", "H1", "S1", "C1", "P1", "D1"):
        assert (claim, verdicts[claim].outcome) == (claim, "inconclusive")
        assert verdicts[claim].n == 1
        json.dumps(verdicts[claim].as_json(), allow_nan=False)


def test_equal_runs_never_reproduce(toy) -> None:
    """Runs without any spread are one run, many times."""
    verdicts = toy.judge(train(toy, 80.0, 10, scale=0.0) + growth(toy, 1.0, 4))
    assert verdicts["V1"].outcome == "inconclusive"
    assert verdicts["H1"].outcome == "inconclusive"


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("claim", ["V1", "H1", "O1", "S1", "C1", "A1"])
def test_what_is_no_number_is_an_error(toy, claim: str, bad: float) -> None:
    records = {
        "V1": train(toy, 80.0),
        "H1": train(toy, 80.0),
        "O1": orderings(toy, (2.0, 2.0)),
        "S1": growth(toy, 1.0),
        "C1": growth(toy, 1.0),
        "A1": counting(toy, (12, 0), (12, 0)),
    }[claim]
    quantity = next(name for name in records[1].rows[-1] if name in ("accuracy", "cost", "count"))
    records[1].rows[-1][quantity] = bad
    verdict = one(toy, claim, records)
    assert (verdict.outcome, verdict.measured, verdict.interval) == ("error", None, None)
    assert "finite" in verdict.reasons[0]
    json.dumps(verdict.as_json(), allow_nan=False)


def test_nan_is_no_violation_and_no_success_of_a_property(toy) -> None:
    for rows in ([(12, 0), (12, NAN)], [(12, NAN), (12, 0)]):
        verdict = one(toy, "P1", counting(toy, *rows))
        assert (verdict.outcome, verdict.measured) == ("error", None)


def test_a_gap_in_a_curve_is_an_error(toy) -> None:
    records = growth(toy, 1.0)
    del records[2].rows[1]
    assert one(toy, "S1", records).outcome == "error"


def test_nan_in_one_family_member_costs_no_other(toy) -> None:
    records = train(toy, 70.0, level=70.0) + train(toy, 90.0, level=90.0)
    records[0].rows[0]["accuracy"] = NAN
    verdicts = toy.judge(records)
    assert [verdicts[f"T1-a-{column}"].outcome for column in ("low", "high")] == ["error", "reproduced"]


# ------------------------------------------------------------------ controls


def test_a_claim_that_its_control_passes_is_void(toy) -> None:
    verdict = one(toy, "V1", train(toy, 80.0) + train(toy, 80.5, labels="shuffled"))
    assert verdict.outcome == "error"
    assert verdict.reasons[0] == "void: the control `shuffled`, which must fail, passes too"
    assert verdict.controls == {"shuffled": "reproduced"}
    assert verdict.measured == pytest.approx(80.0), "the number stays visible"


def test_a_control_that_is_better_passes_too(toy) -> None:
    verdict = one(toy, "V1", train(toy, 80.0) + train(toy, 95.0, labels="shuffled"))
    assert (verdict.outcome, verdict.controls) == ("error", {"shuffled": "better"})


@pytest.mark.parametrize(
    ("mean", "scale", "outcome"), [(50.0, 1.0, "contradicted"), (80.0, 30.0, "inconclusive")]
)
def test_a_control_that_fails_is_as_it_should_be(toy, mean: float, scale: float, outcome: str) -> None:
    verdict = one(toy, "V1", train(toy, 80.0) + train(toy, mean, scale=scale, labels="shuffled"))
    assert (verdict.outcome, verdict.controls) == ("reproduced", {"shuffled": outcome})
    assert any("not shown to fail" in r for r in verdict.reasons) == (outcome == "inconclusive")


@pytest.mark.parametrize(
    ("claim", "value", "outcome"),
    [
        ("V1", 80.0, "reproduced"),
        ("V1", 50.0, "contradicted"),
        ("H1", 95.0, "reproduced"),
        ("H1", 50.0, "contradicted"),
    ],
)
def test_a_control_with_one_value_in_all_runs_is_told_by_its_side(
    toy, claim: str, value: float, outcome: str
) -> None:
    """As an untrained model's often is. It voids a claim that it meets, and fails plainly where it does not."""
    toy.edit("    bound: 70.0\n", "    bound: 70.0\n    controls: [shuffled]\n")
    control = train(toy, value, scale=0.0, labels="shuffled")
    verdict = one(toy, claim, train(toy, 80.0) + control)
    assert verdict.controls == {"shuffled": outcome}
    assert verdict.outcome == ("error" if outcome == "reproduced" else "reproduced")
    assert not any("not shown to fail" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("value", "outcome"), [(83.4, "reproduced"), (83.6, "contradicted")])
def test_a_control_with_one_value_in_all_runs_is_given_the_printed_rounding(
    toy, value: float, outcome: str
) -> None:
    """What is printed as 80 may be 80.5, and 83.4 is within 3 of that."""
    toy.edit("published: {value: 80.0}\n", "published: {value: 80.0, rounding: 0.5}\n")
    verdict = one(toy, "V1", train(toy, 80.0) + train(toy, value, scale=0.0, labels="shuffled"))
    assert verdict.controls == {"shuffled": outcome}


@pytest.mark.parametrize(("ahead", "outcome"), [(2.0, "reproduced"), (0.0, "contradicted")])
def test_an_ordering_whose_control_has_one_difference_in_all_runs(toy, ahead: float, outcome: str) -> None:
    toy.edit(
        "    across: {level: [70.0, 90.0]}\n", "    across: {level: [70.0, 90.0]}\n    controls: [shuffled]\n"
    )
    control = [
        toy.record(
            "train",
            i,
            {"accuracy": 50.0 + more},
            setting={"level": level, "variant": variant, "labels": "shuffled"},
        )
        for level in (70.0, 90.0)
        for variant, more in (("a", 0.0), ("b", ahead))
        for i in range(5)
    ]
    verdict = one(toy, "O1", orderings(toy, (2.0, 2.0)) + control)
    assert verdict.controls == {"shuffled": outcome}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("set: {labels: shuffled}", "set: {variant: a}", "both sides of the comparison"),
        ("set: {labels: shuffled}", 'set: {labels: "true"}', "changes nothing"),
    ],
)
def test_a_control_that_cannot_fail_is_refused(toy, old: str, new: str, said: str) -> None:
    toy.edit(
        "    across: {level: [70.0, 90.0]}\n", "    across: {level: [70.0, 90.0]}\n    controls: [shuffled]\n"
    )
    toy.edit("    controls: [shuffled]\n  - id: O1", "  - id: O1")
    toy.edit(old, new)
    with pytest.raises(LedgerError, match=said):
        toy.ledger()


def test_a_run_without_the_row_that_counts_is_an_error_not_left_out(toy) -> None:
    toy.edit(
        "  - id: C1\n",
        "  - id: H2\n    kind: threshold\n    statement: It costs less than 99.\n"
        "    anchor: {place: Figure 1, evidence: paper}\n"
        "    measure: {experiment: growth, quantity: cost, setting: {size: 8}}\n"
        "    bound: 99\n    direction: below\n  - id: C1\n",
    )
    records = growth(toy, 1.0)
    assert one(toy, "H2", records).outcome == "reproduced"
    records[2].rows[:] = [row for row in records[2].rows if row["size"] != 8]
    verdict = one(toy, "H2", records)
    assert (verdict.outcome, verdict.reasons) == ("error", ["Seed 2 has 0 rows at 8, where one is needed."])
    records[2].rows.extend([{"size": 8.0, "cost": 8.0}, {"size": 8.0, "cost": 1e6}])
    assert one(toy, "H2", records).outcome == "error"


def test_a_control_that_was_not_run_is_told(toy) -> None:
    verdict = one(toy, "V1", train(toy, 80.0))
    assert verdict.outcome == "reproduced"
    assert "the control `shuffled` has not been run" in verdict.reasons
    assert verdict.controls == {}


def test_a_control_a_run_of_which_failed_is_an_error(toy) -> None:
    """The seeds that did not fail are no fair sample of the control either."""
    claim = toy.ledger.claim("V1")
    (arm,) = claim_arms(toy.ledger, claim, "quick", toy.ledger.controls["shuffled"].set)
    note = {"state": "failed", "message": "no memory", "seeds": [4]}
    records = train(toy, 80.0) + train(toy, 50.0, 4, labels="shuffled")
    verdict = toy.judge(records, problems={f"train/{setting_hash(arm.setting)}": note})["V1"]
    assert verdict.outcome == "error"
    assert "no memory" in verdict.reasons[0]


def test_a_broken_control_is_an_error(toy) -> None:
    control = train(toy, 50.0, labels="shuffled")
    control[0].rows[0]["accuracy"] = NAN
    assert one(toy, "V1", train(toy, 80.0) + control).outcome == "error"


# ------------------------------------------------------------------ families


def table(toy, off: float, cells: Sequence[tuple[str, float, float]]) -> list[Record]:
    return [
        record
        for variant, level, published in cells
        for record in train(toy, published + off, variant=variant, level=level, scale=2.0)
    ]


CELLS = [("a", 70.0, 70.0), ("a", 90.0, 90.0), ("b", 70.0, 72.0), ("b", 90.0, 92.0)]


def test_claims_of_a_table_are_corrected_together(toy) -> None:
    """Each alone would just do; four of them that just do are one too many by Holm's method."""
    off = 1.9
    p = judge_value(
        [70 + off + 2 * SPREAD[i] for i in range(5)], Published(70.0, n=10), 3.0, True
    ).p_equivalence
    assert p is not None
    assert ALPHA / 4 < p < ALPHA, f"the premise of this test: {p}"
    alone = one(toy, "T1-a-low", table(toy, off, CELLS[:1]))
    assert alone.outcome == "reproduced"
    verdicts = toy.judge(table(toy, off, CELLS))
    family = [v for name, v in verdicts.items() if name.startswith("T1-")]
    assert [v.outcome for v in family] == ["inconclusive"] * 4
    assert all(any("Holm" in reason for reason in v.reasons) for v in family)
    assert all(v.measured is not None and v.p_equivalence == pytest.approx(p) for v in family)


def test_certain_claims_of_a_table_stay(toy) -> None:
    verdicts = toy.judge(table(toy, 0.1, CELLS))
    assert {verdicts[f"T1-{row}-{column}"].outcome for row in "ab" for column in ("low", "high")} == {
        "reproduced"
    }


def test_the_strictest_level_of_a_family_counts_for_all_its_claims(toy) -> None:
    """Growing runs of one experiment until they settle something is a choice that the whole family may profit from."""
    for claim in ("    bound: 70.0\n", "    slope: 1.0\n"):
        toy.edit(claim, f"{claim}    family: both\n")
    records = train(toy, 71.0) + growth(toy, 1.0)  # p = 0.0024 of H1, next to nothing of S1
    fixed, grown = toy.judge(records), toy.judge(records, levels={"growth": 0.001})
    assert fixed["H1"].p_equivalence is not None
    assert 0.001 < fixed["H1"].p_equivalence < 0.025
    assert [fixed[c].outcome for c in ("H1", "S1")] == ["reproduced", "reproduced"]
    assert [grown[c].outcome for c in ("H1", "S1")] == ["inconclusive", "reproduced"]


def test_a_claim_without_family_is_not_corrected(toy) -> None:
    records = train(toy, 81.9, scale=2.0) + table(toy, 1.9, CELLS)
    assert (
        toy.judge(records)["V1"].outcome
        == toy.judge(train(toy, 81.9, scale=2.0))["V1"].outcome
        == "reproduced"
    )


# ------------------------------------------------------------------ deviations


def test_effect_of_a_deviation_is_paired(toy) -> None:
    default = [toy.record("train", s, {"accuracy": 10.0 * s}) for s in range(6)]
    changed = [
        toy.record("train", s, {"accuracy": 10.0 * s + 0.5 + 0.1 * SPREAD[s]}, setting={"variant": "c"})
        for s in range(2, 9)
    ]
    (effect,) = effects(Evidence(toy.ledger, default + changed))
    assert (effect.deviation, effect.alternative, effect.where, effect.quantity) == (
        "variant",
        "c",
        "",
        "accuracy",
    )
    assert effect.estimate is not None
    assert (effect.estimate.n, effect.estimate.level) == (4, 0.95)
    assert effect.estimate.value == pytest.approx(0.5, abs=0.05)
    assert effect.estimate.low > 0.4


def test_effect_at_a_reduced_tier_says_so_until_the_full_one_is_there(toy) -> None:
    toy.edit("      quick: {seeds: 5}\n", "      quick: {seeds: 5, set: {steps: 10}}\n")
    toy.edit("    tiers: [full]\n", "    tiers: [quick, full]\n")

    def pair(by: float, **setting: object) -> list:
        return [
            toy.record("train", s, {"accuracy": 10.0 * s + more}, setting={**setting, "variant": variant})
            for s in range(4)
            for variant, more in (("a", 0.0), ("c", by + 0.1 * SPREAD[s]))
        ]

    (reduced,) = effects(Evidence(toy.ledger, pair(2.0, steps=10)))
    assert reduced.where == "quick tier"
    assert reduced.estimate.value == pytest.approx(2.0, abs=0.2)
    (full,) = effects(Evidence(toy.ledger, pair(2.0, steps=10) + pair(5.0)))
    assert full.where == ""
    assert full.estimate.value == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize("seeds", [[], [0], [7, 8, 9]])
def test_no_effect_without_two_common_seeds(toy, seeds: list[int]) -> None:
    default = [toy.record("train", s, {"accuracy": 80.0 + s}) for s in range(5)]
    changed = [toy.record("train", s, {"accuracy": 81.0 + s}, setting={"variant": "c"}) for s in seeds]
    (effect,) = effects(Evidence(toy.ledger, default + changed))
    assert effect.estimate is None


def test_a_verdict_is_turned_on_common_seeds_and_only_where_there_is_one(toy) -> None:
    """On the two common seeds both protocols say the same; what five seeds say beside two would not be that."""
    alternative = train(toy, 80.0, n=2, variant="c")
    assert turned(Evidence(toy.ledger, train(toy, 80.0) + alternative)) == []
    far = train(toy, 50.0, variant="c")
    (found,) = [t for t in turned(Evidence(toy.ledger, train(toy, 80.0) + far)) if t.claim == "V1"]
    assert (found.here.outcome, found.there.outcome, found.here.n, found.there.n) == (
        "reproduced",
        "contradicted",
        5,
        5,
    )
    toy.edit(
        "    anchor: {place: page 1, evidence: paper}", "    anchor: {place: page 1, evidence: recalled}"
    )
    assert not [t for t in turned(Evidence(toy.ledger, train(toy, 80.0) + far)) if t.claim == "V1"]


def test_an_alternative_to_one_model_turns_no_claim_of_another(toy) -> None:
    """The deviation is one from `b`. The claim is of `a`; and one that names `b` as its own is turned."""
    toy.edit(
        "    measure: {experiment: train, quantity: accuracy}\n    switch: variant\n",
        "    measure: {experiment: train, quantity: accuracy, setting: {variant: b}}\n    switch: variant\n",
    )
    records = train(toy, 80.0) + train(toy, 80.0, variant="b") + train(toy, 50.0, variant="c")
    assert not [t for t in turned(Evidence(toy.ledger, records)) if t.claim == "V1"]
    toy.edit(
        "    anchor: {place: page 1, evidence: paper}\n    measure: {experiment: train, quantity: accuracy}\n",
        "    anchor: {place: page 1, evidence: paper}\n"
        "    measure: {experiment: train, quantity: accuracy, setting: {variant: b}}\n",
    )
    assert [t.alternative for t in turned(Evidence(toy.ledger, records)) if t.claim == "V1"] == ["c"]


def test_no_effect_of_what_is_no_number(toy) -> None:
    default = [toy.record("train", s, {"accuracy": NAN}) for s in range(5)]
    changed = [toy.record("train", s, {"accuracy": 81.0}, setting={"variant": "c"}) for s in range(5)]
    (effect,) = effects(Evidence(toy.ledger, default + changed))
    assert effect.estimate is None


# ------------------------------------------------------------------ what is handed on


def test_json_has_what_it_must_have(toy) -> None:
    required = {
        "claim", "paper", "kind", "outcome", "tier", "published", "measured", "interval", "n", "margin", "reasons",
        "records",
    }  # fmt: skip
    records = (
        train(toy, 80.0)
        + growth(toy, 1.0)
        + counting(toy, (13, 0), (13, INF))
        + orderings(toy, (2.0, 2.0), 1)
    )
    verdicts = judge(Evidence(toy.ledger, records))
    for content in json.loads(json.dumps([v.as_json() for v in verdicts], allow_nan=False)):
        assert required <= set(content)
        assert content["paper"] == "toy"
        assert content["outcome"] in set(Outcome)
        assert content["tier"] in (None, "quick", "full")
        assert isinstance(content["reasons"], list)
        assert isinstance(content["records"], list)
        assert content["interval"] is None or len(content["interval"]) == 2
    by_id = {v.claim: v.as_json() for v in verdicts}
    assert [by_id[c]["outcome"] for c in ("V1", "A1", "P1", "O1", "D1")] == [
        "reproduced", "contradicted", "contradicted", "inconclusive", "not_run",
    ]  # fmt: skip
    assert by_id["O1"]["interval"] == [None, None], "one run: the ends are infinite, and infinity is no JSON"
    assert by_id["P1"]["measured"] is None


def test_known_exceptions_need_a_reason(toy) -> None:
    path = toy.project.papers / "known_exceptions.yaml"
    assert known_exceptions(toy.project) == {}
    path.write_text("")
    assert known_exceptions(toy.project) == {}
    path.write_text("V1: the paper counts twice\n")
    assert known_exceptions(toy.project) == {"V1": "the paper counts twice"}
    for bad in (
        "V1:\n",
        "V1: ''\n",
        "V1: '  '\n",
        "- V1\n",
        "V1: 3\n",
        "V1: [a]\n",
        "V1",
        "V1: [\n",
        "V1: a\nV1: b\n",
        "V1: a\nT1-a-lwo: x\n",
    ):
        path.write_text(bad)
        with pytest.raises(LedgerError, match=str(path)) as caught:
            known_exceptions(toy.project)
    assert f"{path}:2: T1-a-lwo:" in str(caught.value)
    assert "did you mean `T1-a-low`?" in str(caught.value)


def verdict(outcome: str, claim: str, paper: str = "toy") -> Verdict:
    return Verdict(claim, paper, "value", Outcome(outcome), reasons=[f"because <{claim}> & so"])


def test_junit(tmp_path: Path) -> None:
    verdicts = [verdict(str(outcome), str(outcome)) for outcome in Outcome]
    verdicts += [verdict("contradicted", "K1"), verdict("reproduced", "K2"), verdict("error", "X", "other")]
    verdicts += [verdict("error", "K3", "other")]
    path = tmp_path / "deep" / "junit.xml"
    write_junit(path, verdicts, {"K1": "a misprint", "K2": "was a misprint", "K3": "broken"})
    suites = Xml.parse(path).getroot()
    assert [suite.get("name") for suite in suites] == ["toy", "other"]
    toy, other = suites
    shown = {case.get("name"): [(part.tag, part.get("message")) for part in case] for case in toy}
    assert shown["reproduced"] == shown["better"] == []
    assert shown["contradicted"] == [("failure", "because <contradicted> & so")]
    assert shown["error"] == [("error", "because <error> & so")]
    for outcome in ("inconclusive", "blocked", "not_run"):
        assert shown[outcome] == [("skipped", f"{outcome}: because <{outcome}> & so")]
    assert shown["K1"] == [("skipped", "known exception: a misprint")]
    assert shown["K2"] == [], "a claim that holds is no exception any more"
    assert [toy.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["9", "1", "1", "4"]
    assert [other.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["2", "0", "2", "0"], (
        "an error is never excused"
    )
    assert all(case.get("classname") == "toy" for case in toy)


# ------------------------------------------------------------------ in words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "%", ""),
        (81.53, "%", "81.53 %"),
        (5429.0, "edges", "5,429 edges"),
        (1234.56, "s", "1,234.6 s"),
        (0.00123, "", "0.00123"),
        (0.0, "1", "0"),
        (NAN, "%", "nan %"),
        (INF, "", "inf"),
        (2.5e7 + 0.5, "", "2.5e+07"),
    ],
)
def test_numbers_in_words(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (None, ""),
        ((80.123, 81.456), "[80.12, 81.46]"),
        ((1.0, 1.0), "[1.00, 1.00]"),
        ((0.00123, 0.00134), "[0.001230, 0.001340]"),
        ((-INF, INF), ""),  # of one run
    ],
)
def test_intervals_in_words(ends: tuple[float, float] | None, text: str) -> None:
    assert interval(ends) == text


def test_comparisons_are_told_apart_in_words(toy) -> None:
    toy.edit("    than: [{variant: a}]\n", "    than: [{variant: a, steps: 50}]\n")
    toy.edit("    greater: {variant: b}\n", "    greater: {variant: b, steps: 50}\n")
    claim = toy.ledger.claim("O1")
    assert list(comparisons(toy.ledger, claim)) == ["level = 70.0", "level = 90.0"]
    two = claim.model_copy(
        update={"than": [*claim.than, {"variant": "c", "steps": 50}], "across": {"level": [70.0]}}
    )
    assert list(comparisons(toy.ledger, two)) == ["a, level = 70.0", "c, level = 70.0"]


def test_a_switch_that_both_sides_set_is_told_of_both(toy) -> None:
    claim = toy.ledger.claim("O1").model_copy(
        update={
            "greater": {},
            "than": [{"variant": "a"}, {"variant": "b"}],
            "across": {"variant": ["c", "d"]},
        }
    )
    assert list(comparisons(toy.ledger, claim)) == ["c over a", "c over b", "d over a", "d over b"]


def test_tally() -> None:
    assert tally([]) == "no claims"
    verdicts = [
        verdict(o, str(i)) for i, o in enumerate(["reproduced", "not_run", "contradicted", "reproduced"])
    ]
    assert tally(verdicts) == "1 contradicted, 2 reproduced, 1 not run"


def test_only_a_contradiction_is_excused() -> None:
    exceptions = {"V1": "the paper counts twice"}
    excused = {o: excuse(verdict(o, "V1"), exceptions) for o in ("contradicted", "error", "inconclusive")}
    assert excused == {"contradicted": "the paper counts twice", "error": None, "inconclusive": None}
