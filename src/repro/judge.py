"""From records to verdicts: one per claim, with its effect, interval, reasons and the records it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from repro import curves, generalisation, statistics
from repro.claims import (
    AuditClaim,
    Claim,
    CurveClaim,
    GeneralisationClaim,
    Measure,
    OrderingClaim,
    PropertyClaim,
    Scalar,
    ScalingClaim,
    Setting,
    ThresholdClaim,
    Tier,
    ValueClaim,
)
from repro.evidence import NO_RUNS, Evidence
from repro.ledger import Ledger, TierPlan
from repro.plan import Arm, claim_arms, comparisons, generalisation_arms
from repro.statistics import ALPHA, Decision, Outcome
from repro.words import number

# From the highest; smoke proves the wiring and never supports a verdict.
JUDGED_TIERS: tuple[Tier, ...] = ("full", "long", "quick")


@dataclass(frozen=True)
class Verdict:
    """What our runs say about one claim.

    Attributes:
        published: the printed number, bound or slope; None where the claim has none.
        measured: our mean, smallest difference, slope or count, in the quantity's unit.
        interval: of ``measured``, widened by the published value's own uncertainty where it has any.
        where: which of several ``measured`` is of, in words: a size, an arm.
        controls: outcome of the claim's test on each control's runs.
        records: ids of the records of the claim's own arms.
    """

    claim: str
    paper: str
    kind: str
    outcome: Outcome
    tier: Tier | None = None
    published: float | None = None
    measured: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    margin: float | None = None
    reasons: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    controls: dict[str, str] = field(default_factory=dict)
    p_equivalence: float | None = None
    p_outside: float | None = None
    seeds_needed: int | None = None
    where: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes None."""

        def plain(value: Any) -> Any:
            if isinstance(value, float):
                return value if np.isfinite(value) else None
            return [plain(v) for v in value] if isinstance(value, tuple | list) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def _settings(ledger: Ledger, claim: Claim, tier: Tier | None = None) -> list[Setting]:
    return [arm.setting for arm in claim_arms(ledger, claim, tier)]


def _supported(ledger: Ledger, claim: Claim, tier: Tier) -> bool:
    """Whether a tier runs the claim's own setting, or a reduced one that supports its kind."""
    supports = ledger.experiments[claim.measure.experiment].tiers[tier].supports
    return claim.kind in supports or _settings(ledger, claim, tier) == _settings(ledger, claim)


def choose_tier(evidence: Evidence, claim: Claim) -> Tier | None:
    """Return the highest of the claim's tiers that has records for every arm, named by how many seeds they hold.

    A tier that has not got all its seeds leaves the word to a lower one that supports the claim, while it has fewer.
    """
    chosen, seeds = None, 0
    before: list[list[Setting]] = []
    for tier, plan in _tiers(evidence, claim).items():
        fewest, own = _fewest(evidence, claim, tier), _settings(evidence.ledger, claim, tier)
        if fewest >= (plan.seeds if own in before else max(1, min(seeds, plan.seeds))):
            chosen, seeds = tier, fewest if _supported(evidence.ledger, claim, tier) else 0
        before.append(own)
    return chosen


def _fewest(evidence: Evidence, claim: Claim, tier: Tier) -> int:
    """Return the number of seeds of the arm that has fewest."""
    return min(len(evidence.of(arm)) for arm in claim_arms(evidence.ledger, claim, tier))


def _tiers(evidence: Evidence, claim: Claim) -> dict[Tier, TierPlan]:
    """Return the judged tiers that run the claim, from the smallest: what others need says nothing about it."""
    tiers = evidence.ledger.experiments[claim.measure.experiment].tiers
    return {t: tiers[t] for t in reversed(JUDGED_TIERS) if t in tiers and t in claim.tiers}


def overlap_of(ledger: Ledger, measure: Measure) -> float:
    """Return the ratio of test to training size where seeds are folds of a cross-validation, else 0."""
    folds = ledger.experiments[measure.experiment].folds
    return 1 / (folds - 1) if folds else 0.0


def decide(
    evidence: Evidence, claim: Claim, tier: Tier, change: Mapping[str, Scalar] = MappingProxyType({})
) -> Decision:
    """Apply the claim's test, alone, to its own arms; or to the same with some settings changed."""
    ledger, quantity = evidence.ledger, claim.measure.quantity
    better = ledger.quantities[quantity].better
    higher = None if better == "neither" else better == "higher"
    overlap = overlap_of(ledger, claim.measure)
    arms = claim_arms(ledger, claim, tier, change)
    if isinstance(claim, OrderingClaim):
        pairs = {}
        for name, (a, b) in comparisons(ledger, claim, tier, change).items():
            first, second = _one_each(evidence, a, quantity), _one_each(evidence, b, quantity)
            seeds = sorted(set(first) & set(second))
            pairs[name] = ([first[s] for s in seeds], [second[s] for s in seeds], claim.at_least)
        return statistics.judge_ordering(pairs, overlap)
    if isinstance(claim, ScalingClaim):
        sizes, runs = evidence.curve(arms[0], quantity)
        kept = [i for i, x in enumerate(sizes) if x >= (claim.smallest or 0)]
        return curves.judge_slope(
            [sizes[i] for i in kept],
            [[c[i] for i in kept] for c in runs],
            claim.slope,
            claim.margin.value,
            overlap,
        )
    if isinstance(claim, CurveClaim):
        sizes, runs = evidence.curve(arms[0], quantity)
        return curves.judge_peak(sizes, runs, claim.peak, higher is not False, overlap)
    if isinstance(claim, GeneralisationClaim):
        return _generalisation(evidence, claim, tier, change)
    if isinstance(claim, PropertyClaim):
        return _all_hold(evidence, claim, arms)
    values = [v for arm in arms for v in _one_each(evidence, arm, quantity).values()]
    if isinstance(claim, ThresholdClaim):
        return statistics.judge_threshold(values, claim.bound, claim.direction, overlap)
    if isinstance(claim, AuditClaim):
        return _audit(values, claim)
    published = statistics.Published(**claim.published.model_dump())
    if claim.baseline:
        higher = None  # a baseline that does better than printed is no success of the paper
    return statistics.judge_value(values, published, claim.margin.value, higher, overlap)


def _one_each(evidence: Evidence, arm: Arm, quantity: str) -> dict[int, float]:
    """Return seed to value; ValueError where a run has no row that counts, or several: none is left out in silence."""
    rows = evidence.trials(arm, quantity)
    for seed, values in rows.items():
        if len(values) != 1:
            at = "" if arm.at is None else f" at {arm.at:g}"
            raise ValueError(f"Seed {seed} has {len(values)} rows{at}, where one is needed.")
    return {seed: value for seed, (value,) in rows.items()}


def _generalisation(
    evidence: Evidence, claim: GeneralisationClaim, tier: Tier, change: Mapping[str, Scalar]
) -> Decision:
    quantity, found, least_sure = claim.measure.quantity, {}, Decision(Outcome.reproduced, p_equivalence=0.0)
    for name, (own, same_size) in generalisation_arms(evidence.ledger, claim, tier, change).items():
        errors = evidence.by_index(own, quantity)
        reference = evidence.by_index(same_size, quantity) if same_size else {}
        found[name] = generalisation.ratios(errors, claim.trained, claim.relative_to, reference)
        if claim.reference_below is not None:
            sizes = claim.sizes or list(found[name])
            if claim.expect == "breaks":  # what is tested is the largest of them and all beyond
                sizes = [s for s in found[name] if s >= max(sizes)]
            learned = generalisation.judge_learned(
                errors, claim.trained, reference, sizes, claim.reference_below
            )
            if learned.outcome is not Outcome.reproduced:
                return learned
            least_sure = max(least_sure, learned, key=lambda d: d.p_equivalence or 0.0)
    ratios = found.pop("")
    if claim.expect == "holds":
        held = generalisation.judge_holds(ratios, claim.sizes, claim.limit)
        return generalisation.given(least_sure, held)
    decision = generalisation.judge_breaks(ratios, claim.trained, claim.sizes, claim.limit, found)
    decision = generalisation.given(least_sure, decision)
    (arm, _) = generalisation_arms(evidence.ledger, claim, tier, change)[""]
    bend = generalisation.knee(evidence.by_index(arm, quantity), claim.trained)
    return replace(decision, reasons=(*decision.reasons, f"The error over all sizes is {bend.words}."))


def _all_hold(evidence: Evidence, claim: PropertyClaim, arms: Sequence[Arm]) -> Decision:
    """Judge a property; of one that fails, say how often one run per setting, as papers print, would not show it."""
    quantity, chance = claim.measure.quantity, 1.0
    decision = statistics.judge_all_hold(_runs(evidence, arms, quantity), claim.at_most)
    if decision.outcome is not Outcome.contradicted:
        return decision
    for arm in arms:
        runs = _runs(evidence, [arm], quantity)
        chance *= sum(max(map(abs, run)) <= claim.at_most for run in runs) / len(runs)
    each = f" of each of the {len(arms)} settings" if len(arms) > 1 else ""
    text = f"At this share, a single run{each} would show no failure with probability {chance:.2g}."
    return replace(decision, reasons=(f"{decision.reasons[0]} {text}",)) if chance else decision


def _runs(evidence: Evidence, arms: Sequence[Arm], quantity: str) -> list[list[float]]:
    """Return every run's values; ValueError where a run has none, or one that is no number."""
    found = [(seed, run) for arm in arms for seed, run in evidence.trials(arm, quantity).items()]
    if bare := [seed for seed, run in found if not run]:
        raise ValueError(f"Seed {bare[0]} has no row of those that count.")
    runs = [run for _, run in found]
    values = [v for run in runs for v in run]
    if not values or any(np.isnan(values)):
        raise ValueError(f"{int(np.isnan(values).sum())} of {len(values)} values are not a number.")
    return runs


def _audit(values: Sequence[float], claim: AuditClaim) -> Decision:
    if not values or not np.isfinite(values).all():
        raise ValueError(f"There is no finite number to compare with the printed one: {list(values)}.")
    if len(set(values)) > 1:
        raise ValueError(f"Runs disagree on what should be one number: {min(values):g} to {max(values):g}.")
    difference = values[0] - claim.published.value
    # Half a unit of the last printed digit; the small term only absorbs binary fractions.
    dust = 1e-9 * max(1.0, abs(claim.published.value))
    holds = abs(difference) <= claim.published.rounding + claim.inputs + dust
    # What the paper prints is one thing, what a check of ours asks for another.
    side = "asked for" if claim.anchor.evidence == "ours" else "printed"
    text = f"{side} {number(claim.published.value)}, recomputed {number(values[0])}"
    if not holds:
        text += f", a difference of {difference:+.4g}"
    elif claim.inputs:
        text += f"; the rounding of what it is recomputed from can move it by {claim.inputs:g}"
    return Decision(
        Outcome.reproduced if holds else Outcome.contradicted,
        published=claim.published.value,
        n=1,
        reasons=(text,),
    )


def _measured(claim: Claim, decision: Decision, evidence: Evidence, tier: Tier) -> dict[str, Any]:
    """Put a decision's estimate on the scale of the measured quantity."""
    if isinstance(claim, AuditClaim | PropertyClaim):
        arms = claim_arms(evidence.ledger, claim, tier)
        runs = _runs(evidence, arms, claim.measure.quantity)
        return {"measured": max((v for run in runs for v in run), key=abs)}
    estimate = decision.estimate
    if estimate is None:
        return {}
    offset = decision.published or 0.0 if claim.kind == "value" else 0.0
    return {
        "measured": estimate.value + offset,
        "interval": (estimate.low + offset, estimate.high + offset),
    }


def _published(claim: Claim) -> float | None:
    if isinstance(claim, ValueClaim | AuditClaim):
        return claim.published.value
    if isinstance(claim, ThresholdClaim):
        return claim.bound
    if isinstance(claim, ScalingClaim):
        return claim.slope
    if isinstance(claim, GeneralisationClaim):
        return claim.limit
    return claim.at_least if isinstance(claim, OrderingClaim) and claim.at_least else None


def _judge_one(
    evidence: Evidence, claim: Claim, asked: Tier | None = None
) -> tuple[Verdict, Decision | None]:
    ledger = evidence.ledger
    verdict = Verdict(claim.id, ledger.paper.id, claim.kind, Outcome.not_run, published=_published(claim))
    if claim.blocked:
        return replace(verdict, outcome=Outcome.blocked, reasons=[claim.blocked]), None
    if claim.anchor.evidence == "recalled":
        why = "the published number is recalled, not verified, and so enters no verdict"
        return replace(verdict, reasons=[why]), None
    tier = choose_tier(evidence, claim)
    if asked in _tiers(evidence, claim) and _fewest(evidence, claim, asked):
        tier = asked
    if tier is None:
        outcome, why = _why_no_tier(evidence, claim)
        return replace(verdict, outcome=outcome, reasons=[why]), None
    if failure := _failure(evidence, claim, tier):
        return replace(verdict, outcome=Outcome.error, tier=tier, reasons=[failure]), None
    records = [r.id for arm in claim_arms(ledger, claim, tier) for r in evidence.of(arm)]
    verdict = replace(verdict, tier=tier, records=list(dict.fromkeys(records)))
    if not _supported(ledger, claim, tier):
        why = f"the {tier} tier runs a reduced setting, which cannot support a {claim.kind} claim"
        return replace(verdict, outcome=Outcome.inconclusive, reasons=[why]), None
    try:
        decision = decide(evidence, claim, tier)
        controls = {
            control: _outcome_of_control(evidence, claim, tier, ledger.controls[control].set)
            for control in _run_controls(evidence, claim, tier)
        }
    except ValueError as error:
        return replace(verdict, outcome=Outcome.error, reasons=[str(error)]), None
    return replace(verdict, controls={c: str(o) for c, o in controls.items()}), decision


def _outcome_of_control(
    evidence: Evidence, claim: Claim, tier: Tier, change: Mapping[str, Scalar]
) -> Outcome:
    """Return a control's outcome; one whose networks are shown to have learned nothing fails, as it must.

    An untrained or constant model often has the same value in every run. No test takes that for evidence of a claim,
    but on which side of the claim's edge it lies is plain.
    """
    decision = decide(evidence, claim, tier, change)
    if decision.idle:
        return Outcome.contradicted
    if isinstance(claim, OrderingClaim):
        return _ordering_of_control(evidence, claim, tier, change, decision)
    e = decision.estimate
    if decision.outcome is not Outcome.inconclusive or e is None or e.n < 2 or e.se > 0:
        return decision.outcome
    if isinstance(claim, ThresholdClaim):
        passes = (e.value > claim.bound) == (claim.direction == "above") and e.value != claim.bound
    elif isinstance(claim, ValueClaim):
        passes = abs(e.value) <= claim.margin.value + claim.published.rounding
    else:
        return decision.outcome
    return Outcome.reproduced if passes else Outcome.contradicted


def _ordering_of_control(
    evidence: Evidence, claim: OrderingClaim, tier: Tier, change: Mapping[str, Scalar], decision: Decision
) -> Outcome:
    """Return an ordering's outcome on a control: pairs whose difference is the same in every run count by its sign."""
    quantity, overlap, holds = claim.measure.quantity, overlap_of(evidence.ledger, claim.measure), []
    for a, b in comparisons(evidence.ledger, claim, tier, change).values():
        first, second = _one_each(evidence, a, quantity), _one_each(evidence, b, quantity)
        seeds = sorted(set(first) & set(second))
        pair = statistics.judge_difference(
            [first[s] for s in seeds], [second[s] for s in seeds], claim.at_least, overlap
        )
        e = pair.estimate
        if e is not None and e.n > 1 and e.se == 0:
            if e.value <= claim.at_least:
                return Outcome.contradicted
            holds.append(True)
        else:
            holds.append(pair.outcome is Outcome.reproduced)
    return Outcome.reproduced if all(holds) else decision.outcome


def _failure(evidence: Evidence, claim: Claim, tier: Tier) -> str | None:
    """Return what made a run of the claim's or its controls' fail: the seeds that did not are no fair sample."""
    changes = [{}, *(evidence.ledger.controls[control].set for control in claim.controls)]
    for change in changes:
        for arm in claim_arms(evidence.ledger, claim, tier, change):
            if (problem := evidence.problem(arm)) and problem["state"] == "failed":
                return f"a run failed, so that the others are no fair sample: {problem['message']}"
    return None


def can_be_judged(evidence: Evidence, claim: Claim, tier: Tier) -> bool:
    """Whether a claim's own runs at a tier support a verdict: no run failed, and the number is not recalled."""
    known = claim.anchor.evidence != "recalled"
    return known and _supported(evidence.ledger, claim, tier) and _failure(evidence, claim, tier) is None


def _why_no_tier(evidence: Evidence, claim: Claim) -> tuple[Outcome, str]:
    """Return what kept the claim's runs from being there: what stopped a run counts before what never ran."""
    whys = [
        evidence.why_missing(arm)
        for tier in _tiers(evidence, claim)
        for arm in claim_arms(evidence.ledger, claim, tier)
        if not evidence.of(arm)
    ]
    stopped = [why for why in whys if why[0] is not Outcome.not_run]
    outcome, why = next(iter([*stopped, *whys]), (Outcome.not_run, "no tier that counts runs its experiment"))
    plans = evidence.ledger.experiments[claim.measure.experiment].tiers
    kept = list(_tiers(evidence, claim))
    if why == NO_RUNS and kept and any(tier in plans and tier not in kept for tier in JUDGED_TIERS):
        why += f" at the {' or '.join(kept)} tier, for which it is kept: shorter runs say nothing of it"
    return outcome, why


def _run_controls(evidence: Evidence, claim: Claim, tier: Tier) -> list[str]:
    """Return the claim's controls all of whose arms have runs."""
    return [
        control
        for control in claim.controls
        if all(
            evidence.of(arm)
            for arm in claim_arms(evidence.ledger, claim, tier, evidence.ledger.controls[control].set)
        )
    ]


def _with_decision(evidence: Evidence, claim: Claim, verdict: Verdict, decision: Decision) -> Verdict:
    tier = verdict.tier
    assert tier is not None
    outcome, reasons = decision.outcome, list(decision.reasons)
    experiment = evidence.ledger.experiments[claim.measure.experiment]
    planned, fewest = experiment.tiers[tier].seeds, _fewest(evidence, claim, tier)
    if fewest < planned:
        reasons.append(f"{fewest} of the {planned} seeds that the {tier} tier plans are there.")
        if isinstance(claim, PropertyClaim) and outcome is Outcome.reproduced:
            outcome = Outcome.inconclusive
    for higher in list(_tiers(evidence, claim))[list(_tiers(evidence, claim)).index(tier) + 1 :]:
        if failure := _failure(evidence, claim, higher):
            reasons.append(f"At the {higher} tier {failure}")
    if experiment.alone:
        reasons.append("Times of one machine: its repeats say nothing of another.")
    holds = (Outcome.reproduced, Outcome.better)
    for control in claim.controls:
        if control not in verdict.controls:
            reasons.append(f"the control `{control}` has not been run")
        elif verdict.controls[control] in holds:
            outcome = Outcome.error
            reasons.insert(0, f"void: the control `{control}`, which must fail, passes too")
        elif outcome in holds and verdict.controls[control] == "inconclusive":
            reasons.append(f"the control `{control}` does not hold, but is not shown to fail either")
    return replace(
        verdict,
        outcome=outcome,
        reasons=reasons,
        n=decision.n,
        margin=decision.margin,
        p_equivalence=decision.p_equivalence,
        p_outside=decision.p_outside,
        seeds_needed=decision.seeds_needed,
        where=decision.where,
        **_measured(claim, decision, evidence, tier),
    )


def judge(evidence: Evidence, tier: Tier | None = None) -> list[Verdict]:
    """Return a verdict for every claim of a paper, in the ledger's order.

    Each at its own best tier, or at ``tier`` where it has runs there.

    Claims of one family are corrected together by Holm's method before anything is concluded; where records were
    grown by a sequential rule, at the level of each of its looks.
    """
    claims = evidence.ledger.all_claims()
    judged = [(claim, *_judge_one(evidence, claim, tier)) for claim in claims]
    families: dict[str, list[int]] = {}
    for i, (claim, _, decision) in enumerate(judged):
        if decision is not None:
            families.setdefault(claim.family or f"{claim.id} alone", []).append(i)
    decisions = [decision for _, _, decision in judged]
    for members in families.values():
        level = min(evidence.levels.get(claims[i].measure.experiment, ALPHA) for i in members)
        if level == ALPHA and claims[members[0]].family is None:
            continue  # a claim by itself is concluded already
        corrected = statistics.apply_family([decisions[i] for i in members], level)  # type: ignore[misc]
        for i, decision in zip(members, corrected, strict=True):
            decisions[i] = decision
    return [
        verdict if decision is None else _with_decision(evidence, claim, verdict, decision)
        for (claim, verdict, _), decision in zip(judged, decisions, strict=True)
    ]
