"""One paper's records that count, found by what they answer; those that are stale, damaged or missing, with reasons."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from repro.data.fetch import require
from repro.errors import DataCorrupt, DataUnavailable
from repro.freshness import Vouched, read_vouched, staleness
from repro.ledger import Ledger
from repro.plan import Arm, setting_hash
from repro.project import Project
from repro.records import Record, RecordDamaged, read_folder, read_levels, read_problems
from repro.statistics import Outcome

NO_RUNS = "no runs yet"


@dataclass
class Evidence:
    """One paper's usable records, found by arm.

    ``levels``: experiments whose records were grown until verdicts were conclusive, and the level these then need.
    """

    ledger: Ledger
    records: list[Record]
    stale: list[tuple[Record, str]] = field(default_factory=list)
    damaged: list[RecordDamaged] = field(default_factory=list)
    problems: dict[str, dict[str, Any]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    vouched: list[Vouched] = field(default_factory=list)

    @cached_property
    def _by_arm(self) -> dict[tuple[str, str], list[Record]]:
        found: dict[tuple[str, str], list[Record]] = {}
        for record in self.records:
            found.setdefault((record.experiment, setting_hash(record.setting)), []).append(record)
        return found

    @cached_property
    def _stale_arms(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for record, why in self.stale:
            found.setdefault((record.experiment, setting_hash(record.setting)), []).append(why)
        return found

    def of(self, arm: Arm) -> list[Record]:
        """Return the records of an arm, ordered by seed; a run that is there twice counts once."""
        found = self._by_arm.get((arm.experiment, setting_hash(arm.setting)), [])
        return [record for _, record in sorted({record.seed: record for record in found}.items())]

    def values(self, arm: Arm, quantity: str) -> dict[int, float]:
        """Return seed to value, for an arm whose records have one row, or one row at ``arm.at``."""
        found = self.trials(arm, quantity)
        return {seed: values[0] for seed, values in found.items() if len(values) == 1}

    def trials(self, arm: Arm, quantity: str) -> dict[int, list[float]]:
        """Return seed to the values of all its rows, or of those at ``arm.at``."""
        index = self.ledger.experiments[arm.experiment].index
        return {
            record.seed: [
                r[quantity] for r in record.rows if arm.at is None or index is None or r[index] == arm.at
            ]
            for record in self.of(arm)
        }

    def curve(self, arm: Arm, quantity: str) -> tuple[list[float], list[list[float]]]:
        """Return the index values and, for each seed, the quantity at each of them."""
        index = self.ledger.experiments[arm.experiment].index
        assert index is not None
        records = self.of(arm)
        xs = sorted({row[index] for record in records for row in record.rows})
        curves = [{row[index]: row[quantity] for row in record.rows} for record in records]
        return xs, [[curve.get(x, float("nan")) for x in xs] for curve in curves]

    def by_index(self, arm: Arm, quantity: str) -> dict[int, dict[float, float]]:
        """Return seed to index value to the quantity there."""
        index = self.ledger.experiments[arm.experiment].index
        assert index is not None
        return {record.seed: {row[index]: row[quantity] for row in record.rows} for record in self.of(arm)}

    def problem(self, arm: Arm) -> dict[str, Any] | None:
        """Return what is noted of the last try to run an arm; None if it ended well, or has been made good since."""
        noted = self.problems.get(f"{arm.experiment}/{setting_hash(arm.setting)}")
        if noted and noted["state"] == "failed" and noted.get("seeds"):
            lacking = sorted(set(noted["seeds"]) - {record.seed for record in self.of(arm)})
            if not lacking:
                return None
            run_again = f"run again with --seeds {','.join(map(str, lacking))}"
            return {**noted, "message": f"{noted['message']} ({run_again})"}
        return noted

    def why_missing(self, arm: Arm) -> tuple[Outcome, str]:
        """Return what to say of an arm without records: blocked, failed, stale or never run."""
        key = (arm.experiment, setting_hash(arm.setting))
        problem = self.problem(arm)
        if problem:
            outcome = Outcome.blocked if problem["state"] == "blocked" else Outcome.error
            return outcome, problem["message"]
        for name in self.ledger.experiments[arm.experiment].data:
            if name in self.unavailable:
                return Outcome.blocked, self.unavailable[name]
        if key in self._stale_arms:
            whys = self._stale_arms[key]
            return Outcome.not_run, f"{len(whys)} records are stale and do not count: {whys[0]}"
        return Outcome.not_run, NO_RUNS


def _unavailable(project: Project, ledger: Ledger) -> dict[str, str]:
    """Return the data sets of a paper that are not here whole, with the files, the sources and what to do.

    In one line and without the project's own place: reasons of verdicts are committed with the READMEs.
    """
    found = {}
    for name in {name for experiment in ledger.experiments.values() for name in experiment.data}:
        try:
            require(name, project.root)
        except (DataUnavailable, DataCorrupt) as missing:
            lines = str(missing).replace(f"{project.root}{os.sep}", "").splitlines()
            found[name] = "; ".join(line.strip() for line in lines)
    return found


def gather(project: Project, ledger: Ledger, folder: Path) -> Evidence:
    """Read one paper's records below ``folder`` and set aside the stale and the damaged."""
    records, damaged = read_folder(folder, ledger.paper.id)
    evidence = Evidence(
        ledger,
        [],
        damaged=damaged,
        problems=read_problems(folder, ledger.paper.id),
        unavailable=_unavailable(project, ledger),
        levels=read_levels(folder, ledger.paper.id),
        vouched=read_vouched(project.reference, ledger.paper.id),
    )
    stale = staleness(project, ledger, evidence.vouched)
    for record in records:
        why = stale(record)
        if why is None:
            evidence.records.append(record)
        else:
            evidence.stale.append((record, why))
    return evidence


def main_source(sources: Mapping[str, Evidence]) -> str:
    """Return the source that pages speak of: the reference records, or the user's where there are none."""
    return next((name for name, evidence in sources.items() if evidence.records), list(sources)[-1])
