"""Commands that read records: list, judge, explain, drift, export."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repro.cli.common import Commands, evidence_of, folder_named, papers_named, the_project
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.judge import Verdict

app = Commands()


@app.command("list")
def list_papers() -> None:
    """Show the papers, their claims and what is known of each.

    Example: repro list
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from repro.judge import judge

    project, console = the_project(), Console()
    if not console.is_terminal:
        console.width = 110
    for paper in papers_named(project, None):
        ledger = project.ledger(paper)
        title = f"{paper}: {ledger.paper.title} ({ledger.paper.venue} {ledger.paper.year})"
        table = Table(title=escape(title))
        for column in ("claim", "kind", "statement", "reference"):
            table.add_column(column, overflow="fold")
        verdicts = {v.claim: v for v in judge(evidence_of(project, paper, "reference"))}
        for claim in ledger.all_claims():
            table.add_row(claim.id, claim.kind, escape(claim.statement), verdicts[claim.id].outcome)
        console.print(table)


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
    from repro.judge import judge as judge_evidence
    from repro.junit import write_junit
    from repro.known_exceptions import excuse, known_exceptions

    project = the_project()
    verdicts: list[Verdict] = []
    any_damaged = False
    for name in papers_named(project, paper):
        evidence = evidence_of(project, name, records)
        for damage in evidence.damaged:
            any_damaged = True
            typer.echo(f"damaged, not counted: {damage}", err=True)
        verdicts += judge_evidence(evidence)
    exceptions = known_exceptions(project)
    if junit:
        write_junit(junit, verdicts, exceptions)
    if summary or badges:
        ledgers = {name: project.ledger(name) for name in papers_named(project, paper)}
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
    if records == "reference" and any_damaged:
        raise ReproError("reference records are damaged (see above): get them back from the repository")
    failing = [v for v in verdicts if v.outcome in ("contradicted", "error")]
    if any(not excuse(verdict, exceptions) for verdict in failing):
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

    project = the_project()
    paper, _ = project.find_claim(claim)
    print_explanation(evidence_of(project, paper, records), claim, records)


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

    project = the_project()
    papers, folders = papers_named(project, paper), [folder_named(project, a), folder_named(project, b)]
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
    from repro.export import export, rows
    from repro.judge import judge as judge_evidence
    from repro.known_exceptions import known_exceptions
    from repro.records import write_atomically

    project = the_project()
    evidence = {name: evidence_of(project, name, records) for name in papers_named(project, paper)}
    for damage in (damage for found in evidence.values() for damage in found.damaged):
        typer.echo(f"damaged, not counted: {damage}", err=True)
    ledgers = {name: found.ledger for name, found in evidence.items()}
    verdicts = [verdict for found in evidence.values() for verdict in judge_evidence(found)]
    content = export(format_.value, rows(ledgers, verdicts, known_exceptions(project)), ledgers)
    if out:
        write_atomically(out, content)
    elif format_ is Format.parquet:
        raise ReproError("--format parquet is no text: give --out FILE")
    else:
        typer.echo(content.decode(), nl=False)
