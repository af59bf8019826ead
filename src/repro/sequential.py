"""Adding seeds until verdicts are conclusive, by a rule that is fixed before the first run.

A verdict is looked at after 5, 10, 20, 40, 80 and 160 seeds and nowhere else, each time at the level ALPHA / 6. By
Bonferroni's inequality each wrong verdict then has probability ALPHA at most over all looks together, whatever makes
a run stop: this claim's verdict, another claim's, a budget. The rule is noted beside the records before they grow, and
who judges them later asks for the same level; so nobody needs to remember how they came about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from repro.claims import Tier
from repro.evidence import gather
from repro.judge import Verdict, judge
from repro.ledger import Ledger
from repro.needs import cost
from repro.plan import Arm, Job, jobs
from repro.project import Project
from repro.records import note_levels
from repro.run import Progress, Ran, run
from repro.statistics import ALPHA

LOOKS = (5, 10, 20, 40, 80, 160)
LEVEL = ALPHA / len(LOOKS)


@dataclass
class Settled:
    """What growing the records found.

    Attributes:
        looks: numbers of seeds at which was looked.
        verdicts: of the claims asked for, at the last look.
        stopped: why no more seeds were added.
        failed: jobs that failed.
    """

    looks: list[int] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    stopped: str = "all looks are done"
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def open(self) -> list[Verdict]:
        """Claims that are still inconclusive."""
        return [v for v in self.verdicts if v.outcome == "inconclusive"]


def _can_be_settled(verdict: Verdict) -> bool:
    """Whether more seeds may help: a test gave a p-value or says how many it needs, or one seed was too few for any."""
    return verdict.outcome == "inconclusive" and (
        verdict.p_outside is not None or verdict.seeds_needed is not None or 0 < verdict.n < LOOKS[0]
    )


def _wanted(planned: Sequence[Job], claims: set[str], seeds: int) -> list[Job]:
    """Return the jobs that claims and their controls need, with so many seeds."""
    return [
        replace(job, seeds=tuple(range(seeds)))
        for job in planned
        if any(need.partition(" (control ")[0] in claims for need in job.needed_by)
    ]


def until_settled(
    project: Project,
    ledger: Ledger,
    tier: Tier,
    folder: Path,
    progress: Callable[[str], AbstractContextManager[Progress]],
    *,
    only: str | None = None,
    claim_id: str | None = None,
    budget: float | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Settled:
    """Run more seeds, look by look, until no claim is inconclusive that more seeds could settle.

    Args:
        project, ledger, tier, folder, device, threads: as in :func:`repro.run.run`.
        progress: makes a progress display from a label.
        only: one experiment; claim_id: one claim; None for all.
        budget: seconds; a look that would exceed it, by the times of the records, is not begun.
    """
    planned = jobs(ledger, tier, only, claim_id)
    every = {c.id for c in ledger.all_claims()}
    asked = {need.partition(" (control ")[0] for job in planned for need in job.needed_by} & every
    found, claims, began = Settled(), asked, time.monotonic()
    for look in LOOKS:
        todo = _wanted(planned, claims, look)
        if not todo:
            found.stopped = "nothing is left that more seeds could settle"
            break
        evidence = gather(project, ledger, folder)
        predicted = cost(evidence, [Arm(job.experiment, job.setting) for job in todo], look) or 0.0
        if budget is not None and time.monotonic() - began + predicted > budget:
            found.stopped = f"{look} seeds would take about {predicted:.0f} s, more than the budget has left"
            break
        note_levels(folder, ledger.paper.id, {job.experiment: LEVEL for job in todo})
        with progress(f"{ledger.paper.id}, {look} seeds") as shown:
            outcome: Ran = run(project, ledger, todo, folder, device=device, threads=threads, progress=shown)
        found.failed |= outcome.failed
        found.looks.append(look)
        found.verdicts = [v for v in judge(gather(project, ledger, folder), tier) if v.claim in asked]
        claims = {v.claim for v in found.verdicts if _can_be_settled(v)}
    return found
