"""The data sets: `repro data fetch`, `verify` and `status`."""

from __future__ import annotations

from typing import Annotated

import typer

from repro.cli.common import Commands, the_project

app = Commands(help="The data sets: fetch, verify, status.", no_args_is_help=True)


@app.command("fetch")
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

    project = the_project()
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
        status = fetch(get_pointer(name, project.root), project.root, lambda line: typer.echo(line, err=True))
        typer.echo(str(status))
        failed |= not status.ok
    if failed and not allow_missing:
        raise typer.Exit(1)


@app.command("verify")
def data_verify() -> None:
    """Check every file against its md5; exit 1 if one is missing or altered.

    Example: repro data verify
    """
    raise typer.Exit(0 if _print_data_status() else 1)


@app.command("status")
def data_status() -> None:
    """Show which data sets are here.

    Example: repro data status
    """
    _print_data_status()


def _print_data_status() -> bool:
    from repro.data.fetch import verify
    from repro.data.pointers import read_pointers, read_stages

    project, good = the_project(), True
    for pointer in (read_pointers(project.root) | read_stages(project.root)).values():
        status = verify(pointer)
        typer.echo(str(status))
        good &= status.ok
    return good
