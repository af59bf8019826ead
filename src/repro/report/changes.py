"""What changed between two states of the board: verdicts turned, claims that came or went, numbers that moved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from repro.records import write_atomically
from repro.report.entries import Entry

State = dict[str, dict[str, Any]]
"""Claim's page address to what is known of it."""


@dataclass(frozen=True)
class Change:
    """One claim whose verdict is another one than before; None where it was not there, or no longer is."""

    paper: str
    claim: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Changes:
    """All changes since an earlier state.

    Attributes:
        since: when the earlier state was seen, in words; None if there is no earlier one.
        moved: claims with the same verdict from other numbers.
    """

    since: str | None
    turned: list[Change]
    moved: int


def state_of(entries: Iterable[Entry]) -> State:
    """Return what a later state is compared with."""
    return {
        f"{entry.paper}/{entry.claim.id}": {
            "outcome": str(entry.verdict.outcome),
            "measured": entry.verdict.as_json()["measured"],
            "n": entry.verdict.n,
        }
        for entry in entries
    }


def compare(before: Mapping[str, Any], after: Mapping[str, Any], since: str | None) -> Changes:
    """Return what is different, claims in the order of ``after``, those that went last."""
    turned, moved = [], 0
    for name in dict.fromkeys([*after, *before]):
        old, new = before.get(name), after.get(name)
        paper, _, claim = name.partition("/")
        if old is None or new is None or old["outcome"] != new["outcome"]:
            turned.append(Change(paper, claim, old and old["outcome"], new and new["outcome"]))
        elif old != new:
            moved += 1
    return Changes(since, turned, moved)


def since_last_build(path: Path, now: State, when: str) -> Changes:
    """Return the changes since the last build that differed from today's, and note today's state.

    Built twice from the same records, the pages are the same twice: the comparison stays with the build before.

    Args:
        path: of the note.
        now: today's state.
        when: today, in words.
    """
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        before, noted, old = note["state"], note["when"], note["changes"]
        changes = Changes(old["since"], [Change(**change) for change in old["turned"]], old["moved"])
    except (OSError, ValueError, KeyError, TypeError):  # no note, or none that can be read: a first build
        before, noted, changes = None, None, Changes(None, [], 0)
    if before is not None and before == now:
        return changes
    if before is not None:
        changes = compare(before, now, noted)
    note = {"when": when, "changes": asdict(changes), "state": now}
    write_atomically(path, (json.dumps(note, indent=1) + "\n").encode())
    return changes
