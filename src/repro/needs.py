"""How many seeds each open claim needs, from the spread of the runs that are there, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.claims import TIERS, Claim, Tier
from repro.evidence import Evidence
from repro.judge import Verdict
from repro.ledger import Ledger
from repro.plan import Arm, claim_arms, skipped


@dataclass(frozen=True)
class Need:
    """What it takes to settle one claim.

    Attributes:
        seeds: about how many settle it with probability ``statistics.POWER``, if mean and spread stay as they are;
            None where that cannot be said.
        seconds: of computing for those it still lacks; None where no run has been timed.
        tier: the lowest, from the verdict's on, that leaves none of the claim's arms out; None where no tier has runs.
        why: in words, where ``seeds`` is None.
    """

    claim: str
    outcome: str
    n: int
    seeds: int | None
    seconds: float | None
    tier: Tier | None = None
    why: str = ""


def needs(evidence: Evidence, verdicts: Iterable[Verdict]) -> list[Need]:
    """Return what each claim needs that is inconclusive or has not been run."""
    return [_need(evidence, v) for v in verdicts if v.outcome in ("inconclusive", "not_run")]


def _need(evidence: Evidence, verdict: Verdict) -> Need:
    claim = evidence.ledger.claim(verdict.claim)
    if verdict.outcome == "not_run":
        return Need(
            claim.id, verdict.outcome, 0, None, None, why="no runs whose spread could tell: run a tier first"
        )
    if verdict.seeds_needed is None:
        why = verdict.reasons[0] if verdict.p_outside is None else next(
            (r for r in verdict.reasons if r.startswith(("Alone", "Even"))), verdict.reasons[0]
        )  # fmt: skip
        return Need(claim.id, verdict.outcome, verdict.n, None, None, why=why)
    seconds = cost(evidence, arms_of(evidence.ledger, [claim], verdict.tier), verdict.seeds_needed)
    tier = _tier(evidence.ledger, claim, verdict.tier)
    return Need(claim.id, verdict.outcome, verdict.n, verdict.seeds_needed, seconds, tier)


def _tier(ledger: Ledger, claim: Claim, judged: Tier | None) -> Tier | None:
    plans = ledger.experiments[claim.measure.experiment].tiers
    from_there = TIERS[TIERS.index(judged) :] if judged else ()
    for tier in from_there:
        if tier in plans and not any(
            skipped(plans[tier], a.setting) for a in claim_arms(ledger, claim, tier)
        ):
            return tier
    return judged


def arms_of(ledger: Ledger, claims: Sequence[Claim], tier: Tier | None) -> list[Arm]:
    """Return every distinct arm that claims and their controls need, whatever rows count."""
    changes = [(claim, change) for claim in claims
               for change in ({}, *(ledger.controls[name].set for name in claim.controls))]  # fmt: skip
    arms = [arm for claim, change in changes for arm in claim_arms(ledger, claim, tier, change)]
    return list(dict.fromkeys(Arm(arm.experiment, arm.setting) for arm in arms))


def cost(evidence: Evidence, arms: Iterable[Arm], seeds: int) -> float | None:
    """Return the seconds for the seeds that arms lack of ``seeds``; None where an arm has not been timed."""
    total = 0.0
    for arm in arms:
        records = evidence.of(arm)
        lacking = max(0, seeds - len(records))
        if lacking and not records:
            return None
        if lacking:
            total += lacking * sum(r.seconds for r in records) / len(records)
    return total


def total(evidence: Evidence, found: Iterable[Need], verdicts: Iterable[Verdict]) -> float:
    """Return the seconds for all claims whose cost is known; what claims share is run once."""
    tiers = {v.claim: v.tier for v in verdicts}
    most: dict[Arm, int] = {}
    for need in found:
        if need.seeds is not None and need.seconds is not None:
            for arm in arms_of(evidence.ledger, [evidence.ledger.claim(need.claim)], tiers[need.claim]):
                most[arm] = max(need.seeds, most.get(arm, 0))
    return sum(cost(evidence, [arm], seeds) or 0.0 for arm, seeds in most.items())
