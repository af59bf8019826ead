"""Running what is missing: from a plan to records."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from repro.context import Context, available_memory
from repro.errors import DataCorrupt, DataUnavailable, ReproError
from repro.freshness import read_vouched, staleness
from repro.heap import give_back, keep_freed
from repro.ledger import Ledger
from repro.plan import Job, canonical, setting_hash
from repro.project import Project
from repro.provenance import code_hash, environment
from repro.records import (
    Record,
    problems_file,
    read_folder,
    read_problems,
    write_atomically,
    write_records,
)
from repro.turns import turn

# Parts of an environment that change no number.
NOT_ARITHMETIC = ("commit", "cores", "memory_gib", "freed_memory")
FORGET_DAYS = 30


class Progress(Protocol):
    """Shows how far a run is."""

    def start(self, jobs: Sequence[tuple[Job, int]]) -> None:
        """Take each job with the number of seeds it still lacks."""

    def job(self, job: Job) -> None:
        """A job begins."""

    def done(self, seeds: float) -> None:
        """So many seeds of the current job are done, fractions included."""

    def say(self, message: str) -> None:
        """Show a message."""


@dataclass
class Ran:
    """What a run did: ids of new records, jobs without data, jobs that failed, records found damaged."""

    written: list[str] = field(default_factory=list)
    present: int = 0
    blocked: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


def missing_seeds(job: Job, fresh: Iterable[Record]) -> list[int]:
    """Return the seeds of a job that no fresh record holds."""
    have = {r.seed for r in fresh if r.experiment == job.experiment and r.setting == job.setting}
    return [seed for seed in job.seeds if seed not in have]


def _note_problem(folder: Path, job: Job, outcome: Ran, lacking: set[int], done: set[int]) -> None:
    """Note how the job just tried ended; of other jobs the notes stay.

    A note on a failure names the seeds without a record, and stays until all of them have one: other seeds that end
    well make up for none of them.
    """
    from filelock import FileLock

    path = problems_file(folder, job.paper)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # another run on the same folder may have something to note
        problems = read_problems(folder, job.paper)
        before = problems.pop(job.name, None)
        failed_before = before if before and before["state"] == "failed" else {}
        open_ = set(failed_before.get("seeds", [])) - done
        if job.name in outcome.failed:
            seeds = sorted(open_ | lacking)
            problems[job.name] = {"state": "failed", "message": outcome.failed[job.name], "seeds": seeds}
        elif open_:
            problems[job.name] = {**failed_before, "seeds": sorted(open_)}
        elif job.name in outcome.blocked:
            problems[job.name] = {"state": "blocked", "message": outcome.blocked[job.name]}
        if problems.get(job.name) != before:
            write_atomically(path, json.dumps(problems, indent=1).encode())


def run(
    project: Project,
    ledger: Ledger,
    jobs: Sequence[Job],
    folder: Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    progress: Progress,
) -> Ran:
    """Run what the records in ``folder`` lack, writing each record as soon as its seed is done.

    A job whose data cannot be had is reported as blocked and the others go on; so it is with one that fails.
    The code is read once, before the first job: what is edited meanwhile counts for the next run.

    Args:
        project: where the papers are.
        ledger: of the paper.
        jobs: from :func:`repro.plan.jobs`.
        folder: of the records.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        threads: of torch; None leaves its default.
        progress: shows how far the run is.

    Raises:
        ReproError: for ``cuda`` without a GPU.
        LedgerError: if the ledger names a function that its module does not have.
    """
    paper = ledger.paper.id
    records, damaged = read_folder(folder, paper)
    outcome = Ran(damaged=[str(d) for d in damaged])
    for damage in damaged:
        progress.say(f"damaged record, computed again: {damage}")
    stale = staleness(project, ledger, read_vouched(project.reference, ledger.paper.id))
    fresh: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if stale(record) is None:
            fresh.setdefault((record.experiment, setting_hash(record.setting)), []).append(record)
    todo = []
    for job in jobs:
        seeds = missing_seeds(job, fresh.get((job.experiment, setting_hash(job.setting)), []))
        outcome.present += len(job.seeds) - len(seeds)
        if seeds:
            todo.append((job, seeds))
    progress.start([(job, len(seeds)) for job, seeds in todo])
    forget_unfinished(folder)
    if not todo:
        return outcome
    # If this cannot be, let it fail before hours of computing.
    (folder / paper).mkdir(parents=True, exist_ok=True)
    machine, processor = _prepare(project, device, threads)
    codes = {name: _load(project, ledger, name) for name in dict.fromkeys(job.experiment for job, _ in todo)}
    for job, seeds in todo:
        progress.job(job)
        done: set[int] = set()
        try:
            pinned = ledger.experiments[job.experiment].device == "cpu"
            here = (processor, processor) if pinned else (machine, processor)
            # The times of a smoke run say nothing.
            alone = ledger.experiments[job.experiment].alone and job.tier != "smoke"
            with turn(alone, partial(_say_waiting, alone)):
                _run_job(
                    project, ledger, job, seeds, folder, codes[job.experiment], here, progress, outcome, done
                )
        except (DataUnavailable, DataCorrupt) as missing:
            outcome.blocked[job.name] = str(missing)
            progress.say(f"blocked: {job.name}: {missing}")
        except (Exception, SystemExit) as error:
            # One broken experiment must not cost the others their results; it is reported and ends in `error`.
            known = isinstance(error, ReproError)
            outcome.failed[job.name] = (
                str(error) if known else f"{type(error).__name__}: {error}{_place(error, project)}"
            )
            progress.say(f"failed: {job.name}: {outcome.failed[job.name]}")
        _note_problem(folder, job, outcome, set(seeds) - done, done)
    return outcome


def _place(error: BaseException, project: Project) -> str:
    """Return where in the project's papers an error arose, innermost, in words; empty if nowhere there."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if project.papers in Path(frame.filename).parents:
            return f" ({Path(frame.filename).relative_to(project.root)}:{frame.lineno}, in {frame.name})"
    return ""


def _load(project: Project, ledger: Ledger, experiment: str) -> tuple[str, Callable[..., Any]]:
    """Return an experiment's code hash and function; a function that fails if its module cannot be imported.

    Raises:
        LedgerError: if the module has no such function.
    """
    name = ledger.experiments[experiment].function
    code = code_hash(ledger.paper.id, name, project.root)
    try:
        return code, project.function(ledger.paper.id, name)
    except ReproError:
        raise
    except Exception as error:
        problem = error

        def fail(*_: object) -> None:
            raise problem

        return code, fail


def _prepare(project: Project, device: str, threads: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set up torch and the heap; return the environment on the device, and that on the processor."""
    import torch

    freed_memory = "kept" if keep_freed() else None
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ReproError("--device cuda: torch finds no GPU here; use --device cpu or auto")
    machine, processor = (
        environment(project.root, where, torch.get_num_threads(), freed_memory) for where in (device, "cpu")
    )
    return machine, processor


def _say_waiting(alone: bool) -> None:
    why = (
        "this measures time, and waits for other runs here"
        if alone
        else "a run here measures time; this waits"
    )
    print(f"{why} to end", file=sys.stderr, flush=True)


def memory(device: str) -> int:
    """Return the bytes that a chunk may use: of a GPU, half of what is free there."""
    if device != "cuda":
        give_back()
        return available_memory()
    import torch

    torch.cuda.empty_cache()  # what an earlier job has left there is free, and chunks are those of a fresh process
    return torch.cuda.mem_get_info()[0] // 2


def _run_job(
    project: Project,
    ledger: Ledger,
    job: Job,
    seeds: list[int],
    folder: Path,
    loaded: tuple[str, Callable[..., Any]],
    machines: tuple[dict[str, Any], dict[str, Any]],
    progress: Progress,
    outcome: Ran,
    done: set[int],
) -> None:
    """Run a job, and add to ``done`` the seeds that have a record.

    ``machines``: the environment it is given, and that of records of what never asks for its device.
    """
    from repro.data.fetch import data_md5, require

    for name in ledger.experiments[job.experiment].data:
        require(name, project.root)
    data = {name: data_md5(name, project.root) for name in ledger.experiments[job.experiment].data}
    code, function = loaded
    machine, processor = machines
    started, expected = time.perf_counter(), set(seeds)
    pending: list[tuple[int, list[Mapping[str, float]]]] = []

    def flush() -> None:
        # The seeds of a chunk share its time. A chunk is written whole: those that stop early come first.
        nonlocal started
        seconds = (time.perf_counter() - started + context.earlier) / max(len(pending), 1)
        chunk = [
            Record(
                paper=job.paper,
                experiment=job.experiment,
                setting=job.setting,
                seed=seed,
                rows=_checked(rows, ledger, job),
                code=code,
                function=ledger.experiments[job.experiment].function,
                data=data,
                environment=machine if context.asked else processor,
                seconds=seconds,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            for seed, rows in pending
        ]
        pending.clear()
        write_records(folder, chunk)
        outcome.written += [record.id for record in chunk]
        done.update(record.seed for record in chunk)
        started = time.perf_counter()

    device = machine["device"]
    kept = folder / "unfinished" / job.paper / _identity(job, code, data, machine)
    context = Context(project.root, device, memory(device), progress.done, flush, kept)
    # Read-only: an experiment that changed its setting would have its numbers filed under another.
    for seed, rows in function(MappingProxyType(job.setting), seeds, context):
        if seed not in expected:
            raise RuntimeError(f"the experiment returned the seed {seed}, which was not asked for, or twice")
        expected.discard(seed)
        pending.append((seed, rows if isinstance(rows, list) else [rows]))
        if not context.in_chunk:
            flush()
            progress.done(len(seeds) - len(expected))
    flush()
    progress.done(len(seeds))
    with suppress(OSError):  # another process keeps other seeds of the same job there, or nobody anything
        kept.rmdir()
    if expected:
        raise RuntimeError(f"the experiment returned nothing for the seeds {sorted(expected)}")


def _identity(job: Job, code: str, data: Mapping[str, str], machine: Mapping[str, Any]) -> str:
    """Name a job's unfinished trainings after all that a number of theirs may depend on."""
    arithmetic = {name: value for name, value in machine.items() if name not in NOT_ARITHMETIC}
    whole = {"experiment": job.experiment, "setting": job.setting, "code": code, "data": data, **arithmetic}
    return hashlib.sha256(canonical(whole).encode()).hexdigest()[:16]


def forget_unfinished(folder: Path) -> None:
    """Delete what trainings left behind that nobody took up again for ``FORGET_DAYS``: of other code, say."""
    oldest = time.time() - FORGET_DAYS * 86400
    for job in (folder / "unfinished").glob("*/*"):
        with suppress(OSError):  # another process was faster
            if max(path.stat().st_mtime for path in (job, *job.rglob("*"))) < oldest:
                shutil.rmtree(job)


def _checked(rows: list[Mapping[str, float]], ledger: Ledger, job: Job) -> list[dict[str, float]]:
    """Refuse rows that do not hold exactly the quantities the ledger declares."""
    plan = ledger.experiments[job.experiment]
    expected = set(plan.quantities) | ({plan.index} if plan.index else set())
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise RuntimeError(
            f"{job.name}: what is yielded with a seed must be a mapping of quantities to numbers, or a list of such"
        )
    if not rows or (plan.index is None and len(rows) > 1):
        raise RuntimeError(
            f"{job.name}: {len(rows)} rows for one seed; several need an `index` in the ledger, none is no result"
        )
    for row in rows:
        if set(row) != expected:
            raise RuntimeError(
                f"{job.name}: a row has {', '.join(sorted(row))} where the ledger declares "
                f"{', '.join(sorted(expected))}"
            )
    if plan.index is not None and len({float(row[plan.index]) for row in rows}) < len(rows):
        raise RuntimeError(f"{job.name}: two rows of one seed have the same `{plan.index}`")
    return [{name: float(value) for name, value in row.items()} for row in rows]
