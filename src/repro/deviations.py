"""What each deviation from the protocol changes: the means, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from repro import statistics
from repro.claims import Claim, Scalar
from repro.decisions import decide, overlap_of
from repro.evidence import Evidence
from repro.judge import JUDGED_TIERS, can_be_judged, choose_tier
from repro.ledger import Deviation
from repro.plan import Arm, claim_arms, deviation_arms
from repro.statistics import Decision, Estimate


@dataclass(frozen=True)
class Effect:
    """A deviation's measured effect: alternative minus default, paired by seed, with a 95 % interval.

    ``where`` names the tier too, if it runs a reduced setting; ``of`` says what is measured, and at which size.
    """

    deviation: str
    alternative: str
    where: str
    estimate: Estimate | None
    quantity: str
    of: str


@dataclass(frozen=True)
class Turned:
    """A claim whose verdict is another one under an alternative protocol.

    Both outcomes are those of the claim's test alone, before any correction for a family.
    """

    claim: str
    switch: str
    alternative: str
    here: Decision
    there: Decision


def effects(evidence: Evidence) -> list[Effect]:
    """Return the measured effect of every deviation, at the highest tier where both arms have two common seeds.

    Where no tier has them, the effect has no estimate.
    """
    return [
        effect
        for name, deviation in evidence.ledger.deviations.items()
        for effect in _effects_of(evidence, name, deviation)
    ]


def _effects_of(evidence: Evidence, name: str, deviation: Deviation) -> Iterable[Effect]:
    found: dict[tuple[str, str], Effect] = {}
    measure, experiment = deviation.measure, evidence.ledger.experiments[deviation.measure.experiment]
    tiers, at = experiment.tiers, measure.setting.get(experiment.index or "")
    of = measure.quantity.replace("_", " ") + (
        "" if at is None else f" at {(experiment.index or '').replace('_', ' ')} {at:g}"
    )
    for tier in (None, *(t for t in JUDGED_TIERS if t in tiers and t in deviation.tiers)):
        for key, pair in deviation_arms(evidence.ledger, deviation, tier).items():
            if key not in found or found[key].estimate is None:
                alternative, where = key
                estimate = _paired(evidence, deviation, *pair)
                if estimate and tier and tiers[tier].set:
                    where = ", ".join(filter(None, [where, f"{tier} tier"]))
                found[key] = Effect(name, alternative, where, estimate, measure.quantity, of)
    return found.values()


def _paired(evidence: Evidence, deviation: Deviation, changed: Arm, default: Arm) -> Estimate | None:
    a, b = (evidence.values(arm, deviation.measure.quantity) for arm in (changed, default))
    seeds, overlap = sorted(set(a) & set(b)), overlap_of(evidence.ledger, deviation.measure.experiment)
    try:
        estimate = statistics.paired_effect([a[s] for s in seeds], [b[s] for s in seeds], overlap)
    except ValueError:  # no common seeds, or values that are no numbers
        return None
    return estimate if len(seeds) > 1 else None


def turned(evidence: Evidence) -> list[Turned]:
    """Return every verdict that an alternative of a deviation would turn, where the runs for it are there."""
    found = []
    deviations = evidence.ledger.deviations.values()
    switches = {
        (d.measure.experiment, d.switch, _default(evidence, d), alternative): None
        for d in deviations
        for alternative in d.alternatives
    }
    for experiment, switch, default, alternative in switches:
        for claim in evidence.ledger.all_claims():
            if claim.measure.experiment != experiment or claim.blocked or _fixes(claim, switch, default):
                continue
            pair = _decided(evidence, claim, switch, default, alternative)
            if pair and pair[0].outcome != pair[1].outcome:
                found.append(Turned(claim.id, switch, str(alternative), *pair))
    return found


def _default(evidence: Evidence, deviation: Deviation) -> Scalar:
    """Return the value that the deviation is a deviation from: a model of several, or what its experiment has."""
    measure, switch = deviation.measure, deviation.switch
    return measure.setting.get(switch, evidence.ledger.experiments[measure.experiment].setting[switch])


def _fixes(claim: Claim, switch: str, default: Scalar) -> bool:
    """Whether the claim is about other values of the switch, so that no alternative leaves it the same claim."""
    stated = [
        claim.measure.setting,
        *(getattr(claim, name, {}) for name in ("across", "greater", "same_size")),
    ]
    arms = [*getattr(claim, "than", []), *getattr(claim, "survives", [])]
    return any(setting.get(switch, default) != default for setting in [*stated, *arms])


def _decided(
    evidence: Evidence, claim: Claim, switch: str, default: Scalar, alternative: Scalar
) -> tuple[Decision, Decision] | None:
    """Return the claim's test on its own runs and on those of an alternative, on the seeds that all of them have.

    None where fewer than two are common, where the claim has no verdict that could be turned, or where its runs do not
    all have what the alternative is one to.
    """
    tier = choose_tier(evidence, claim)
    if tier is None or not can_be_judged(evidence, claim, tier):
        return None
    change = {switch: alternative}
    own, other = claim_arms(evidence.ledger, claim, tier), claim_arms(evidence.ledger, claim, tier, change)
    common = set.intersection(*({record.seed for record in evidence.of(arm)} for arm in [*own, *other]))
    if own == other or len(common) < 2 or any(arm.setting[switch] != default for arm in own):
        return None
    same = replace(evidence, records=[record for record in evidence.records if record.seed in common])
    try:
        return decide(same, claim, tier), decide(same, claim, tier, change)
    except ValueError:
        return None
