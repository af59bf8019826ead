"""Changes of code that leave every number as it was: shown on a sample, written down, and then believed of the records.

Records carry a hash of the code behind them, and any change of it makes them stale, also one that only moves a
function to another file. Recomputing hours of records to get the same numbers helps nobody. So a sample is computed
twice on one machine, with the code that made the records and with today's: where every number is equal to the last
bit, the pair of hashes is noted beside the records, together with what was compared.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

import repro
from repro import recompute
from repro.errors import ReproError
from repro.freshness import Vouched, is_vouched_for, read_vouched, vouched_file
from repro.ledger import Ledger
from repro.plan import setting_hash
from repro.project import Project
from repro.provenance import code_hash, environment
from repro.records import Record, read_folder, write_atomically

# At most, per experiment: enough to go through each switch's values, and a few seeds at once, as records are made.
SETTINGS, SEEDS = 20, 5
SECONDS = 120.0  # that the records of the sample once took
# Training in floating point goes another way on another machine, and where it stops by itself that can be ten times as
# far. What the earlier code has not done in so many times the records' time, and at least a minute, is left out.
PATIENCE, MINUTE = 2.0, 60.0


@dataclass(frozen=True)
class Sample:
    """What is computed twice: one setting, the first seeds that the records have of it.

    ``seconds`` is how long the earlier code may take; None for as long as it needs.
    """

    experiment: str
    function: str
    setting: dict[str, Any]
    seeds: list[int]
    seconds: float | None


def spread(settings: Iterable[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return at most ``most`` settings, first those that bring a value of a switch that none before has.

    The order is that of the settings' hashes, so that nobody picks.
    """
    waiting = sorted(settings, key=setting_hash)
    seen: set[tuple[str, str]] = set()
    first: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for setting in waiting:
        values = {(key, repr(value)) for key, value in setting.items()}
        (rest if values <= seen else first).append(setting)
        seen |= values
    return [*first, *rest][:most]


def samples(ledger: Ledger, records: Sequence[Record]) -> list[Sample]:
    """Return what to compute twice for these records; measured times differ from run to run and are left out."""
    arms: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda record: record.seed):
        arms[record.experiment][setting_hash(record.setting)].append(record)
    chosen = []
    for experiment, of in sorted(arms.items()):
        plan, left = ledger.experiments[experiment], SECONDS
        if plan.alone:
            continue
        first = {name: runs[:SEEDS] for name, runs in of.items()}
        cost = {name: sum(run.seconds for run in runs) for name, runs in first.items()}
        names = [
            setting_hash(setting)
            for setting in spread([dict(r[0].setting) for r in first.values()], SETTINGS)
        ]
        if min(cost[name] for name in names) > left:
            names, left = [min(names, key=cost.__getitem__)], math.inf
        for name in names:
            if cost[name] <= left:
                left -= cost[name]
                seeds = [run.seed for run in first[name]]
                seconds = max(PATIENCE * cost[name], MINUTE)
                setting = dict(first[name][0].setting)
                chosen.append(Sample(experiment, plan.function, setting, seeds, seconds))
    return chosen


def _checkout(project: Project, commit: str, folder: Path) -> None:
    """Write the tree of a commit into a folder, with links to the data that is here."""
    found = subprocess.run(
        ["git", "-C", str(project.root), "archive", "--format=tar", commit], capture_output=True, check=False
    )
    if found.returncode:
        raise ReproError(f"--since {commit}: git has no such commit ({found.stderr.decode().strip()})")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
    _link_data(project, folder)


def _copy(project: Project, folder: Path) -> None:
    """Write today's tree, uncommitted files too, into a folder: what it has computed before is not there to be read."""
    listed = ["git", "-C", str(project.root), "ls-files", "-z", "-co", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        source, place = project.root / name, folder / name
        if name and source.is_file():  # a deleted file is listed still
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
    _link_data(project, folder)


def _link_data(project: Project, folder: Path) -> None:
    for path in sorted((project.root / "data").glob("*")):
        place = folder / "data" / path.name
        if path.is_dir() and not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(path)


def _compute(root: Path, harness: Path, paper: str, functions: list[str], runs: list[Sample]) -> Any:
    request = {
        "root": str(root),
        "paper": paper,
        "functions": functions,
        "runs": [asdict(sample) for sample in runs],
    }
    path = os.pathsep.join(str(folder) for folder in (harness, root) if folder.is_dir())
    done = subprocess.run(
        [sys.executable, "-P", recompute.__file__],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, "REPRO_ROOT": str(root)},
        check=False,
    )
    if done.returncode:
        raise ReproError(f"{paper}: the sample could not be computed in {root}; the lines above say why")
    return json.loads(done.stdout)


def _difference(before: Any, after: Any, sample: Sample) -> str | None:
    """Say where two answers differ first, or None; equal means to the last bit, and not-a-number equals itself."""
    for seed in (str(s) for s in sample.seeds):
        old, new = ([x] if isinstance(x, dict) else x for x in (before[seed], after[seed]))
        for i in range(max(len(old), len(new))):
            a, b = (rows[i] if i < len(rows) else {} for rows in (old, new))
            for name in sorted({*a, *b}):
                if repr(a.get(name)) != repr(b.get(name)):
                    return f"seed {seed}, row {i}, {name}: {a.get(name)} before, {b.get(name)} now"
    return None


def done_by(asked: Sequence[Sample], earlier: Sequence[Any]) -> tuple[list[Sample], list[Any]]:
    """Return, of a sample, what the earlier code has done in time, to be computed without a limit, and its answers."""
    done = [(sample, rows) for sample, rows in zip(asked, earlier, strict=True) if rows]
    runs = [
        replace(sample, seeds=[seed for seed in sample.seeds if str(seed) in rows], seconds=None)
        for sample, rows in done
    ]
    return runs, [rows for _, rows in done]


@dataclass(frozen=True)
class Answers:
    """What both codes gave for a sample, and their hashes by experiment."""

    runs: list[Sample]
    before: list[Any]
    after: list[Any]
    then: dict[str, str]
    made: list[Record]


def _ask_both(
    project: Project,
    ledger: Ledger,
    commit: str,
    stale: list[Record],
    known: list[Vouched],
    now: dict[str, str],
) -> Answers:
    """Compute the sample of those stale records that the commit's code made, with it and with today's (``now``).

    Raises:
        ReproError: if today's code is edited meanwhile, beside what :func:`vouch` says.
    """
    paper, names = ledger.paper.id, sorted({r.experiment for r in stale})
    functions = [ledger.experiments[name].function for name in names]
    with tempfile.TemporaryDirectory(prefix="repro-vouch-") as temporary:
        tree, copy = Path(temporary) / "then", Path(temporary) / "now"
        for folder in (tree, copy):
            folder.mkdir()
        _checkout(project, commit, tree)
        _copy(project, copy)
        src = Path(repro.__file__).parents[1]
        old, new = (
            folder / src.relative_to(project.root) if src.is_relative_to(project.root) else src
            for folder in (tree, copy)
        )
        codes = _compute(tree, old, paper, functions, [])["codes"]
        then = {name: codes[ledger.experiments[name].function] for name in names}
        made = [r for r in stale if is_vouched_for(known, r, then[r.experiment])]
        if not made:
            raise ReproError(f"--since {commit}: no stale record of {paper} was made by its code")
        asked = samples(ledger, made)
        earlier = _compute(tree, old, paper, functions, asked)["rows"]
        # Decided before today's code has said anything, so that what is left out cannot depend on it.
        runs, before = done_by(asked, earlier)
        today = _compute(copy, new, paper, functions, runs)
        if today["codes"] != {function: now[name] for name, function in zip(names, functions, strict=True)}:
            raise ReproError(f"{paper}: its code was edited while the sample was prepared; vouch again")
    return Answers(runs, before, today["rows"], then, made)


def vouch(
    project: Project, paper: str, commit: str, only: str | None = None
) -> tuple[list[Vouched], list[str]]:
    """Compute a sample of the stale reference records with the code of ``commit`` and with today's, and compare.

    Args:
        project: where the paper is.
        paper: its id.
        commit: of the project's git repository.
        only: this experiment; None for all that have stale records.

    Returns:
        What was written down, one entry per experiment whose numbers are equal; and in words, experiments whose
        numbers differ or cannot be compared. Their records stay stale.

    Raises:
        ReproError: if git has no such commit, if the sample cannot be computed, or if no stale record of the reference
            was made by its code.
    """
    ledger = project.ledger(paper)
    records, _ = read_folder(project.reference, paper)
    known = read_vouched(project.reference, paper)
    now = {
        name: code_hash(paper, plan.function, project.root)
        for name, plan in ledger.experiments.items()
        if only in (None, name)
    }
    stale = [r for r in records if r.experiment in now and not is_vouched_for(known, r, now[r.experiment])]
    found = _ask_both(project, ledger, commit, stale, known, now)
    entries = []
    said = [
        f"{name}: it measures time, which a change of code may change; run it again"
        for name in sorted({r.experiment for r in found.made if ledger.experiments[r.experiment].alone})
    ]
    missed = {r.experiment for r in found.made} - {s.experiment for s in found.runs}
    said += [
        f"{name}: none of the sample was done in {PATIENCE:g} times its records' time; run it again, or vouch on a "
        "faster machine"
        for name in sorted(missed)
        if not ledger.experiments[name].alone
    ]
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    today, where = datetime.now(UTC).date().isoformat(), environment(project.root, "cpu", threads)
    triples = list(zip(found.runs, found.before, found.after, strict=True))
    for name in sorted({s.experiment for s in found.runs}):
        own = [triple for triple in triples if triple[0].experiment == name]
        differences = [(s, at) for s, a, b in own if (at := _difference(a, b, s))]
        if differences:
            sample, at = differences[0]
            said.append(f"{name}: {len(differences)} of {len(own)} settings differ; {sample.setting}, {at}")
            continue
        count = sum(len(s.seeds) for s, _, _ in own)
        entries.append(Vouched(name, found.then[name], now[name], len(own), count, today, where))
    if entries:
        with FileLock(project.reference / f"{paper}.lock"):
            # Read again: other experiments may have been vouched for beside this one.
            known = read_vouched(project.reference, paper)
            content = json.dumps([asdict(entry) for entry in [*known, *entries]], indent=1) + "\n"
            write_atomically(vouched_file(project.reference, paper), content.encode())
    return entries, said
