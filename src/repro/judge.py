"""From records to verdicts: one per claim, with its effect, interval, reasons and the records it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from repro import statistics
from repro.claims import (
    AuditClaim,
    Claim,
    GeneralisationClaim,
    OrderingClaim,
    PropertyClaim,
    ScalingClaim,
    Setting,
    ThresholdClaim,
    Tier,
    ValueClaim,
)
from repro.decisions import decide, outcome_of_control, runs_of
from repro.evidence import NO_RUNS, Evidence
from repro.ledger import Ledger, TierPlan
from repro.plan import claim_arms, supported
from repro.statistics import ALPHA, Decision, Outcome

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


def choose_tier(evidence: Evidence, claim: Claim) -> Tier | None:
    """Return the highest of the claim's tiers that has records for every arm, named by how many seeds they hold.

    A tier that has not got all its seeds leaves the word to a lower one that supports the claim, while it has fewer.
    """
    chosen, seeds = None, 0
    before: list[list[Setting]] = []
    for tier, plan in _tiers(evidence, claim).items():
        fewest, own = _fewest(evidence, claim, tier), _settings(evidence.ledger, claim, tier)
        if fewest >= (plan.seeds if own in before else max(1, min(seeds, plan.seeds))):
            chosen, seeds = tier, fewest if supported(evidence.ledger, claim, tier) else 0
        before.append(own)
    return chosen


def _fewest(evidence: Evidence, claim: Claim, tier: Tier) -> int:
    """Return the number of seeds of the arm that has fewest."""
    return min(len(evidence.of(arm)) for arm in claim_arms(evidence.ledger, claim, tier))


def _tiers(evidence: Evidence, claim: Claim) -> dict[Tier, TierPlan]:
    """Return the judged tiers that run the claim, from the smallest: what others need says nothing about it."""
    tiers = evidence.ledger.experiments[claim.measure.experiment].tiers
    return {t: tiers[t] for t in reversed(JUDGED_TIERS) if t in tiers and t in claim.tiers}


def _measured(claim: Claim, decision: Decision, evidence: Evidence, tier: Tier) -> dict[str, Any]:
    """Put a decision's estimate on the scale of the measured quantity."""
    if isinstance(claim, AuditClaim | PropertyClaim):
        arms = claim_arms(evidence.ledger, claim, tier)
        runs = runs_of(evidence, arms, claim.measure.quantity)
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
    if not supported(ledger, claim, tier):
        what = f"{'an' if claim.kind[0] in 'aeiou' else 'a'} {claim.kind} claim"
        why = f"the {tier} tier runs a reduced setting, which cannot support {what}"
        return replace(verdict, outcome=Outcome.inconclusive, reasons=[why]), None
    try:
        decision = decide(evidence, claim, tier)
        controls = {
            control: outcome_of_control(evidence, claim, tier, ledger.controls[control].set)
            for control in _run_controls(evidence, claim, tier)
        }
    except ValueError as error:
        return replace(verdict, outcome=Outcome.error, reasons=[str(error)]), None
    return replace(verdict, controls={c: str(o) for c, o in controls.items()}), decision


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
    return known and supported(evidence.ledger, claim, tier) and _failure(evidence, claim, tier) is None


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
    tiers = list(_tiers(evidence, claim))
    for higher in tiers[tiers.index(tier) + 1 :]:
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
