"""Whether a record still says what today's code would find on today's data."""

from __future__ import annotations

from repro.ledger import Ledger
from repro.project import Project
from repro.provenance import code_hash
from repro.records import Record


def identity(project: Project, ledger: Ledger, experiment: str) -> tuple[str, dict[str, str]]:
    """Return the code hash and data md5s that a fresh record of an experiment has."""
    from repro.data.pointers import get_pointer

    plan = ledger.experiments[experiment]
    data = {name: get_pointer(name, project.root).md5 for name in plan.data}
    return code_hash(ledger.paper.id, plan.function, project.root), data


def is_stale(record: Record, project: Project, ledger: Ledger) -> str | None:
    """Return why a record no longer counts, or None if it does."""
    if record.experiment not in ledger.experiments:
        return "its experiment is gone"
    code, data = identity(project, ledger, record.experiment)
    if record.code != code:
        return "the code has changed since"
    return None if record.data == data else "the data has changed since"
