"""Whether a record still says what today's code would find on today's data."""

from __future__ import annotations

from collections.abc import Callable

from repro.errors import DataUnavailable
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
    return staleness(project, ledger)(record)


def staleness(project: Project, ledger: Ledger) -> Callable[[Record], str | None]:
    """Return :func:`is_stale` for many records: each experiment's code and data are looked up once."""
    known: dict[str, tuple[str, dict[str, str] | None]] = {}

    def look(experiment: str) -> tuple[str, dict[str, str] | None]:
        try:
            return identity(project, ledger, experiment)
        except DataUnavailable:
            return code_hash(ledger.paper.id, ledger.experiments[experiment].function, project.root), None

    def why(record: Record) -> str | None:
        if record.experiment not in ledger.experiments:
            return "its experiment is gone"
        if record.experiment not in known:
            known[record.experiment] = look(record.experiment)
        code, data = known[record.experiment]
        if record.code != code:
            return "the code has changed since"
        if data is None:
            return "the pointer to its data is gone"
        return None if record.data == data else "the data has changed since"

    return why
