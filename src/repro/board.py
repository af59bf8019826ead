"""Verdicts, explanations and status on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from repro.claims import TIERS
from repro.deviations import effects
from repro.drift import Drift, power
from repro.evidence import Evidence
from repro.judge import Verdict, judge
from repro.known_exceptions import excuse
from repro.lineage import command, lineage
from repro.needs import needs, total
from repro.plan import Arm, jobs
from repro.project import Project
from repro.run import missing_seeds
from repro.words import (
    OUTCOMES,
    change,
    duration,
    found,
    interval,
    marked,
    number,
    printed,
    tally,
    unit_of,
    unit_of_difference,
)

COLOURS = {
    "reproduced": "green",
    "better": "cyan",
    "contradicted": "red",
    "error": "bold red",
    "inconclusive": "yellow",
    "blocked": "magenta",
    "not_run": "dim",
}


def _outcome(outcome: str) -> str:
    return f"[{COLOURS[outcome]}]{marked(outcome)}[/]"


def print_board(project: Project, verdicts: Sequence[Verdict], exceptions: Mapping[str, str]) -> None:
    """Print one line per claim, what needs attention first; then why, and a count."""
    console = Console()
    if not console.is_terminal:  # a log has no width of its own; do not fold the ids
        console.width = 110
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("claim", "verdict", "claimed", "ours", "90 % interval", "n"):
        table.add_column(column, no_wrap=column in ("verdict", "90 % interval"), overflow="fold")
    papers = dict.fromkeys(verdict.paper for verdict in verdicts)
    claims = {claim.id: claim for paper in papers for claim in project.ledger(paper).all_claims()}
    ordered = sorted(verdicts, key=lambda v: (v.paper, OUTCOMES.index(v.outcome)))
    for verdict in ordered:
        table.add_row(
            escape(verdict.claim),
            _outcome(verdict.outcome),
            printed(claims[verdict.claim]),
            escape(f"{number(verdict.measured)} {verdict.where}".strip()),
            escape(interval(verdict.interval)),
            str(verdict.n or ""),
        )
    console.print(table)
    for verdict in ordered:
        if verdict.outcome in ("contradicted", "error", "inconclusive", "blocked"):
            why = " ".join(verdict.reasons[:2])
            if known := excuse(verdict, exceptions):
                why = f"known exception: {known}"
            console.print(f"[bold]{escape(verdict.claim)}[/]: {escape(why)}", highlight=False)
    for paper in papers:
        console.print(f"[bold]{escape(paper)}[/]: {tally(v for v in verdicts if v.paper == paper)}")


def print_explanation(evidence: Evidence, claim_id: str, where: str) -> None:
    """Print everything a verdict rests on."""
    console, ledger = Console(), evidence.ledger
    claim = ledger.claim(claim_id)
    verdict = next(v for v in judge(evidence) if v.claim == claim_id)
    unit = unit_of(claim, ledger)

    def line(label: str, text: object) -> None:
        if text not in ("", None):
            console.print(f"[bold]{label:<12}[/] {escape(str(text))}", soft_wrap=True, highlight=False)

    line("claim", f"{claim.id} ({claim.kind})")
    line("statement", claim.statement)
    page = f", page {claim.anchor.page}" if claim.anchor.page else ""
    line("anchor", f"{claim.anchor.place}{page} [{claim.anchor.evidence}]")
    console.print(f"[bold]{'verdict':<12}[/] {_outcome(verdict.outcome)}")
    for reason in verdict.reasons:
        line("  because", reason)
    line("claimed", printed(claim))
    line("ours", found(claim, verdict, ledger) if verdict.n else "")
    line("runs", f"{verdict.n} ({verdict.tier} tier, {where} records)" if verdict.n else "")
    line("margin", f"± {number(verdict.margin, unit_of_difference(unit))}" if verdict.margin else "")
    line("trouble", claim.trouble)
    for control, outcome in verdict.controls.items():
        line("control", f"{control}: {ledger.controls[control].meaning}: {outcome}")
    for effect in effects(evidence):
        if effect.estimate and {claim.id, claim.family} & set(ledger.deviations[effect.deviation].moves):
            size = change(effect.estimate, ledger.quantities[effect.quantity].unit)
            at = f" on {effect.where}" if effect.where else ""
            line(
                "deviation", f"{effect.deviation} = {effect.alternative}{at}: {size}, n = {effect.estimate.n}"
            )
    _print_records(console, evidence, claim_id, verdict)
    line("again", command(ledger, claim, verdict.tier))


def _print_records(console: Console, evidence: Evidence, claim_id: str, verdict: Verdict) -> None:
    claim = evidence.ledger.claim(claim_id)
    for one in lineage(evidence, claim, verdict.tier):
        console.print(f"\n[bold]{escape(one.name)}[/] {escape(one.setting)}", highlight=False)
        console.print(f"  {one.records}")
        for code in one.code:
            console.print(f"  code        {code} ({one.function} and what it imports)", highlight=False)
        for text in one.vouched:
            console.print(f"              {text}", highlight=False, soft_wrap=True)
        for data in one.data:
            console.print(f"  data md5    {data}", highlight=False)
        for text in one.environments:
            console.print(f"  environment {escape(text)}", highlight=False, soft_wrap=True)
        if one.computed:
            console.print(f"  computed    {one.computed}", highlight=False)


def print_status(project: Project, evidence: Evidence, tier: str) -> None:
    """Print per experiment what a tier plans, what is there, and what is stale, damaged or blocked."""
    console, ledger = Console(), evidence.ledger
    table = Table(title=f"{ledger.paper.id}, {tier} tier", box=None, header_style="bold")
    for column in ("experiment", "planned", "present", "missing", "stale", "blocked or failed"):
        table.add_column(column)
    planned: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    problems: dict[str, list[str]] = {}
    assert tier in TIERS
    for job in jobs(ledger, tier):
        planned[job.experiment] += len(job.seeds)
        missing[job.experiment] += len(missing_seeds(job, evidence.records))
        problem = evidence.problem(Arm(job.experiment, job.setting))
        if problem and (problem["state"] == "failed" or missing_seeds(job, evidence.records)):
            problems.setdefault(job.experiment, []).append(problem["message"])
    stale = Counter(record.experiment for record, _ in evidence.stale)
    for name, count in planned.items():
        table.add_row(
            name,
            str(count),
            str(count - missing[name]),
            str(missing[name] or ""),
            str(stale[name] or ""),
            escape("; ".join(dict.fromkeys(problems.get(name, [])))),
        )
    if planned:
        console.print(table)
    else:
        console.print(f"{ledger.paper.id}: no experiment has a {tier} tier", highlight=False)
    for damage in evidence.damaged:
        console.print(f"damaged: {escape(str(damage))}", soft_wrap=True)


def print_drift(found: Sequence[Drift]) -> None:
    """Print what drifted, what differs without a test, and what the comparison could have found."""
    console = Console()
    if not console.is_terminal:
        console.width = 110
    shifts = [s for part in found for s in part.shifts]
    shown = [s for part in found for s in [*part.found, *part.untested]]
    shown += [s for s in shifts if s.drifted and s.timing]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("arm", "quantity", "shift", "in sd", "p (Holm)", "n", ""):
        table.add_column(column, overflow="fold")
    for s in shown:
        name = s.quantity if s.at is None else f"{s.quantity} at {number(s.at)}"
        note = "timing" if s.timing else "too few seeds" if s.p is None else "drifted"
        p = "" if s.p_corrected is None else f"{s.p_corrected:.2g}"
        seeds = f"{s.n_a}, {s.n_b}" + (" paired" if s.paired else "")
        table.add_row(
            escape(f"{s.paper}/{s.arm} {s.setting}"),
            escape(name),
            f"{s.shift:+.4g}",
            f"{s.sds:+.2f}",
            p,
            seeds,
            note,
        )
    if shown:
        console.print(table)
    tests = [s for s in shifts if s.p is not None]
    drifted = sum(len(part.found) for part in found)
    console.print(
        f"{drifted} of {len(tests)} comparisons drifted; {sum(s.identical for s in shifts)} are identical; "
        f"{sum(part.only_a for part in found)} and {sum(part.only_b for part in found)} arms are in one set only"
    )
    for pooled, where in ((False, "in one arm"), (True, "in all arms of an experiment")):
        family = [s for s in tests if s.pooled == pooled and not s.timing]
        if family:
            few = sorted(min(s.n_a, s.n_b) for s in family)[len(family) // 2]
            console.print(
                f"A shift of one standard deviation {where} is found with probability "
                f"{power(1.0, few, len(family)):.2f} from {few} independent seeds (the median), and more surely "
                "from the same seeds"
            )
    for part in found:
        if part.other_code:
            console.print(
                f"other code or data behind {', '.join(part.other_code)}: a difference there is a change, not drift"
            )


def print_needs(evidence: Evidence, verdicts: Sequence[Verdict]) -> None:
    """Print how many seeds each open claim of a paper needs, and what they cost."""
    console, paper = Console(), evidence.ledger.paper.id
    if not console.is_terminal:
        console.width = 110
    if not evidence.records:
        # Every claim would be listed as one of which nothing can be said.
        console.print(
            f"[bold]{escape(paper)}[/]: no records here to tell from; `repro run {escape(paper)}` makes some, "
            f"`repro plan {escape(paper)} --records reference` asks ours",
            highlight=False,
        )
        return
    found = needs(evidence, verdicts)
    if not found:
        broken = sum(verdict.outcome == "error" for verdict in verdicts)
        rest = f" but {broken} in error, which no seeds mend: `repro judge` says why" if broken else ""
        console.print(f"{escape(paper)}: every claim is settled{rest}")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("claim", "verdict", "n", "seeds", "time"):
        table.add_column(column, overflow="fold", no_wrap=column != "claim")
    known = [need for need in found if need.seeds is not None]
    for need in known:
        table.add_row(
            escape(need.claim), _outcome(need.outcome), str(need.n), str(need.seeds), duration(need.seconds)
        )
    if known:
        console.print(table)
        # ((z(1 - ALPHA / 6) + z(POWER)) / (z(1 - ALPHA) + z(POWER)))² = 1.69 with normal quantiles z.
        console.print(
            "Seeds are those of a single look. The commands below look several times, each at a sixth of the level, "
            "which can take 1.7 times as many; begun after a look like this one, both together err twice as often."
        )
    for need in known:
        tier = f" --tier {need.tier}" if need.tier else ""
        command = f"repro run {paper} --claim {need.claim}{tier} --until-settled"
        console.print(f"[bold]{escape(need.claim)}[/]: {escape(command)}", highlight=False)
    unknown: dict[str, list[str]] = {}
    for need in found:
        if need.seeds is None:
            unknown.setdefault(need.why, []).append(need.claim)
    for why, claims in unknown.items():  # most have no runs: one line for them all
        console.print(f"[bold]{escape(', '.join(claims))}[/]: {escape(why)}", highlight=False)
    console.print(f"[bold]{escape(paper)}[/]: about {duration(total(evidence, found, verdicts))} in all")
