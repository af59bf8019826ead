"""The committed reference records: what may go in, and what must not get lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from repro.errors import ReproError
from repro.evidence import Evidence, gather
from repro.plan import setting_hash
from repro.project import Project
from repro.records import Record, note_levels, write_parquet
from repro.report.readme import refresh, refreshed


def _job(record: Record) -> str:
    return f"{record.experiment}/{setting_hash(record.setting)}"


def keep(project: Project, paper: str, source: Path, drop_stale: bool = False) -> tuple[int, Evidence]:
    """Add the fresh records of ``source`` to the reference, and write the README's generated part anew.

    Args:
        project: where the paper is.
        paper: its id.
        source: folder of records.
        drop_stale: let reference records go that no longer count and that ``source`` does not replace.

    Returns:
        How many records the reference now holds, and what was found in ``source``.

    Raises:
        ReproError: if the reference is damaged, stale records in it would be lost, or runs in ``source`` failed whose
            other seeds are no fair sample. Nothing is changed then.
    """
    ledger = project.ledger(paper)
    old, new = gather(project, ledger, project.reference), gather(project, ledger, source)
    if old.damaged:
        raise ReproError(f"{old.damaged[0]}; restore results/reference/{paper}.parquet before you add to it")
    failed = [
        name
        for name, problem in new.problems.items()
        if problem["state"] == "failed" and any(_job(record) == name for record in new.records)
    ]
    if failed:
        raise ReproError(
            f"{source}: runs of {', '.join(failed)} failed, so that their other seeds are no fair sample, and the "
            f"reference would not say so: {new.problems[failed[0]]['message']}. Run them again first"
        )
    merged = {record.id: record for record in [*old.records, *new.records]}
    lost = [(record, why) for record, why in old.stale if record.id not in merged]
    if lost and not drop_stale:
        counts = Counter(f"{record.experiment}: {why}" for record, why in lost)
        said = "; ".join(f"{n} of {what}" for what, n in counts.items())
        raise ReproError(
            f"{len(lost)} stale records in results/reference/{paper}.parquet would be lost ({said}). "
            "Run them again first, or give --drop-stale"
        )
    refreshed(project, paper)  # a README without its markers is refused before anything is written
    note_levels(project.reference, paper, new.levels)  # before the records: grown ones never stand without it
    write_parquet(project.reference / f"{paper}.parquet", merged.values())
    refresh(project, paper)
    return len(merged), new
