"""Whether a record still says what today's code would find on today's data."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import DataUnavailable, RecordDamaged
from repro.ledger import Ledger
from repro.project import Project
from repro.provenance import code_hash
from repro.records import Record


@dataclass(frozen=True)
class Vouched:
    """One change of code that left the numbers of an experiment as they were; see :mod:`repro.vouch`.

    Attributes:
        before, after: code hashes.
        settings, records: how much was computed with both and found equal to the last bit.
        environment: where.
    """

    experiment: str
    before: str
    after: str
    settings: int
    records: int
    date: str
    environment: dict[str, Any]


def vouched_file(folder: Path, paper: str) -> Path:
    """Return the file that notes such changes, beside the reference records."""
    return folder / f"{paper}.vouched.json"


def read_vouched(folder: Path, paper: str) -> list[Vouched]:
    """Return the changes noted for a paper.

    Raises:
        RecordDamaged: if the note cannot be read.
    """
    path = vouched_file(folder, paper)
    if not path.is_file():
        return []
    try:
        return [Vouched(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise RecordDamaged(f"{path}: cannot be read ({error}); restore it, or remove it") from None


def is_vouched_for(changes: Sequence[Vouched], record: Record, now: str) -> bool:
    """Return whether the record was made by the code ``now``, or a chain of its experiment's changes leads there."""
    reached, waiting = {now}, [now]
    while waiting and record.code not in reached:
        after = waiting.pop()
        changed = (c for c in changes if c.experiment == record.experiment and c.after == after)
        new = {c.before for c in changed} - reached
        reached |= new
        waiting.extend(new)
    return record.code in reached


def identity(project: Project, ledger: Ledger, experiment: str) -> tuple[str, dict[str, str]]:
    """Return the code hash and data md5s that a fresh record of an experiment has."""
    from repro.data.pointers import get_pointer

    plan = ledger.experiments[experiment]
    data = {name: get_pointer(name, project.root).md5 for name in plan.data}
    return code_hash(ledger.paper.id, plan.function, project.root), data


def staleness(project: Project, ledger: Ledger, vouched: Sequence[Vouched]) -> Callable[[Record], str | None]:
    """Return a function that says why a record no longer counts, or None; code and data are looked up once."""
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
        plan = ledger.experiments[record.experiment]
        declared = {*plan.quantities, *([plan.index] if plan.index else [])}
        if any(set(row) != declared for row in record.rows):
            return "its quantities are not those that the ledger declares now"
        code, data = known[record.experiment]
        # A function of the same module has the same hash; where the code is another one, that was compared.
        if record.code == code and record.function not in ("", plan.function):
            return f"another function made it, {record.function}"
        if not is_vouched_for(vouched, record, code):
            return "the code has changed since"
        if data is None:
            return "the pointer to its data is gone"
        return None if record.data == data else "the data has changed since"

    return why
