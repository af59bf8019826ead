"""Commands that write what is committed or read: keep, report, new, weekly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repro.cli.common import Commands, folder_named, papers_named, the_project

app = Commands()
weekly_app = Commands(help="A literature review every week: new, build.", no_args_is_help=True)


@app.command()
def keep(
    paper: Annotated[str, typer.Argument(help="id of a paper")],
    source: Annotated[Path | None, typer.Option(help="folder of records; default: results/local")] = None,
    drop_stale: Annotated[bool, typer.Option(help="let stale reference records go")] = False,
    replace: Annotated[bool, typer.Option(help="also replace reference records that still count")] = False,
) -> None:
    """Compact fresh records into results/reference, to be committed; those there that still count stay.

    The generated part of the paper's README.md is written anew from them.

    Example: repro keep gcn
    """
    from repro.reference import keep as keep_records

    project = the_project()
    folder = folder_named(project, str(source), "--source") if source else project.local
    kept = keep_records(project, paper, folder, drop_stale, replace)
    for damage in kept.new.damaged:
        typer.echo(f"left out: {damage}", err=True)
    typer.echo(
        f"{paper}: {kept.count} records in results/reference, {len(kept.new.stale)} stale ones left out"
    )
    if kept.differing:
        typer.echo(
            f"{len(kept.differing)} runs came out otherwise than in the reference, which stays as it was (the first: "
            f"{kept.differing[0]}); --replace takes the new ones",
            err=True,
        )


@app.command()
def report(
    paper: Annotated[str | None, typer.Argument(help="id of a paper; default: all")] = None,
) -> None:
    """Execute the report notebooks and write a self-contained HTML page per paper, and an index.

    Example: repro report gcn
    """
    from repro.report.pages import build

    project = the_project()
    for page in build(project, papers_named(project, paper)):
        typer.echo(str(page))


@app.command()
def new(
    paper: Annotated[str, typer.Argument(help="id of the new paper: lower case, digits, underscores")],
) -> None:
    """Make a folder for a new paper that passes the contract tests at once.

    Example: repro new my_paper
    """
    from repro.scaffold import new_paper

    for path in new_paper(the_project(), paper):
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

    typer.echo(str(new_review(the_project(), week, [p.strip() for p in papers.split(",") if p.strip()])))


@weekly_app.command("build")
def weekly_build(
    week: Annotated[str | None, typer.Argument(help="like 2026-W08; default: the latest review")] = None,
) -> None:
    """Renew what a review says by itself, never the writer's prose, and render it as a page.

    Example: repro weekly build 2026-W08
    """
    from repro.report.weekly import build as build_review

    typer.echo(str(build_review(the_project(), week)))
