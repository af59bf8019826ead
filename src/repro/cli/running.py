"""Commands that compute: run, vouch; and that say what is to be computed: plan, status."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli.common import Commands, TierName, evidence_of, papers_named, the_project
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.ledger import Ledger
    from repro.plan import Job
    from repro.project import Project

app = Commands()
MOST_SEEDS = 1_000_000


class Device(StrEnum):
    """Where to run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that ``100`` (the first hundred) or ``7,12-15`` (these) stands for."""
    try:
        if text.isdigit():
            seeds = list(range(min(int(text), MOST_SEEDS + 1)))
        else:
            seeds = []
            for part in text.split(","):
                first, to, last = part.partition("-")
                more = range(int(first), int(last if to else first) + 1)
                if not more:
                    raise ValueError
                seeds += more[: MOST_SEEDS + 1]  # so many are refused below
    except ValueError:
        seeds = []
    if len(seeds) > MOST_SEEDS or (seeds and max(seeds) >= 2**63):
        raise ReproError(f"--seeds {text}: at most {MOST_SEEDS:,} seeds, each below 2^63")
    if not seeds:
        raise ReproError(f"--seeds {text}: give a number of seeds (100) or a list of them (7,12-15)")
    return sorted(set(seeds))


def _overridden(ledger: Ledger, jobs: list[Job], pairs: list[str]) -> list[Job]:
    """Apply ``--set key=value`` to every job whose experiment has the key."""
    from dataclasses import replace

    from repro.settings import parse_overrides

    changed = []
    for job in jobs:
        overrides = parse_overrides(ledger, [job.experiment], pairs)
        changed.append(replace(job, setting={**job.setting, **overrides}))
    unique = {(job.experiment, json.dumps(job.setting, sort_keys=True)): job for job in changed}
    return list(unique.values())


@app.command()
def run(
    paper: Annotated[str, typer.Argument(help="id of a paper, as `repro list` shows it")],
    experiment: Annotated[str | None, typer.Option(help="only this experiment")] = None,
    claim: Annotated[str | None, typer.Option(help="only what this claim and its controls need")] = None,
    deviation: Annotated[str | None, typer.Option(help="only what this deviation needs")] = None,
    tier: Annotated[TierName, typer.Option(help="how much compute")] = TierName.quick,
    seeds: Annotated[
        str | None, typer.Option(help="how many (100) or which (7,12-15; one: 97-97); default: the tier's")
    ] = None,
    device: Annotated[Device, typer.Option(help="where to run")] = Device.auto,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a setting: key=value")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="processor threads; default: all")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the records; default: results/local")] = None,
    besides: Annotated[
        str | None, typer.Option(help="leave out what these records hold: reference or a folder")
    ] = None,
    until_settled: Annotated[
        bool, typer.Option("--until-settled", help="add seeds by a fixed rule until verdicts are conclusive")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(min=0, help="minutes; with --until-settled, begin no look that exceeds it")
    ] = None,
) -> None:
    """Run what the records lack. Killed at any point, the next call goes on from there.

    --until-settled looks at 5, 10, 20, 40, 80 and 160 seeds, each time at a sixth of the level of a single look, so
    that stopping early errs no more often; verdicts on such records keep that level.

    Examples:

    repro run gcn

    repro run gcn --experiment citation --tier full --seeds 7,12-15

    repro run gcn --claim GCN-T2-GCN-cora --tier full

    repro run gat --tier full --besides reference

    repro run gat --tier full --deviation projected_dropout

    repro run gcn --experiment citation --until-settled --budget 30

    repro run gcn --experiment citation --set bias=true --set dataset=citeseer
    """
    from dataclasses import replace

    from rich.console import Console

    from repro.claims import TIERS
    from repro.plan import jobs as plan_jobs
    from repro.progress import Bar
    from repro.run import missing_seeds
    from repro.run import run as run_jobs
    from repro.settings import check_claim, check_deviation, check_experiment, check_overrides

    project = the_project()
    ledger = project.ledger(paper)
    check_experiment(ledger, experiment)
    check_claim(ledger, claim)
    check_deviation(ledger, deviation)
    jobs = plan_jobs(ledger, tier.value, experiment, claim, deviation)
    if not any(tier.value in plan.tiers for plan in ledger.experiments.values()):
        raise ReproError(f"no experiment of {paper} has a {tier.value} tier: give another --tier")
    if experiment and tier.value not in ledger.experiments[experiment].tiers:
        tiers = ", ".join(ledger.experiments[experiment].tiers)
        raise ReproError(f"experiment `{experiment}` has no {tier.value} tier; it has {tiers}: give --tier")
    if not jobs and (claim or deviation):
        asked = ledger.claim(claim) if claim else ledger.deviations[deviation or ""]
        if claim and (why := ledger.claim(claim).blocked):
            raise ReproError(f"--claim {claim}: it is blocked, so that nothing is run for it: {why}")
        there = [t for t in TIERS if plan_jobs(ledger, t, experiment, claim, deviation)]
        raise ReproError(
            f"--{'claim' if claim else 'deviation'} {claim or deviation}: nothing to run at the {tier.value} tier"
            + (f" in experiment `{experiment}`" if experiment else "")
            + f"; it needs experiment `{asked.measure.experiment}`"
            + (f": give --tier {' or '.join(there)}" if there else ", and no tier runs it")
        )
    if seeds is not None:
        chosen = tuple(parse_seeds(seeds))
        jobs = [replace(job, seeds=chosen) for job in jobs]
    if set_:
        check_overrides(ledger, list(dict.fromkeys(job.experiment for job in jobs)), set_)
        jobs = _overridden(ledger, jobs, set_)
    if besides is not None:
        held = evidence_of(project, paper, besides, "--besides").records
        jobs = [replace(job, seeds=tuple(missing_seeds(job, held))) for job in jobs]
        jobs = [job for job in jobs if job.seeds]
    if out is not None and out == Path():
        raise ReproError("--out: give a folder for the records; this is the current one")
    folder = out or project.records_of(tier.value)
    if budget is not None and not until_settled:
        raise ReproError("--budget belongs to --until-settled")
    if until_settled:
        if seeds is not None or set_ or deviation or besides or tier is TierName.smoke:
            raise ReproError("--until-settled asks for claims, with its own number of seeds and the ledger's "
                             "settings: give no --seeds, --set, --deviation or --besides, and no smoke tier, which "
                             "supports no verdict")  # fmt: skip
        _run_until_settled(project, ledger, tier, folder, experiment, claim, budget, device, threads)
        return
    try:
        with Bar(Console(stderr=True), paper) as bar:
            outcome = run_jobs(
                project, ledger, jobs, folder, device=device.value, threads=threads, progress=bar
            )
    except KeyboardInterrupt:
        typer.echo(
            f"{paper}: interrupted; what is done is kept, the same command goes on from there", err=True
        )
        raise typer.Exit(130) from None
    typer.echo(
        f"{paper}: {len(outcome.written)} records written, {outcome.present} were there, "
        f"{len(outcome.blocked)} jobs blocked, {len(outcome.failed)} failed"
    )
    if outcome.failed:
        raise typer.Exit(1)


def _run_until_settled(
    project: Project,
    ledger: Ledger,
    tier: TierName,
    folder: Path,
    experiment: str | None,
    claim: str | None,
    budget: float | None,
    device: Device,
    threads: int | None,
) -> None:
    from rich.console import Console

    from repro.progress import Bar
    from repro.sequential import until_settled
    from repro.words import tally

    paper = ledger.paper.id
    try:
        found = until_settled(
            project, ledger, tier.value, folder, lambda label: Bar(Console(stderr=True), label),
            only=experiment, claim_id=claim, budget=None if budget is None else 60 * budget,
            device=device.value, threads=threads,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"{paper}: interrupted; the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    looks = ", ".join(map(str, found.looks)) or "none"
    typer.echo(f"{paper}: {tally(found.verdicts)}; looks at {looks} seeds; {found.stopped}")
    for verdict in found.open:
        typer.echo(f"still open: {verdict.claim}: {verdict.reasons[0]}")
    if found.failed:
        raise typer.Exit(1)


@app.command()
def plan(
    paper: Annotated[str | None, typer.Argument(help="id of a paper; default: all")] = None,
    records: Annotated[str, typer.Option(help="reference, local or a folder")] = "local",
) -> None:
    """Say how many seeds would settle each open claim, from the spread of its runs, and what they would cost.

    Example: repro plan gcn --records reference
    """
    from repro.board import print_needs
    from repro.judge import judge as judge_evidence

    project = the_project()
    for name in papers_named(project, paper):
        evidence = evidence_of(project, name, records)
        print_needs(evidence, judge_evidence(evidence))


@app.command()
def status(
    paper: Annotated[str | None, typer.Argument(help="id of a paper; default: all")] = None,
    tier: Annotated[TierName, typer.Option(help="which plan to compare with")] = TierName.quick,
    records: Annotated[str, typer.Option(help="reference, local or a folder")] = "local",
) -> None:
    """Show what is missing, stale, damaged or blocked.

    Example: repro status gat --tier full --records reference
    """
    from repro.board import print_status
    from repro.evidence import gather

    project = the_project()
    for name in papers_named(project, paper):
        if records == "local":  # of a smoke run they are elsewhere
            found = gather(project, project.ledger(name), project.records_of(tier.value))
        else:
            found = evidence_of(project, name, records)
        print_status(project, found, tier.value)


@app.command()
def vouch(
    paper: Annotated[str, typer.Argument(help="id of a paper")],
    since: Annotated[str, typer.Option(help="commit whose code made the stale records")],
    experiment: Annotated[str | None, typer.Option(help="only this experiment")] = None,
) -> None:
    """Let stale reference records count again whose numbers a change of code leaves as they are.

    A sample of them is computed with the code of the commit and with today's. Where all numbers are equal to the last
    bit, this is noted beside the records; exit 1 if some are not.

    Example: repro vouch gcn --since HEAD~1
    """
    from repro.settings import check_experiment
    from repro.vouch import vouch as compare

    project = the_project()
    check_experiment(project.ledger(paper), experiment)
    entries, said = compare(project, paper, since, experiment)
    for entry in entries:
        typer.echo(f"{entry.experiment}: {entry.records} records of {entry.settings} settings are equal")
    for line in said:
        typer.echo(line, err=True)
    raise typer.Exit(1 if said else 0)
