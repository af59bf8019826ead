"""Adding seeds until a verdict is conclusive: its error rate, its stopping, what it leaves for who judges later."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from repro.errors import RecordDamaged, ReproError
from repro.evidence import gather
from repro.judge import judge
from repro.needs import cost, needs, total
from repro.records import levels_file, note_levels, read_levels
from repro.reference import keep
from repro.sequential import LEVEL, LOOKS, Settled, until_settled
from repro.statistics import ALPHA, Decision, Outcome, Published, apply_family, judge_threshold, judge_value
from repro.words import duration


def settle(values: np.ndarray, test: Callable[[np.ndarray], Decision], level: float) -> tuple[Outcome, int]:
    """Look at growing numbers of values, as the rule does."""
    for look in LOOKS:
        (decision,) = apply_family([test(values[:look])], level)
        if decision.outcome is not Outcome.inconclusive:
            break
    return decision.outcome, look


def rates(
    mean: float, test: Callable[[np.ndarray], Decision], level: float, cases: int = 400
) -> dict[Outcome, float]:
    draw = np.random.default_rng(0)
    found = [settle(mean + draw.standard_normal(LOOKS[-1]), test, level)[0] for _ in range(cases)]
    return {outcome: found.count(outcome) / cases for outcome in Outcome}


def value(x: np.ndarray) -> Decision:
    return judge_value(x, Published(0.0), 1.0, None)


def above(x: np.ndarray) -> Decision:
    return judge_threshold(x, 0.0, "above")


@pytest.mark.parametrize(
    ("test", "mean", "wrong"),
    [(value, 1.0, Outcome.reproduced), (value, 1.0, Outcome.contradicted), (above, 0.0, Outcome.reproduced),
     (above, 0.0, Outcome.contradicted)],
)  # fmt: skip
def test_stopping_early_errs_no_more_often_than_stated(test, mean: float, wrong: Outcome) -> None:
    """The truth is on the edge, where errors are most frequent: at most ALPHA over all looks together.

    False-alarm rate: 400 cases, Binomial(400, 0.05); more than 0.0925 (37) with probability below 1e-3.
    """
    assert rates(mean, test, LEVEL)[wrong] <= 37 / 400


def test_looking_again_and_again_at_the_full_level_would_err_more_often() -> None:
    """Why there is a rule: the same looks at ALPHA err in about 15 % of cases. Below 0.09 with probability 1e-3."""
    assert rates(0.0, above, ALPHA)[Outcome.reproduced] > 0.09


def test_what_is_clear_is_settled_soon() -> None:
    """A value that agrees with a margin of one standard deviation: by 40 seeds in nine of ten cases.

    False-alarm rate: 200 cases with a true share of about 0.99; below 0.9 with probability below 1e-6.
    """
    draw = np.random.default_rng(1)
    found = [settle(draw.standard_normal(LOOKS[-1]), value, LEVEL) for _ in range(200)]
    assert sum(outcome is Outcome.reproduced and look <= 40 for outcome, look in found) >= 180


def grow(toy, quiet, **options) -> Settled:
    from contextlib import nullcontext

    return until_settled(toy.project, toy.ledger, "full", toy.folder, lambda label: nullcontext(quiet),
                         threads=1, **options)  # fmt: skip


def test_seeds_are_added_until_a_claim_is_settled(toy) -> None:
    toy.edit(
        "published: {value: 80.0}\n    margin: {value: 3.0",
        "published: {value: 80.0}\n    margin: {value: 0.6",
    )
    found = grow(toy, toy.progress, claim_id="V1")
    assert [v.claim for v in found.verdicts] == ["V1"]
    assert found.verdicts[0].outcome == "reproduced"
    assert found.looks == [n for n in LOOKS if n <= found.looks[-1]]
    assert found.looks[-1] > 5, "the margin is half the spread: 5 seeds are too few"
    assert found.verdicts[0].n == found.looks[-1]
    settings = {r.setting["labels"] for r in gather(toy.project, toy.ledger, toy.folder).records}
    assert settings == {"true", "shuffled"}, "its control ran as well, and nothing else"
    assert "could settle" in found.stopped
    again = grow(toy, toy.progress, claim_id="V1")
    assert again.verdicts == found.verdicts


def test_seeds_are_added_until_a_reference_is_shown_to_have_learned(toy) -> None:
    """No ratio is tested before that, so there is no p-value; the gate says how many seeds it needs."""
    toy.edit(
        "  - id: C1\n",
        """  - id: G1
    kind: generalisation
    statement: The cost at 4 is at most ninety times that at 2.
    anchor: {place: Figure 1, evidence: paper}
    measure: {experiment: growth, quantity: cost}
    relative_to: training_sizes
    trained: [1, 2]
    sizes: [4]
    limit: 90.0
    expect: holds
    reference_below: 2.04
  - id: C1
""",
    )
    found = grow(toy, toy.progress, claim_id="G1")
    assert found.looks[:2] == [5, 10], (
        "five seeds do not show a mean of 2 with a spread of 5 % to lie below 2.04"
    )
    assert found.verdicts[0].outcome == "reproduced"


def test_growing_notes_at_which_level_its_runs_are_to_be_judged(toy) -> None:
    grow(toy, toy.progress, claim_id="H1")
    assert read_levels(toy.folder, "toy") == {"train": LEVEL}


def test_every_claim_can_be_asked_for_and_what_is_settled_gets_no_more(toy) -> None:
    found = grow(toy, toy.progress, only="train")
    assert {v.claim for v in found.verdicts} == {
        "V1",
        "O1",
        "H1",
        "T1-a-low",
        "T1-a-high",
        "T1-b-low",
        "T1-b-high",
    }
    assert found.open == []
    assert found.looks[-1] < LOOKS[-1]


def test_a_budget_ends_it(toy) -> None:
    """The spread of 1 beside a margin of 0.01: hopeless, and each seed is noted to have taken half a second."""
    toy.edit(
        "published: {value: 80.0}\n    margin: {value: 3.0",
        "published: {value: 80.0}\n    margin: {value: 0.01",
    )
    toy.write_records([toy.record("train", s, {"accuracy": 80.0 + (s % 2)}) for s in range(5)])
    toy.write_records([toy.record("train", s, {"accuracy": 50.0}, {"labels": "shuffled"}) for s in range(5)])
    found = grow(toy, toy.progress, claim_id="V1", budget=4.0)
    assert found.looks == [5], "10 seeds in both arms would take 5 s"
    assert "more than the budget" in found.stopped
    assert [v.claim for v in found.open] == ["V1"]


def test_what_did_not_grow_keeps_the_full_level(toy) -> None:
    toy.write_records([toy.record("train", s, {"accuracy": 80.0}) for s in range(2)])
    assert grow(toy, toy.progress, claim_id="H1", budget=0.0).looks == []
    assert read_levels(toy.folder, "toy") == {}


def test_verdicts_on_grown_records_keep_their_level(toy) -> None:
    """Ten seeds with p between LEVEL and ALPHA: reproduced if their number was fixed, open if they grew."""
    x = np.arange(10.0) - 4.5
    values = 70.0 + x + next(m for m in np.linspace(0, 5, 500) if (above(x + m).p_equivalence or 1) < 0.03)
    toy.write_records([toy.record("train", s, {"accuracy": float(v)}) for s, v in enumerate(values)])
    assert toy.verdicts()["H1"].outcome == "reproduced"
    note_levels(toy.folder, "toy", {"train": LEVEL})
    verdict = toy.verdicts()["H1"]
    assert verdict.outcome == "inconclusive"
    assert "runs that grow" in verdict.reasons[0]
    count = keep(toy_with_readme(toy).project, "toy", toy.folder).count
    assert count == 10
    assert toy.verdicts(toy.project.reference)["H1"].outcome == "inconclusive", "kept records keep it too"


def toy_with_readme(toy):
    from repro.report.readme import BEGIN, END

    toy.write("README.md", f"# Toy\n\n{BEGIN}\n{END}\n")
    return toy


def test_what_failed_is_not_kept_without_saying_so(toy) -> None:
    """The reference would hold the seeds that ended well, and nothing of the one that did not."""
    toy.edit('yield seed, {"accuracy"', 'yield seed, 1 / (seed != 4) and {"accuracy"', "experiments.py")
    toy.run("full")
    assert toy.verdicts()["V1"].outcome == "error"
    with pytest.raises(ReproError, match="no fair sample"):
        keep(toy_with_readme(toy).project, "toy", toy.folder)
    assert not (toy.project.reference / "toy.parquet").exists()


def test_the_rule_judges_at_the_tier_that_it_grows(toy) -> None:
    """Ten seeds of a reduced tier would have the word, and the tier asked for would never be looked at."""
    toy.edit(
        "      quick: {seeds: 5}\n", "      quick: {seeds: 10, set: {steps: 10}, supports: [threshold]}\n"
    )
    toy.run("quick")
    assert toy.verdicts()["H1"].tier == "quick"
    found = grow(toy, toy.progress, claim_id="H1")
    assert {v.tier for v in found.verdicts} == {"full"}


def test_the_note_keeps_the_stricter_level_and_must_be_readable(toy) -> None:
    note_levels(toy.folder, "toy", {"train": 0.01})
    note_levels(toy.folder, "toy", {"train": 0.03, "growth": 0.02})
    assert read_levels(toy.folder, "toy") == {"train": 0.01, "growth": 0.02}
    levels_file(toy.folder, "toy").write_text("{")
    with pytest.raises(RecordDamaged, match="grown until"):
        gather(toy.project, toy.ledger, toy.folder)
    levels_file(toy.folder, "toy").write_text(json.dumps({"train": "much"}))
    with pytest.raises(RecordDamaged):
        read_levels(toy.folder, "toy")


def test_the_command(toy, ask) -> None:
    answer = ask("run", "toy", "--claim", "V1", "--until-settled", "--tier", "full", "--device", "cpu")
    assert (answer.code, "1 reproduced; looks at 5" in answer.out) == (0, True), answer
    for wrong in (
        ["--budget", "3"],
        ["--until-settled", "--seeds", "5"],
        ["--until-settled", "--tier", "smoke"],
    ):
        refused = ask("run", "toy", *wrong)
        assert (refused.code, "--until-settled" in refused.err) == (2, True)
    assert "close to it: V1" in ask("run", "toy", "--claim", "V2").err


# ------------------------------------------------------------------ repro plan


def test_a_plan_says_how_many_seeds_and_what_they_cost(toy) -> None:
    """Half a second a seed; V1 has a control, so each further seed is run twice."""
    draw = np.random.default_rng(3)
    for labels, level in (("true", 80.0), ("shuffled", 50.0)):
        toy.write_records([toy.record("train", s, {"accuracy": level + 5 * draw.normal()}, {"labels": labels})
                           for s in range(5)])  # fmt: skip
    evidence = gather(toy.project, toy.ledger, toy.folder)
    verdicts = judge(evidence)
    found = {need.claim: need for need in needs(evidence, verdicts)}
    need = found["V1"]
    assert need.seeds is not None
    assert need.seeds > 5
    assert need.seconds == pytest.approx(2 * (need.seeds - 5) * 0.5)
    assert found["S1"].seeds is None
    assert "run a tier first" in found["S1"].why
    shared = [found["V1"], *(n for n in found.values() if n.claim == "H1")]
    assert total(evidence, shared, verdicts) == pytest.approx(max(n.seconds or 0 for n in shared)), "run once"
    assert cost(evidence, [], 5) == 0


def test_the_plan_is_shown(toy, ask) -> None:
    assert ask("plan", "toy").out.replace("\n", " ").startswith("toy: no records here")
    toy.run("full", "growth")
    assert ask("plan", "toy").out.count("no runs whose spread") == 1, "one line for all that has no runs"
    toy.run("full")
    shown = ask("plan", "toy")
    assert shown.code == 0
    toy.edit(
        "margin: {value: 3.0, reason: it is a toy}\n    controls",
        "margin: {value: 0.6, reason: tight}\n    controls",
    )
    tight = ask("plan", "toy").out
    assert "repro run toy --claim V1 --tier full --until-settled" in tight
    assert "in all" in tight


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "unknown"), (52.4, "52 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_told_as_people_do(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
