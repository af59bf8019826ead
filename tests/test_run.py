"""Runs: only what is missing, killed anywhere, two at once, and what one broken experiment costs the others."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from repro import records as writing
from repro import run as running
from repro.claims import Tier
from repro.context import MEMORY_LIMIT, Context, available_memory
from repro.errors import LedgerError
from repro.evidence import gather
from repro.plan import jobs, setting_hash
from repro.progress import Bar
from repro.records import problems_file, read_folder, read_problems, read_record
from repro.run import _identity, forget_unfinished, memory, run

# A run of the toy's quick tier in a process of its own, without torch. Arguments: project, folder, and perhaps
# `scenarios TEXT`: for each, in a folder of its own, child after child dies by SIGKILL at the N-th event of a kind;
# `pause EXPERIMENT`: only that one, and it sleeps between reading the notes and writing them.
DRIVER = """
import os, signal, sys, time
from pathlib import Path
from repro import run as running
from repro.plan import jobs
from repro.project import Project

project, folder, what = Project(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:]
running._prepare = lambda *_: ({"device": "cpu"},) * 2


class Quiet:
    start = job = done = say = lambda self, *_: None


class Countdown:
    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyFile:
    def __init__(self, file, countdown):
        self.file, self.countdown = file, countdown

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        self.countdown()
        self.file.write(content[len(content) // 2 :])


def arm(kind, n):
    countdown, fdopen, fsync, rename = Countdown(n), os.fdopen, os.fsync, os.replace
    if kind == "write":
        os.fdopen = lambda *a, **k: DeadlyFile(fdopen(*a, **k), countdown)
    elif kind == "sync":
        os.fsync = lambda *a: (countdown(), fsync(*a))
    elif kind == "rename":
        os.replace = lambda *a: (countdown(), rename(*a))
    elif kind == "renamed":
        os.replace = lambda *a: (rename(*a), countdown())


def attempt(only=None):
    ledger = project.ledger("toy")
    return running.run(project, ledger, jobs(ledger, "quick", only), folder, progress=Quiet())


if what[:1] == ["scenarios"]:
    for number, scenario in enumerate(what[1].split(";")):
        folder = Path(sys.argv[2]) / str(number)
        for event in [*scenario.split(","), ""]:
            child = os.fork()
            if child == 0:
                if event:
                    arm(event.split()[0], int(event.split()[1]))
                attempt()
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            assert killed == bool(event), (scenario, event, status)
else:
    if what:
        read = running.read_problems
        running.read_problems = lambda *a: (read(*a), time.sleep(0.5))[0]
    import filelock, repro.data.fetch  # what a run imports late
    (folder.parent / f"ready-{os.getpid()}").touch()
    while not (folder.parent / "go").exists():
        time.sleep(0.005)
    outcome = attempt(*what[1:])
    print(len(outcome.written), outcome.present)
"""


def start(toy, folder: Path, *what: str, sleep: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(toy.root), str(folder), *what],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TOY_SLEEP": str(sleep)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    answers = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, answers, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in answers]


def go(folder: Path, *processes: subprocess.Popen[str]) -> None:
    """Let runs begin at the same time, as soon as all are ready to."""
    while len(list(folder.glob("ready-*"))) < len(processes):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.005)
    (folder / "go").touch()


def rows(folder: Path) -> dict[str, str]:
    """Every record's rows, in a form in which NaN equals NaN."""
    records, damaged = read_folder(folder, "toy")
    assert damaged == []
    return {record.id: json.dumps(record.rows) for record in records}


@pytest.fixture
def reading(toy):
    """The toy, its data given, and the rows of a run that nobody interrupted."""
    toy.give_data()
    toy.run("quick", folder=toy.root / "uninterrupted")
    return toy


# ------------------------------------------------------------------ only what is missing


def test_a_rerun_computes_nothing(toy) -> None:
    toy.give_data()
    first = toy.run("quick")
    assert (first.present, first.blocked, first.failed, first.damaged) == (0, {}, {}, [])
    assert len(first.written) == 6 * 5 + 3 + 2 + 2 == toy.progress.planned
    times = {path: path.stat().st_mtime_ns for path in toy.folder.rglob("*.json")}
    second = toy.run("quick")
    assert (second.written, second.present) == ([], len(first.written))
    assert {path: path.stat().st_mtime_ns for path in toy.folder.rglob("*.json")} == times


def test_a_rerun_computes_only_what_is_missing(toy) -> None:
    toy.run("quick", "train")
    before = rows(toy.folder)
    gone = [next(p for p in toy.folder.rglob(f"{seed}.json")) for seed in (1, 3)]
    for path in gone:
        path.unlink()
    outcome = toy.run("quick", "train")
    assert sorted(outcome.written) == sorted(str(p.relative_to(toy.folder))[: -len(".json")] for p in gone)
    assert rows(toy.folder) == before


def test_more_seeds_keep_those_there_are(toy) -> None:
    toy.run("quick", "train", seeds=[2, 0])
    outcome = toy.run("quick", "train", seeds=[0, 1, 2])
    assert {name.rsplit("/")[-1] for name in outcome.written} == {"1"}
    assert outcome.present == 12


def test_quick_records_count_toward_full_where_the_setting_is_equal(toy) -> None:
    quick = toy.run("quick")
    full = toy.run("full")
    train = [name for name in full.written if name.startswith("toy/train")]
    assert len([name for name in quick.written if name.startswith("toy/train")]) == 30
    assert len(train) == 7 * 10 - 30
    growth = [name for name in full.written if name.startswith("toy/growth")]
    assert len(growth) == 4, "the quick tier's growth is a reduced setting: another record"


def test_smoke_records_are_others(toy) -> None:
    smoke = toy.run("smoke", "train")
    quick = toy.run("quick", "train")
    assert quick.present == 0
    assert not set(smoke.written) & set(quick.written)


def test_a_record_has_its_provenance(toy) -> None:
    toy.run("quick", "counting")
    one = read_record(toy.folder / "toy" / "counting" / setting_hash({}) / "0.json")
    assert one.rows == [{"count": 12.0, "excess": 0.0}]
    assert repr(one.rows) == "[{'count': 12.0, 'excess': 0.0}]", "whole numbers are stored as decimal ones"
    assert len(one.code) == 16
    assert one.environment["device"] == "cpu"
    assert one.environment["numpy"]
    assert one.seconds >= 0


def test_the_time_of_a_seed_does_not_hold_those_before_it(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second whenever it is looked at."""
    clock = SimpleNamespace(perf_counter=partial(next, count(0.0, 1.0)), time=time.time)
    monkeypatch.setattr(running, "time", clock)
    toy.run("quick", "growth")
    records, _ = read_folder(toy.folder, "toy")
    assert [record.seconds for record in records] == [1.0] * 3


@pytest.mark.parametrize(("tier", "alone"), [("smoke", False), ("quick", True)])
def test_what_measures_time_runs_alone_but_for_a_smoke_run(
    toy, tier: Tier, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.edit("    index: size\n", "    index: size\n    alone: true\n")
    asked: list[bool] = []

    def turn(alone: bool, waiting: Callable[[], None]) -> nullcontext[None]:
        asked.append(alone)
        return nullcontext()

    monkeypatch.setattr(running, "turn", turn)
    toy.run(tier, "growth")
    toy.run(tier, "counting")
    assert asked == [alone, False]


# ------------------------------------------------------------------ killed


def test_killed_inside_a_write(reading, tmp_path: Path) -> None:
    """SIGKILL half-way into a file, before and after it is synced and renamed, once or time after time."""
    scenarios = [
        "write 1", "write 37", "sync 23", "rename 1", "rename 32", "renamed 1", "renamed 33",
        "write 3,write 3,rename 11,renamed 11,sync 1",
    ]  # fmt: skip
    finish(start(reading, tmp_path / "killed", "scenarios", ";".join(scenarios)))
    expected = rows(reading.root / "uninterrupted")
    assert len(expected) == 30 + 3 + 2 + 2
    for number, scenario in enumerate(scenarios):
        assert rows(tmp_path / "killed" / str(number)) == expected, scenario


def test_killed_at_random_moments(reading, tmp_path: Path) -> None:
    """From outside, at times that no line of code chooses; the delays are drawn with a fixed seed."""
    (tmp_path / "go").touch()
    draw = random.Random(7)
    folder = tmp_path / "killed"
    for _ in range(3):
        process = start(reading, folder, sleep=0.03)
        while not any(folder.rglob("*.tmp")) and process.poll() is None and not any(folder.rglob("*.json")):
            time.sleep(0.005)  # until it works
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, (
            "it was done before it was killed: let the toy sleep longer"
        )
        read_folder(folder, "toy")
    there = len(rows(folder))
    (answer,) = finish(start(reading, folder))
    assert answer.split() == [str(37 - there), str(there)]
    assert rows(folder) == rows(reading.root / "uninterrupted")


# ------------------------------------------------------------------ two at once


def test_two_runs_at_once_lose_nothing(reading, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    processes = [start(reading, folder, sleep=0.002) for _ in range(2)]
    go(tmp_path, *processes)
    answers = [answer.split() for answer in finish(*processes)]
    assert all(int(written) + int(present) == 37 for written, present in answers)
    assert sum(int(written) for written, _ in answers) > 37, (
        "they did not run at once: this test tests nothing"
    )
    assert rows(folder) == rows(reading.root / "uninterrupted")
    assert not list(folder.rglob("*.tmp"))


def test_two_runs_at_once_lose_no_note(toy, tmp_path: Path) -> None:
    """Each notes a failure of its own, between the other's reading and writing of the notes."""
    toy.edit('    """Count things."""\n', '    raise RuntimeError("broken")\n', "audits.py")
    folder = tmp_path / "both"
    processes = [start(toy, folder, "pause", name) for name in ("counting", "reading")]
    go(tmp_path, *processes)
    finish(*processes)
    notes = read_problems(folder, "toy")
    assert sorted(note["state"] for note in notes.values()) == ["blocked", "failed"]


# ------------------------------------------------------------------ trouble


def test_a_failing_experiment_costs_no_other(toy) -> None:
    toy.edit('    """Count things."""\n', '    raise ZeroDivisionError("by nought")\n', "audits.py")
    outcome = toy.run("quick")
    where = "(papers/toy/audits.py:5, in counting)"
    assert list(outcome.failed.values()) == [f"ZeroDivisionError: by nought {where}"]
    assert len(outcome.written) == 33
    assert any("by nought" in message for message in toy.progress.said)
    verdicts = toy.verdicts()
    assert (verdicts["A1"].outcome, verdicts["A1"].reasons) == (
        "error",
        [f"ZeroDivisionError: by nought {where} (run again with --seeds 0,1)"],
    )
    assert verdicts["V1"].outcome == "reproduced"
    toy.edit('    raise ZeroDivisionError("by nought")\n', "    pass\n", "audits.py")
    assert toy.run("quick", "counting").failed == {}
    assert toy.verdicts()["A1"].outcome == "reproduced"
    assert "failed" not in {note["state"] for note in read_problems(toy.folder, "toy").values()}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    raise SystemExit(0)\n", "SystemExit: 0"),
        ("    setting['level'] = 1.0\n", "does not support item assignment"),
        ("    yield 0, None\n", "must be a mapping"),
        ("    yield 0, ({'accuracy': 1.0},)\n", "must be a mapping"),
    ],
)
def test_an_experiment_that_does_what_it_must_not_fails(toy, body: str, words: str) -> None:
    """And changes no setting: its numbers would be filed under another."""
    toy.edit('    """Draw an accuracy."""\n', f'    """Draw an accuracy."""\n{body}', "experiments.py")
    outcome = toy.run("quick", "train")
    assert outcome.failed
    assert not outcome.written
    assert all(words in message for message in outcome.failed.values()), outcome.failed


def test_two_rows_of_one_size_are_refused(toy) -> None:
    toy.edit("    sizes = [s for s in (1, 2, 4,", "    sizes = [s for s in (1, 2, 2, 4,", "experiments.py")
    outcome = toy.run("quick", "growth")
    assert not outcome.written
    assert "two rows of one seed have the same `size`" in str(outcome.failed)


def test_another_function_of_the_same_module_is_run(toy) -> None:
    other = '\n\ndef other(setting, seeds, context):\n    for seed in seeds:\n        yield seed, {"accuracy": 9.0}\n'
    toy.write("experiments.py", toy.path("experiments").read_text() + other)
    toy.run("quick", "train")
    toy.edit("function: experiments.train", "function: experiments.other")
    found = gather(toy.project, toy.ledger, toy.folder)
    assert {why for _, why in found.stale} == {"another function made it, experiments.train"}
    again = toy.run("quick", "train")
    assert again.present == 0
    assert again.written


def test_a_failing_seed_costs_no_seed_before_it(toy) -> None:
    toy.edit(
        '        yield seed, {"accuracy"',
        '        assert seed < 3\n        yield seed, {"accuracy"',
        "experiments.py",
    )
    outcome = toy.run("quick", "train")
    assert len(outcome.failed) == 6
    assert {name.rsplit("/")[-1] for name in outcome.written} == {"0", "1", "2"}


def test_a_failure_is_made_good_by_its_own_seeds_alone(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other seeds that end well say nothing of those that failed; a note that is made good stands in nobody's way."""
    guard = '        assert seed != 4 or "TOY_GOES_ON" in os.environ\n        yield seed, {"accuracy"'
    toy.edit('        yield seed, {"accuracy"', guard, "experiments.py")
    toy.run("full", "train")
    assert toy.verdicts()["H1"].outcome == "error"
    assert "run again with --seeds 4,5,6,7,8,9" in toy.verdicts()["H1"].reasons[0]
    toy.run("full", "train", seeds=range(20, 40))
    assert toy.verdicts()["H1"].outcome == "error", "seeds 4 to 9 are still not there"
    toy.run("full", "train", seeds=[5, 6, 7, 8, 9])
    assert "run again with --seeds 4)" in toy.verdicts()["H1"].reasons[0]
    monkeypatch.setenv("TOY_GOES_ON", "1")
    assert toy.run("full", "train").failed == {}
    assert toy.verdicts()["H1"].outcome == "reproduced"
    assert "failed" not in {note["state"] for note in read_problems(toy.folder, "toy").values()}


def test_a_chunk_whose_writing_fails_leaves_nothing_of_itself(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a chunk that stop early come first: half a chunk would be a biased sample."""
    toy.edit(
        "    for seed in seeds:\n        noise = np.random.default_rng([seed, s",
        "    for seed in (s for chunk in context.chunks(seeds, 1, largest=9) for s in chunk):\n"
        "        noise = np.random.default_rng([seed, s",
        "experiments.py",
    )
    write, records = writing.write_atomically, count()

    def full_disk(path: Path, content: bytes) -> None:
        if path.suffix == ".new" and next(records) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(writing, "write_atomically", full_disk)
    outcome = toy.run("quick", "train")
    ((name, message),) = outcome.failed.items()
    assert "No space left" in message
    assert read_problems(toy.folder, "toy")[name]["seeds"] == [0, 1, 2, 3, 4]
    assert not [path for path in toy.folder.rglob("*.json") if f"/{name}/" in path.as_posix()]


def test_a_module_that_cannot_be_imported_costs_no_other(toy) -> None:
    toy.edit('"""Without running."""\n', "import there_is_no_such_library\n", "audits.py")
    outcome = toy.run("quick")
    assert ["there_is_no_such_library" in message for message in outcome.failed.values()] == [True]
    assert len(outcome.written) == 33


def test_a_function_that_is_not_there_is_told_at_once(toy) -> None:
    """A typo in the ledger, before hours of computing."""
    toy.edit("    function: audits.counting\n", "    function: audits.count\n")
    with pytest.raises(LedgerError, match=r"paper.yaml.*`audits.count`"):
        toy.run("quick")
    assert not list(toy.folder.rglob("*.json"))


def test_altered_data_costs_no_other(toy) -> None:
    """And blocks before a run as after it."""
    toy.give_data()
    (toy.root / "data" / "corpus" / "text").write_text("9")
    assert toy.verdicts()["D1"].outcome == "blocked"
    outcome = toy.run("quick")
    (message,) = outcome.blocked.values()
    assert "md5 expected" in message
    assert "text" in message
    assert len(outcome.written) == 35
    assert toy.verdicts()["D1"].outcome == "blocked"


def test_data_that_cannot_be_had_blocks_what_needs_it(toy) -> None:
    toy.give_data()
    (toy.root / "data" / "corpus" / "text").unlink()
    outcome = toy.run("quick")
    (message,) = outcome.blocked.values()
    assert "missing" in message
    assert "text" in message
    assert (outcome.failed, len(outcome.written)) == ({}, 35)
    (note,) = read_problems(toy.folder, "toy").values()
    assert note == {"state": "blocked", "message": message}
    verdicts = toy.verdicts()
    assert (verdicts["D1"].outcome, verdicts["D1"].reasons) == ("blocked", [message])
    assert {v.outcome for name, v in verdicts.items() if name not in ("D1", "O1", "C1")} == {"reproduced"}
    toy.give_data()
    assert len(toy.run("quick").written) == 2
    assert toy.verdicts()["D1"].outcome == "reproduced"


def test_missing_data_blocks_in_one_line_that_names_no_place_of_this_machine(toy) -> None:
    toy.give_data()
    (toy.root / "data" / "corpus" / "text").unlink()
    (reason,) = toy.verdicts()["D1"].reasons
    assert "data/corpus" in reason
    assert "repro data fetch corpus" in reason
    assert str(toy.root) not in reason
    assert "\n" not in reason


def test_blocked_in_the_full_tier_is_blocked(toy) -> None:
    """Also where the quick tier would run another setting."""
    toy.edit(
        "    data: [corpus]\n    tiers: {smoke: {seeds: 1}, quick: {seeds: 2}",
        "    data: [corpus]\n    setting: {part: 1.0}\n"
        "    tiers: {smoke: {seeds: 1}, quick: {seeds: 2, set: {part: 0.5}}",
    )
    toy.run("full", "reading")
    assert toy.verdicts()["D1"].outcome == "blocked"


def test_a_damaged_record_is_reported_and_computed_again(toy) -> None:
    toy.run("quick", "train")
    before = rows(toy.folder)
    path = next(toy.folder.rglob("3.json"))
    path.write_text(path.read_text().replace('"accuracy": ', '"accuracy": 1'))
    outcome = toy.run("quick", "train")
    assert len(outcome.written) == 1
    assert [str(path) in message for message in outcome.damaged] == [True]
    assert any(str(path) in message for message in toy.progress.said)
    assert rows(toy.folder) == before


def test_a_damaged_record_is_never_averaged(toy) -> None:
    records = [toy.record("train", seed, {"accuracy": 80.0 + seed}) for seed in range(4)]
    toy.write_records(records)
    path = toy.folder / f"{records[3].id}.json"
    path.write_text(path.read_text().replace("83.0", "8300.0"))
    verdict = toy.verdicts()["V1"]
    assert (verdict.n, verdict.measured) == (3, pytest.approx(81.0))
    assert len(verdict.records) == 3


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ('{"accuracy": 1.0, "loss": 2.0}', "accuracy, loss"),
        ("{}", "declares accuracy"),
        ('{"acuracy": 1.0}', "acuracy"),
        ('{"accuracy": "high"}', "high"),
        ('{"accuracy": None}', "NoneType"),
        ('[{"accuracy": 1.0}, {"accuracy": 2.0}]', "2 rows"),
        ("[]", "0 rows"),
    ],
)
def test_rows_that_the_ledger_does_not_declare_are_refused(toy, returned: str, message: str) -> None:
    toy.edit('yield seed, {"accuracy": level + noise}', f"yield seed, {returned}", "experiments.py")
    outcome = toy.run("quick", "train")
    assert outcome.written == []
    assert len(outcome.failed) == 6
    assert all(message in why for why in outcome.failed.values()), outcome.failed
    assert not list((toy.folder / "toy").rglob("*/*/*.json"))


def test_a_row_without_its_index_is_refused(toy) -> None:
    toy.edit('{"size": s, "cost"', '{"cost"', "experiments.py")
    outcome = toy.run("quick", "growth")
    assert ["declares cost, size" in why for why in outcome.failed.values()] == [True]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [("seeds[:-1]", "nothing for the seeds [4]"), ("[*seeds, 99]", "99"), ("[0, *seeds]", "0")],
)
def test_seeds_that_were_not_asked_for_are_refused(toy, seeds: str, message: str) -> None:
    toy.edit('    """Draw an accuracy."""\n', f"    seeds = {seeds}\n", "experiments.py")
    outcome = toy.run("quick", "train")
    assert all(message in why for why in outcome.failed.values())
    assert len(outcome.failed) == 6
    assert not any(name.endswith("/99") for name in outcome.written)


def test_code_edited_during_a_run_counts_for_the_next(toy) -> None:
    """The record names the code that made it, not what the file holds when the record is written."""
    toy.edit(
        '    """Draw an accuracy."""\n',
        "    from pathlib import Path\n    model = Path(__file__).with_name('model.py')\n"
        "    model.write_text(model.read_text().replace('0.0', '9.9'))\n",
        "experiments.py",
    )
    before = toy.record("train", 0, {"accuracy": 0.0}).code
    outcome = toy.run("quick", "train")
    assert len(outcome.written) == 30
    records, _ = read_folder(toy.folder, "toy")
    assert {record.code for record in records} == {before}
    assert toy.record("train", 0, {"accuracy": 0.0}).code != before


def test_unknown_files_in_the_folder_do_not_matter(toy) -> None:
    toy.run("quick", "counting")
    problems_file(toy.folder, "toy").write_text("{")
    (toy.folder / "toy" / "counting" / "notes.txt").write_text("hello")
    assert toy.run("quick", "counting").written == []


# ------------------------------------------------------------------ what a tier can support


def test_smoke_never_supports_a_verdict(toy) -> None:
    toy.give_data()
    assert len(toy.run("smoke").written) > 10
    verdicts = toy.verdicts()
    supported = {v.claim for v in verdicts.values() if v.outcome != "not_run"}
    # their smoke setting is the paper's: such records are quick ones, too few for anything but a fixed number
    assert supported <= {"A1", "P1", "D1"}
    assert verdicts["D1"].outcome == "inconclusive"
    assert verdicts["P1"].outcome == "inconclusive"
    assert all(v.tier != "smoke" for v in verdicts.values())


def test_a_reduced_setting_supports_only_what_it_lists(toy) -> None:
    toy.run("quick", "growth")
    verdicts = toy.verdicts()
    assert (verdicts["S1"].outcome, verdicts["S1"].tier, verdicts["S1"].n) == ("reproduced", "quick", 3)
    curve = verdicts["C1"]
    assert (curve.outcome, curve.tier, curve.measured) == ("inconclusive", "quick", None)
    assert "reduced setting, which cannot support a curve claim" in curve.reasons[0]
    toy.run("full", "growth")
    verdicts = toy.verdicts()
    assert [(verdicts[c].outcome, verdicts[c].tier, verdicts[c].n) for c in ("S1", "C1")] == [
        ("reproduced", "full", 4),
        ("reproduced", "full", 4),
    ]


def test_tier_of_a_verdict_is_named_by_its_seeds(toy) -> None:
    toy.run("quick", "train")
    verdict = toy.verdicts()["V1"]
    assert (verdict.tier, verdict.n) == ("quick", 5)
    toy.run("full", "train", seeds=range(9))
    assert (toy.verdicts()["V1"].tier, toy.verdicts()["V1"].n) == ("quick", 9)
    toy.run("full", "train")
    assert (toy.verdicts()["V1"].tier, toy.verdicts()["V1"].n) == ("full", 10)


def test_an_experiment_of_the_smoke_tier_only(toy) -> None:
    toy.edit(
        "{smoke: {seeds: 1}, quick: {seeds: 2}, full: {seeds: 2}}\n  reading",
        "{smoke: {seeds: 1}}\n  reading",
    )
    toy.run("smoke", "counting")
    verdict = toy.verdicts()["A1"]
    assert (verdict.outcome, verdict.records) == ("not_run", [])


def test_overriding_a_setting_makes_other_records(toy) -> None:
    (job,) = [job for job in jobs(toy.ledger, "quick", "train") if job.needed_by == ("V1", "H1")]
    changed = replace(job, setting={**job.setting, "level": 81.0})
    run(toy.project, toy.ledger, [changed], toy.folder, progress=toy.progress)
    assert toy.verdicts()["V1"].outcome == "not_run"


# ------------------------------------------------------------------ chunks and progress


@pytest.mark.parametrize(
    ("memory", "largest", "sizes"),
    [(100, 50, [3, 3, 3, 1]), (100, 2, [2] * 5), (1, 50, [1] * 10), (10**6, 50, [10]), (10**6, 4, [4, 4, 2])],
)
def test_chunks_fit_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, largest: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # which takes long in a process that has run many tests
    told: list[float] = []
    context = Context(tmp_path, memory=memory, report=told.append)
    chunks = []
    for chunk in context.chunks(range(5, 15), 30, largest):
        chunks.append(chunk)
        context.tick(0.5)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [seed for chunk in chunks for seed in chunk] == list(range(5, 15))
    assert told == sorted(told)
    assert told[0] == sizes[0] / 2
    assert told[-1] == 10


def test_available_memory_is_bounded() -> None:
    assert 0 < available_memory() <= MEMORY_LIMIT


def test_a_gpu_is_asked_for_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (100 * 2**30, 140 * 2**30))
    assert memory("cuda") == 50 * 2**30
    assert 0 < memory("cpu") <= MEMORY_LIMIT


def test_records_name_the_device_that_was_used(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one there is: what never asks, or leaves a GPU alone by the ledger, computes on the processor."""
    gpu = {"device": "cuda", "gpu": "a GPU", "cuda": "13.0", "threads": 1}
    cpu = {"device": "cpu", "threads": 1}
    monkeypatch.setattr("repro.run._prepare", lambda *_: (gpu, cpu))
    monkeypatch.setattr("repro.run.memory", lambda device: {"cpu": 1, "cuda": 2}[device])

    def environments() -> dict[str, dict]:
        toy.run("quick")
        return {r.experiment: r.environment for r in read_folder(toy.folder, "toy")[0]}

    toy.edit('"""Draw an accuracy."""', "assert context.device and context.memory == 2", "experiments.py")
    assert environments() == {"train": gpu, "growth": cpu, "counting": cpu}
    toy.edit("context.memory == 2", "context.memory == 1", "experiments.py")
    toy.edit("function: experiments.train\n", "function: experiments.train\n    device: cpu\n")
    shutil.rmtree(toy.folder)
    assert environments() == {"train": cpu, "growth": cpu, "counting": cpu}


def test_progress_moves_without_chunks(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float] = []
    monkeypatch.setattr(toy.progress, "done", done.append)
    job = next(job for job in jobs(toy.ledger, "quick") if job.experiment == "counting")
    run(toy.project, toy.ledger, [job], toy.folder, progress=toy.progress)
    assert done == [1, 2, 2]


# ------------------------------------------------------------------ trainings that were killed

KILLED_ONCE = '''\
"""Draw an accuracy."""
    for chunk in context.chunks(seeds, 1):
        checkpoint = context.work.checkpoint
        if checkpoint.load() is None:
            checkpoint.every, checkpoint._earlier = 0.0, 1000.0
            checkpoint.save(lambda: "half")
            raise KeyboardInterrupt
        for seed in chunk:
            yield seed, {"accuracy": 80.0 + seed}
    return
'''


def test_a_killed_run_goes_on_and_its_records_tell_the_whole_time(toy) -> None:
    toy.edit('"""Draw an accuracy."""\n', KILLED_ONCE, "experiments.py")
    (job,) = [job for job in jobs(toy.ledger, "quick", "train") if job.needed_by == ("V1", "H1")]
    neighbour = toy.folder / "unfinished" / "toy"

    def go() -> None:
        run(toy.project, toy.ledger, [job], toy.folder, progress=toy.progress)

    with pytest.raises(KeyboardInterrupt):
        go()
    (kept,) = neighbour.rglob("*.pt")
    assert kept.relative_to(neighbour).parts[1:] == ("0-1-2-3-4", "training.pt")
    other = kept.parents[1] / "7-8" / "training.pt"  # as of another process, with other seeds of the same job
    other.parent.mkdir()
    other.touch()
    go()
    records, _ = read_folder(toy.folder, "toy")
    assert [r.seed for r in records] == [0, 1, 2, 3, 4]
    assert 1000 < sum(r.seconds for r in records) < 1500
    assert list(neighbour.rglob("*.pt")) == [other]


def test_what_is_kept_is_named_after_all_that_a_number_depends_on(toy) -> None:
    job = jobs(toy.ledger, "quick", "train")[0]
    machine = {"torch": "2.13", "threads": 2, "device": "cpu", "processor": "a", "commit": "1", "cores": 2}

    def name(job=job, code="c", data=None, **changes) -> str:
        return _identity(job, code, data or {}, {**machine, **changes})

    same = [name(), name(commit="2"), name(cores=8)]
    other = [
        name(replace(job, experiment="growth")),
        name(replace(job, setting={**job.setting, "steps": 7})),
        name(code="d"),
        name(data={"corpus": "1"}),
        *(
            name(**change)
            for change in ({"torch": "2.14"}, {"threads": 1}, {"device": "cuda"}, {"processor": "b"})
        ),
    ]
    assert len({*same}) == 1
    assert len({*same, *other}) == 1 + len(other)


def test_what_nobody_took_up_for_a_month_goes(tmp_path: Path) -> None:
    for job, days in (("old", 31), ("new", 29)):
        path = tmp_path / "unfinished" / "toy" / job / "0-1" / "training.pt"
        path.parent.mkdir(parents=True)
        path.touch()
        for part in (path, *list(path.parents)[:2]):
            os.utime(part, (time.time() - days * 86400,) * 2)
    forget_unfinished(tmp_path)
    assert [path.name for path in (tmp_path / "unfinished" / "toy").iterdir()] == ["new"]


def test_a_claim_or_a_deviation_alone(toy) -> None:
    def needed(**asked: str) -> set[str]:
        return {by for job in jobs(toy.ledger, "full", **asked) for by in job.needed_by}

    assert needed(deviation_name="variant") == {"deviation variant"}
    assert {by.partition(" (control ")[0] for by in needed(claim_id="V1")} == {"V1"}
    assert needed(deviation_name="variant") | needed(claim_id="V1") < needed()


def test_a_bar_without_terminal_tells_now_and_then(toy) -> None:
    out = io.StringIO()
    planned = jobs(toy.ledger, "quick", "train")[:3]
    with Bar(Console(file=out, width=100), "toy", every=0.0) as bar:
        bar.start([(job, 4) for job in planned])
        for job in planned:
            bar.job(job)
            bar.done(2.5)
            bar.done(99)  # never more than there are
        bar.say("[not markup]")
    lines = out.getvalue().splitlines()
    assert [line.split(" seeds")[0] for line in lines[:-1]] == [
        f"toy: {done} of 12" for done in ("2", "4", "6", "8", "10", "12")
    ]
    assert lines[0].endswith("time left not known yet")  # nothing was seen to be done yet
    assert "min left" in lines[1]
    assert lines[-1] == "[not markup]"


def test_a_bar_goes_by_the_pace_of_its_own_process(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, out = [0.0], io.StringIO()
    monkeypatch.setattr("repro.progress.time.monotonic", lambda: clock[0])
    [job] = jobs(toy.ledger, "quick", "train")[:1]
    with Bar(Console(file=out, width=100), "toy", every=60.0) as bar:
        bar.start([(job, 10)])
        bar.job(job)
        for clock[0], done in ((100.0, 4.0), (400.0, 5.0)):  # four seeds were there from an earlier process
            bar.done(done)
    assert out.getvalue().splitlines()[1] == "toy: 5 of 10 seeds, about 25 min left"


def test_a_bar_with_nothing_to_do() -> None:
    out = io.StringIO()
    with Bar(Console(file=out), "toy") as bar:
        bar.start([])
    assert out.getvalue() == "toy: nothing is missing\n"
