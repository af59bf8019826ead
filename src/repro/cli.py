"""The command `repro`. Heavy libraries are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.judge import Evidence, Verdict
    from repro.ledger import Ledger
    from repro.plan import Job
    from repro.project import Project

EXIT_CODES = """
Exit codes: 0 all is well; 1 a claim is contradicted or in error (judge), a quantity has drifted (drift), a run failed
(run) or data is missing (data verify); 2 a mistake in how it was called, in a ledger or in a file; 130 interrupted.
"""

app = typer.Typer(
    help="Tests published claims: a ledger of claims, runs that test them, and a statistical verdict for each.\n\n"
    + EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="The data sets: fetch, verify, status.", no_args_is_help=True)
app.add_typer(data_app, name="data")
weekly_app = typer.Typer(help="A literature review every week: new, build.", no_args_is_help=True)
app.add_typer(weekly_app, name="weekly")


MOST_SEEDS = 1_000_000


class TierName(StrEnum):
    """How much compute a run gets."""

    smoke = "smoke"
    quick = "quick"
    long = "long"
    full = "full"


class Device(StrEnum):
    """Where to run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def _project() -> Project:
    from repro.project import find_project

    return find_project()


def _papers(project: Project, paper: str | None) -> list[str]:
    if paper:
        project.ledger(paper)
        return [paper]
    return project.paper_ids()


def _folder(project: Project, records: str) -> Path:
    named = {"reference": project.reference, "local": project.local}
    folder = named.get(records, Path(records))
    if records not in named and not folder.is_dir():
        raise ReproError(
            f"--records {records}: give `reference`, `local` or a folder; there is no folder of that name"
        )
    return folder


def _evidence(project: Project, paper: str, records: str) -> Evidence:
    from repro.judge import gather

    return gather(project, project.ledger(paper), _folder(project, records))


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that ``100`` (the first hundred) or ``7,12-15`` (these) stands for."""
    try:
        if text.isdigit():
            seeds = list(range(min(int(text), MOST_SEEDS + 1)))
        else:
            seeds = []
            for part in text.split(","):
                first, to, last = part.partition("-")
                seeds += range(int(first), int(last if to else first) + 1)
    except ValueError:
        seeds = []
    if len(seeds) > MOST_SEEDS or (seeds and max(seeds) >= 2**63):
        raise ReproError(f"--seeds {text}: at most {MOST_SEEDS:,} seeds, each below 2^63")
    if not seeds:
        raise ReproError(f"--seeds {text}: give a number of seeds (100) or a list of them (7,12-15)")
    return sorted(set(seeds))


@app.command("list")
def list_papers() -> None:
    """Show the papers, their claims and what is known of each.

    Example: repro list
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from repro.judge import judge

    project, console = _project(), Console()
    for paper in project.paper_ids():
        ledger = project.ledger(paper)
        title = f"{paper}: {ledger.paper.title} ({ledger.paper.venue} {ledger.paper.year})"
        table = Table(title=escape(title))
        for column in ("claim", "kind", "statement", "reference"):
            table.add_column(column)
        verdicts = {v.claim: v for v in judge(_evidence(project, paper, "reference"))}
        for claim in ledger.all_claims():
            table.add_row(claim.id, claim.kind, escape(claim.statement), verdicts[claim.id].outcome)
        console.print(table)


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
    tier: Annotated[TierName, typer.Option(help="how much compute")] = TierName.quick,
    seeds: Annotated[str | None, typer.Option(help="100, or 7,12-15; default: as the tier plans")] = None,
    device: Annotated[Device, typer.Option(help="where to run")] = Device.auto,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a setting: key=value")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="processor threads; default: all")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the records; default: results/local")] = None,
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

    repro run gcn --experiment citation --until-settled --budget 30

    repro run gcn --experiment citation --set bias=true --set dataset=citeseer
    """
    from dataclasses import replace

    from rich.console import Console

    from repro.plan import jobs as plan_jobs
    from repro.progress import Bar
    from repro.run import run as run_jobs
    from repro.settings import check_claim, check_experiment, check_overrides

    project = _project()
    ledger = project.ledger(paper)
    check_experiment(ledger, experiment)
    check_claim(ledger, claim)
    jobs = plan_jobs(ledger, tier.value, experiment, claim)
    if not any(tier.value in plan.tiers for plan in ledger.experiments.values()):
        raise ReproError(f"no experiment of {paper} has a {tier.value} tier: give another --tier")
    if experiment and tier.value not in ledger.experiments[experiment].tiers:
        tiers = ", ".join(ledger.experiments[experiment].tiers)
        raise ReproError(f"experiment `{experiment}` has no {tier.value} tier; it has {tiers}: give --tier")
    if seeds is not None:
        chosen = tuple(parse_seeds(seeds))
        jobs = [replace(job, seeds=chosen) for job in jobs]
    if set_:
        check_overrides(ledger, [experiment] if experiment else list(ledger.experiments), set_)
        jobs = _overridden(ledger, jobs, set_)
    folder = out or project.records_of(tier.value)
    if budget is not None and not until_settled:
        raise ReproError("--budget belongs to --until-settled")
    if until_settled:
        if seeds is not None or set_ or tier is TierName.smoke:
            raise ReproError("--until-settled has its own number of seeds and the ledger's settings: give neither "
                             "--seeds nor --set, and no smoke tier, which supports no verdict")  # fmt: skip
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

    project = _project()
    for name in _papers(project, paper):
        evidence = _evidence(project, name, records)
        print_needs(evidence, judge_evidence(evidence))


@app.command()
def judge(
    paper: Annotated[str | None, typer.Argument(help="id of a paper; default: all")] = None,
    records: Annotated[str, typer.Option(help="reference, local or a folder")] = "reference",
    json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    junit: Annotated[Path | None, typer.Option(help="also write a JUnit file")] = None,
    summary: Annotated[Path | None, typer.Option(help="also append Markdown, as a CI job shows it")] = None,
    badges: Annotated[Path | None, typer.Option(help="also write a badge per paper to this folder")] = None,
) -> None:
    """Say of every claim whether the records bear it out; exit 1 if one is contradicted or in error.

    Claims that papers/known_exceptions.yaml lists, each with its reason, do not count for the exit code.

    Examples:

    repro judge

    repro judge gcn --records local --json

    repro judge --junit claims.xml --summary "$GITHUB_STEP_SUMMARY" --badges badges
    """
    from repro.board import print_board
    from repro.exceptions import excuse, known_exceptions
    from repro.judge import judge as judge_evidence
    from repro.junit import write_junit

    project = _project()
    verdicts: list[Verdict] = []
    for name in _papers(project, paper):
        evidence = _evidence(project, name, records)
        for damage in evidence.damaged:
            typer.echo(f"damaged, not counted: {damage}", err=True)
        verdicts += judge_evidence(evidence)
    exceptions = known_exceptions(project)
    if junit:
        write_junit(junit, verdicts, exceptions)
    if summary or badges:
        ledgers = {name: project.ledger(name) for name in _papers(project, paper)}
        if summary:
            from repro.summary import summary as in_markdown

            with summary.open("a", encoding="utf-8") as file:
                file.write(in_markdown(ledgers, verdicts, exceptions))
        if badges:
            from repro.report.badges import write_badges

            for name, ledger in ledgers.items():
                write_badges(badges, ledger, [v for v in verdicts if v.paper == name])
    if json_:
        typer.echo(json.dumps({"verdicts": [verdict.as_json() for verdict in verdicts]}, indent=1))
    else:
        print_board(project, verdicts, exceptions)
    failing = [v for v in verdicts if v.outcome in ("contradicted", "error")]
    if any(not excuse(verdict, exceptions) for verdict in failing):
        raise typer.Exit(1)


class Format(StrEnum):
    """What `repro export` writes."""

    csv = "csv"
    json = "json"
    parquet = "parquet"
    latex = "latex"
    bibtex = "bibtex"


@app.command("export")
def export_claims(
    paper: Annotated[str | None, typer.Argument(help="id of a paper; default: all")] = None,
    format_: Annotated[Format, typer.Option("--format", help="of the file")] = Format.csv,
    records: Annotated[str, typer.Option(help="reference, local or a folder")] = "reference",
    out: Annotated[Path | None, typer.Option(help="file to write; default: standard output")] = None,
) -> None:
    """Write all claims with their verdicts as CSV, JSON, Parquet or LaTeX, or the papers as BibTeX.

    Example: repro export --format latex --out claims.tex
    """
    from repro.exceptions import known_exceptions
    from repro.export import export, rows
    from repro.judge import judge as judge_evidence
    from repro.records import write_atomically

    project = _project()
    evidence = {name: _evidence(project, name, records) for name in _papers(project, paper)}
    ledgers = {name: found.ledger for name, found in evidence.items()}
    verdicts = [verdict for found in evidence.values() for verdict in judge_evidence(found)]
    content = export(format_.value, rows(ledgers, verdicts, known_exceptions(project)), ledgers)
    if out:
        write_atomically(out, content)
    elif format_ is Format.parquet:
        raise ReproError("--format parquet is no text: give --out FILE")
    else:
        typer.echo(content.decode(), nl=False)


@app.command()
def drift(
    a: Annotated[str, typer.Argument(help="records before: reference, local or a folder")],
    b: Annotated[str, typer.Argument(help="records after: reference, local or a folder")],
    paper: Annotated[str | None, typer.Option(help="id of a paper; default: all")] = None,
    json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare two sets of our own records, quantity by quantity; exit 1 if one has drifted.

    Times and memory are shown but do not count: another machine changes them by right.

    Example: repro drift reference results/with-new-torch
    """
    from repro.board import print_drift
    from repro.drift import corrected
    from repro.drift import drift as compare
    from repro.records import read_folder

    project = _project()
    papers, folders = _papers(project, paper), [_folder(project, a), _folder(project, b)]
    sets = {name: [read_folder(folder, name) for folder in folders] for name in papers}
    for _, damaged in (found for pair in sets.values() for found in pair):
        for damage in damaged:
            typer.echo(f"damaged, not counted: {damage}", err=True)
    found = corrected([compare(project.ledger(n), pair[0][0], pair[1][0]) for n, pair in sets.items()])
    if not any(part.shifts for part in found):
        raise ReproError(f"{a} and {b} hold no runs of the same setting: there is nothing to compare")
    if json_:
        typer.echo(
            json.dumps({name: part.as_json() for name, part in zip(papers, found, strict=True)}, indent=1)
        )
    else:
        print_drift(found)
    if any(part.found for part in found):
        raise typer.Exit(1)


@app.command()
def explain(
    claim: Annotated[str, typer.Argument(help="id of a claim, as `repro list` shows it")],
    records: Annotated[str, typer.Option(help="reference, local or a folder")] = "reference",
) -> None:
    """Follow a verdict down to its records, code, data, environment and hardware.

    Example: repro explain GCN-T2-GCN-cora
    """
    from repro.board import print_explanation

    project = _project()
    paper, _ = project.find_claim(claim)
    print_explanation(project, _evidence(project, paper, records), claim, records)


@app.command()
def status(
    tier: Annotated[TierName, typer.Option(help="which plan to compare with")] = TierName.quick,
    records: Annotated[str, typer.Option(help="reference, local or a folder")] = "local",
) -> None:
    """Show what is missing, stale, damaged or blocked.

    Example: repro status --tier full --records reference
    """
    from repro.board import print_status

    project = _project()
    for paper in project.paper_ids():
        print_status(project, _evidence(project, paper, records), tier.value)


@app.command()
def keep(
    paper: Annotated[str, typer.Argument(help="id of a paper")],
    source: Annotated[Path | None, typer.Option(help="folder of records; default: results/local")] = None,
    drop_stale: Annotated[bool, typer.Option(help="let stale reference records go")] = False,
) -> None:
    """Compact fresh records into results/reference, to be committed; those there that still count stay.

    The generated part of the paper's README.md is written anew from them.

    Example: repro keep gcn
    """
    from repro.reference import keep as keep_records

    project = _project()
    folder = _folder(project, str(source)) if source else project.local
    count, new = keep_records(project, paper, folder, drop_stale)
    for damage in new.damaged:
        typer.echo(f"left out: {damage}", err=True)
    typer.echo(f"{paper}: {count} records in results/reference, {len(new.stale)} stale ones left out")


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

    project = _project()
    check_experiment(project.ledger(paper), experiment)
    entries, said = compare(project, paper, since, experiment)
    for entry in entries:
        typer.echo(f"{entry.experiment}: {entry.records} records of {entry.settings} settings are equal")
    for line in said:
        typer.echo(line, err=True)
    raise typer.Exit(1 if said else 0)


@app.command()
def report(
    paper: Annotated[str | None, typer.Argument(help="id of a paper; default: all")] = None,
) -> None:
    """Execute the report notebooks and write a self-contained HTML page per paper, and an index.

    Example: repro report gcn
    """
    from repro.report.pages import build

    project = _project()
    for page in build(project, _papers(project, paper)):
        typer.echo(str(page))


@app.command()
def new(
    paper: Annotated[str, typer.Argument(help="id of the new paper: lower case, digits, underscores")],
) -> None:
    """Make a folder for a new paper that passes the contract tests at once.

    Example: repro new my_paper
    """
    from repro.scaffold import new_paper

    for path in new_paper(_project(), paper):
        typer.echo(f"wrote {path}")


@weekly_app.command("new")
def weekly_new(
    week: Annotated[str, typer.Argument(help="year and number of the week, like 2026-W08")],
    papers: Annotated[str, typer.Option(help="ids of papers, separated by commas")],
) -> None:
    """Write the form of a review: what the records say is filled in, the rest is for the writer.

    Example: repro weekly new 2026-W08 --papers gcn
    """
    from repro.report.weekly import new as new_review

    typer.echo(str(new_review(_project(), week, [p.strip() for p in papers.split(",") if p.strip()])))


@weekly_app.command("build")
def weekly_build(
    week: Annotated[str | None, typer.Argument(help="like 2026-W08; default: the latest review")] = None,
) -> None:
    """Renew what a review says by itself, never the writer's prose, and render it as a page.

    Example: repro weekly build 2026-W08
    """
    from repro.report.weekly import build as build_review

    typer.echo(str(build_review(_project(), week)))


@data_app.command("fetch")
def data_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="data sets; default: all")] = None,
    needed: Annotated[bool, typer.Option(help="only what an experiment of a paper here needs")] = False,
    allow_missing: Annotated[bool, typer.Option(help="exit 0 even if some cannot be had")] = False,
) -> None:
    """Fetch data: from the remote in REPRO_DATA_REMOTE, else from its canonical source; md5s are verified.

    Generated sets are made by their stage of dvc.yaml.

    Example: repro data fetch planetoid
    """
    from repro.data.fetch import fetch
    from repro.data.pointers import get_pointer, read_pointers, read_stages

    project = _project()
    wanted = names or [*read_pointers(project.root), *read_stages(project.root)]
    if needed:
        used = {
            name
            for paper in project.paper_ids()
            for experiment in project.ledger(paper).experiments.values()
            for name in experiment.data
        }
        wanted = [name for name in wanted if name in used]
    failed = False
    for name in wanted:
        status = fetch(get_pointer(name, project.root), project.root)
        typer.echo(f"{name}: {status.state}" + "".join(f"\n  {line}" for line in status.detail))
        failed |= status.state not in ("present", "fetched")
    if failed and not allow_missing:
        raise typer.Exit(1)


@data_app.command("verify")
def data_verify() -> None:
    """Check every file against its md5; exit 1 if one is missing or altered.

    Example: repro data verify
    """
    raise typer.Exit(0 if _print_data_status() else 1)


@data_app.command("status")
def data_status() -> None:
    """Show which data sets are here.

    Example: repro data status
    """
    _print_data_status()


def _print_data_status() -> bool:
    from repro.data.fetch import verify
    from repro.data.pointers import read_pointers, read_stages

    project, good = _project(), True
    for name, pointer in (read_pointers(project.root) | read_stages(project.root)).items():
        status = verify(pointer, project.root)
        typer.echo(f"{name}: {status.state}" + "".join(f"\n  {line}" for line in status.detail))
        good &= status.state == "present"
    return good


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a user's mistake ends in one message and exit code 2."""
    try:
        return app(arguments)
    except ReproError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"error: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
