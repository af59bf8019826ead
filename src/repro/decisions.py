"""One claim's test, applied to its runs at one tier: a decision; and how a control comes out by the same test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from repro import curves, generalisation, statistics
from repro.claims import (
    AuditClaim,
    Claim,
    CurveClaim,
    GeneralisationClaim,
    OrderingClaim,
    PropertyClaim,
    Scalar,
    ScalingClaim,
    ThresholdClaim,
    Tier,
    ValueClaim,
)
from repro.evidence import Evidence
from repro.knee import knee
from repro.ledger import Ledger
from repro.plan import Arm, claim_arms, comparisons, generalisation_arms
from repro.statistics import Decision, Outcome
from repro.words import number


def overlap_of(ledger: Ledger, experiment: str) -> float:
    """Return the ratio of test to training size where seeds are folds of a cross-validation, else 0."""
    folds = ledger.experiments[experiment].folds
    return 1 / (folds - 1) if folds else 0.0


def decide(
    evidence: Evidence,
    claim: Claim,
    tier: Tier,
    change: Mapping[str, Scalar] = MappingProxyType({}),
    *,
    control: bool = False,
) -> Decision:
    """Apply the claim's test, alone, to its own arms; or to the same with some settings changed.

    Of a ``control``, ratios that are the same in every run count by their side of the limit.
    """
    ledger, quantity = evidence.ledger, claim.measure.quantity
    better = ledger.quantities[quantity].better
    higher = None if better == "neither" else better == "higher"
    overlap = overlap_of(ledger, claim.measure.experiment)
    arms = claim_arms(ledger, claim, tier, change)
    if isinstance(claim, OrderingClaim):
        pairs = {}
        for name, (a, b) in comparisons(ledger, claim, tier, change).items():
            pairs[name] = (*_paired(evidence, a, b, quantity), claim.at_least)
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
        return _generalisation(evidence, claim, tier, change, control)
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


def _paired(evidence: Evidence, a: Arm, b: Arm, quantity: str) -> tuple[list[float], list[float]]:
    """Return the values of two arms on the seeds that both have."""
    first, second = _one_each(evidence, a, quantity), _one_each(evidence, b, quantity)
    seeds = sorted(set(first) & set(second))
    return [first[s] for s in seeds], [second[s] for s in seeds]


def _generalisation(
    evidence: Evidence,
    claim: GeneralisationClaim,
    tier: Tier,
    change: Mapping[str, Scalar],
    control: bool,
) -> Decision:
    quantity, found, gate = claim.measure.quantity, {}, 0.0
    arms = generalisation_arms(evidence.ledger, claim, tier, change)
    for name, (own, same_size) in arms.items():
        errors = _one_per_size(evidence, own, quantity)
        reference = _one_per_size(evidence, same_size, quantity) if same_size else {}
        found[name] = generalisation.ratios(errors, claim.trained, claim.relative_to, reference)
        if claim.reference_below is not None:
            sizes = claim.sizes or list(found[name])
            if claim.expect == "breaks":  # what is tested is the largest of them and all beyond
                sizes = [s for s in found[name] if s >= max(sizes)]
            learned = generalisation.judge_learned(
                errors, claim.trained, reference, sizes, claim.reference_below, control
            )
            if learned.outcome is not Outcome.reproduced:
                return learned
            gate = max(gate, learned.p_equivalence or 0.0)
    ratios = found.pop("")
    if claim.expect == "holds":
        held = generalisation.judge_holds(ratios, claim.sizes, claim.limit, control)
        return generalisation.given(gate, held)
    broken = generalisation.judge_breaks(ratios, claim.trained, claim.sizes, claim.limit, found, control)
    decision = generalisation.given(gate, broken)
    bend = knee(evidence.by_index(arms[""][0], quantity), claim.trained)
    return replace(decision, reasons=(*decision.reasons, f"The error over all sizes is {bend.words}."))


def _one_per_size(evidence: Evidence, arm: Arm, quantity: str) -> dict[int, dict[float, float]]:
    """Return seed to size to error; ValueError where a run has two of one size: neither is left out in silence."""
    errors = evidence.by_index(arm, quantity)
    for record in evidence.of(arm):
        if len(record.rows) != len(errors[record.seed]):
            raise ValueError(f"Seed {record.seed} has several rows of one size, where one is needed.")
    return errors


def _all_hold(evidence: Evidence, claim: PropertyClaim, arms: Sequence[Arm]) -> Decision:
    """Judge a property; of one that fails, say how often one run per setting, as papers print, would not show it."""
    quantity, chance = claim.measure.quantity, 1.0
    decision = statistics.judge_all_hold(runs_of(evidence, arms, quantity), claim.at_most)
    if decision.outcome is not Outcome.contradicted:
        return decision
    for arm in arms:
        runs = runs_of(evidence, [arm], quantity)
        chance *= sum(max(map(abs, run)) <= claim.at_most for run in runs) / len(runs)
    each = f" of each of the {len(arms)} settings" if len(arms) > 1 else ""
    text = f"At this share, a single run{each} would show no failure with probability {chance:.2g}."
    return replace(decision, reasons=(f"{decision.reasons[0]} {text}",)) if chance else decision


def runs_of(evidence: Evidence, arms: Sequence[Arm], quantity: str) -> list[list[float]]:
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


def outcome_of_control(evidence: Evidence, claim: Claim, tier: Tier, change: Mapping[str, Scalar]) -> Outcome:
    """Return a control's outcome; one whose networks are shown to have learned nothing fails, as it must.

    An untrained or constant model often has the same value in every run. No test takes that for evidence of a claim,
    but on which side of the claim's edge it lies is plain.
    """
    decision = decide(evidence, claim, tier, change, control=True)
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
    elif isinstance(claim, ScalingClaim):
        passes = abs(e.value - claim.slope) <= claim.margin.value
    elif isinstance(claim, CurveClaim):
        passes = e.value > 0
    else:
        return decision.outcome
    return Outcome.reproduced if passes else Outcome.contradicted


def _ordering_of_control(
    evidence: Evidence, claim: OrderingClaim, tier: Tier, change: Mapping[str, Scalar], decision: Decision
) -> Outcome:
    """Return an ordering's outcome on a control: pairs whose difference is the same in every run count by its sign."""
    measure, holds = claim.measure, []
    quantity, overlap = measure.quantity, overlap_of(evidence.ledger, measure.experiment)
    for a, b in comparisons(evidence.ledger, claim, tier, change).values():
        pair = statistics.judge_difference(*_paired(evidence, a, b, quantity), claim.at_least, overlap)
        e = pair.estimate
        if e is not None and e.n > 1 and e.se == 0:
            if e.value <= claim.at_least:
                return Outcome.contradicted
            holds.append(True)
        else:
            holds.append(pair.outcome is Outcome.reproduced)
    return Outcome.reproduced if all(holds) else decision.outcome
