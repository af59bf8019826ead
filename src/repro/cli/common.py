"""What several commands share. Heavy libraries are imported inside functions, so that `--help` answers at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.evidence import Evidence
    from repro.project import Project


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
        ReproError: if there is no such paper.
    """
    if paper:
        project.ledger(paper)
        return [paper]
    return project.paper_ids()


def folder_named(project: Project, records: str) -> Path:
    """Return the folder that `--records` names.

    Raises:
        ReproError: if there is none.
    """
    named = {"reference": project.reference, "local": project.local}
    folder = named.get(records, Path(records))
    if records not in named and not folder.is_dir():
        raise ReproError(
            f"--records {records}: give `reference`, `local` or a folder; there is no folder of that name"
        )
    return folder


def evidence_of(project: Project, paper: str, records: str) -> Evidence:
    """Return what the named records hold of a paper."""
    from repro.evidence import gather

    return gather(project, project.ledger(paper), folder_named(project, records))
