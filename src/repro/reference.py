"""The committed reference records: what may go in, and what must not get lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from repro.errors import ReproError
from repro.evidence import Evidence, gather
from repro.plan import Arm, setting_hash
from repro.project import Project
from repro.records import note_levels, write_parquet
from repro.report.readme import refresh, refreshed


@dataclass(frozen=True)
class Kept:
    """How many records the reference now holds; what was found in the source; ids of its runs that differ from those
    of the reference, which stayed.
    """

    count: int
    new: Evidence
    differing: list[str]


def keep(project: Project, paper: str, source: Path, drop_stale: bool = False, replace: bool = False) -> Kept:
    """Add the fresh records of ``source`` to the reference, and write the README's generated part anew.

    Args:
        project: where the paper is.
        paper: its id.
        source: folder of records.
        drop_stale: let reference records go that no longer count and that ``source`` does not replace.
        replace: take those of ``source`` also where the reference has the same run and it counts.

    Raises:
        ReproError: if the reference is damaged, stale records in it would be lost, or runs in ``source`` failed whose
            other seeds are no fair sample. Nothing is changed then.
    """
    from filelock import FileLock

    project.reference.mkdir(parents=True, exist_ok=True)
    with FileLock(project.reference / f"{paper}.lock"):  # another `keep` reads and writes the same file
        return _keep(project, paper, source, drop_stale, replace)


def _keep(project: Project, paper: str, source: Path, drop_stale: bool, replace: bool) -> Kept:
    ledger = project.ledger(paper)
    old, new = gather(project, ledger, project.reference), gather(project, ledger, source)
    if old.damaged:
        raise ReproError(f"{old.damaged[0]}; restore results/reference/{paper}.parquet before you add to it")
    arms = dict.fromkeys(Arm(record.experiment, record.setting) for record in new.records)
    failed = [
        (arm, problem) for arm in arms if (problem := new.problem(arm)) and problem["state"] == "failed"
    ]
    if failed:
        names = ", ".join(f"{arm.experiment}/{setting_hash(arm.setting)}" for arm, _ in failed)
        raise ReproError(
            f"{source}: runs of {names} failed, so that their other seeds are no fair sample, and the reference would "
            f"not say so: {failed[0][1]['message']}"
        )
    known = {record.id: record for record in old.records}
    differing = [
        record.id for record in new.records if record.id in known and record.rows != known[record.id].rows
    ]
    merged = {record.id: record for record in new.records} | known
    if replace:
        merged |= {record.id: record for record in new.records}
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
    return Kept(len(merged), new, [] if replace else differing)
