"""From the ledger to what has to be run: only what a claim, a control or a deviation needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

from repro.claims import (
    TIERS,
    Claim,
    GeneralisationClaim,
    OrderingClaim,
    PropertyClaim,
    Scalar,
    Setting,
    Tier,
)
from repro.ledger import Deviation, Experiment, Ledger, TierPlan


def canonical(setting: Mapping[str, Any]) -> str:
    """Return a setting as JSON that is equal for equal settings."""
    return json.dumps(setting, sort_keys=True, separators=(",", ":"))


def setting_hash(setting: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that name a setting."""
    return hashlib.sha256(canonical(setting).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Arm:
    """One mean of a claim: an experiment at a full setting, and which rows of its records count.

    ``at`` picks rows by the experiment's index; None means all rows.
    """

    experiment: str
    setting: Setting
    at: float | None = None

    def __hash__(self) -> int:
        return hash((self.experiment, canonical(self.setting), self.at))


@dataclass(frozen=True)
class Job:
    """One experiment at one setting, for a number of seeds."""

    paper: str
    experiment: str
    setting: Setting
    seeds: tuple[int, ...]
    tier: Tier
    needed_by: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short name for progress bars and errors."""
        return f"{self.experiment}/{setting_hash(self.setting)}"


def resolve(experiment: Experiment, *parts: Mapping[str, Scalar]) -> Setting:
    """Return the experiment's default setting with ``parts`` laid over it, each typed like the default."""
    setting = dict(experiment.setting)
    for part in parts:
        for key, value in part.items():
            default = setting[key]
            setting[key] = (
                float(value) if isinstance(default, float) and not isinstance(value, bool) else value
            )
    return setting


def differing(setting: Mapping[str, Scalar], experiment: Experiment | None) -> Setting:
    """Return what of a setting is not the experiment's default; all of it where the experiment is not known."""
    default = experiment.setting if experiment else {}
    return {key: value for key, value in setting.items() if key not in default or value != default[key]}


def in_words(setting: Mapping[str, Scalar]) -> str:
    """Return a partial setting as words: ``cora, k = 4``; text says by itself what it is."""
    return ", ".join(v if isinstance(v, str) else f"{k.replace('_', ' ')} = {v}" for k, v in setting.items())


def spelled(setting: Mapping[str, Scalar]) -> str:
    """Return a partial setting with its keys: ``dataset cora, k 4``."""
    return ", ".join(f"{key} {value}" for key, value in setting.items())


def combinations(across: Mapping[str, Iterable[Scalar]]) -> Iterator[Setting]:
    """Return every combination of the values of ``across``; one empty setting if there is nothing."""
    for values in product(*across.values()):
        yield dict(zip(across, values, strict=True))


def arm(
    ledger: Ledger,
    name: str,
    *parts: Mapping[str, Scalar],
    tier: Tier | None = None,
    change: Mapping[str, Scalar] = MappingProxyType({}),
) -> Arm:
    """Return an arm: later parts win, then what the tier reduces, then the control's change.

    The control comes last: if a tier trains for fewer epochs, an untrained network is still not trained.
    """
    experiment = ledger.experiments[name]
    merged: Setting = {}
    for part in parts:
        merged.update(part)
    at = merged.pop(experiment.index, None) if experiment.index else None
    if tier:
        merged.update(experiment.tiers[tier].set)
    merged.update(change)
    return Arm(name, resolve(experiment, merged), None if at is None else float(at))


def comparisons(
    ledger: Ledger,
    claim: OrderingClaim,
    tier: Tier | None = None,
    change: Mapping[str, Scalar] = MappingProxyType({}),
) -> dict[str, tuple[Arm, Arm]]:
    """Return an ordering's pairs (greater, lesser), named by what differs between pairs; a single one has no name."""
    base, name = claim.measure.setting, claim.measure.experiment
    # Of the other arm only what differs from the greater one, or between the other arms.
    same = {k for k, v in claim.greater.items() if all(other.get(k) == v for other in claim.than)}
    told = [{k: v for k, v in other.items() if k not in same} for other in claim.than]
    pairs = {}
    for here in combinations(claim.across):
        for other, says in zip(claim.than, told, strict=True):
            # The statement names the one other arm; where both sides set one switch, the label needs both values.
            named = here if len(told) == 1 else {**says, **here}
            both = {key: value for key, value in says.items() if key in here}
            label = " over ".join(in_words(part) for part in (named, both) if part)
            if label in pairs:  # text says by itself what it is, but two switches may have one text
                label = ", ".join(f"{key} = {value}" for key, value in {**says, **here}.items())
            pairs[label] = (
                arm(ledger, name, base, here, claim.greater, tier=tier, change=change),
                arm(ledger, name, base, here, other, tier=tier, change=change),
            )
    return pairs


def claim_arms(
    ledger: Ledger,
    claim: Claim,
    tier: Tier | None = None,
    change: Mapping[str, Scalar] = MappingProxyType({}),
) -> list[Arm]:
    """Return every arm that a claim needs."""
    if isinstance(claim, OrderingClaim):
        return [a for pair in comparisons(ledger, claim, tier, change).values() for a in pair]
    if isinstance(claim, GeneralisationClaim):
        arms = generalisation_arms(ledger, claim, tier, change).values()
        return list(dict.fromkeys(a for pair in arms for a in pair if a))
    across = claim.across if isinstance(claim, PropertyClaim) else {}
    return [
        arm(ledger, claim.measure.experiment, claim.measure.setting, here, tier=tier, change=change)
        for here in combinations(across)
    ]


def generalisation_arms(
    ledger: Ledger,
    claim: GeneralisationClaim,
    tier: Tier | None = None,
    change: Mapping[str, Scalar] = MappingProxyType({}),
) -> dict[str, tuple[Arm, Arm | None]]:
    """Return the arm itself (named ``""``) and each it must survive in, with the same-size arm it needs."""
    base, name = claim.measure.setting, claim.measure.experiment
    return {
        spelled(other): (
            arm(ledger, name, base, other, tier=tier, change=change),
            arm(ledger, name, base, other, claim.same_size, tier=tier, change=change)
            if claim.same_size
            else None,
        )
        for other in ({}, *claim.survives)
    }


def deviation_arms(
    ledger: Ledger, deviation: Deviation, tier: Tier | None = None
) -> dict[tuple[str, str], tuple[Arm, Arm]]:
    """Return (alternative, where) to the pair (alternative arm, default arm)."""
    base, name = deviation.measure.setting, deviation.measure.experiment
    return {
        (str(alternative), in_words(here)): (
            arm(ledger, name, base, here, {deviation.switch: alternative}, tier=tier),
            arm(ledger, name, base, here, tier=tier),
        )
        for here in combinations(deviation.across)
        for alternative in deviation.alternatives
    }


def skipped(plan: TierPlan, setting: Setting) -> bool:
    """Whether a tier leaves a setting out."""

    def matches(rule: Mapping[str, Scalar | list[Scalar]]) -> bool:
        return all(
            setting.get(key) in value if isinstance(value, list) else setting.get(key) == value
            for key, value in rule.items()
        )

    return any(matches(rule) for rule in plan.skip)


def tiers_of(ledger: Ledger, claim: Claim) -> list[Tier]:
    """Return the tiers that count and run any arm of a claim's own, from the smallest; none if it is blocked."""
    plans = ledger.experiments[claim.measure.experiment].tiers
    return [
        tier
        for tier in TIERS
        if tier != "smoke"
        and not claim.blocked
        and tier in claim.tiers
        and tier in plans
        and any(not skipped(plans[tier], arm.setting) for arm in claim_arms(ledger, claim, tier))
    ]


def supported(ledger: Ledger, claim: Claim, tier: Tier) -> bool:
    """Whether a tier runs the claim's own setting, or a reduced one that supports its kind."""
    if claim.kind in ledger.experiments[claim.measure.experiment].tiers[tier].supports:
        return True
    reduced, own = (claim_arms(ledger, claim, at) for at in (tier, None))
    return [arm.setting for arm in reduced] == [arm.setting for arm in own]


def jobs(
    ledger: Ledger,
    tier: Tier,
    only: str | None = None,
    claim_id: str | None = None,
    deviation_name: str | None = None,
) -> list[Job]:
    """Return what a tier runs: each setting once, with the ids of what needs it.

    Args:
        ledger: of one paper.
        tier: how much compute.
        only: one experiment; None for all.
        claim_id: only what this claim and its controls need.
        deviation_name: only what this deviation needs. With neither: what all claims and deviations need.
    """
    needed: dict[Arm, list[str]] = {}

    def need(arms: Iterable[Arm], by: str) -> None:
        for one in arms:
            by_whom = needed.setdefault(Arm(one.experiment, one.setting), [])
            if by not in by_whom:
                by_whom.append(by)

    def runs(name: str) -> bool:
        return tier in ledger.experiments[name].tiers and only in (None, name)

    def wanted(name: str, asked: str | None) -> bool:
        return name == asked or (claim_id is None and deviation_name is None)

    for claim in ledger.all_claims():
        if claim.blocked or tier not in claim.tiers or not runs(claim.measure.experiment):
            continue
        if not wanted(claim.id, claim_id):
            continue
        need(claim_arms(ledger, claim, tier), claim.id)
        for control in claim.controls:
            need(
                claim_arms(ledger, claim, tier, ledger.controls[control].set),
                f"{claim.id} (control {control})",
            )
    for name, deviation in ledger.deviations.items():
        if not wanted(name, deviation_name):
            continue
        if tier in deviation.tiers and runs(deviation.measure.experiment):
            for pair in deviation_arms(ledger, deviation, tier).values():
                need(pair, f"deviation {name}")
    result = []
    for one, by in needed.items():
        plan = ledger.experiments[one.experiment].tiers[tier]
        if not skipped(plan, one.setting):
            seeds = tuple(range(plan.seeds))
            result.append(Job(ledger.paper.id, one.experiment, one.setting, seeds, tier, tuple(by)))
    return result
