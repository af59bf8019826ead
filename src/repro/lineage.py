"""What a verdict rests on: its arms, their records, and the code, data and machine these come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repro.claims import Claim, Tier
from repro.evidence import Evidence
from repro.freshness import Vouched
from repro.ledger import Ledger
from repro.plan import Arm, claim_arms, differing, setting_hash, supported, tiers_of
from repro.records import Record


@dataclass(frozen=True)
class Origin:
    """One arm of a claim, in words.

    Attributes:
        name: experiment and hash of its setting.
        setting: what differs from the protocol.
        function: of the paper's folder.
        vouched: changes of that code since which left its numbers as they were, in words.
    """

    name: str
    setting: str
    function: str
    records: str
    code: list[str]
    vouched: list[str]
    data: list[str]
    environments: list[str]
    computed: str


def lineage(evidence: Evidence, claim: Claim, tier: Tier | None) -> list[Origin]:
    """Return the arms that a claim's verdict at a tier rests on."""
    arms = (Arm(arm.experiment, arm.setting) for arm in claim_arms(evidence.ledger, claim, tier))
    return [_origin(evidence, arm) for arm in dict.fromkeys(arms)]


def _origin(evidence: Evidence, arm: Arm) -> Origin:
    plan, records = evidence.ledger.experiments[arm.experiment], evidence.of(arm)
    changed = differing(arm.setting, plan)
    seeds, dates = [r.seed for r in records], sorted(r.created for r in records)
    return Origin(
        name=f"{arm.experiment}/{setting_hash(arm.setting)}",
        setting=", ".join(f"{k}={v}" for k, v in changed.items()) or "the protocol as it is",
        function=plan.function,
        records=_counted(seeds),
        code=sorted({r.code for r in records}),
        vouched=[
            f"changed from {v.before} to {v.after} without changing a number: {v.records} records of {v.settings} "
            f"settings were computed with both on {v.date} and are equal to the last bit"
            for v in _passed_through(evidence, records)
        ],
        data=sorted({f"{name} {md5}" for r in records for name, md5 in r.data.items()}),
        environments=list(dict.fromkeys(environment_in_words(r.environment) for r in records)),
        computed=f"{dates[0]} to {dates[-1]}, {sum(r.seconds for r in records):.0f} s in all"
        if records
        else "",
    )


def _passed_through(evidence: Evidence, records: Sequence[Record]) -> list[Vouched]:
    """Return the changes of code that lie between the records and today; they are noted in the order of time."""
    codes, passed = {(r.experiment, r.code) for r in records}, []
    for change in evidence.vouched:
        if (change.experiment, change.before) in codes:
            codes.add((change.experiment, change.after))
            passed.append(change)
    return passed


def _counted(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"1 record, seed {seeds[0]}"
    return f"{len(seeds)} records, seeds {seeds[0]}…{seeds[-1]}" if seeds else "no records"


def environment_in_words(environment: Mapping[str, Any]) -> str:
    """Return libraries, hardware and commit as one line."""
    return ", ".join(f"{k} {v}" for k, v in environment.items() if v is not None)


def command(ledger: Ledger, claim: Claim, tier: Tier | None) -> str:
    """Return the one command that runs what a claim needs and judges it; empty where nothing can be run.

    At the tier of its verdict; where that says nothing of such a claim, or there is none, at the smallest that does.
    """
    there = tiers_of(ledger, claim)
    if not there:
        return ""
    telling = [at for at in there if supported(ledger, claim, at)] or there
    at = tier if tier in telling else telling[0]
    return f"repro run {ledger.paper.id} --claim {claim.id} --tier {at} && repro explain {claim.id} --records local"
