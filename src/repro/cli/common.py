"""What several commands share. Heavy libraries are imported inside functions, so that `--help` answers at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.evidence import Evidence
    from repro.project import Project


class _Once(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[Any] = self.make_parser(ctx).parse_args(list(args))[2]
        for param in given:
            if given.count(param) > 1 and not getattr(param, "multiple", False):
                raise typer.BadParameter("it was given more than once, and takes one value", ctx, param)
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """Commands that refuse an option given twice, where the last value would silently be taken."""

    def command(self, name: str | None = None, **options: Any) -> Any:
        """See :meth:`typer.Typer.command`."""
        return super().command(name, cls=_Once, **options)


class TierName(StrEnum):
    """How much compute a run gets."""

    smoke = "smoke"
    quick = "quick"
    long = "long"
    full = "full"


def the_project() -> Project:
    """Return the project of the current folder."""
    from repro.project import find_project

    return find_project()


def papers_named(project: Project, paper: str | None) -> list[str]:
    """Return the paper asked for, or all.

    Raises:
        ReproError: if there is no such paper, or none at all.
    """
    if paper is not None:
        project.ledger(paper)
        return [paper]
    if not project.paper_ids():
        raise ReproError(f"{project.papers}: no folder here holds a paper.yaml; `repro new NAME` makes one")
    return project.paper_ids()


def folder_named(project: Project, records: str, option: str = "--records") -> Path:
    """Return the folder of records that an option names.

    Raises:
        ReproError: if there is none, or it holds no records of any paper.
    """
    named = {"reference": project.reference, "local": project.local}
    if records in named:
        return named[records]
    folder = Path(records)
    if not records or not folder.is_dir():
        raise ReproError(
            f"{option} {records}: give `reference`, `local` or a folder; there is no folder of that name"
        )
    papers = project.paper_ids()
    if not any(
        (folder / f"{paper}.parquet").is_file() or any((folder / paper).rglob("*.json")) for paper in papers
    ):
        raise ReproError(
            f"{option} {records}: this folder holds no records of {', '.join(papers) or 'any paper'}"
        )
    return folder


def evidence_of(project: Project, paper: str, records: str, option: str = "--records") -> Evidence:
    """Return what the named records hold of a paper; ``option`` is the one that names them."""
    from repro.evidence import gather

    return gather(project, project.ledger(paper), folder_named(project, records, option))
